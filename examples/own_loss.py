"""A loss of your own beside a built-in one: how samples of a batch are alike, by student and by teacher.

A term reads what its parameters are called: student_logits, teacher_logits, student_embedding, target, ...
"""

import torch
from torch import Tensor

import distill

FOLDER = "outputs/examples/own_loss"


def likeness(embedding: Tensor) -> Tensor:
    """Cosines (N, N) between the embeddings (N, D) of a batch."""
    unit = torch.nn.functional.normalize(embedding)
    return unit @ unit.T


def relations(student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
    """The mean square of what the two matrices of cosines differ by; widths D may differ, too."""
    return (likeness(student_embedding) - likeness(teacher_embedding)).square().mean()


def main() -> None:
    """Trains the same student with the term and without it."""
    common = ["model=resnet8", "teacher=resnet14", "teacher.recipe.max_epochs=5", "trainer.max_epochs=5"]
    term = [
        "+kd.terms.relations.loss._target_=own_loss.relations",
        "+kd.terms.relations.loss._partial_=true",
        "+kd.terms.relations.weight=2",
    ]
    for name, overrides in (("kd", []), ("kd and relations", term)):
        summary = distill.train([*common, *overrides], output_dir=f"{FOLDER}/{name.replace(' ', '-')}")
        student = summary.student
        assert student is not None
        assert student.train is not None
        losses = {key: round(value, 4) for key, value in student.train.items() if key in ("hard", "kd", "relations")}
        print(f"{name}: {student.test['acc']:.1%} right on test; losses of the last epoch: {losses}")


if __name__ == "__main__":
    main()

"""The table of ``docs/methods.md``, on stdout: ``python -m benchmarks.methods``.

What each method reads, adds and costs, from the configurations and the losses themselves.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from distill.cli.methods import methods
from distill.config.compose import compose
from distill.config.schema import TrainConfig, typed
from distill.data import Batch
from distill.distillation.criterion import Criterion
from distill.distillation.inspection import inspect_model
from distill.distillation.model_info import NamedModel
from distill.models import resnet8x4, resnet32x4
from distill.models.outputs import Outputs
from distill.training.builder import build_criterion, wrap_student
from distill.utils.console import markdown_table
from distill.utils.profiling import size

READS = {
    "logits": ("_logits",),
    "outputs": ("_output",),
    "features": ("_feature", "_features"),
    "pre-activations": ("_preactivations",),
    "embedding": ("_embedding",),
    "labels": ("target",),
    "index": ("index",),
}
FLOWS = {
    "teachers": "several teachers",
    "assistants": "a chain",
    "generations": "a chain",
    "peers": "students of each other",
    "student_wrapper": "another student",
}
BATCH = 64
OF_OTHER_MODELS = ("hidden", "minilm", "pkd", "cwd")  # of transformers, and of segmenters


def of_maps() -> list[str]:
    """The methods that the pair can be taught by."""
    return [name for name in methods() if name not in OF_OTHER_MODELS]


def _configured(name: str) -> TrainConfig:
    """The resolved configuration of ``kd=<name>`` with the pair resnet32x4 → resnet8x4."""
    return typed(compose([f"kd={name}", "model=resnet8x4", "teacher=resnet32x4"]))


def build_pair(classes: int = 100) -> tuple[NamedModel, NamedModel]:
    """Student resnet8x4 and teacher resnet32x4 on 32×32 images, with what a dry forward tells of them."""
    example = torch.zeros(2, 3, 32, 32)
    student, teacher = resnet8x4(classes), resnet32x4(classes)
    return (
        NamedModel("resnet8x4", student, inspect_model(student, example, "the student")),
        NamedModel("resnet32x4", teacher, inspect_model(teacher, example, "the teacher")),
    )


def build_method(name: str, nets: tuple[NamedModel, NamedModel]) -> tuple[Criterion, NamedModel, TrainConfig]:
    """A method's criterion between a pair of models, the student as the method changes it, and its configuration."""
    cfg = _configured(name)
    criterion = build_criterion(cfg.kd, cfg.trainer.max_epochs)
    example = torch.zeros(2, 3, 32, 32)
    student = wrap_student(cfg.kd.student_wrapper, nets[0], nets[1], example, cfg.channels_last)
    criterion.build(student.model_info, nets[1].model_info, num_samples=50_000)
    if criterion.needs_teacher:
        criterion.calibrate(nets[1].model, nets[1].model_info)
    return criterion, student, cfg


def enter_working_stage(criterion: Criterion) -> None:
    """Sets the stage in which the method works: the pretraining of a term that is inactive in the main stage."""
    criterion.set_pretraining(
        next((term.name for term in criterion.terms if term.pretraining and term.is_inactive), None)
    )


def random_outputs(criterion: Criterion, side: str, net: NamedModel, batch: int) -> Any:
    """Random outputs of the shapes that a model gives, as the terms read them."""

    def random(shape: Sequence[int]) -> torch.Tensor:
        return torch.randn(batch, *shape[1:])

    model_info = net.model_info
    features = {key: random(model_info.shape(key)) for key in criterion.extracted_layers(side)}
    return Outputs(random(model_info.logits), features, random(model_info.embedding) if model_info.embedding else None)


def _row(name: str, nets: tuple[NamedModel, NamedModel], macs: int) -> dict[str, str]:
    criterion, student, cfg = build_method(name, nets)
    reads = {n for term in criterion.terms for n in term.all_reads}
    added = sum(p.numel() for p in criterion.parameters())
    added += sum(p.numel() for p in student.model.parameters()) - sum(p.numel() for p in nets[0].model.parameters())
    batch = Batch(torch.zeros(BATCH, 1), torch.arange(BATCH) % 100, torch.arange(BATCH))
    enter_working_stage(criterion)
    with FlopCounterMode(display=False) as counter:
        criterion(
            random_outputs(criterion, "student", student, BATCH),
            random_outputs(criterion, "teacher", nets[1], BATCH),
            batch,
        )
    products = counter.get_total_flops() / 2 / BATCH / macs
    flows = [text for key, text in FLOWS.items() if getattr(cfg.kd, key) not in (None, 1)]
    phase = ["a pretraining stage"] if any(term.pretraining for term in criterion.terms) else []
    return {
        "kd=": f"`{name}`",
        "reads": ", ".join(
            word for word, ends in READS.items() if any(n == e or n.endswith(e) for n in reads for e in ends)
        )
        or "labels",
        "besides": ", ".join([*flows, *phase]) or "–",
        "parameters it adds": f"{added:,}" if added else "–",
        "its products": "–" if products < 5e-5 else f"{100 * products:.2f} %",
    }


def table() -> str:
    """Every method but those of tokens as a row of Markdown."""
    nets = build_pair()
    macs = size(nets[0].model, torch.zeros(1, 3, 32, 32)).macs
    rows = [_row(name, nets, macs) for name in of_maps()]
    return markdown_table([list(rows[0]), *([*row.values()] for row in rows)])


if __name__ == "__main__":
    print(table())

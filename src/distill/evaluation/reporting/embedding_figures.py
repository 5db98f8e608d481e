"""The maps and examples of a run whose outputs are embeddings."""

import warnings
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from distill.evaluation.embedding_map import project
from distill.evaluation.embeddings import misplaced, reference
from distill.evaluation.evaluate import Evaluation
from distill.evaluation.reporting.charts import Dot, embedding_map
from distill.evaluation.reporting.figures import CARDS
from distill.evaluation.reporting.images import shown
from distill.evaluation.reporting.rendering import Figure, Legend

GROUPS = 8


def groups(embedding: Tensor) -> list[int]:
    """A group of each sample by k-means on the unit sphere, seed 0; of few samples there are fewer groups."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different samples than groups
        model = KMeans(min(GROUPS, -(-len(embedding) // 8)), n_init=1, random_state=0)
        found: list[int] = model.fit_predict(F.normalize(embedding.float(), dim=1).numpy()).tolist()
    return found


def maps(evaluation: Evaluation, method: str) -> tuple[list[Figure], Legend]:
    """A scatter plot of every model's embeddings, colored by groups of the teacher's, and their legend."""
    teacher = evaluation.predictions[reference(evaluation.predictions)].logits
    of_sample = groups(teacher[evaluation.mapped])
    index = evaluation.index[evaluation.mapped].tolist()
    figures = []
    for role, predictions in evaluation.predictions.items():
        coordinates = project(predictions.logits[evaluation.mapped].float(), method).tolist()
        points = [
            Dot(x, y, f"k{group}", f"sample {number}", link=i)
            for i, ((x, y), group, number) in enumerate(zip(coordinates, of_sample, index, strict=True))
        ]
        chart = embedding_map(points, [False] * len(points), f"map of the {role.label}'s embeddings")
        figures.append(Figure(f"{role.label} {evaluation.results.models[role].name}", chart))
    return figures, [(f"group {group + 1}", f"k{group}", "spot") for group in sorted(set(of_sample))]


def examples(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The samples whose neighbours differ most from the teacher's, each with its nearest one in every model."""
    outputs = {role: each.logits for role, each in evaluation.predictions.items()}
    found = misplaced(outputs, evaluation.mapped, CARDS)
    subject = evaluation.subject

    def sample(position: int) -> dict[str, Any]:
        row = int(evaluation.index[position])
        return {"index": row, **shown(subject.data.show(subject.split, row))}

    cards = []
    for i, position in enumerate(found.positions):
        answers = []
        for role, near in found.nearest.items():
            neighbour = sample(near[i][0])
            answers.append(
                {
                    "who": f"nearest to the {role.label}", "right": None, "probability": f"cosine {near[i][1]:.2f}",
                    "answer": neighbour.get("text", f"sample {neighbour['index']}"), "uri": neighbour.get("uri"),
                }
            )  # fmt: skip
        facts = sample(position)
        cards.append(
            {
                **facts, "answers": answers, "class": "", "measure": f"ρ {found.spearman[i]:.2f}",
                "file": subject.data.file(subject.split, facts["index"]),
            }
        )  # fmt: skip
    if not cards:
        return []
    return [{"key": "hardest", "heading": "Placed otherwise: lowest ρ of a sample's cosines", "cards": cards}]

"""The evaluation on objects: every model asked once, everything counted."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from distill.data import DataModule, ViewLoader
from distill.evaluation.compare_predictions import most, shifts, versus
from distill.evaluation.inference import Pass, Predictions, walk
from distill.evaluation.runs import Run
from distill.evaluation.scores import confident, losses, scores
from distill.evaluation.teachers import final_teacher, final_teacher_role
from distill.training.trainer import check_device, evaluator, quiet
from distill.utils import environment
from distill.utils.cpu import usable_cores
from distill.utils.errors import UserError
from distill.utils.processes import count

HARDEST = 24


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        run: the run.
        alone: another run to compare with; None: none.
        data: the images.
        order: for each class of the data its number in the run; None: the run's own data.
        name: of the data.
        split: "test", "val" or "train".
        batch_size: None: the run's.
        teacher: whether to ask the teacher too.
    """

    run: Run
    alone: Run | None
    data: DataModule
    order: Tensor | None
    name: str
    split: str
    batch_size: int | None
    teacher: bool


@dataclass(frozen=True)
class Evaluation:
    """What came of it.

    Attributes:
        results: all that evaluation.json holds.
        answers: of every model by role.
        target: class numbers, int64 (N,).
        index: positions in the source, int64 (N,).
        mapped: positions among the N whose embeddings are kept.
        reference: the role beside which the student is shown; None where it is alone.
        subject: what was evaluated.
    """

    results: dict[str, Any]
    answers: dict[str, Predictions]
    target: Tensor
    index: Tensor
    mapped: Tensor
    reference: str | None
    subject: Subject


def _trainer(run: Run, own: bool) -> L.Trainer:
    """As the run tested; its limits hold for its own splits alone."""
    node = dict(run.config["trainer"])
    try:
        check_device(node["accelerator"], 1)
    except UserError:
        node["accelerator"] = "auto"  # a run from a machine with another device
    if not own:
        node |= {"limit_val_batches": None, "limit_test_batches": None}
    return evaluator(node, run.report["precision"])


def reproduced(run: Run, split: str, logged: dict[str, float]) -> dict[str, Any]:
    """Whether the run's own numbers came out again, to the last bit; of several processes, losses to their rounding.

    Returns:
        ``equal``, and under ``values`` for each of top-1, top-5, agreement and cross-entropy ``then`` and ``now``.
    """
    then = run.tested[split]
    values = {
        name: {"then": then[name], "now": logged[name]}
        for name in ("acc", "top5", "agreement", "hard")
        if name in then and name in logged
    }
    trainer = run.config["trainer"]
    rounding = 1e-5 if count(trainer) * trainer.get("num_nodes", 1) > 1 else 0.0  # they add up in another order
    equal = all(
        math.isclose(pair["then"], pair["now"], rel_tol=rounding if name == "hard" else 0.0)
        for name, pair in values.items()
    )
    return {"equal": equal, "values": values}


def _checked(name: str, answers: Predictions) -> Predictions:
    broken = int((~answers.logits.float().isfinite()).any(1).sum())
    if broken:
        raise UserError(f"{name} answers {broken} of {len(answers.logits)} images with no finite numbers")
    return answers


def _asked(subject: Subject) -> tuple[Pass, dict[str, Predictions]]:
    """The run's own walk with the student and the one who taught it, and everybody's answers."""
    run, data = subject.run, subject.data.with_options(eval_batch_size=subject.batch_size)
    role = final_teacher_role(run) if subject.teacher else None
    split: Any = subject.split
    trainer = _trainer(run, own=subject.order is None and split != "train")
    classes = len(run.classes)

    def loader() -> ViewLoader:
        return data.evaluation_loader(split)

    teacher = final_teacher(run, role, run.tested["epoch"]) if role else None
    smoothing = run.config["kd"]["label_smoothing"]
    first = walk(run.student, teacher, loader(), trainer, split, classes, smoothing)
    answers = {"student": first.student}
    if role and first.teacher:
        answers[role] = first.teacher
    main = run.teacher if subject.teacher and role not in ("teacher", None) else None
    if main is not None:
        answers["teacher"] = walk(main, None, loader(), trainer, split, classes).student
    if subject.alone is not None:
        answers["alone"] = walk(subject.alone.student, None, loader(), trainer, split, classes).student
    return first, {key: _checked(key, answers[key]) for key in ("teacher", role, "student", "alone") if key in answers}


def _name(subject: Subject, role: str) -> str:
    if role == "alone" and subject.alone is not None:
        return str(subject.alone.report["student"]["name"])
    if role == "teachers":
        return " + ".join(entry["name"] for key, entry in subject.run.report.items() if key.startswith("teacher"))
    return str(subject.run.report[role]["name"])


def _measured(subject: Subject, role: str) -> dict[str, Any] | None:
    """Size and speed as the run measured them at its end; of another run the size alone, as speeds vary with time."""
    size, pace = ("parameters", "macs", "bytes"), ("latency_ms", "throughput", "batch")
    if role == "alone" and subject.alone is not None:
        return {key: subject.alone.report["student"][key] for key in size} | dict.fromkeys(pace)
    entry = subject.run.report.get(role)
    return {key: entry[key] for key in (*size, *pace)} if entry else None


def sample(place: int, evaluation: Evaluation) -> dict[str, Any]:
    """One image: its position, its class, every model's answer and probability, and the student's loss in nats."""
    classes, target = evaluation.subject.run.classes, evaluation.target[place : place + 1]
    found: dict[str, Any] = {"index": int(evaluation.index[place]), "class": classes[int(target)]}
    for role, answers in evaluation.answers.items():
        logits = answers.logits[place : place + 1]
        answer, probability = confident(logits)
        found[role] = {
            "answer": classes[int(answer)], "probability": float(probability), "loss": float(losses(logits, target))
        }  # fmt: skip
    return found


def evaluate(subject: Subject) -> Evaluation:
    """Asks every model about every image and counts.

    Raises:
        UserError: weights that the run did not test, models that are not there, answers that are not finite.
    """
    quiet()
    run = subject.run
    torch.set_num_threads(min(run.report["hardware"]["threads"], usable_cores()))
    first, answers = _asked(subject)
    target = first.target if subject.order is None else subject.order[first.target]
    counted = {
        role: {"name": _name(subject, role), **scores(a.logits, target), "measured": _measured(subject, role)}
        for role, a in answers.items()
    }
    others = [role for role in answers if role != "student"]
    student = answers["student"].logits
    own = subject.order is None and subject.batch_size is None and subject.split != "train"
    trainer = _trainer(run, own=True)
    results: dict[str, Any] = {
        "run": str(run.folder),
        "weights": run.weights.name,
        "epoch": run.tested["epoch"],
        "data": subject.name,
        "split": subject.split,
        "samples": len(target),
        "against": str(subject.alone.folder) if subject.alone else None,
        "batch_size": subject.data.with_options(eval_batch_size=subject.batch_size).evaluation_batch_size,
        "precision": run.report["precision"],
        "reproduced": reproduced(run, subject.split, first.logged) if own and subject.teacher else None,
        "models": counted,
        "versus": {
            role: versus(student, answers[role].logits, target)
            | shifts(counted["student"]["per_class"], counted[role]["per_class"], run.classes)
            for role in others
        },
        "classes": list(run.classes),
        "hardware": environment.hardware(trainer.strategy.root_device),
        "versions": environment.versions(),
        "git_commit": environment.git_commit(Path(__file__).parent),
        "command": environment.command(),
    }
    reference = others[0] if others else None
    evaluation = Evaluation(results, answers, target, first.index, first.mapped, reference, subject)
    hard = most(losses(student, target), shown=HARDEST)
    results["hardest"] = [sample(place, evaluation) for place in hard]
    return evaluation

"""The methods: ``distill methods`` lists what ``kd=`` takes, with a line each.

``--table`` prints the table of ``docs/methods.md``, made from the configurations and the losses themselves: what each
method reads, what it adds, what it costs.
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distill.config.compose import CONF, compose

if TYPE_CHECKING:
    from distill.config.schema import TrainConfig
    from distill.distillation.criterion import Criterion
    from distill.distillation.model_info import NamedModel

READS = {
    "logits": ("_logits",),
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


def methods() -> dict[str, str]:
    """Name and first line of every option of the group ``kd``."""
    files = sorted((CONF / "kd").glob("*.yaml"))
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for file in files}


def _configured(name: str) -> "TrainConfig":
    """The resolved configuration of ``kd=<name>`` with the pair resnet32x4 → resnet8x4."""
    from distill.config.schema import typed

    return typed(compose([f"kd={name}", "model=resnet8x4", "teacher=resnet32x4"]))


def build_pair(classes: int = 100) -> tuple["NamedModel", "NamedModel"]:
    """Student resnet8x4 and teacher resnet32x4 on 32×32 images, with what a dry forward tells of them."""
    import torch

    from distill.distillation.model_info import NamedModel, inspect_model
    from distill.models import resnet8x4, resnet32x4

    example = torch.zeros(2, 3, 32, 32)
    student, teacher = resnet8x4(classes), resnet32x4(classes)
    return (
        NamedModel("resnet8x4", student, inspect_model(student, example, "the student")),
        NamedModel("resnet32x4", teacher, inspect_model(teacher, example, "the teacher")),
    )


def build_method(name: str, nets: tuple["NamedModel", "NamedModel"]) -> tuple["Criterion", "NamedModel", "TrainConfig"]:
    """A method's criterion between a pair of models, the student as the method changes it, and its configuration."""
    import torch

    from distill.training.builder import build_criterion, wrap_student

    cfg = _configured(name)
    criterion = build_criterion(cfg.kd, cfg.trainer.max_epochs)
    example = torch.zeros(2, 3, 32, 32)
    student = wrap_student(cfg.kd.student_wrapper, nets[0], nets[1], example, cfg.channels_last)
    criterion.build(student.model_info, nets[1].model_info, num_samples=50_000)
    if criterion.needs_teacher:
        criterion.calibrate(nets[1].model, nets[1].model_info)
    return criterion, student, cfg


def enter_working_stage(criterion: "Criterion") -> None:
    """Sets the stage in which the method works: the pretraining of a term that is inactive in the main stage."""
    criterion.set_pretraining(
        next((term.name for term in criterion.terms if term.pretraining and term.is_inactive), None)
    )


def random_outputs(criterion: "Criterion", side: str, net: "NamedModel", batch: int) -> Any:
    """Random outputs of the shapes that a model gives, as the terms read them."""
    import torch

    from distill.models.outputs import Outputs

    def random(shape: Sequence[int]) -> torch.Tensor:
        return torch.randn(batch, *shape[1:])

    model_info = net.model_info
    features = {key: random(model_info.shape(key)) for key in criterion.extracted_layers(side)}
    return Outputs(random(model_info.logits), features, random(model_info.embedding) if model_info.embedding else None)


def _row(name: str, nets: tuple["NamedModel", "NamedModel"], macs: int) -> dict[str, str]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from distill.data import Batch

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
    """Every method as a row of Markdown."""
    from distill.utils.profiling import size

    nets = build_pair()
    import torch

    macs = size(nets[0].model, torch.zeros(1, 3, 32, 32)).macs
    rows = [_row(name, nets, macs) for name in methods()]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([*row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="distill methods", description="lists what kd= takes")
    parser.add_argument("--table", action="store_true", help="what each reads, adds and costs, as Markdown")
    if parser.parse_args(arguments).table:
        print(table())
        return
    listed = methods()
    width = max(map(len, listed))
    for name, line in listed.items():
        print(f"{name:<{width}}  {line}")

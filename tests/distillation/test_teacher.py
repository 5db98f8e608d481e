"""The precision in which a teacher predicts."""

import pytest
import torch
from torch import nn

from distill.data import Batch
from distill.distillation.teacher import Teacher
from distill.models import resnet8
from distill.utils import precision
from jobs import TINY, run_job

BF16 = torch.autocast("cpu", dtype=torch.bfloat16)


def batch():
    torch.manual_seed(0)
    return Batch(torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64), torch.arange(4))


class RecordsDtype(nn.Module):
    """A classifier that records the type in which it computed."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = resnet8(10, in_channels=1)
        self.dtype = None

    def forward(self, x):
        logits = self.net(x)
        self.dtype = logits.dtype
        return logits


@pytest.mark.parametrize(
    ("teacher_precision", "context", "computes", "returns"),
    [
        ("bf16-mixed", None, torch.bfloat16, torch.float32),  # a student in float32 reads float32
        ("bf16-mixed", BF16, torch.bfloat16, torch.bfloat16),
        ("32-true", BF16, torch.float32, torch.float32),
        (None, BF16, torch.bfloat16, torch.bfloat16),
        (None, None, torch.float32, torch.float32),
    ],
)
def test_it_predicts_in_its_own_precision(teacher_precision, context, computes, returns):
    model = RecordsDtype()
    teacher = Teacher(model, ["net.layer1"], "net.fc", teacher_precision)
    with context or torch.autocast("cpu", enabled=False):
        outputs = teacher(batch())
        assert torch.is_autocast_enabled("cpu") is (context is not None)
    assert model.dtype == computes
    assert {outputs.logits.dtype, outputs.embedding.dtype, outputs.features["net.layer1"].dtype} == {returns}
    plain = RecordsDtype().eval()(batch().inputs)
    assert torch.allclose(outputs.logits.float(), plain, atol=0.05 if computes == torch.bfloat16 else 1e-6)


def test_every_evaluation_is_in_the_precision_around_it():
    model = RecordsDtype()
    teacher = Teacher(model, precision="bf16-mixed")
    for split in ("val", "test"):
        teacher(batch(), split)
        assert model.dtype == torch.float32


def test_a_large_teacher_of_a_small_student(tmp_path, caplog, monkeypatch):
    """On a CPU with bf16 units the small student computes in float32, and its teacher need not."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(precision, "SMALL_STEP", 1e8)
    small = ("data.batch_size=16", "teacher=resnet8x4", "kd=combined", "trainer.max_epochs=1")
    with caplog.at_level("DEBUG", "distill"):
        report = run_job(tmp_path / "run", *TINY, *small)
    assert report["precision"] == "32-true"
    line = next(line for line in caplog.messages if line.startswith("student resnet8: "))
    assert "32-true" in line
    assert line.endswith("; its teacher answers in bf16-mixed")

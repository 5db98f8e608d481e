"""The snippets of docs/python.md run."""

import re

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import distill
from distill.models import resnet8, resnet14
from jobs import ROOT, TINY

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*Checkpoint directory")


def loader():
    target = torch.arange(32) % 10
    return DataLoader(TensorDataset(torch.randn(32, 1, 8, 8), target), batch_size=16)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the snippets use beside this package; runs are made short."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_conf").mkdir()
    for name in ("train", "sweep"):
        function = getattr(distill, name)

        def short(settings, *args, function=function, **kwargs):
            tiny = dict(override.split("=") for override in (*TINY, "trainer.max_epochs=1", "trainer.accelerator=cpu"))
            listed = dict(o.split("=", 1) for o in settings) if isinstance(settings, list) else settings
            return function({**listed, **tiny}, *args, **kwargs)

        monkeypatch.setattr(distill, name, short, raising=False)
    return {
        "student": resnet8(num_classes=10, in_channels=1),
        "teacher": resnet14(num_classes=10, in_channels=1),
        "train_loader": loader(),
        "val_loader": loader(),
        "student_logits": torch.randn(4, 10),
        "teacher_logits": torch.randn(4, 10),
        "torch": torch,
        "distill": distill,
    }


@pytest.mark.parametrize("block", [b for b in BLOCKS if "distill.load" not in b], ids=lambda b: b.split("\n")[0][:30])
def test_a_snippet_runs(block, names):
    exec(block.replace("max_epochs=10", "max_epochs=1, accelerator='cpu', logger=False"), names)


def test_a_finished_student_is_loaded(names):
    (block,) = [b for b in BLOCKS if "distill.load" in b]
    distill.train(["kd=none"], output_dir="outputs/2026-01-31/12-00-00")
    exec(block, names | {"image": torch.zeros(1, 8, 8, dtype=torch.uint8)})

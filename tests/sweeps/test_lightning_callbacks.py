"""What a training tells whoever watches its sweep."""

import json
import time
from types import SimpleNamespace

import lightning.pytorch as L
import pytest
import torch
from torch.utils.data import DataLoader

from distill.sweeps.lightning_callbacks import Heartbeat, PruneTrial
from distill.tasks.classification import Classification
from distill.tasks.regression import Regression
from distill.utils.errors import Pruned


class Line(L.LightningModule):
    task = Classification(4)

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        self.log("val/acc", 0.25)
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_run_says_where_it_is(tmp_path):
    heartbeat = Heartbeat(tmp_path, "student x", every_s=0.0)
    trainer = L.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[heartbeat], log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(Line(), DataLoader(torch.ones(6, 2)))
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["training"], status["epoch"], status["max_epochs"]) == ("student x", 3, 3)
    assert status["val_score"] == pytest.approx(0.25)
    assert 0 <= time.time() - status["updated"] < 60
    assert status["begun"] <= status["updated"]
    assert 0 <= status["left_s"] < 60


def test_a_pruned_trial_says_its_score_in_the_tasks_unit():
    trainer = SimpleNamespace(current_epoch=0, max_epochs=3, callback_metrics={"val/rmse": torch.tensor(12.34)})
    module = SimpleNamespace(task=Regression(1, [0.0], [1.0]))
    with pytest.raises(Pruned, match=r"^pruned after epoch 1 at 12\.34 on validation$") as caught:
        PruneTrial(lambda epoch, score: False).on_validation_end(trainer, module)
    assert caught.value.score == pytest.approx(12.34)

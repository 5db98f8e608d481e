"""The points of a sweep are comparable: what their seed decides is the same for all of them."""

import pytest
import torch

from distill.training.module import DistillationModule
from jobs import TINY, run_job

QUICK = (*TINY[1:], "logger=none", "trainer.max_epochs=1")


@pytest.fixture
def begun(monkeypatch):
    """The weights with which each student began, and the samples of each of its steps."""
    found = []
    step = DistillationModule.training_step

    def recorded(self, batch, batch_idx):
        if self.teacher is not None:
            if batch_idx == 0:
                found.append(({k: v.clone() for k, v in self.student.state_dict().items()}, [], []))
            found[-1][1].append(batch.index.tolist())
            found[-1][2].append(batch.inputs.sum().item())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DistillationModule, "training_step", recorded)
    return found


def test_points_share_what_their_seed_decides(tmp_path, begun):
    """One after the other in one process, as a sweep runs them: the first trains the teacher, the others find it."""
    points = [("seed=0", "kd.T=1"), ("seed=0", "kd.T=8", "kd.alpha=0.9"), ("seed=0", "kd=combined"), ("seed=1",)]
    for number, point in enumerate(points):
        run_job(tmp_path / str(number), *QUICK, *point)
    (weights, order, views), *others = begun
    for point, (its_weights, its_order, its_views) in zip(points[1:], others, strict=True):
        same = "seed=0" in point
        assert (its_order == order) is same
        assert (its_views == views) is same
        assert all(torch.equal(its_weights[key], value) for key, value in weights.items()) is same

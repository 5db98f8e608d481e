"""Weights of runs, as files hold them and as trainings start and end with them."""

import torch
from safetensors.torch import load_file

from distill.training.module import DistillationModule


def weights(folder, name="student.safetensors"):
    """The tensors of a run's file by name."""
    return load_file(folder / name)


def weights_of_checkpoint(folder):
    """The tensors of a run's last checkpoint by name."""
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def equal(a, b):
    """Whether two sets of tensors have the same names and bits."""
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


def watch(monkeypatch):
    """What the student's weights and the phase are when each training starts and ends."""
    seen = []
    start, end = DistillationModule.on_train_start, DistillationModule.on_fit_end

    def note(self):
        state = {k: v.clone() for k, v in self.student.state_dict().items()}
        seen.append((self.criterion.pretraining_term, state))

    monkeypatch.setattr(DistillationModule, "on_train_start", lambda self: (start(self), note(self)))
    monkeypatch.setattr(DistillationModule, "on_fit_end", lambda self: (end(self), note(self)))
    return seen

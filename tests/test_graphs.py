"""Captured steps without a GPU: a stand-in that warms up, overwrites its results and knows gradients as a graph does.

What a real graph does is in test_cuda.py.
"""

import pytest
import torch
from safetensors.torch import load_file

from distill import module as modules
from distill import taps
from distill.errors import Interrupted
from distill.module import Distiller
from jobs import TINY, run_job
from test_resume import stop_at


class Recorded:
    """See ``Graph``."""

    made = 0

    def __init__(self, function, arguments, modules=(), parameters=()):
        type(self).made += 1
        self.function, self.parameters = function, tuple(parameters)
        self.arguments = [value.clone() for value in arguments]
        buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
        state = torch.get_rng_state()
        for _ in range(3):
            self.forget()
            function(*self.arguments)
        for buffer, value in buffers:
            buffer.copy_(value)
        torch.set_rng_state(state)
        self.gradients = [None if p.grad is None else p.grad.clone() for p in self.parameters]
        self.result = None

    def forget(self):
        for parameter in self.parameters:
            parameter.grad = None

    def __call__(self, *arguments):
        for kept, value in zip(self.arguments, arguments, strict=True):
            kept.copy_(value)
        self.forget()
        result = self.function(*self.arguments)
        for kept, p in zip(self.gradients, self.parameters, strict=True):
            if kept is not None:
                kept.copy_(p.grad)
            p.grad = kept
        if self.result is None:
            self.result = result
        else:  # in the same memory
            for kept, value in zip(_tensors(self.result), _tensors(result), strict=True):
                kept.copy_(value)
        return self.result


def _tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return [tensor for item in items for tensor in _tensors(item)]


@pytest.fixture
def captured(monkeypatch):
    """Steps are captured as on a GPU."""
    original = Distiller.setup

    def setup(self, stage):
        asked = self._captured
        original(self, stage)
        self._captured = asked and self.trainer.accumulate_grad_batches == 1

    monkeypatch.setattr(Distiller, "setup", setup)
    monkeypatch.setattr(modules, "Graph", Recorded)
    monkeypatch.setattr(taps, "Graph", Recorded)
    Recorded.made = 0


JOB = (*TINY, "data.batch_size=48", "trainer.max_epochs=3")  # 200 images: a short batch ends each epoch


@pytest.mark.parametrize(
    ("overrides", "least"),
    [
        (("kd=none",), 1),
        (("kd=kd", "cache.enabled=false"), 3),
        (("kd=kd",), 3),
        (("kd=fitnet",), 3),
        (("kd=rkd",), 3),
        (("kd=crd",), 3),
        (("kd=ft",), 4),  # a paraphraser is trained before
        (("kd=simkd",), 3),
        (("kd=kd", "kd.alpha={schedule:linear,start:0.9,end:0.1}", "kd.T={schedule:linear,start:8,end:2}"), 5),
        (("kd=kd", "data.augment.mixup=0.2"), 3),
        (("kd=kd", "trainer.gradient_clip_val=0.1"), 3),
        (("kd=kd", "trainer.accumulate_grad_batches=2"), 0),
    ],
)
def test_a_captured_run_is_another_run_bit_for_bit(tmp_path, captured, overrides, least):
    first = run_job(tmp_path / "captured", *JOB, *overrides, "threads=1")
    assert Recorded.made >= least
    made = Recorded.made
    again = (f"cache.dir={tmp_path / 'other'}",) if "cache.enabled=false" not in overrides else ()
    second = run_job(tmp_path / "plain", *JOB, *overrides, "threads=1", *again, "cuda_graph=false")
    assert Recorded.made == made
    a, b = (load_file(tmp_path / name / "student.safetensors") for name in ("captured", "plain"))
    assert all(torch.equal(value, b[name]) for name, value in a.items())
    for split in ("train", "last"):
        assert first["student"][split] == second["student"][split]


def test_it_is_continued_as_if_it_had_not_been_stopped(tmp_path, captured, monkeypatch):
    run_job(tmp_path / "whole", *JOB, "kd=kd")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 6)
        run_job(tmp_path / "part", *JOB, "kd=kd")
    run_job(tmp_path / "part", *JOB, "kd=kd", f"resume={tmp_path / 'part'}")
    a, b = (load_file(tmp_path / name / "student.safetensors") for name in ("whole", "part"))
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def test_what_cannot_be_captured_runs_as_before_and_says_so_once(tmp_path, captured, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise RuntimeError("it waits for the device\nmore")

    monkeypatch.setattr(modules, "Graph", refuse)
    report = run_job(tmp_path / "run", *JOB, "kd=kd", "cache.enabled=false")
    assert report["student"]["last"]["epoch"] == 3
    out = capsys.readouterr().out
    assert (
        out.count("the step is not captured as a CUDA graph: RuntimeError: it waits for the device\n") == 2
    )  # teacher's

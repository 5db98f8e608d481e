"""Captured steps without a GPU: a stand-in that warms up, overwrites its results and knows gradients as a graph does.

What a real graph does is in test_cuda.py.
"""

from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import load_file

from distill.data import Batch
from distill.distillation.criterion import Criterion
from distill.distillation.feature_extractor import FixedShapeForward
from distill.distillation.teacher import Teacher
from distill.models import resnet8
from distill.tasks.classification import Classification
from distill.training.acceleration import graphed_step, teacher as accelerated_teacher
from distill.training.acceleration.teacher import AcceleratedTeacher
from distill.training.module import DistillationModule
from distill.utils.errors import Interrupted
from jobs import TINY, run_job, stop_at


class Recorded:
    """See ``GraphedCallable``."""

    made = 0

    def __init__(self, function, arguments, modules=(), parameters=(), stream="step"):
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
        type(self).made += 1

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


class Later:
    """See ``SideStream``: what it gives is no number before it was waited for; then what its memory holds."""

    runs = waits = joins = 0

    def __init__(self, device):
        self.memory = {}

    def run(self, function):
        type(self).runs += 1
        result = function()
        for value in result.tensors():
            self.memory[value.data_ptr()] = value.clone()
            value.fill_(float("nan"))
        return result, result.tensors()

    def wait(self, done):
        type(self).waits += 1
        for value in done:
            value.copy_(self.memory[value.data_ptr()])

    def join(self):
        type(self).joins += 1


def _tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return [tensor for item in items for tensor in _tensors(item)]


@pytest.fixture
def cuda_graph(monkeypatch):
    """Steps are captured as on a GPU."""
    monkeypatch.setattr(graphed_step, "supports_cuda_graph", lambda trainer: trainer.accumulate_grad_batches == 1)
    monkeypatch.setattr(graphed_step, "GraphedCallable", Recorded)
    monkeypatch.setattr(accelerated_teacher, "GraphedCallable", Recorded)
    monkeypatch.setattr(accelerated_teacher, "SideStream", Later)
    Recorded.made = Later.runs = Later.waits = Later.joins = 0


JOB = (*TINY, "data.batch_size=48", "trainer.max_epochs=3")  # 200 images: a short batch ends each epoch


@pytest.mark.slow
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
def test_a_captured_run_is_another_run_bit_for_bit(tmp_path, cuda_graph, overrides, least):
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "begun", "used"),
    [
        # of 4 whole batches in each of 3 epochs, the first one is answered before there is a graph
        (("kd=kd", "cache.enabled=false"), 11, 11),
        (("kd=kd",), 11, 11),
        (("kd=fitnet",), 11, 11),
        (("kd=multi_teacher", "kd.teachers=[{model: resnet14}]", "cache.enabled=false"), 22, 22),
        (("kd=kd", "cache.cycle=1"), 5, 3),  # what is kept is not computed, but for the next epoch's first two
        (("kd=none",), 0, 0),
        (("kd=kd", "cache.enabled=false", "prefetch=false"), 0, 0),
    ],
)
def test_a_teacher_answers_one_step_ahead(tmp_path, cuda_graph, overrides, begun, used):
    run_job(tmp_path / "run", *JOB, "prefetch=true", *overrides)
    assert (Later.runs, Later.waits) == (begun, used)


def test_answers_of_before_are_in_the_precision_of_the_others(cuda_graph):
    def context():
        return torch.autocast("cpu", torch.bfloat16)

    asked = Teacher(resnet8(num_classes=10, in_channels=1), precision="bf16-mixed")
    batches = [Batch(torch.randn(4, 1, 8, 8), torch.zeros(4), torch.arange(4)) for _ in range(3)]
    accelerated = AcceleratedTeacher(asked, compiled=False, cuda_graph=True, prefetch=True)
    accelerated.prepare(batches[0].inputs, context)
    with context():
        expected = [asked(batch).logits.clone() for batch in batches]
    assert expected[0].dtype == torch.bfloat16
    assert Later.joins == 3  # the graph is used where it could be in use
    accelerated.prefetch(batches[0])
    accelerated.prefetch(batches[1])
    with context():
        for batch, logits in zip(batches, expected, strict=True):
            torch.testing.assert_close(asked(batch).logits, logits, rtol=0, atol=0)  # their type, too
    assert (Later.runs, Later.waits) == (2, 2)
    accelerated.prefetch(Batch(torch.randn(3, 1, 8, 8), torch.zeros(3), torch.arange(3)))  # a short last batch
    joined = Later.joins
    accelerated.release()
    assert Later.joins == joined + 1
    accelerated.prefetch(batches[2])
    assert Later.runs == 2
    with context():
        assert torch.equal(asked(batches[2]).logits, expected[2])


def test_where_memory_is_short_a_teacher_answers_when_asked(cuda_graph, monkeypatch):
    asked = Teacher(resnet8(num_classes=10, in_channels=1))
    batches = [Batch(torch.randn(4, 1, 8, 8), torch.zeros(4), torch.arange(4)) for _ in range(2)]
    accelerated = AcceleratedTeacher(asked, compiled=False, cuda_graph=True, prefetch=True)
    accelerated.prepare(batches[0].inputs, nullcontext)
    expected = [asked(batch).logits.clone() for batch in batches]
    accelerated.prefetch(batches[0])

    def full(self, function):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Later, "run", full)
    accelerated.prefetch(batches[1])
    for batch, logits in zip(batches, expected, strict=True):
        assert torch.equal(asked(batch).logits, logits)
    monkeypatch.undo()
    accelerated.prefetch(batches[1])  # nor does it try again
    assert Later.runs == 1


def test_a_released_teacher_has_the_forward_of_before_the_capture(cuda_graph):
    teacher = Teacher(resnet8(num_classes=10, in_channels=1))
    batch = Batch(torch.randn(4, 1, 8, 8), torch.zeros(4), torch.arange(4))
    expected = teacher(batch).logits
    compiled = FixedShapeForward(teacher.extractor.eager, batch.inputs.shape, False)
    teacher.extractor.fast_forward = compiled
    accelerated = AcceleratedTeacher(teacher, compiled=False, cuda_graph=True, prefetch=True)
    accelerated.prepare(batch.inputs, nullcontext)
    assert isinstance(teacher.extractor.fast_forward.function, Recorded)
    assert torch.equal(teacher(batch).logits, expected)
    for _ in range(2):  # an evaluation after the training tears down once more
        accelerated.release()
        assert teacher.extractor.fast_forward is compiled
        assert teacher.fast_forward is None


def test_a_module_has_its_own_hooks_back(cuda_graph):
    module = DistillationModule(resnet8(num_classes=10, in_channels=1), Criterion(), Classification(10))
    step = graphed_step.GraphedStep(module, None)
    assert module.compute == step.compute
    assert module.backward == step.backward
    step.remove()
    assert not vars(module).keys() & {"compute", "backward", "optimizer_zero_grad"}


def test_it_is_continued_as_if_it_had_not_been_stopped(tmp_path, cuda_graph, monkeypatch):
    run_job(tmp_path / "whole", *JOB, "kd=kd")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 6)
        run_job(tmp_path / "part", *JOB, "kd=kd")
    run_job(tmp_path / "part", *JOB, "kd=kd", f"resume={tmp_path / 'part'}")
    a, b = (load_file(tmp_path / name / "student.safetensors") for name in ("whole", "part"))
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def test_what_cannot_be_captured_runs_as_before_and_says_so_once(tmp_path, cuda_graph, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise RuntimeError("it waits for the device\nmore")

    monkeypatch.setattr(graphed_step, "GraphedCallable", refuse)
    report = run_job(tmp_path / "run", *JOB, "kd=kd", "cache.enabled=false")
    assert report["student"]["last"]["epoch"] == 3
    out = capsys.readouterr().out
    assert (
        out.count("the step is not captured as a CUDA graph: RuntimeError: it waits for the device\n") == 2
    )  # teacher's

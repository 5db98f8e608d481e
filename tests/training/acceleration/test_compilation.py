"""Compiled student and teacher: the same numbers, the same checkpoints, and a way back."""

import pytest
import torch
from safetensors.torch import load_file

from distill.config.schema import typed
from distill.data import Batch
from distill.distillation.feature_extractor import FeatureExtractor
from distill.distillation.inspection import inspect_model
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.models import resnet8
from distill.training.acceleration import compilation, policy
from distill.training.acceleration.compilation import compile_student, compile_teacher
from distill.training.acceleration.teacher import AcceleratedTeacher
from distill.training.flows import check
from distill.utils.errors import UserError
from distill.utils.logging import setup_logging
from jobs import TINY, composed, run_job


@pytest.fixture
def eager_backend(monkeypatch):
    """Dynamo and autograd's tracing for real, without a minute of C++."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda fn, **kw: real(fn, backend="aot_eager", **kw))
    compilation.reset()
    yield
    torch._dynamo.reset()


def example(n=8):
    torch.manual_seed(0)
    return torch.randn(n, 1, 8, 8)


def none():
    return torch.autocast("cpu", enabled=False)


def test_student_and_taps_give_the_same_numbers_and_gradients(eager_backend):
    torch.manual_seed(1)
    model = resnet8(num_classes=10, in_channels=1)
    keys = list(model.state_dict())
    extractor = FeatureExtractor(model, ["layer1", "layer2:input"], "fc")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = extractor(example())
    plain.logits.square().sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    model.load_state_dict(before)

    compile_student(extractor, example(), none, "the student")
    assert extractor.fast_forward is not None
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    calls = []
    compiled = extractor.fast_forward.function
    extractor.fast_forward = extractor.fast_forward._replace(function=lambda x: calls.append(1) or compiled(x))
    fast = extractor(example())
    fast.logits.square().sum().backward()
    assert calls == [1]
    assert torch.allclose(fast.logits, plain.logits, atol=1e-5)
    assert torch.allclose(fast.embedding, plain.embedding, atol=1e-5)
    assert fast.features.keys() == plain.features.keys() == {"layer1", "layer2:input"}
    assert all(torch.allclose(value, plain.features[key], atol=1e-5) for key, value in fast.features.items())
    assert all(torch.allclose(p.grad, expected[name], atol=1e-4) for name, p in model.named_parameters())
    assert list(model.state_dict()) == keys
    extractor(example(5))  # a last batch that is shorter
    model.eval()
    extractor(example())  # validation
    assert calls == [1]


def test_a_frozen_teacher_too(eager_backend):
    model = resnet8(num_classes=10, in_channels=1).eval().requires_grad_(False)
    extractor = FeatureExtractor(model, ["layer1"], None)
    plain = extractor(example())
    compile_teacher(extractor, example(), none, "the teacher")
    with torch.no_grad():
        fast = extractor(example())
    assert extractor.fast_forward is not None
    assert torch.allclose(fast.logits, plain.logits, atol=1e-5)
    assert torch.allclose(fast.features["layer1"], plain.features["layer1"], atol=1e-5)


def test_taps_on_one_architecture_are_told_apart(eager_backend):
    extracted_layers = [
        FeatureExtractor(resnet8(num_classes=10, in_channels=1).eval(), keys, None)
        for keys in ([], ["layer2"], ["layer1"])
    ]
    for extractor in extracted_layers:
        compile_teacher(extractor, example(), none, "the teacher")
    for extractor in extracted_layers:
        with torch.no_grad():
            fast, plain = extractor(example()), extractor.eager(example())
        assert torch.allclose(fast.logits, plain.logits, atol=1e-5)
        assert {k: v.shape for k, v in fast.features.items()} == {k: v.shape for k, v in plain.features.items()}


def test_a_model_that_does_not_compile_runs_eagerly_and_says_so_once(monkeypatch, capsys):
    def broken(*_args, **_kwargs):
        raise RuntimeError("no C++ compiler\nmore")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda fn, **kw: real(fn, backend=broken, **kw))
    torch._dynamo.reset()
    extractor = FeatureExtractor(resnet8(num_classes=10, in_channels=1), [], None)
    compile_student(extractor, example(), none, "the student")
    torch._dynamo.reset()
    assert extractor.fast_forward is None
    assert extractor(example()).logits.shape == (8, 10)
    out = capsys.readouterr().out
    assert out.count("the student cannot be compiled and runs eagerly: ") == 1
    assert len(out.splitlines()) == 1


@pytest.mark.parametrize(
    ("asked", "cuda", "macs", "compiled"),
    [
        ("auto", False, compilation.CPU / 2, False),
        ("auto", False, compilation.CPU * 2, True),
        ("auto", True, compilation.CPU * 2, False),
        (True, False, 1.0, True),
        (False, True, 1e20, False),
    ],
)
def test_what_pays(asked, cuda, macs, compiled):
    assert compilation.choose(asked, cuda, macs)[0] is compiled


def test_a_default_job_says_that_it_is_too_short(tmp_path, capsys):
    setup_logging("debug")
    run_job(tmp_path / "run", *TINY, "kd=none", "trainer.max_epochs=1")
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("student resnet8: "))
    assert line.endswith("), channels_last, eager (too short for compiling to pay)")


def test_the_length_of_a_run_decides(monkeypatch):
    class Data:
        kind, num_train = "images", 50_000

        def example(self, n):
            return torch.zeros(n, 1, 8, 8)

        def of_teacher(self):
            return self

    model = resnet8(num_classes=10, in_channels=1)
    net = NamedModel("resnet8", model, inspect_model(model, Data().example(2), "the student"))
    cfg = typed(composed())
    macs = policy.size(model, Data().example(1)).macs
    epochs = int(compilation.CPU / (3 * macs * 50_000)) + 1
    assert policy.choose(cfg, net, "student", Data(), 64, epochs).compiled
    assert not policy.choose(cfg, net, "student", Data(), 64, epochs - 1).compiled
    assert policy.choose(cfg, net, "student", Data(), 64, epochs - 1, teacher=model).compiled
    assert not policy.choose(cfg, net, "student", Data(), 64, epochs, eager=True).compiled


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("compile=maybe",), "compile=maybe is unknown; Allowed: auto, true, false"),
        (("compile=true", "trainer.devices=2"), "compile=true cannot be combined with several processes"),
        (("compile=true", "quantize=int8"), "compile=true cannot be combined with quantize"),
        (("compile=true", "kd=dml"), r"compile=true cannot be combined with kd.peers"),
    ],
)
def test_mistakes(overrides, message):
    with pytest.raises(UserError, match=message):
        check(typed(composed(*overrides)))


@pytest.mark.slow
@pytest.mark.parametrize("kd", ["kd", "fitnet"])
def test_a_compiled_run_end_to_end(tmp_path, kd, caplog):
    """Through inductor; the same batches and steps, so the same student but for rounding."""
    caplog.set_level("DEBUG", "distill")
    reports, weights = [], []
    for compiled in ("false", "true"):
        run = tmp_path / compiled
        reports.append(
            run_job(run, *TINY, f"kd={kd}", f"compile={compiled}", "cache.enabled=false", "optimizer.lr=0.01")
        )
        weights.append(load_file(run / "student.safetensors"))
    assert "channels_last, compiled" in caplog.text
    assert "cannot be compiled" not in caplog.text
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(value, weights[1][name], atol=2e-2) for name, value in weights[0].items())
    assert not any("_orig_mod" in name for name in weights[1])
    assert reports[1]["student"]["last"]["val"]["loss"] == pytest.approx(
        reports[0]["student"]["last"]["val"]["loss"], rel=0.05
    )


def test_gradients_that_add_up_over_several_steps_are_left_alone(eager_backend):
    model = resnet8(num_classes=10, in_channels=1)
    before = torch.ones_like(model.fc.weight)
    model.fc.weight.grad = before.clone()
    compile_student(FeatureExtractor(model), example(), none, "the student")
    assert torch.equal(model.fc.weight.grad, before)


@pytest.mark.slow
def test_frozen_teachers_of_one_architecture_keep_their_own_weights():
    """Folded weights are constants of the code, and the code of one teacher must not answer for another."""
    compilation.reset()
    extracted_layers = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = resnet8(num_classes=10, in_channels=1).eval().requires_grad_(False)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        extracted_layers.append(FeatureExtractor(model, ["layer1"], "fc"))
        compile_teacher(extracted_layers[-1], example(), none, "the teacher")
    for extractor in extracted_layers:
        with torch.no_grad():
            fast, plain = extractor(example()), extractor.eager(example())
        assert extractor.fast_forward is not None
        assert torch.allclose(fast.logits, plain.logits, atol=1e-4)
        assert torch.allclose(fast.features["layer1"], plain.features["layer1"], atol=1e-4)
        assert torch.allclose(fast.embedding, plain.embedding, atol=1e-4)


@pytest.mark.slow
def test_batch_norm_is_folded_into_the_teacher_convolutions(monkeypatch):
    from torch._inductor.utils import run_and_get_code

    compilation.reset()
    extractor = FeatureExtractor(resnet8(num_classes=10, in_channels=1).eval().requires_grad_(False))
    _, code = run_and_get_code(lambda: compile_teacher(extractor, example(), none, "the teacher"))
    assert len(code) == 1
    assert "sqrt" not in code[0]  # of the running variance
    assert extractor.fast_forward is not None


def test_evaluation_asks_the_teacher_as_it_is(monkeypatch):
    """In another precision and grad mode it would be compiled once more, for a few batches."""
    made, real = [], torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda fn, **kw: real(fn, backend=lambda graph, _: made.append(1) or graph.forward, **kw)
    )
    compilation.reset()
    teacher = Teacher(resnet8(num_classes=10, in_channels=1), precision="32-true")
    batch = Batch(example(), torch.zeros(8, dtype=torch.int64), torch.arange(8))
    AcceleratedTeacher(teacher, compiled=True, cuda_graph=False).prepare(batch.inputs, none)
    teacher(batch)
    assert made == [1]
    with torch.inference_mode():
        given = teacher(batch, "val")
    assert made == [1]
    assert torch.equal(given.logits, teacher.model(batch.inputs))
    torch._dynamo.reset()


def test_models_are_compiled_once_and_not_in_every_step(tmp_path, monkeypatch):
    """A student alone has no teacher to compile: that is no reason to begin anew with every step."""
    from torch._dynamo.utils import counters

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda fn, **kw: real(fn, backend="aot_eager", **kw))
    counters.clear()
    run_job(tmp_path, *TINY, "kd=none", "compile=true")
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()

"""What only a CUDA device shows: captured steps, their numbers, and that no step waits for the device."""

import copy
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F

from distill.data import Batch
from distill.distillation.teacher import Teacher
from distill.models import resnet8
from distill.sweeps.lightning_callbacks import Heartbeat
from distill.training.acceleration import cuda_graphs, graphed_step, teacher as accelerated_teacher
from distill.training.acceleration.cuda_graphs import GraphedCallable, SideStream
from distill.training.acceleration.teacher import AcceleratedTeacher
from distill.training.callbacks import FiniteLoss
from jobs import run_job

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ON_CUDA = ("trainer.accelerator=cuda", "trainer.max_epochs=3", "teacher.recipe.max_epochs=2", "logger=csv")
LATE = 5_000_000  # cycles of the device: some milliseconds
EXACT = ("trainer.precision=32-true", "data.subset=328", "data.batch_size=32")


def net(seed=0):
    torch.manual_seed(seed)
    return resnet8(num_classes=10, in_channels=1).cuda()


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 1, 8, 8, generator=generator).cuda(), torch.randint(10, (8,), generator=generator).cuda()


def stepper(model):
    def step(inputs, target):
        loss = F.cross_entropy(model(inputs), target)
        loss.backward()
        return loss.detach()

    return step


def test_a_replay_is_the_function_itself():
    model = net()
    other = copy.deepcopy(model)
    state = torch.cuda.get_rng_state()
    graph = GraphedCallable(stepper(model), batch(0), [model], [*model.parameters()])
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.cuda.get_rng_state(), state)
    for seed in (1, 2, 3):
        other.zero_grad()
        loss, expected = graph(*batch(seed)), stepper(other)(*batch(seed))
        assert torch.allclose(loss, expected, rtol=1e-4)
        for p, q in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.allclose(p.grad, q.grad, rtol=1e-2, atol=1e-4)
        assert all(torch.allclose(v, other.state_dict()[k], atol=1e-4) for k, v in model.state_dict().items())


def test_answers_begun_ahead_are_those_of_a_plain_forward(monkeypatch):
    """A teacher's graph on its stream beside a student's on another; what comes too early finds other numbers."""

    class Late(SideStream):
        def run(self, function):
            return super().run(lambda: (torch.cuda._sleep(LATE), function())[1])

    monkeypatch.setattr(accelerated_teacher, "SideStream", Late)
    model, layers = net(1), ("layer1", "layer3")
    other = Teacher(copy.deepcopy(model), layers, precision="bf16-mixed")
    asked = Teacher(model, layers, precision="bf16-mixed")
    inputs, target = batch(0)
    accelerated = AcceleratedTeacher(asked, compiled=False, cuda_graph=True, prefetch=True)
    accelerated.prepare(inputs, nullcontext)
    student = net(2)
    step = GraphedCallable(stepper(student), [inputs, target], [student], [*student.parameters()])

    def made(seed):
        inputs, target = batch(seed)
        torch.cuda._sleep(LATE)
        return Batch(inputs * 2, target, torch.arange(8).cuda())

    seen, now = [], made(0)
    accelerated.prefetch(now)
    for seed in range(1, 60):  # batches and answers are made and given back, as in a training
        coming = made(seed)
        accelerated.prefetch(coming)
        outputs = asked(now)
        seen.append(outputs.map(torch.clone))
        del outputs
        step(now.inputs, now.target)
        now = coming
    for seed, found in enumerate(seen):
        expected = other(made(seed))
        torch.testing.assert_close(found.logits, expected.logits, rtol=0.02, atol=0.02)
        for layer in layers:
            torch.testing.assert_close(found.features[layer], expected.features[layer], rtol=0.02, atol=0.02)


def test_a_teacher_answers_beside_the_student(tmp_path, monkeypatch):
    runs, waits = [], []

    class Counted(SideStream):
        def run(self, function):
            runs.append(1)
            return super().run(function)

        def wait(self, done):
            waits.append(1)
            super().wait(done)

    monkeypatch.setattr(accelerated_teacher, "SideStream", Counted)
    run_job(tmp_path / "run", *ON_CUDA, "kd=kd", "prefetch=true")
    assert len(runs) == len(waits) > 20


def test_weights_that_change_are_seen_under_autocast():
    model = net().eval()

    def forward(inputs):
        with torch.no_grad():
            return model(inputs)

    inputs = batch(0)[0]
    with torch.autocast("cuda", torch.bfloat16):
        forward(inputs)  # autocast keeps the weights that it has cast
        graph = GraphedCallable(forward, [inputs])
        before = graph(inputs).clone()
        with torch.no_grad():
            model.fc.weight.mul_(2)
        assert torch.is_autocast_cache_enabled()
        assert not torch.allclose(graph(inputs), before)


@pytest.mark.parametrize("kd", ["sp", "nst", "rkd"])
def test_products_of_a_loss_have_gradients_in_full_precision(tmp_path, monkeypatch, kd):
    """Its forward leaves autocast; a backward inside of it would be in bf16, and another in uncaptured steps."""
    gradients = {}
    for graph in ("true", "false"):
        taken = []

        def end(self, trainer, module, *args, taken=taken, original=FiniteLoss.on_train_batch_end):
            if self.every_n_steps and not taken:
                taken.append([p.grad.clone() for p in module.student.parameters() if p.grad is not None])
            original(self, trainer, module, *args)

        with monkeypatch.context() as patch:
            run_job(tmp_path / "t", *ON_CUDA, "only=teacher")
            patch.setattr(FiniteLoss, "on_train_batch_end", end)
            run_job(tmp_path / graph, *ON_CUDA, f"kd={kd}", f"cuda_graph={graph}", "cache.enabled=false")
        gradients[graph] = torch.cat([g.flatten() for g in taken[0]])
    difference = (gradients["true"] - gradients["false"]).norm() / gradients["false"].norm()
    assert difference < 2e-3


@pytest.mark.slow
def test_batches_are_pinned_beside_a_capture(tmp_path):
    more = ("data.in_memory=false", "data.num_workers=2", "kd.alpha={schedule:linear,start:0.9,end:0.1}")
    report = run_job(tmp_path / "run", *ON_CUDA, "kd=kd", *more)
    assert report["student"]["last"]["epoch"] == 3


def test_what_waits_for_the_device_is_not_captured():
    def waits(inputs):
        return inputs * float(inputs.sum())

    with pytest.raises(RuntimeError):
        GraphedCallable(waits, [torch.ones(3, device="cuda")])
    assert float(torch.ones(3, device="cuda").sum()) == 3  # and the device works as before


def test_a_step_that_would_hold_too_much_is_not_captured(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "LARGEST", 1 << 20)
    with pytest.raises(RuntimeError, match="too much memory"):
        GraphedCallable(lambda x: [x.repeat(50_000_000) for _ in range(4)], [torch.ones(1, device="cuda")])


@pytest.mark.parametrize(
    "kd",
    ["none", "kd", "dkd", "fitnet", "rkd", "crd", "combined", "reviewkd", "simkd", "ft", "kd kd.T=1", "multi_teacher"],
)
def test_a_captured_run_learns_what_another_learns(tmp_path, monkeypatch, kd):
    name, *more = kd.split()
    more += ["kd.alpha={schedule:linear,start:0.9,end:0.1}"] if more else []
    losses = []
    original = FiniteLoss.on_train_batch_end

    def end(self, trainer, module, *args):
        losses.append(module.means["train"].last)
        original(self, trainer, module, *args)

    class Counted(GraphedCallable):
        replays = 0

        def __call__(self, *tensors):
            Counted.replays += 1
            return super().__call__(*tensors)

    monkeypatch.setattr(graphed_step, "GraphedCallable", Counted)
    monkeypatch.setattr(FiniteLoss, "on_train_batch_end", end)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    run_job(tmp_path / "teacher", *ON_CUDA, *EXACT, f"kd={name}", "only=teacher", "cuda_graph=false")
    seen = {}
    for graph in ("true", "false"):
        losses.clear()
        run_job(tmp_path / graph, *ON_CUDA, *EXACT, f"kd={name}", *more, f"cuda_graph={graph}", "cache.enabled=false")
        seen[graph] = torch.stack([loss[0] for loss in losses]).tolist()
    assert Counted.replays > 20
    assert seen["true"][:4] == pytest.approx(seen["false"][:4], rel=1e-3)  # small differences grow from step to step
    assert sum(seen["true"]) == pytest.approx(sum(seen["false"]), rel=0.05)


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("compile=true",),
        ("cuda_graph=false",),
        ("trainer.accumulate_grad_batches=2",),
        ("trainer.precision=16-mixed",),
        ("compile=true", "trainer.accumulate_grad_batches=2"),
    ],
)
def test_the_fast_path_and_its_exceptions(tmp_path, more):
    report = run_job(tmp_path / "run", *ON_CUDA, "kd=kd", *more)
    assert report["student"]["last"]["val"]["acc"] > 0.3


@pytest.mark.parametrize("kd", ["kd", "combined"])
def test_no_step_waits_for_the_device(tmp_path, monkeypatch, kd):
    """Between two looks at the loss, that is: see ``FiniteLoss``."""
    steps = []
    original = Heartbeat.on_train_batch_end

    def end(self, trainer, *args):
        original(self, trainer, *args)
        if self.label.startswith("student") and trainer.current_epoch == 1:
            steps.append(trainer.global_step)
            watched = 2 <= len(steps) < 12
            torch.cuda.set_sync_debug_mode("error" if watched else "default")

    monkeypatch.setattr(Heartbeat, "on_train_batch_end", end)
    try:
        run_job(tmp_path / "run", *ON_CUDA, f"kd={kd}", "cache.enabled=false")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(steps) >= 12


def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(tmp_path, monkeypatch):
    """After the stop, the losses of the run that was never stopped.

    Convolutions are deterministic and the learning rate is low, so that no rounding grows; another batch, seed,
    weight, momentum or learning rate shows in the first steps, and by much more than the tolerance.
    """
    from distill.utils.errors import Interrupted
    from jobs import stop_at

    losses = {}
    original = FiniteLoss.on_train_batch_end

    def end(self, trainer, module, *args):
        if module.teacher is not None:
            losses[trainer.global_step] = module.means["train"].last[0]
        original(self, trainer, module, *args)

    monkeypatch.setattr(FiniteLoss, "on_train_batch_end", end)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    job = (*ON_CUDA, *EXACT, "kd=kd", "optimizer.lr=0.01", "cache.enabled=false")
    run_job(tmp_path / "whole", *job)
    whole = {step: loss.item() for step, loss in losses.items()}
    losses.clear()
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 14)  # in mid-epoch
        run_job(tmp_path / "part", *job)
    assert max(losses) == 14
    losses.clear()
    run_job(tmp_path / "part", *job, f"resume={tmp_path / 'part'}")
    assert sorted(losses) == [step for step in sorted(whole) if step > 14]
    resumed = [losses[step].item() for step in range(15, 20)]
    assert resumed == pytest.approx([whole[step] for step in range(15, 20)], rel=0.01)
    assert resumed != pytest.approx([whole[step] for step in range(14, 19)], rel=0.01)  # as a repeated batch would be

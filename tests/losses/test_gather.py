"""Two gloo processes under DDP against one process with the whole batch."""

import os

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from distill.losses.gather import gather
from distill.losses.relations.cc import CC
from distill.losses.relations.crd import CRD, CRDInBatch
from distill.losses.relations.pkt import PKT
from distill.losses.relations.rkd import RKD
from distill.losses.relations.sp import SP

pytestmark = pytest.mark.slow  # starts two processes

N, D_S, D_T, CLASSES = 7, 6, 4, 3  # an odd batch: rank 0 holds 4 samples, rank 1 holds 3
LOSSES = {"rkd": RKD, "pkt": PKT, "sp": SP, "cc": CC, "crd_inbatch": CRDInBatch}


def make(name, **settings):
    torch.manual_seed(0)
    loss = LOSSES[name](**settings)
    if name == "crd_inbatch":
        loss.build((N, D_S), (N, D_T))
    return Wrapped(loss)


class Wrapped(nn.Module):
    """A linear student and a loss that may learn: what DDP wraps."""

    def __init__(self, loss):
        super().__init__()
        torch.manual_seed(1)
        self.student = nn.Linear(5, D_S)
        self.loss = loss

    def forward(self, x, teacher, *others):
        return self.loss(self.student(x), teacher, *others)


def batch():
    torch.manual_seed(2)
    return torch.randn(N, 5), torch.randn(N, D_T), torch.arange(N) % CLASSES


def inputs(name, part):
    x, teacher, target = (value[part] for value in batch())
    return (x, teacher, target) if name == "crd_inbatch" else (x, teacher)


def grads(module):
    return {name: p.grad for name, p in module.named_parameters()}


def bank(rank, steps=2):
    """CRD's buffers after some steps on this process's part of the batch, each negative drawn."""
    torch.manual_seed(3)
    loss = CRD(dim=3, K=100)
    loss.build((N, D_S), (N, D_T), num_samples=N + 2)
    for step in range(steps):
        torch.manual_seed(10 + step)
        s, t = torch.randn(N, D_S), torch.randn(N, D_T)
        target, index = torch.arange(N) % CLASSES, torch.randperm(N + 2)[:N]
        part = slice(None) if rank is None else slice(rank, None, 2)
        loss(s[part], t[part], target[part], index[part])
    return {name: buffer.clone() for name, buffer in loss.named_buffers()}


def work(rank, folder):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    part, found = slice(rank, None, 2), {}
    for name in LOSSES:
        for together in (True, False):
            module = DistributedDataParallel(make(name, gather=together))
            value = module(*inputs(name, part))
            value.backward()
            found[name, together] = (value.detach(), grads(module.module))
        module = make(name, gather=True).eval()
        found[name, "eval"] = module(*inputs(name, part)).detach()
    x = batch()[0][part].requires_grad_()
    everyones = gather(x)
    (x.sum(dim=1) @ everyones.sum(dim=1)[: len(x)] * (rank + 1)).backward()  # another loss on each process
    found["own"] = (everyones.detach(), x.grad)
    found["labels"] = gather(batch()[2][part])
    half = batch()[0][part].bfloat16().requires_grad_()
    gather(half).float().square().sum().backward()
    found["half"] = half.grad
    found["bank"] = bank(rank)
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gather")
    torch.multiprocessing.spawn(work, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def whole(name):
    """Value and gradients of one process with all samples, in the order in which they are gathered."""
    module = make(name, gather=True)
    value = module(*inputs(name, torch.tensor([0, 2, 4, 6, 1, 3, 5])))
    value.backward()
    return value.detach(), grads(module)


@pytest.mark.parametrize("name", LOSSES)
def test_two_processes_that_gather_equal_one(processes, name):
    value, gradients = whole(name)
    largest = gradients["student.weight"].abs().max()
    for found, found_gradients in (p[name, True] for p in processes):
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-7)
        assert found_gradients.keys() == gradients.keys()
        for key, gradient in gradients.items():
            torch.testing.assert_close(found_gradients[key], gradient, rtol=1e-4, atol=1e-6 * float(largest))
        assert largest > 1e-5


@pytest.mark.parametrize("name", LOSSES)
def test_without_gather_each_compares_its_own_part(processes, name):
    values = [p[name, False][0] for p in processes]
    for rank, value in enumerate(values):
        torch.testing.assert_close(value, make(name)(*inputs(name, slice(rank, None, 2))).detach())
    assert abs(sum(values) / 2 - whole(name)[0]) > 1e-4 * whole(name)[0]


@pytest.mark.parametrize("name", LOSSES)
def test_evaluation_does_not_wait_for_others(processes, name):
    for rank, p in enumerate(processes):
        torch.testing.assert_close(p[name, "eval"], make(name)(*inputs(name, slice(rank, None, 2))).detach())


def test_order_and_labels(processes):
    x, _, target = batch()
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5])
    for p in processes:
        assert torch.equal(p["own"][0], x[order])
        assert torch.equal(p["labels"], target[order])


def test_the_gradient_is_the_sum_over_the_processes_losses(processes):
    """Each process has a loss of its own, of its samples beside the first of all: DDP's mean makes it their mean."""
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5])
    x = batch()[0][order].requires_grad_()
    parts = x[:4], x[4:]
    losses = [(part.sum(dim=1) @ x.sum(dim=1)[: len(part)]) * (rank + 1) for rank, part in enumerate(parts)]
    sum(losses).backward()
    torch.testing.assert_close(processes[0]["own"][1], x.grad[:4])
    torch.testing.assert_close(processes[1]["own"][1], x.grad[4:])


def test_half_precision_stays_half(processes):
    for rank, p in enumerate(processes):
        x = batch()[0][rank::2].bfloat16()
        assert p["half"].dtype == torch.bfloat16
        torch.testing.assert_close(p["half"], 4 * x)  # 2 x from each of the two processes


def test_crd_banks_are_those_of_one_process(processes):
    alone = bank(None)
    for p in processes:
        for name in ("student_bank", "teacher_bank", "labels"):
            torch.testing.assert_close(p["bank"][name], alone[name])
        assert torch.equal(p["bank"]["log_z"], processes[0]["bank"]["log_z"])
        assert (p["bank"]["labels"] >= 0).sum() > N - 1


def test_one_process_is_left_alone():
    x = torch.ones(3, 2, requires_grad=True)
    assert gather(x) is x
    assert torch.equal(torch.compile(gather, fullgraph=True, backend="eager")(x), x)

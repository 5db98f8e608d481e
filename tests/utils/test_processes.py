"""Jobs of several processes: as one with the same global batch, stopped and continued, and what can go wrong."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.elastic.utils.distributed import get_free_port

from distill.config.schema import typed
from distill.training.flows import check
from distill.utils import processes
from distill.utils.errors import UserError
from distill.utils.launcher import failure_reason, launch
from jobs import ROOT, TINY, command, composed, curve, interrupted

OWN = '''
from torch import nn

def mlp(num_classes, in_channels, image_size, width=32, **_):
    """No BatchNorm: each process would normalise by its own part of the batch."""
    pixels = in_channels * image_size**2
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, num_classes))
'''
JOB = (*TINY, "data.batch_size=20", "model._target_=own.mlp", "trainer.accelerator=cpu", "trainer.max_epochs=3")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    workspace = tmp_path_factory.mktemp("processes")
    (workspace / "own.py").write_text(OWN)
    return workspace


def train(workspace, *arguments):
    done = command(
        *JOB, *arguments, cwd=workspace, PYTHONPATH=os.pathsep.join([str(workspace), os.environ.get("PYTHONPATH", "")])
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def one(workspace):
    train(workspace, "hydra.run.dir=one")
    return workspace / "one"


@pytest.fixture(scope="module")
def two(one):
    done = train(one.parent, "trainer=ddp", "trainer.devices=2", "hydra.run.dir=two", "log_level=debug")
    return one.parent / "two", done


@pytest.mark.slow
def test_two_processes_learn_as_one_with_the_same_global_batch(one, two):
    folder, done = two
    assert done.stdout.partition("training student mlp")[2].count("\nepoch ") == 3  # one of them speaks
    assert "teacher cache: not used, the job has several processes" in done.stdout
    alone, both = curve(one), curve(folder)
    assert alone.keys() == both.keys()
    for key, values in alone.items():
        assert both[key] == pytest.approx(values, rel=1e-4, abs=1e-5), key
        assert len(values) == 3
    weights = load_file(one / "student.safetensors")
    assert all(torch.allclose(v, weights[k], atol=1e-5) for k, v in load_file(folder / "student.safetensors").items())
    reports = [json.loads((run / "summary.json").read_text())["student"]["last"] for run in (one, folder)]
    for split in ("val", "test"):
        assert reports[1][split] == pytest.approx(reports[0][split], rel=1e-4)
    assert not list(folder.glob("rank-*.log"))


@pytest.mark.slow
def test_stopped_together_and_continued_together(two):
    whole, _ = two
    workspace, folder = whole.parent, whole.parent / "stopped"
    path = os.pathsep.join([str(workspace), os.environ.get("PYTHONPATH", "")])
    arguments = [*JOB, "trainer.devices=2", "trainer.max_epochs=3", "hydra.run.dir=stopped"]
    errors = interrupted("training student mlp  epoch 1/3", *arguments, cwd=workspace, PYTHONPATH=path)
    assert "stopped in epoch" in errors
    assert errors.count("Stopping after this step") == 1
    assert (
        errors.strip().splitlines()[-1].endswith(f"continue with: python {ROOT / 'train.py'} resume=stopped trust=own")
    )
    done = command("resume=stopped", "trust=own", cwd=workspace, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    before, after = load_file(whole / "student.safetensors"), load_file(folder / "student.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.slow
def test_jobs_of_a_multirun_have_processes_of_their_own_and_fail_alone(one):
    """The second job's second process is killed in mid-training."""
    workspace = one.parent
    path = os.pathsep.join([str(workspace), os.environ.get("PYTHONPATH", "")])
    arguments = ["-m", *JOB, "trainer.devices=2", "trainer.max_epochs=2,60", "hydra.sweep.dir=sweep"]

    def kill_one():
        status = workspace / "sweep" / "1" / "status.json"
        while not (status.exists() and "student" in str(json.loads(status.read_text()).get("training"))):
            time.sleep(0.05)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes().split(b"\0")
                arguments = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if b"RANK=1" in environment and b"hydra.run.dir='sweep/1'" in arguments:
                os.kill(int(process.name), signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    done = command(*arguments, cwd=workspace, PYTHONPATH=path)
    assert done.returncode == 1, done.stderr
    assert (workspace / "sweep" / "0" / "summary.json").exists()
    failure = json.loads((workspace / "sweep" / "1" / "failure.json").read_text())
    assert failure["reason"] == "one of its processes was killed (SIGKILL)"
    assert not (workspace / "sweep" / "1" / "summary.json").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("trainer.devices=0",), "trainer.devices must be a number from 1, or a list of device numbers, got 0"),
        (("trainer.devices=two",), "got 'two'"),
        (("trainer.devices=[0,-1]",), r"got \[0, -1\]"),
        (("trainer.devices=2", "trainer.strategy=dpp"), "trainer.strategy=dpp is unknown; did you mean 'ddp'"),
        (("trainer.devices=2", "data.batch_size=3"), "data.batch_size=3 is for all 2 processes together: at least 4"),
        (("trainer.devices=2", "cache.enabled=true"), "a job of several processes keeps no teacher cache"),
        (("trainer.devices=2", "trainer.num_nodes=2"), "trainer.num_nodes=2: start it on every node with torchrun"),
    ],
)
def test_mistakes(overrides, message):

    with pytest.raises(UserError, match=message):
        check(typed(composed(*overrides)))


def test_why_processes_failed(tmp_path):
    assert failure_reason(3, tmp_path) == "its processes ended with status 3"
    (tmp_path / "rank-1.log").write_text("Traceback\nMemoryError: no room\n")
    (tmp_path / "rank-0.log").write_text("a warning\n")
    assert failure_reason(1, tmp_path).startswith("rank-1: MemoryError: no room (see ")
    (tmp_path / "rank-0.log").write_text("x\nerror: kd.T is wrong\n\n")
    assert failure_reason(1, tmp_path) == "kd.T is wrong"
    assert failure_reason(-9, tmp_path) == "one of its processes was killed (SIGKILL)"


WORKER = """
import os, signal, sys, time
rank = int(os.environ["RANK"])
print("said by", rank, file=sys.stderr, flush=True)
def end(number, frame):
    time.sleep(rank)  # one of them is at its last words
    sys.exit(130)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, end)
"""


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")  # torch's files
@pytest.mark.parametrize(
    ("does", "status"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(3 if rank else 0)", 3),
        ("rank or os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)", -9),
        ("rank or os.kill(os.getppid(), signal.SIGINT); time.sleep(60)", 130),
        ("rank or os.kill(os.getppid(), signal.SIGTERM); time.sleep(60)", 130),
    ],
)
def test_statuses(tmp_path, monkeypatch, capfd, does, status):
    (tmp_path / "worker.py").write_text(f"{WORKER}\ntime.sleep(1)\n{does}\n")
    monkeypatch.setenv("DISTILL_STARTED_AS", str(tmp_path / "worker.py"))
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert launch(2, [], tmp_path, log_rank_zero=True) == status
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert capfd.readouterr().err == "said by 0\n"
    logs = {log.name: log.read_text() for log in tmp_path.glob("*.log")}
    assert logs == ({"rank-0.log": "said by 0\n", "rank-1.log": "said by 1\n"} if status else {})


def test_a_launched_process_forgets_slurm(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(prctl=lambda *_: 0))
    processes.set_up_launched()
    assert not any(name.startswith("SLURM_") for name in os.environ)


def test_torchrun_needs_a_folder(tmp_path):
    done = command("trainer.devices=2", cwd=tmp_path, WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")
    assert done.returncode == 1
    assert done.stderr == "error: torchrun's processes share one folder: name it with hydra.run.dir=<folder>\n"
    quiet = command("trainer.devices=2", cwd=tmp_path, WORLD_SIZE="2", RANK="1", LOCAL_RANK="1")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "", "")


LISTENS = """
import os
from pathlib import Path
from distill.utils import distributed

distributed.init_process_group(cuda=False)
distributed.all_reduce_any(True, "cpu")
sockets = {os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()}
rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
print(sorted({row[1].rpartition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}))
distributed.all_reduce_any(True, "cpu")
"""


def test_processes_of_one_machine_listen_on_its_loopback_interface():
    port = get_free_port()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", LISTENS], stdout=subprocess.PIPE, text=True,
            env=os.environ | {processes.OURS: "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                              "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"},
        )
        for rank in range(2)
    ]  # fmt: skip
    answers = [process.communicate(timeout=120)[0].strip() for process in both]
    assert set(answers) == {"['0100007F']"}

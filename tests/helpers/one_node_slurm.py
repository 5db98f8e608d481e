"""A real Slurm of one node on this machine's loopback: munged, slurmctld and slurmd, for as long as a block or command.

python tests/cluster/one_node_slurm.py bash    a shell in which sbatch, squeue, ... talk to it
"""

import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
CONFIG = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
ReturnToService=2
KillWait=5
MaxArraySize=3
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={gpus} RealMemory=4000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
"""


def missing() -> str | None:
    """Why no Slurm can be started here; None: one can."""
    absent = [name for name in (*DAEMONS, "sbatch", "squeue", "scontrol") if shutil.which(name, path=PATH) is None]
    if absent:
        return f"Slurm is not installed, no {', '.join(absent)} (.ci/install-slurm installs it)"
    return None if os.getuid() == 0 else "the one-node Slurm declares GPUs by device files, which takes root"


def _free_ports(count: int) -> list[int]:
    with ExitStack() as open_sockets:
        found = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def _stop(daemons: list[subprocess.Popen[bytes]]) -> None:
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@contextmanager
def running(gpus: int = 4) -> Iterator[dict[str, str]]:
    """Slurm, with so many declared GPUs and as many cores.

    Yields:
        What a command needs in its environment to talk to it.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o711)  # munge wants its socket to be reachable by all
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool", "gpus", "key"):
        (folder / name).mkdir(mode=0o700)
    for i in range(gpus):  # Slurm counts character devices and asks no more of them
        os.mknod(folder / f"gpus/gpu{i}", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpus/gpu[0-{gpus - 1}]\n")
    text = CONFIG.format(host=host, user="root", folder=folder, ports=_free_ports(2), gpus=gpus)
    (folder / "slurm.conf").write_text(text)
    (folder / "key/munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "key/munge.key").chmod(0o600)
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
    munge = [f"--{name}={folder}/{file}" for name, file in
             (("key-file", "key/munge.key"), ("socket", "munge.socket"), ("pid-file", "munge.pid"),
              ("log-file", "munge.log"), ("seed-file", "key/munge.seed"))]  # fmt: skip
    config = str(folder / "slurm.conf")
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command, ready in (
            (["munged", "--foreground", *munge], lambda: (folder / "munge.socket").exists()),
            (["slurmctld", "-D", "-f", config], lambda: _says(environment, "scontrol", "ping")),
            (["slurmd", "-D", "-f", config, "-N", host], lambda: b"idle" in _says(environment, "sinfo", "-h")),
        ):
            with (folder / f"{command[0]}.out").open("wb") as out:
                daemons.append(
                    subprocess.Popen(
                        command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
                    )
                )
            deadline = time.monotonic() + 30
            while not ready():
                if daemons[-1].poll() is not None or time.monotonic() > deadline:
                    logs = "\n".join(log.read_text(errors="replace") for log in folder.glob(f"{command[0]}.*"))
                    raise RuntimeError(f"{command[0]} did not start:\n{logs[-3000:]}")
                time.sleep(0.1)
        yield environment
    finally:
        if len(daemons) == len(DAEMONS):
            with suppress(subprocess.TimeoutExpired):
                _says(environment, "scancel", "--user=root")
                deadline = time.monotonic() + 20
                while _says(environment, "squeue", "-h") and time.monotonic() < deadline:
                    time.sleep(0.2)
        _stop(daemons)
        shutil.rmtree(folder, ignore_errors=True)


def _says(environment: dict[str, str], *command: str) -> bytes:
    """What a command of Slurm's prints; nothing where it fails."""
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, timeout=30)
    return done.stdout if done.returncode == 0 else b""


if __name__ == "__main__":
    if (why := missing()) is not None:
        sys.exit(f"error: {why}")
    with running() as here:
        print(f"SLURM_CONF={here['SLURM_CONF']}", file=sys.stderr, flush=True)
        sys.exit(subprocess.run(sys.argv[1:] or ["sinfo"], env={**os.environ, **here}).returncode)

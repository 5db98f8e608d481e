"""Scripts of the checkout, each in a fork of a process that has imported what they import: seconds less for each.

Only where a test is about what a command does: how a fresh process starts is tested with fresh processes.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path

# No onnxruntime: its import starts a thread, which a fork would not have.
IMPORTED = (
    "distill.cli.main", "distill.cli.job", "distill.training.pipeline", "distill.evaluation.evaluate",
    "distill.evaluation.reporting.page", "distill.export.pipeline", "distill.models.text.factories", "transformers",
    "sklearn.datasets", "plotly.graph_objects", "torchmetrics",
)  # fmt: skip
# Of the environment: what pytest sets for every test, and what libraries set when they are imported.
PASSING = ("PYTEST_", "COLUMNS", "LINES", "PYTORCH_", "TORCHINDUCTOR_", "KMP_", "RAY_CLIENT_MODE")
_server: subprocess.Popen | None = None


def environment():
    return {key: value for key, value in os.environ.items() if not key.startswith(PASSING)}


_AT_START = environment()


def run(script, arguments, cwd, timeout):
    """``python <script> <arguments>`` as :func:`subprocess.run` would run it, both streams captured as text."""
    line = [sys.executable, str(script), *arguments]
    if environment() != _AT_START:  # modules read some of it when they are imported
        changed = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(line, cwd=cwd, env=changed, capture_output=True, text=True, timeout=timeout)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        request = {
            "script": str(script), "arguments": list(arguments), "cwd": str(cwd), "timeout": timeout,
            "streams": [f"/proc/{os.getpid()}/fd/{stream.fileno()}" for stream in (out, errors)],
        }  # fmt: skip
        status = _ask(request)
        for stream in (out, errors):
            stream.seek(0)
        done = subprocess.CompletedProcess(line, status, out.read(), errors.read())
    if status is None:
        raise subprocess.TimeoutExpired(line, timeout, done.stdout, done.stderr)
    return done


def _ask(request):
    global _server
    if _server is None or _server.poll() is not None:
        _server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**_AT_START, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        atexit.register(_stop, _server)
    _server.stdin.write(json.dumps(request) + "\n")
    _server.stdin.flush()
    return json.loads(_server.stdout.readline())["status"]


def _stop(server):
    server.stdin.close()
    server.stdout.close()
    server.wait()


def serve():
    """Answers requests until there are no more: {"status": exit status, negative for a signal, null for none yet}."""
    asked, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for name in IMPORTED:
        import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.freeze()
    for line in asked:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _work(request)
        answers.write(json.dumps({"status": _wait(pid, request["timeout"])}) + "\n")
        answers.flush()


def _wait(pid, seconds):
    def late(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(int(seconds))
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None
    finally:
        signal.alarm(0)


def _work(request):
    """In the fork: the script as ``__main__``, to its end."""
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for stream, path in enumerate(("/dev/null", *request["streams"])):
            os.dup2(os.open(path, os.O_RDWR), stream)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w", errors="backslashreplace", buffering=1)  # noqa: SIM115
        os.chdir(request["cwd"])
        sys.argv = [request["script"], *request["arguments"]]
        sys.path[0] = str(Path(request["script"]).parent)
        runpy.run_path(request["script"], run_name="__main__")
        status = 0
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()

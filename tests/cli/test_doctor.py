"""``distill doctor``: what it says of this machine, of an installation without something, of a folder."""

import sys
from importlib.metadata import version

import lightning
import pytest
import torch

from distill.cli import doctor as command
from distill.cli.doctor import Options, doctor
from distill.utils import precision, processes


@pytest.fixture
def said(capsys, tmp_path):
    """The lines of the table by their first word, and the exit status."""

    def run(output=None):
        status = doctor(Options(str(output or tmp_path)))
        lines = capsys.readouterr().out.splitlines()
        return {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in lines}, status

    return run


def test_this_machine(said):
    table, status = said()
    assert status == 0
    assert table["torch"] == torch.__version__
    assert table["lightning"] == lightning.__version__
    assert table["cores"].startswith(f"{processes.usable_cores()} used")
    assert table["distill[text]"].startswith(f"transformers {version('transformers')}")
    assert table["output"].endswith("B free")
    assert ("cuda:0" in table) == torch.cuda.is_available()


def test_a_quota_and_bf16(said, monkeypatch):
    monkeypatch.setattr(command, "cpu_quota", lambda: 1.5)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    table, _ = said()
    assert table["cores"].endswith("the cgroup's quota is 1.5")
    assert table["bf16 on it"].startswith("AMX; trainer.precision=auto")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert precision.cpu_bf16() is None
    assert said()[0]["bf16 on it"] == "none: float32 is faster"


def test_gpus(said, monkeypatch):
    gpu = type("Properties", (), {"name": "H200", "total_memory": 150e9})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    table, _ = said()
    assert table["cuda:0"] == table["cuda:1"] == "H200, 150 GB, bf16"
    assert "GPU" not in table


def test_extras_that_are_missing_or_old(said, monkeypatch):
    installed = command._version
    monkeypatch.setattr(command, "_version", lambda package: {"onnx": "missing", "transformers": "4.1"}.get(
        package, installed(package)))  # fmt: skip
    table, status = said()
    assert table["distill[export]"] == "lacks onnx: pip install 'distill[export]'"
    assert table["distill[text]"] == "lacks transformers 4.1: pip install 'distill[text]'"
    assert status == 0


def test_without_torch(said, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    table, status = said()
    assert "cannot be imported: import of torch halted" in table["torch"]
    assert status == 1


def test_folders_that_are_not_there_yet_or_cannot_be_written(said, tmp_path):
    table, status = said(tmp_path / "a" / "b")
    assert f"b (not there yet: {tmp_path} is): can be written, " in table["output"]
    assert status == 0
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    table, status = said(tmp_path / "file")
    assert table["output"].endswith("file: cannot be written (not a directory)")
    assert status == 1


def test_a_narrow_terminal(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    command._show([("cores", "2 used, of 4: 3 may be run on"), ("output", "x" * 50 + " is there")])
    assert capsys.readouterr().out.splitlines() == [
        "cores   2 used, of 4: 3 may be run on",
        f"output  {'x' * 50}",
        "        is there",
    ]

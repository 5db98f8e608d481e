import subprocess

import torch

from distill.environment import git_commit, hardware, versions


def test_git_commit(tmp_path):
    assert git_commit(tmp_path) is None

    def git(*arguments):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "one")
    commit = git_commit(tmp_path)
    assert len(commit) == 40
    assert int(commit, 16)
    (tmp_path / "file").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"


def test_versions_and_hardware():
    assert versions()["torch"] == torch.__version__
    assert {"python", "lightning", "hydra-core"} <= set(versions())
    found = hardware(torch.device("cpu"))
    assert found["device"] == "cpu"
    assert found["threads"] == torch.get_num_threads()
    assert found["cpu"]

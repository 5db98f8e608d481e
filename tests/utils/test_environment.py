import subprocess

import torch

from distill.utils.environment import command, git_commit, hardware, versions


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
    machine = hardware(torch.device("cpu"))
    assert machine.device == "cpu"
    assert machine.threads == torch.get_num_threads()
    assert machine.cpu


def test_the_command_names_its_script(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/home/me/distill/train.py", "a b=1"])
    assert command() == "python /home/me/distill/train.py 'a b=1'"
    assert command("a b=1", "overwrite=true") == "python /home/me/distill/train.py 'a b=1' overwrite=true"


def test_the_command_makes_the_run_anew(monkeypatch):
    words = ["train.py", "kd=kd", "trainer.max_epochs=2", "resume=outputs/kd", "hydra.run.dir='outputs/kd'"]
    monkeypatch.setattr("sys.argv", words)
    assert command() == "python train.py kd=kd trainer.max_epochs=2"
    monkeypatch.setattr("sys.argv", ["train.py", "kd=kd", "hydra.run.dir=outputs/kd"])
    assert command() == "python train.py kd=kd"  # the folder is taken

import subprocess

import torch

from distill.utils.environment import command, git_commit, hardware, portable, versions


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


def test_commands_go_out_without_the_machines_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given, shown in (
        (f"run={tmp_path}/outputs/kd", "run=outputs/kd"),
        ("resume=/home/me/runs/kd overwrite=true", "resume=kd overwrite=true"),
        (f"'images=[/data/a,{tmp_path}/b]'", "'images=[a,b]'"),
        ("hydra.searchpath=[file:///home/me/conf]", "hydra.searchpath=[conf]"),
        ("root=~/photos", "root=photos"),
        ("run=../outputs/a kd.T=0.5/2 url=https://a.org/b", "run=../outputs/a kd.T=0.5/2 url=https://a.org/b"),
    ):
        assert portable(f"python train.py {given}") == f"python train.py {shown}"


def test_the_command_names_its_script(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/home/me/distill/train.py", "a b=1"])
    assert command() == "python train.py 'a b=1'"


def test_the_command_of_a_continued_run_makes_it_anew(monkeypatch):
    words = ["train.py", "kd=kd", "trainer.max_epochs=2", "resume=outputs/kd", "hydra.run.dir='outputs/kd'"]
    monkeypatch.setattr("sys.argv", words)
    assert command() == "python train.py kd=kd trainer.max_epochs=2"
    monkeypatch.setattr("sys.argv", ["train.py", "kd=kd", "hydra.run.dir=outputs/kd"])
    assert command() == "python train.py kd=kd hydra.run.dir=outputs/kd"

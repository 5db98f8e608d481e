"""Students pushed to a stand-in of the Hugging Face Hub and opened from there; a repository is somebody else's data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants

import distill
from distill.cli import evaluate, export, push as command
from distill.cli.push import Options, push
from distill.export.options import Options as ExportOptions
from distill.utils.errors import UserError
from hub_stand_in import TOKEN, USER, stand_in

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes")  # the client's own
REPO = f"{USER}/resnet8-digits"


@pytest.fixture(scope="module")
def exported(folder):
    if not (folder / "export").exists():
        export.export(ExportOptions(run=str(folder), format="safetensors", seconds=0, threads=1, images=50))
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The stand-in; a cache of its own; a login."""
    monkeypatch.chdir(tmp_path)
    with stand_in() as (hub, url):
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def send(run, repo=REPO, **options):
    push(Options(names=[str(run), repo], **options))


def test_a_pushed_student_answers_as_the_run(exported, hub, capsys):
    send(exported)
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith(f"{constants.ENDPOINT}/{REPO}/commit/")
    assert TOKEN not in out
    files = hub.files(REPO)
    assert {"README.md", "summary.json", "student.safetensors", "model.safetensors", "preprocess.json",
            "classes.json", "export.json"} <= set(files)  # fmt: skip
    assert not any(TOKEN.encode() in content for content in files.values())
    assert hub.private == {REPO: False}
    ours, theirs = distill.load(exported), distill.load(REPO)
    images = torch.rand(5, 1, 8, 8)
    assert torch.equal(ours.outputs(images), theirs.outputs(images))
    assert theirs.classes == ours.classes
    assert f'distill.load("{REPO}")' in files["README.md"].decode()
    ModelCard(files["README.md"].decode()).validate  # noqa: B018 - its metadata was parsed


def test_what_is_published_names_no_machine(exported, hub, monkeypatch):
    monkeypatch.setenv("HOME", str(exported.parent))
    send(exported, private=True)
    assert hub.private == {REPO: True}
    files = hub.files(REPO)
    summary = json.loads(files["summary.json"])
    assert (summary["hardware"]["host"], summary["hardware"]["pid"]) == ("", 0)
    assert "/" not in summary["teacher"]["path"]
    assert summary["student"]["best"] == json.loads((exported / "summary.json").read_text())["student"]["best"]
    texts = [content for path, content in files.items() if path.endswith((".json", ".md"))]
    assert not any(str(exported.parent).encode() in content for content in texts)


def test_a_branch_and_the_cache(exported, hub, monkeypatch):
    send(exported)
    send(exported, revision="v1")
    assert set(hub.branches[REPO]) == {"main", "v1"}
    assert distill.load(f"{REPO}@v1").classes == distill.load(exported).classes
    with pytest.raises(UserError, match=rf"run {REPO}@v2 is not here, and the repository has no such revision \(404\)"):
        distill.load(f"{REPO}@v2")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(hub.asked)
    assert distill.load(f"{REPO}@v1").classes
    assert len(hub.asked) == before
    with pytest.raises(UserError, match="run somebody/other is not here, and .*HF_HUB_OFFLINE=1"):
        distill.load("somebody/other")


def test_commands_take_a_repository(exported, hub, tmp_path):
    send(exported)
    options = evaluate.Options(run=REPO, output=str(tmp_path / "results"), teacher=False, report=False)
    evaluate.evaluate(options)
    found = json.loads((tmp_path / "results" / "evaluation.json").read_text())
    assert found["run"] == REPO
    with pytest.raises(UserError, match=f"run={REPO} is on the Hugging Face Hub: name a folder .* output="):
        evaluate.evaluate(evaluate.Options(run=REPO, teacher=False))


def test_a_dry_run_sends_nothing(exported, hub, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    send(exported, dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("  student.safetensors") for line in lines)
    assert lines[-1].endswith(f"in {len(lines) - 1} files")
    assert hub.asked == []


def test_what_lies_about_in_the_export_is_not_sent(exported, hub, capsys):
    strange = [exported / "export" / name for name in (".env", "notes.py", ".git.json")]
    try:
        for path in strange:
            path.write_text("secret")
        send(exported, dry_run=True)
    finally:
        for path in strange:
            path.unlink()
    shown = capsys.readouterr().out
    assert "student.safetensors" in shown
    assert not any(path.name in shown for path in strange)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "give a run's folder and the repository, user/name, got none"),
        (("{run}", "only-a-name"), "'only-a-name' is no name of the Hugging Face Hub: give user/name"),
        (("{run}", "a/b..c"), "'a/b..c' is no name of the Hugging Face Hub: "),
        (("nowhere", REPO), "there is no folder nowhere: push takes a finished run's"),
    ],
)
def test_mistakes(exported, hub, names, message):
    with pytest.raises(UserError) as error:
        push(Options(names=[name.format(run=exported) for name in names], dry_run=True))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert hub.asked == []


def test_a_run_without_an_export_says_how_to_make_it(exported, hub, tmp_path):
    with pytest.raises(UserError, match=r"holds no export of the run: make it with python .*export.py run=.* format="):
        send(exported, export=str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("token", "repo", "answer", "message"),
    [
        (None, REPO, None, "nobody is logged in to the Hugging Face Hub: log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_other", REPO, None, f"{REPO} is not written: the Hub does not know the login (401): log in"),
        (TOKEN, "others/model", None, "others/model is not written: the Hub forbids it (403): the token"),
        (TOKEN, REPO, 404, f"{REPO} is not written: the Hub has no such repository (404)"),
        (TOKEN, REPO, 418, f"{REPO} is not written: the Hub refuses it ("),
    ],
)
def test_refusals(exported, hub, monkeypatch, token, repo, answer, message):
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    hub.answer = answer
    with pytest.raises(UserError) as error:
        send(exported, repo)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert TOKEN not in str(error.value)


def test_private_is_not_asked_of_a_public_repository(exported, hub):
    send(exported)
    with pytest.raises(UserError, match="it is there already and public, and private=true"):
        send(exported, private=True)


def test_reading_what_is_not_there(hub, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"run somebody/none is not here, and the Hub has no such repository \(404\)"):
        distill.load("somebody/none")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match=r"the Hub has no such repository, or none that you may see \(401\): log in"):
        distill.load("somebody/none")
    hub.private["somebody/other"] = False
    hub.branches["somebody/other"]["main"] = {"README.md": b"hello"}
    with pytest.raises(UserError, match="somebody/other on the Hub holds no run of distill push: it has no summary"):
        distill.load("somebody/other")
    (tmp_path / "somebody").mkdir()
    asked = len(hub.asked)
    with pytest.raises(UserError, match="run somebody/none does not exist"):  # a mistyped folder
        distill.load("somebody/none")
    assert len(hub.asked) == asked


def test_no_network(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        UserError, match=r"run somebody/x is not here, and http://127.0.0.1:9 cannot be reached \(.*\)$"
    ):
        distill.load("somebody/x")


def test_a_repository_is_somebody_elses_data(exported, hub, tmp_path, monkeypatch):
    """Only JSON, weights and tokenizers are fetched; what the summary names is checked as of any folder."""
    send(exported)
    files = hub.files(REPO)
    files |= {"student.py": b"raise SystemExit", "student.pt": b"\x80", "../outside.json": b"{}",
              "tokenizer/../../outside.json": b"{}", "model/../config.json": b"{}"}  # fmt: skip
    assert distill.load(REPO).classes
    fetched = {path.name for path in (tmp_path / "cache").rglob("*") if "snapshots" in path.parts}
    assert {"summary.json", "student.safetensors"} <= fetched
    assert not {"student.py", "student.pt", "outside.json", "model.safetensors"} & fetched
    marker = tmp_path / "marker"
    summary = json.loads(files["summary.json"])
    del summary["checksum"]
    summary["config"]["model"] = {"_target_": "os.system", "command": f"touch {marker}"}
    files["summary.json"] = json.dumps(summary).encode()
    with pytest.raises(UserError, match="names os.system and is refused"):
        distill.load(REPO)
    assert not marker.exists()
    summary["config"]["model"] = json.loads((exported / "summary.json").read_text())["config"]["model"]
    summary["student"]["best"]["weights"] = summary["student"]["last"]["weights"] = "../student.safetensors"
    files["summary.json"] = json.dumps(summary).encode()
    with pytest.raises(UserError, match="names a file outside of its folder"):
        distill.load(REPO)


@pytest.mark.slow
def test_texts_are_opened_without_their_tokenizer_at_hand(text_run, hub, monkeypatch):
    run = text_run("classification")
    export.export(ExportOptions(run=str(run), format="safetensors", seconds=0, threads=1))
    send(run)
    assert {"tokenizer/tokenizer.json", "model/config.json", "tokenizer.json"} <= set(hub.files(REPO))
    texts = ["good", "bad bad"]
    assert distill.load(REPO).predict(texts) == distill.load(run).predict(texts)


@pytest.mark.slow
def test_the_commands_in_processes_of_their_own(exported, tmp_path):
    with stand_in() as (_, url):
        environment = os.environ | {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN,
                                    "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
        arguments = [sys.executable, "-m", "distill", "push", str(exported), REPO]
        done = subprocess.run(arguments, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1].startswith(f"{url}/{REPO}/commit/")
        assert not any(TOKEN in path.read_text(errors="ignore") for path in Path(exported).rglob("*") if path.is_file())
        environment["HF_TOKEN"] = "wrong"
        done = subprocess.run([*arguments, "private=true"], capture_output=True, text=True, env=environment)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {REPO} is not written: the Hub does not know the login (401)")
        assert done.stderr.count("\n") == 1
    assert command.main

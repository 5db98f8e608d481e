"""predict.py on real files: right classes, broken files reported and the rest done, mistakes in one line."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

import distill
from distill.cli import predict
from distill.cli.predict import Options
from distill.evaluation.predict.images import list_images
from distill.evaluation.runs import Run
from distill.utils.errors import UserError
from jobs import ROOT, TINY, run_job


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs") / "run"
    run_job(folder, *TINY, "kd=none", "trainer.max_epochs=4")
    return folder


@pytest.fixture(scope="module")
def images(folder, tmp_path_factory):
    """Twelve test images as PNG files, one of them in a folder below, and two that are none."""
    directory = tmp_path_factory.mktemp("images")
    (directory / "more").mkdir()
    data = Run(folder).data
    for i, index in enumerate(data.indices("test")[:12].tolist()):
        pixels = data.image("test", index).numpy()[0]
        Image.fromarray(pixels).save(directory / ("more" if i == 11 else "") / f"{i:02}.png")
    (directory / "notes.jpg").write_text("no image")
    (directory / "cut.png").write_bytes((directory / "00.png").read_bytes()[:60])
    (directory / "readme.txt").write_text("not looked at")
    return directory


def run(capsys, *files, **keys):
    status = predict.predict(Options(run=keys.pop("run"), inputs=[str(f) for f in files], **keys))
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_a_folder_as_csv(folder, images, capsys):
    status, out, err = run(capsys, images, run=str(folder), batch_size=5, threads=2)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 3
    assert [row["file"] for row in rows] == sorted(row["file"] for row in rows)
    good = [row for row in rows if not row["error"]]
    bad = {row["file"].rpartition("/")[2]: row["error"] for row in rows if row["error"]}
    assert len(good) == 12
    assert set(bad) == {"notes.jpg", "cut.png"}
    assert bad["notes.jpg"] == "not an image that Pillow can read"
    assert "2 of 14 files could not be read" in err
    assert "notes.jpg: not an image" in err
    model = distill.load(folder)
    expected = model.predict([Image.open(row["file"]) for row in good])
    assert [row["class"] for row in good] == [name for name, _ in expected]
    assert [float(row["probability"]) for row in good] == pytest.approx([p for _, p in expected], abs=1e-5)
    assert len({row["class"] for row in good}) > 2


def test_json_with_top_classes(folder, images, capsys):
    status, out, _ = run(capsys, images / "00.png", images / "notes.jpg", run=str(folder), format="json", top=3)
    first, second = json.loads(out)
    assert status == 3
    found = [p["probability"] for p in first["predictions"]]
    assert len(found) == 3
    assert found == sorted(found, reverse=True)
    assert second == {"file": str(images / "notes.jpg"), "error": "not an image that Pillow can read"}


@pytest.mark.slow
def test_a_list_on_stdin_and_a_file_out(folder, images, tmp_path):
    output = tmp_path / "found.csv"
    done = subprocess.run(
        [sys.executable, ROOT / "predict.py", f"run={folder}", "-", f"output={output}"],
        input=f"{images}/00.png\n\n{images}/01.png\n", capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(output.read_text().splitlines()) == 3
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_name_that_is_no_utf8_and_a_folder_without_images(folder, images, tmp_path, capsys, form):
    directory = tmp_path / "odd"
    directory.mkdir()
    name = os.fsdecode(b"\xff\xfe.png")
    try:
        shutil.copy(images / "00.png", directory / name)
    except OSError:
        pytest.skip("this file system takes no such name")
    shutil.copy(images / "01.png", directory / "z.png")
    (tmp_path / "empty").mkdir()
    output = tmp_path / f"found.{form}"
    status, _, err = run(capsys, directory, tmp_path / "empty", run=str(folder), output=str(output), format=form)
    assert status == 0
    assert "empty: no images in this folder" in err
    if form == "json":
        assert [entry["file"] for entry in json.loads(output.read_text())] == [
            f"{directory}/z.png",
            f"{directory}/{name}",
        ]
    else:
        assert [line.partition(b",")[0] for line in output.read_bytes().splitlines()[1:]] == [
            os.fsencode(f"{directory}/z.png"), os.fsencode(f"{directory}/{name}")]  # fmt: skip


def test_only_broken_images(folder, images, capsys):
    status, out, _ = run(capsys, images / "notes.jpg", run=str(folder))
    assert status == 3
    assert len(out.splitlines()) == 2


def test_what_is_meant(images, tmp_path):
    assert len(list_images([str(images)], [])) == 14
    assert list_images(["-"], [f"{images}/00.png\n", "\n"]) == [f"{images}/00.png"]
    (tmp_path / "more" / "__MACOSX").mkdir(parents=True)
    (tmp_path / "more" / "loop").symlink_to(tmp_path / "more")
    for name in ("1.png", "._1.png", "__MACOSX/1.png"):
        (tmp_path / "more" / name).write_bytes(b"-")
    assert list_images([str(tmp_path / "more")], []) == [f"{tmp_path}/more/1.png"]
    (tmp_path / "more" / "1.png").unlink()
    with pytest.raises(UserError, match=r"no images found in .*\*.jpg"):
        list_images([f"{tmp_path}/*.jpg"], [])
    with pytest.raises(UserError, match="no images found in "):
        list_images([str(tmp_path)], [])
    with pytest.raises(UserError, match="no images given"):
        list_images([], [])


def test_mistakes(folder, images, tmp_path):
    def fails(**keys):
        with pytest.raises(UserError) as caught:
            predict.predict(Options(**{"run": str(folder), "inputs": [str(images)], **keys}))
        return str(caught.value)

    assert fails(format="xml").startswith("format=xml is unknown; ")
    assert fails(top=11) == "top=11: the model knows 10 classes"
    assert fails(top=0) == "top must be at least 1, got 0"
    assert "does not exist; did you mean 'run'?" in fails(run=str(folder.parent / "rum"))
    assert "device=gpu is unknown; " in fails(device="gpu")
    (tmp_path / "there.csv").write_text("mine")
    assert "exists: choose another output=" in fails(output=str(tmp_path / "there.csv"))
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert "is a folder, and a file is to be written there" in fails(output=str(tmp_path), overwrite=True)
    assert "there.csv is a file, and a folder is needed" in fails(output=str(tmp_path / "there.csv" / "x.csv"))
    (tmp_path / "found.csv.part").mkdir()
    assert "found.csv cannot be written: " in fails(output=str(tmp_path / "found.csv"))


def test_a_file_in_a_new_folder_and_none_after_a_failure(folder, images, tmp_path, capsys, monkeypatch):
    output = tmp_path / "new" / "found.csv"
    run(capsys, images / "00.png", run=str(folder), output=str(output))
    assert len(output.read_text().splitlines()) == 2
    monkeypatch.setattr("distill.cli.predict.CSVWriter.write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(capsys, images / "00.png", run=str(folder), output=str(output), overwrite=True)
    assert len(output.read_text().splitlines()) == 2
    assert not list(output.parent.glob("*.part"))


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(folder, images):
    with subprocess.Popen(
        [sys.executable, ROOT / "predict.py", f"run={folder}", *([str(images / "00.png")] * 3000)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "file,class,probability,error\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_bar_only_for_many_images_on_a_terminal(folder, images, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(capsys, images / "00.png", run=str(folder))[2] == ""
    monkeypatch.setattr(predict, "MANY", 1)
    status, out, err = run(capsys, images / "00.png", run=str(folder))
    assert (status, len(out.splitlines())) == (0, 2)
    assert "images" in err
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    assert run(capsys, images / "00.png", run=str(folder)) == (0, out, "")

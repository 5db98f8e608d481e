"""python evaluate.py on finished runs: the run's own numbers, other splits and data, files, mistakes."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from distill.cli.evaluate import Options, evaluate
from distill.evaluation.runs import Run
from distill.utils.errors import UserError
from jobs import TINY, run_job
from summaries import kept


def judged(folder, output, **options):
    """evaluation.json of a run, without the page."""
    options = {"report": False, **options}
    evaluate(Options(run=str(folder), output=str(output), **options))
    return json.loads(next(output.glob("evaluation*.json")).read_text())


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_the_runs_own_numbers_come_out_again(distilled, tmp_path, capsys):
    found, report = judged(distilled, tmp_path), summary(distilled)
    then = kept(report["student"])["test"]
    assert found["reproduced"]["equal"]
    assert set(found["reproduced"]["values"]) == {"acc", "top5", "agreement", "hard"}
    student, teacher = found["models"]["student"], found["models"]["teacher"]
    assert (student["acc"], student["top5"]) == (then["acc"], then["top5"])
    assert found["versus"]["teacher"]["agreement"] == then["agreement"]
    assert student["nll"] == pytest.approx(then["hard"], rel=1e-6)
    assert teacher["acc"] == report["teacher"]["test"]["acc"]
    assert found["samples"] == report["data"]["test"] == sum(map(sum, student["confusion"]))
    out = capsys.readouterr()
    assert "equal to the run's own summary.json: top-1, top-5, agreement with the teacher, supervised loss" in out.out
    assert "warning" not in out.err


@torch.no_grad()
def test_the_numbers_follow_from_the_weights_and_the_images(distilled, tmp_path):
    """Counted here with numpy, from models and images alone."""
    found, run = judged(distilled, tmp_path), Run(distilled)
    order = run.data.indices("test").tolist()
    images = torch.stack([run.preprocess(run.data.image("test", index)) for index in order])
    y = torch.cat([batch.target for batch in run.data.test_dataloader()]).numpy()
    z = {role: net.model(images).double().numpy() for role, net in (("student", run.student), ("teacher", run.teacher))}
    log = {role: each - np.log(np.exp(each).sum(1, keepdims=True)) for role, each in z.items()}
    guess = {role: each.argmax(1) for role, each in z.items()}
    assert found["versus"]["teacher"]["agreement"] == pytest.approx((guess["student"] == guess["teacher"]).mean())
    kl = (np.exp(log["teacher"]) * (log["teacher"] - log["student"])).sum(1).mean()
    assert found["versus"]["teacher"]["kl"] == pytest.approx(kl, rel=1e-4)
    own, other = guess["student"] == y, guess["teacher"] == y
    assert found["versus"]["teacher"]["only_other_right"]["count"] == (other & ~own).sum()
    accuracy = {role: [(guess[role] == y)[y == c].mean() for c in range(10)] for role in z}
    assert found["models"]["student"]["per_class"] == pytest.approx(accuracy["student"])
    change = np.subtract(accuracy["student"], accuracy["teacher"])
    lost = [row["change"] for row in found["versus"]["teacher"]["lost"]]
    assert lost == pytest.approx(sorted(change[change < 0]))
    loss = -log["student"][np.arange(len(y)), y]
    hard = np.argsort(-loss)[:5]
    assert [each["index"] for each in found["hardest"][:5]] == [order[place] for place in hard]
    for each, place in zip(found["hardest"], hard, strict=False):
        assert each["class"] == run.classes[y[place]]
        assert each["student"]["answer"] == run.classes[guess["student"][place]]
        assert each["student"]["loss"] == pytest.approx(loss[place], rel=1e-4)


def test_a_difference_is_said(distilled, tmp_path, capsys):
    report = summary(distilled)
    kept(report["student"])["test"]["acc"] += 0.01
    copy = tmp_path / "copy"
    shutil.copytree(distilled, copy)
    (copy / "summary.json").write_text(json.dumps(report))
    assert not judged(copy, tmp_path)["reproduced"]["equal"]
    assert "warning: the run's own numbers did not come out again: acc " in capsys.readouterr().err


@pytest.mark.parametrize("split", ["val", "train"])
def test_other_splits(distilled, tmp_path, split):
    found, report = judged(distilled, tmp_path, split=split), summary(distilled)
    assert (tmp_path / f"evaluation-{split}.json").is_file()
    assert found["samples"] == report["data"][split]
    if split == "val":
        assert found["reproduced"]["equal"]
        assert found["models"]["student"]["acc"] == kept(report["student"])["val"]["acc"]
    else:
        assert found["reproduced"] is None


def test_best_weights_and_another_batch_size(distilled, tmp_path):
    student = summary(distilled)["student"]
    path = distilled / student["best"]["weights"]
    options = Options(checkpoint=str(path), output=str(tmp_path), report=False, batch_size=50)
    evaluate(options)
    found = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert found["models"]["student"]["acc"] == pytest.approx(student["best"]["test"]["acc"])
    assert found["reproduced"] is None
    assert found["batch_size"] == 50


def test_beside_the_student_alone_and_without_a_teacher(distilled, alone, tmp_path):
    found = judged(distilled, tmp_path / "a", against=str(alone), teacher=False)
    assert list(found["models"]) == ["student", "alone"]
    assert found["models"]["alone"]["acc"] == kept(summary(alone)["student"])["test"]["acc"]
    assert found["models"]["alone"]["measured"]["latency_ms"] is None
    found = judged(alone, tmp_path / "b")
    assert list(found["models"]) == ["student"]
    assert found["versus"] == {}
    assert found["reproduced"]["equal"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "role"),
    [
        (["kd=dml"], "peer_1"),
        (["kd=simkd", "teacher=resnet14"], "teacher"),
        (["kd=takd", "kd.assistants=[resnet14]"], "assistant_1"),
        (["kd=multi_teacher", "kd.teachers=[resnet14]"], "teachers"),
        (["kd=ban"], "generation_2"),
        (["trainer.precision=bf16-mixed", "teacher=resnet14"], "teacher"),
    ],
)
def test_every_flow_is_reproduced(outputs, tmp_path, settings, role):
    folder = outputs / tmp_path.name
    run_job(folder, *TINY, *settings)
    found = judged(folder, tmp_path)
    assert found["reproduced"]["equal"], found["reproduced"]
    assert "agreement" in found["reproduced"]["values"]
    assert role in found["models"]
    assert ("teacher" in found["models"]) == (role != "peer_1")


def test_the_page(distilled, alone, tmp_path):
    options = Options(run=str(distilled), output=str(tmp_path), against=str(alone), map="pca")
    evaluate(options)
    text = (tmp_path / "report.html").read_text()
    for section in ("numbers", "curves", "calibration", "differences", "embeddings", "examples", "reproduce"):
        assert f'<section id="{section}">' in text
    for said in (
        "accuracy relative to the teacher",
        "Without distillation it reaches",
        "student without distillation",
        "only the teacher right",
        "data:image/png",
        "KL(teacher‖student)",
        "teacher–student agreement",
    ):
        assert said in text
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)  # without Plotly
    assert not re.search(r"https?://|<script src|<link|url\(", own)
    assert "default-src 'none'" in text  # the browser fetches nothing, whatever a script asks for
    assert summary(distilled)["command"].split()[1] in text
    assert len(own) < 3e6
    found = json.loads((tmp_path / "evaluation.json").read_text())
    models, names = found["models"], found["classes"]
    for role in models:
        for key in ("acc", "macro_f1", "ece"):
            assert f"<td>{100 * models[role][key]:.2f} %</td>" in text
    assert f"<b>{100 * found['versus']['teacher']['agreement']:.1f} %</b>" in text
    change = np.subtract(models["student"]["confusion"], models["teacher"]["confusion"])
    for i, j in np.argwhere(change):
        assert f'"true class {names[i]}, answer {names[j]}: {change[i, j]:+g}"' in text
    for i, j in np.ndindex(10, 10):
        count = models["student"]["confusion"][i][j]
        assert f'"true class {names[i]}, answer {names[j]}: {count}"' in text
    for each in found["hardest"][:12]:
        assert "file" not in each
        assert f"sample {each['index']}, loss {each['student']['loss']:.2f}" in text
    evaluate(options)  # over its own files


def test_the_page_of_a_student_alone_says_so(outputs, tmp_path):
    folder = outputs / "bare"
    run_job(folder, *TINY, "kd=none", "logger=none")
    evaluate(Options(run=str(folder), map="none"))
    text = (folder / "report.html").read_text()
    assert "The run kept no curves as CSV" in text
    assert 'id="differences"' not in text
    assert "true class (row)" in text
    assert 'id="embeddings"' not in text
    assert (folder / "evaluation.json").is_file()


def half(folder, to):
    shutil.copytree(folder, to)
    weights = to / "student.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return to


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": None}, "give run=<folder of a run>, or checkpoint="),
        ({"run": "nowhere"}, "run nowhere does not exist"),
        ({"split": "tset"}, r"there is no split 'tset'; did you mean 'test'\? Allowed: test, val, train"),
        ({"map": "umap"}, "there is no map 'umap'; Allowed: tsne, pca, none"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"data": "imagefolder", "on_broken": "skp"}, r"there is no on_broken 'skp'; did you mean 'skip'\?"),
        ({"root": "x"}, "root= belongs to another dataset: give data= too"),
        ({"data": "text", "root": "x"}, "data=text holds texts, and the run is of images"),
        (
            {"data": "imagefolder", "root": "{two}", "label": "x"},
            "label=x: the source of data=imagefolder has no such column",
        ),
        ({"data": "imagefoldr"}, r"data has no option 'imagefoldr'; did you mean 'imagefolder'\?"),
        ({"data": "imagefolder", "root": "{photos}/train/0"}, "data=imagefolder: "),
        ({"data": "parquet", "root": "{photos}"}, "data=parquet: "),
        ({"data": "imagefolder", "root": "{two}/.."}, "data=imagefolder: "),
        ({"data": "imagefolder", "root": "{two}"}, r"the classes of data=imagefolder \(2\) are not those of the run"),
        ({"against": "{distilled}"}, "against= is the run itself"),
        ({"against": "{photos}"}, "is no run's folder: it has no summary.json"),
        ({"output": "{photos}/train/0/0.png"}, "is a file, and a folder is needed there"),
        ({"run": "{half}"}, "no readable safetensors file"),
    ],
)
def test_mistakes_are_told_before_the_work(distilled, photos, tmp_path, monkeypatch, changes, message):
    def refuse(*_):
        raise AssertionError("the work had begun")

    monkeypatch.setattr("distill.evaluation.evaluate.predict", refuse)
    two = tmp_path / "two"
    for name in ("cat", "dog"):
        shutil.copytree(photos / "train" / "0", two / name)
    places = {"photos": photos, "distilled": distilled, "two": two}
    if changes.get("run") == "{half}":
        places["half"] = half(distilled, tmp_path / "half")
    given = {k: v.format(**places) if isinstance(v, str) else v for k, v in changes.items()}
    with pytest.raises(UserError, match=message):
        evaluate(Options(**{"run": str(distilled), "output": str(tmp_path / "out"), **given}))
    assert not (tmp_path / "out").exists()


def test_files_of_others_stay(distilled, tmp_path):
    (tmp_path / "evaluation.json").write_text('{"mine": 1}')
    with pytest.raises(UserError, match=r"evaluation.json exists and was not written by this command"):
        judged(distilled, tmp_path)
    assert judged(distilled, tmp_path, overwrite=True)["generator"] == "distill"


def test_a_teacher_that_is_gone(distilled, tmp_path):
    copy, report = tmp_path / "copy", summary(distilled)
    shutil.copytree(distilled, copy)
    report["teacher"]["path"] = "gone/teacher.safetensors"
    (copy / "summary.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match="the teacher of run .* is not where it was: .*teacher=false"):
        judged(copy, tmp_path)
    assert list(judged(copy, tmp_path, teacher=False)["models"]) == ["student"]


def test_answers_that_are_no_numbers(distilled, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(distilled, copy)
    weights = load_file(copy / "student.safetensors")
    broken = {name: torch.full_like(w, 3e38) if w.is_floating_point() else w for name, w in weights.items()}
    save_file(broken, copy / "student.safetensors")
    with pytest.raises(UserError, match="student answers 359 of 359 samples with no finite numbers"):
        judged(copy, tmp_path)

"""What is said of a sweep, against the same worked out anew from its files."""

import csv
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser

import numpy as np
import pytest

import summaries
from copies import begin, copy_run
from distill.cli.report import Options, report
from distill.config.compose import CONF
from distill.config.options import parse
from distill.sweeps import record
from distill.sweeps.jobs import State
from distill.sweeps.report.files import report_at_end, write_report
from distill.sweeps.report.references import SOFT, References, is_baseline
from distill.sweeps.report.results import read
from distill.training.summary import read as read_summary
from distill.utils.errors import UserError
from jobs import ROOT


class Tables(HTMLParser):
    """The text of every cell of a page's tables."""

    def __init__(self):
        super().__init__()
        self.tables, self.cell = [], None

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = ""

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += f" {data}"

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(" ".join(self.cell.split()))
            self.cell = None


def tables(page):
    parser = Tables()
    parser.feed(page.read_text())
    return parser.tables


def test_means_and_deviations_are_numpys(grid, capsys):
    write_report(grid)
    out = capsys.readouterr().out
    scores = {}
    for path in grid.glob("*/summary.json"):
        last = json.loads(path.read_text())["student"]["last"]
        t, a, _ = (o.partition("=")[2] for o in json.loads((path.parent / "command.yaml").read_text())["overrides"][:3])
        scores.setdefault((t, a), []).append((last["val"]["acc"], last["test"]["acc"]))
    means = {point: 100 * np.mean(found, axis=0) for point, found in scores.items()}
    stds = {point: 100 * np.std(found, axis=0, ddof=1) for point, found in scores.items()}
    best = max(means, key=lambda point: means[point][0])
    assert means[best][1] != max(mean[1] for mean in means.values()), (
        "test accuracy would choose the same: another seed"
    )

    def said(point, split):
        return f"{means[point][split]:.2f} ± {stds[point][split]:.2f}"

    first, second, settings = tables(grid / "report.html")[:3]
    for table, split in ((first, 1), (second, 0)):
        assert table[1] == ["", "1", "2", "16"]
        for row in table[2:]:
            assert row[1:] == [said((t, row[0]), split) for t in ("1", "2", "16")]
    order = sorted(means, key=lambda point: -means[point][0])
    assert [tuple(row[:2]) for row in settings[1:]] == order
    for row, point in zip(settings[1:], order, strict=True):
        assert row[2:4] == [f"{said(point, 0)} %", f"{said(point, 1)} %"]
        assert row[-1] == ("2 of 3" if point == ("16", "0.9") else "3")
        assert re.search(rf"│ {point[0]} +│ {point[1]} +│ +{said(point, 0)} % │ +{said(point, 1)} % │", out)
    assert f"best on validation: kd.T={best[0]} kd.alpha={best[1]}: {said(best, 1)} % on test" in out
    assert f"python train.py -m kd.T={best[0]} kd.alpha={best[1]} seed=0,1,2 trainer.max_epochs=2" in out
    assert "17 of 18 jobs finished, 1 failed" in out
    assert "failed: job 17: its worker process died <&>" in out
    assert "its worker process died &lt;&amp;&gt;" in (grid / "report.html").read_text()


def test_the_csv_has_every_job(grid):
    write_report(grid)
    with (grid / "results.csv").open(newline="") as file:
        rows = {row["job"]: row for row in csv.DictReader(file)}
    assert set(rows) == {str(n) for n in range(18)}
    for path in grid.glob("*/summary.json"):
        summary, row = json.loads(path.read_text()), rows[path.parent.name]
        overrides = dict(o.split("=") for o in json.loads((path.parent / "command.yaml").read_text())["overrides"])
        assert {key: row[key] for key in ("kd.T", "kd.alpha", "seed")} == {
            k: v for k, v in overrides.items() if k in row
        }
        assert float(row["val_acc"]) == summary["student"]["last"]["val"]["acc"]
        assert float(row["test_acc"]) == summary["student"]["last"]["test"]["acc"]
        assert float(row["teacher_test_acc"]) == summary["teacher"]["test"]["acc"]
        assert row["state"] == "finished"
    assert (rows["17"]["state"], rows["17"]["reason"]) == ("failed", "its worker process died <&>")
    assert rows["17"]["test_acc"] == ""
    write_report(grid)  # over its own files


def test_the_teacher_and_the_share_kept(grid, capsys):
    write_report(grid)
    teacher = json.loads((grid / "0/summary.json").read_text())["teacher"]["test"]["acc"]
    assert f"teacher resnet14: {100 * teacher:.2f} % on test" in capsys.readouterr().out
    best = read(grid).best
    kept = np.mean([outcome.test for outcome in best.finished]) / teacher
    assert f"<b>{100 * kept:.1f} %</b>" in (grid / "report.html").read_text()


def test_equal_accuracies_are_told_apart_by_cross_entropy_on_validation(distilled, tmp_path):
    for number, loss in ((0, 0.3), (1, 0.2)):
        copy_run(distilled, tmp_path / str(number), [f"kd.T={number + 1}"], 0.9, 0.9 - number / 10)
        path = tmp_path / str(number) / "summary.json"
        summary = json.loads(path.read_text())
        summary["student"]["last"]["val"]["hard"] = loss
        path.write_text(json.dumps(summary))
    assert read(tmp_path).best.values == ("2",)


def test_one_lucky_seed_of_four_is_not_the_best(distilled, tmp_path):
    for seed in range(4):
        copy_run(distilled, tmp_path / f"a{seed}", ["kd.T=1", f"seed={seed}"], 0.8, 0.8)
    copy_run(distilled, tmp_path / "b0", ["kd.T=2", "seed=0"], 0.9, 0.9)
    results = read(tmp_path)
    assert results.best.values == ("1",)
    copy_run(distilled, tmp_path / "b1", ["kd.T=2", "seed=1"], 0.9, 0.9)
    assert read(tmp_path).best.values == ("2",)
    assert [setting.values for setting in results.settings] == [("2",), ("1",)]


def test_keys_of_any_kind(distilled, tmp_path, capsys):
    begin(tmp_path, "kd=kd,[dkd,sp]", "model=resnet8,vgg8", "data.augment.flip=true,false", jobs=8)
    number = 0
    for kd in ("kd", "[dkd,sp]"):
        for model in ("resnet8", "vgg8"):
            for flip in ("true", "false"):
                overrides = [f"kd={kd}", f"model={model}", f"data.augment.flip={flip}"]
                copy_run(distilled, tmp_path / str(number), overrides, 0.8 + number / 100, 0.8)
                number += 1
    write_report(tmp_path)
    assert "python train.py 'kd=[dkd,sp]' model=vgg8 data.augment.flip=false" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert page.count('<table class="cells">') == 4
    assert "top-1, test, data.augment.flip=true" in page


def test_continuous_keys_are_scattered(distilled, tmp_path):
    begin(tmp_path, "kd.T=tag(log, interval(0.5, 50))", "kd.alpha=interval(0, 1)", jobs=30)
    generator = np.random.default_rng(0)
    for number in range(30):
        overrides = [f"kd.T={0.5 * 100 ** generator.random()}", f"kd.alpha={generator.random()}"]
        if number % 5:
            copy_run(distilled, tmp_path / str(number), overrides, generator.uniform(0.8, 0.9), 0.8)
        else:
            (tmp_path / str(number)).mkdir()
            (tmp_path / str(number) / "command.yaml").write_text(json.dumps({"overrides": overrides}))
            record.prune(tmp_path / str(number), 2, 0.4)
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    results = read(tmp_path)
    assert results.count(State.pruned) == 6
    assert page.count('class="marked"') == 2  # the best, on test and on validation
    assert '<table class="cells">' not in page
    assert page.count(f"<title>{results.describe(results.best.values)}: test") == 2
    assert "epoch 2, 40.00 % on validation" in page
    assert shlex.split(next(line for line in page.splitlines() if "kd.T=" in line and "train.py" in line)[22:-6])


def test_while_it_runs(distilled, tmp_path, capsys):
    begin(tmp_path, "kd.T=1,2,4", jobs=3)
    write_report(tmp_path)
    assert "0 of 3 jobs finished, 3 not begun" in capsys.readouterr().out
    assert "No job has finished yet." in (tmp_path / "report.html").read_text()
    copy_run(distilled, tmp_path / "0", ["kd.T=1"])
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "command.yaml").write_text(json.dumps({"overrides": [f"kd.T={int(number) * 2}"]}))
    record.write_status(tmp_path / "1", epoch=3, max_epochs=9, val_acc=0.5)
    (tmp_path / "1/csv/version_0").mkdir(parents=True)
    (tmp_path / "1/csv/version_0/metrics.csv").write_text("epoch,val/acc\n0,0.5\n1,0.")  # half written
    write_report(tmp_path)
    assert "1 of 3 jobs finished, 1 running, 1 stopped" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert "epoch 3 of 9, 50.00 % on validation" in page
    assert f"sweep.resume={tmp_path}" in page


def test_a_single_run(distilled, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(distilled, run)
    (run / "command.yaml").write_text("overrides: [kd.T=4]\nconfig_dir: null")
    write_report(run)
    assert "1 of 1 jobs finished" in capsys.readouterr().out
    assert "python train.py kd.T=4" in (run / "report.html").read_text()
    (run / "evaluation.json").write_text('{"generator": "distill"}')
    with pytest.raises(UserError, match=r"is evaluate.py's page of this run: choose output="):
        write_report(run)
    write_report(run, output=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere/results.csv").exists()


def test_teachers_alone(tmp_path, capsys):
    for number, teacher in enumerate(("resnet14", "resnet20")):
        folder = tmp_path / str(number)
        summaries.write_summary(folder, teacher=summaries.teacher(teacher, val=0.8 + number / 10, test=0.7))
        overrides = {"overrides": ["only=teacher", f"teacher={teacher}"]}
        (folder / "command.yaml").write_text(json.dumps(overrides))
    write_report(tmp_path)
    assert "best on validation: teacher=resnet20: 70.00 % on test" in capsys.readouterr().out


def test_the_student_alone_within_the_sweep(distilled, alone, tmp_path, capsys):
    for seed in "01":
        copy_run(distilled, tmp_path / f"kd{seed}", ["kd=kd", f"seed={seed}"], 0.9, 0.8 + int(seed) / 10)
        copy_run(alone, tmp_path / f"none{seed}", ["kd=none", f"seed={seed}"], 0.8, 0.7 + int(seed) / 10)
    write_report(tmp_path)
    out = capsys.readouterr().out
    assert "student alone: 75.00 ± 7.07 % on test" in out
    assert re.search(r"│ kd +│.*│ +\+10.00 │", out)
    assert re.search(r"│ none +│.*│ +alone │", out)


def test_a_baseline_by_name_and_those_that_are_none(grid, distilled, alone, tmp_path, capsys):
    write_report(grid, baseline=alone)
    accuracy = json.loads((alone / "summary.json").read_text())["student"]["last"]["test"]["acc"]
    out = capsys.readouterr()
    assert f"student alone: {100 * accuracy:.2f} % on test" in out.out
    assert "differs" not in out.out
    other = tmp_path / "other"
    copy_run(alone, other, ["kd=none"], trainer__max_epochs=7)
    write_report(grid, baseline=other)
    line = f"the baseline {other} differs from the sweep's students in trainer.max_epochs (7 there, 2 here)"
    assert f"warning: {line}" in capsys.readouterr().out
    assert line in html.unescape((grid / "report.html").read_text())
    summary = json.loads((other / "summary.json").read_text())
    summary["data"]["fingerprint"] = "0"
    (other / "summary.json").write_text(json.dumps(summary))
    for baseline, message in (
        (distilled, "no student of .* was trained alone .*: its loss has kd"),
        (other, "was trained on other data than the sweep"),
        (tmp_path / "gone", "baseline: .*gone does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            write_report(grid, baseline=baseline)


def test_the_baseline_of_a_point_shares_its_recipe(distilled, alone, tmp_path):
    for lr, gain in (("0.1", 0.1), ("0.05", 0.2)):
        rate = {"optimizer__lr": float(lr)}
        copy_run(distilled, tmp_path / f"kd{lr}", ["kd=kd", f"optimizer.lr={lr}"], 0.9, 0.5 + gain, **rate)
        copy_run(alone, tmp_path / f"none{lr}", ["kd=none", f"optimizer.lr={lr}"], 0.8, 0.5, **rate)
    results = read(tmp_path)
    references = References(results)
    assert references.only_baseline is None
    assert len(references.baselines) == 2
    for setting in results.settings:
        assert references.baseline(setting).recipe["optimizer.lr"] == setting.values[1]


def test_alpha_one_is_the_student_alone_where_all_terms_are_soft(distilled):
    summary = read_summary(distilled)
    kd = summary.config["kd"]
    assert not is_baseline(summary)
    kd["alpha"] = 1.0
    assert is_baseline(summary)
    kd["terms"]["rkd"] = {"weight": 0.0, "loss": {"_target_": "distill.losses.RKD"}}
    assert not is_baseline(summary)
    del kd["terms"]["rkd"]
    kd["generations"] = 2
    assert not is_baseline(summary)
    kd.update(generations=1, alpha={"schedule": "linear", "start": 0, "end": 1})
    assert not is_baseline(summary)


def test_the_losses_taken_for_soft_are_the_soft_ones():
    """With ``distill.distillation.terms.Term``, over every method that the configuration knows."""
    import yaml
    from hydra.utils import get_object

    for path in sorted((CONF / "kd").glob("*.yaml")):
        for term in (yaml.safe_load(path.read_text()).get("terms") or {}).values():
            if "loss" not in term:  # of another file, changed
                continue
            target = term["loss"]["_target_"]
            loss = get_object(target)
            function = loss.forward if isinstance(loss, type) else loss
            code = function.__code__
            reads = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            soft = ("teacher_logits" in reads or getattr(loss, "is_soft_target", False)) and "pretraining" not in term
            assert (target in SOFT) == soft, path.name


def test_a_thousand_runs_in_five_seconds(distilled, tmp_path, capsys):
    begin(tmp_path, "kd.T=range(1,11)", jobs=1000)
    first = tmp_path / "0"
    copy_run(distilled, first, ["kd.T=1", "kd.alpha=0.0", "seed=0"])
    for number in range(1, 1000):
        folder = tmp_path / str(number)
        shutil.copytree(first, folder)
        t, a, seed = number // 100 + 1, number // 10 % 10 / 10, number % 10
        overrides = {"overrides": [f"kd.T={t}", f"kd.alpha={a}", f"seed={seed}"], "config_dir": None}
        (folder / "command.yaml").write_text(json.dumps(overrides))
    begun = time.perf_counter()
    write_report(tmp_path)
    assert time.perf_counter() - begun < 5
    assert "1000 of 1000 jobs finished" in capsys.readouterr().out
    assert (tmp_path / "results.csv").read_text().count("\n") == 1001
    assert (tmp_path / "report.html").stat().st_size < 2e6


def test_nothing_heavy_is_imported(grid):
    code = (
        "import sys; from pathlib import Path; from distill.sweeps.report.files import write_report; "
        f"write_report(Path({str(grid)!r})); heavy = {{'torch', 'lightning', 'numpy', 'pandas'}} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["file.txt"], "file.txt is a file, and a sweep is a folder"),
        (["empty"], "empty is no sweep's folder: it has neither sweep.yaml nor a run's command.yaml"),
        ([], "give the folder of one sweep, got none"),
        (["empty", "nowhere"], "give the folder of one sweep, got 2"),
        (["grid", "basline=empty"], "there is no key 'basline'; did you mean 'baseline'?"),
        (["grid", "baseline=empty"], "baseline: empty is no sweep's folder"),
        (["grid", "output=file.txt/x"], "output: file.txt is a file, and a folder is needed there"),
        (["grid", "output=mine"], "mine/results.csv exists and was not written by this command"),
    ],
)
def test_mistakes_are_one_line(grid, arguments, message, monkeypatch):
    monkeypatch.chdir(grid.parent)
    (grid.parent / "file.txt").touch()
    (grid.parent / "empty").mkdir()
    (grid.parent / "mine").mkdir()
    (grid.parent / "mine/results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError) as error:
        report(parse(Options, arguments, rest="sweep"))
    assert message in str(error.value)
    assert (grid.parent / "mine/results.csv").read_text() == "a,b\n1,2\n"


def test_the_commands_of_the_docs():
    text = "".join((ROOT / page).read_text() for page in ("README.md", "docs/sweeps.md"))
    lines = re.findall(r"python report\.py ([^`\n]+)", text)
    assert len(lines) >= 3
    for line in lines:
        assert len(parse(Options, shlex.split(line.replace("<its folder>", "x")), rest="sweep").sweep) == 1


def test_a_folder_that_cannot_be_written_to(grid, capsys, monkeypatch):
    """Root writes everywhere, so the system's answer is given in its place; the table has been printed before."""
    from pathlib import Path

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(UserError, match=r"grid/results.csv cannot be written: Read-only file system"):
        write_report(grid)
    assert "best on validation" in capsys.readouterr().out


def test_a_report_that_cannot_be_made_is_a_warning(grid, capsys, monkeypatch):
    (grid / "report.html").write_text("mine")
    report_at_end(grid)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: the sweep's report could not be made: {grid}/report.html exists and was not")
    assert said.count("\n") == 1
    assert (grid / "report.html").read_text() == "mine"
    monkeypatch.setattr("distill.sweeps.report.files.read", lambda _: 1 / 0)
    report_at_end(grid)
    assert "division by zero" in capsys.readouterr().err

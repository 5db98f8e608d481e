"""What is said of a sweep, against the same worked out anew from its files."""

import csv
import json
import re
import shlex
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

import summaries
from copies import begin, copy_run
from distill.sweeps import record
from distill.sweeps.jobs import State
from distill.sweeps.report.files import write_report
from distill.sweeps.report.results import query, read
from distill.utils.errors import UserError
from pages import figures
from summaries import kept


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
        last = kept(json.loads(path.read_text())["student"])
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

    drawn = figures(grid / "report.html")
    for heading, split in (("top-1, test", 1), ("top-1, validation", 0)):
        heatmap, numbers = drawn[heading]["data"]
        layout = drawn[heading]["layout"]
        columns, rows = layout["xaxis"]["ticktext"], layout["yaxis"]["ticktext"]
        assert (columns, rows) == (["1", "2", "16"], ["0.1", "0.9"])
        np.testing.assert_allclose(heatmap["z"], [[means[t, a][split] / 100 for t in columns] for a in rows])
        places = zip(numbers["x"], numbers["y"], numbers["text"], strict=True)
        texts = {(columns[x], rows[y]): text.replace("<br>", " ") for x, y, text in places}
        assert texts == {point: said(point, split) for point in means}
        outline = layout["shapes"][0]
        middle = (outline["x0"] + outline["x1"]) / 2, (outline["y0"] + outline["y1"]) / 2
        assert (columns[int(middle[0])], rows[int(middle[1])]) == best
    settings = tables(grid / "report.html")[0]
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
        assert float(row["val_acc"]) == kept(summary["student"])["val"]["acc"]
        assert float(row["test_acc"]) == kept(summary["student"])["test"]["acc"]
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
        kept(summary["student"])["val"]["hard"] = loss
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
    heatmaps = {heading: each for heading, each in figures(tmp_path / "report.html").items() if "top-1" in heading}
    assert len(heatmaps) == 4
    assert heatmaps["top-1, test, data.augment.flip=true"]["data"][0]["type"] == "heatmap"


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
    for heading, split in (("top-1, test", "test"), ("top-1, validation", "val")):
        (trace,) = figures(tmp_path / "report.html")[heading]["data"]
        assert len(trace["x"]) == 24
        assert trace["marker"]["size"].count(10) == 1  # the best one, on top
        assert trace["hovertext"][-1].startswith(f"{results.describe(results.best.values)}: test")
        assert trace["x"][-1] == float(results.best.values[0])
        assert trace["marker"]["color"][-1] == getattr(results.best, split).mean
    assert "epoch 2, 40.00 % on validation" in page
    assert shlex.split(next(line for line in page.splitlines() if "kd.T=" in line and "train.py" in line)[22:-6])


def test_effects_and_curves_have_the_runs_numbers(grid):
    write_report(grid)
    results, drawn = read(grid), figures(grid / "report.html")
    runs, means = drawn["kd.T"]["data"]
    assert sorted(runs["y"]) == pytest.approx(sorted(job.test for job in results.finished))
    assert drawn["kd.T"]["layout"]["xaxis"]["ticktext"] == ["1", "2", "16"]
    for i, t in enumerate(("1", "2", "16")):
        accuracies = [job.test for job in results.finished if job.values[0] == t]
        assert means["y"][i] == pytest.approx(np.mean(accuracies))
        assert means["error_y"]["array"][i] == pytest.approx(np.std(accuracies, ddof=1))
    names = [trace["name"] for trace in drawn["by kd.T"]["data"]]
    assert names[:3] == ["kd.T=1", "kd.T=2", "kd.T=16"]
    assert drawn["6 settings, mean over seeds"]["data"][-1]["name"] == "best on validation"


@pytest.mark.parametrize(("teacher", "drawn"), [(0.98, [0.98]), (0.2, [])])
def test_the_teacher_is_a_line_where_it_is_near_the_runs(distilled, tmp_path, teacher, drawn):
    for number, accuracy in enumerate((0.94, 0.95, 0.96)):
        copy_run(distilled, tmp_path / str(number), [f"kd.T={number + 1}"], accuracy, accuracy, teacher)
    write_report(tmp_path)
    layout = figures(tmp_path / "report.html")["kd.T"]["layout"]
    assert [shape["y0"] for shape in layout.get("shapes", [])] == drawn
    assert all(layout["yaxis"]["range"][0] <= y <= layout["yaxis"]["range"][1] for y in drawn)
    assert ("beyond the axis" in (tmp_path / "report.html").read_text()) == (not drawn)


def test_runs_below_the_axis_are_rings_at_its_end(distilled, tmp_path):
    for number, accuracy in enumerate((0.1, 0.94, 0.95, 0.96, 0.97)):
        copy_run(distilled, tmp_path / str(number), [f"kd.T={number + 1}"], accuracy, accuracy)
    write_report(tmp_path)
    figure = figures(tmp_path / "report.html")["kd.T"]
    runs = figure["data"][0]
    assert runs["marker"]["symbol"] == ["circle-open" if y == min(runs["y"]) else "circle" for y in runs["y"]]
    assert min(runs["y"]) == figure["layout"]["yaxis"]["range"][0] > 0.8


def test_values_of_keys_are_escaped(distilled, tmp_path):
    for number, name in enumerate(("'<img src=x onerror=alert(1)>'", "'</script><b>'")):
        copy_run(distilled, tmp_path / str(number), [f"kd={name}", f"model=m{number}"], 0.8 + number / 10, 0.8)
    write_report(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "<img" not in text[text.index("<main>") : text.index("</main>")]
    assert "</script><b>" not in text
    assert "&lt;/script&gt;&lt;b&gt;" in figures(tmp_path / "report.html")["kd"]["layout"]["xaxis"]["ticktext"]


def test_while_it_runs(distilled, tmp_path, capsys):
    begin(tmp_path, "kd.T=1,2,4", jobs=3)
    write_report(tmp_path)
    assert "0 of 3 jobs finished, 3 not begun" in capsys.readouterr().out
    assert "No job has finished yet." in (tmp_path / "report.html").read_text()
    copy_run(distilled, tmp_path / "0", ["kd.T=1"])
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "command.yaml").write_text(json.dumps({"overrides": [f"kd.T={int(number) * 2}"]}))
    record.write_status(tmp_path / "1", epoch=3, max_epochs=9, val_score=0.5)
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


def test_blanks_of_values_do_not_part_what_chooses_a_setting():
    assert [query("kd.T", "4"), query("model.layers", "[1, 2]")] == ["kd.T=4", "model.layers=[1,\N{NO-BREAK SPACE}2]"]

"""The student alone, with which a sweep's points are compared."""

import html
import inspect
import json
import re

import pytest

from copies import copy_run
from distill.config import CONF
from distill.sweeps.report.files import write_report
from distill.sweeps.report.references import SOFT, References, is_baseline
from distill.sweeps.report.results import read
from distill.training.summary import read as read_summary
from distill.utils.errors import UserError
from summaries import kept


def test_the_student_alone_within_the_sweep(distilled, alone, tmp_path, capsys):
    for seed in "01":
        copy_run(distilled, tmp_path / f"kd{seed}", ["kd=kd", f"seed={seed}"], 0.9, 0.8 + int(seed) / 10)
        copy_run(alone, tmp_path / f"none{seed}", ["kd=none", f"seed={seed}"], 0.8, 0.7 + int(seed) / 10)
    write_report(tmp_path)
    out = capsys.readouterr().out
    assert "student without distillation: 75.00 ± 7.07 % on test" in out
    assert re.search(r"│ kd +│.*│ +\+10.00 │", out)
    assert re.search(r"│ none +│.*│ +itself │", out)


def test_a_baseline_by_name_and_those_that_are_none(grid, distilled, alone, tmp_path, capsys):
    write_report(grid, baseline=alone)
    accuracy = kept(json.loads((alone / "summary.json").read_text())["student"])["test"]["acc"]
    out = capsys.readouterr()
    assert f"student without distillation: {100 * accuracy:.2f} % on test" in out.out
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
    kd.update(generations=1, flow={"_target_": "mine.Flow"})  # which may train students of its own
    assert not is_baseline(summary)
    kd.update(flow=None, alpha={"schedule": "linear", "start": 0, "end": 1})
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
            reads = inspect.signature(function).parameters
            soft = (
                {"teacher_logits", "teacher_output"} & {*reads} or getattr(loss, "is_soft_target", False)
            ) and "pretraining" not in term
            assert (target in SOFT) == bool(soft), path.name

"""Settings that cannot be told from the best one."""

import json
import math

import pytest

from copies import copy_run
from distill.sweeps.record import progress
from distill.sweeps.report.files import write_report
from distill.sweeps.report.references import References
from distill.sweeps.report.results import read
from distill.sweeps.report.ties import distinct, ties


@pytest.fixture
def sweep(tmp_path, distilled):
    """Makes a sweep of {(T, α, seed): validation accuracy} with a number of validation images."""

    def make(scores, images=100):
        for number, ((T, alpha, seed), val) in enumerate(scores.items()):
            overrides = [f"kd.T={T}", f"kd.alpha={alpha}", f"seed={seed}"]
            copy_run(distilled, tmp_path / str(number), overrides, val, val, kd__alpha=alpha, kd__T=T)
            summary = tmp_path / str(number) / "summary.json"
            report = json.loads(summary.read_text())
            report["data"]["val"] = images
            summary.write_text(json.dumps(report))
        results = read(tmp_path)
        return results, References(results)

    return make


def test_one_standard_error_of_one_seed(sweep):
    results, references = sweep({(1, 0.1, 0): 0.90, (2, 0.1, 0): 0.88, (4, 0.1, 0): 0.86})
    equal = ties(results, references)
    assert equal.error == pytest.approx(math.sqrt(91 / 102 * 11 / 102 / 100))
    assert [setting.values[0] for setting in equal.tied] == ["1", "2"]
    assert "1 of the other 2 settings is tied with it: within one standard error (3.10 points; " in str(equal)
    assert "one of the 100 validation samples is worth 1.00)" in str(equal)
    assert str(equal).endswith("more seeds would show their spread, as seed=0,1,2")


def test_seeds_add_their_variance_and_how_many_would_tell(sweep):
    scores = {(1, 0.1, 0): 0.90, (1, 0.1, 1): 0.92, (2, 0.1, 0): 0.895, (2, 0.1, 1): 0.905}
    equal = ties(*sweep(scores, images=10_000))
    image = math.sqrt(9101 / 10_002 * 901 / 10_002 / 10_000)
    assert equal.error == pytest.approx(math.sqrt(image**2 + 0.02**2 / 2 / 2))
    assert len(equal.tied) == 2
    assert str(equal).endswith("about 16 seeds would tell the first two apart")  # 8 · 0.0002 / 0.01², 16


def test_all_right_is_not_without_error(sweep):
    equal = ties(*sweep({(1, 0.1, 0): 1.0, (2, 0.1, 0): 0.97}, images=24))
    assert len(equal.tied) == 2
    assert "worth 4.17" in str(equal)


def test_a_clear_best_is_not_tied(sweep, tmp_path, capsys):
    results, references = sweep({(1, 0.1, 0): 0.90, (2, 0.1, 0): 0.70})
    assert str(ties(results, references)) == ""
    write_report(tmp_path)
    assert "tied with it" not in capsys.readouterr().out


def test_alpha_1_is_the_student_alone_once(sweep, tmp_path, capsys):
    results, references = sweep({(1, 1.0, 0): 0.8, (2, 1.0, 0): 0.8, (1, 0.1, 0): 0.9, (2, 0.1, 0): 0.91})
    assert len(results.settings) == 4
    assert [setting.values for setting in distinct(results, references)] == [("2", "0.1"), ("1", "0.1"), ("1", "1.0")]
    write_report(tmp_path)
    out = capsys.readouterr().out
    assert out.count("itself │") == 1
    assert "1 of the other 2 settings is tied with it" in out
    assert "1 of the other 2 settings is tied with it" in (tmp_path / "report.html").read_text().lower()


def test_the_live_line_names_the_same_setting(sweep, tmp_path, capsys):
    scores = {(1, 0.1, 0): 0.95, (1, 0.1, 1): 0.80, (2, 0.1, 0): 0.90, (2, 0.1, 1): 0.90}  # the best job is not of it
    sweep(scores)
    write_report(tmp_path)
    assert "best on validation: kd.T=2: 90.00" in capsys.readouterr().out
    assert "best 90.00 ± 0.00 % (kd.T=2)" in progress(tmp_path, tmp_path / "0")

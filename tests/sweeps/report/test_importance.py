"""Parallel coordinates and the importance of keys, on scores that are known functions of the keys."""

import random
from itertools import product
from pathlib import Path

import pytest

from distill.sweeps.jobs import State, SweepJob
from distill.sweeps.report.importance import importance, importance_chart
from distill.sweeps.report.parallel import parallel
from distill.sweeps.report.results import JobResult, Setting, SweepResults
from distill.tasks.info import Metric

KEYS = ["kd.T", "kd.alpha", "optimizer.lr"]


def sweep(points, score, seeds=1, keys=KEYS, **more):
    """Finished jobs of settings (values as text) whose scores are drawn around ``score(*values)``."""
    draw, settings = random.Random(0), []
    for n, values in enumerate(points):
        jobs = []
        for seed in range(seeds):
            job = SweepJob(Path(f"{n}-{seed}"), State.finished, {"seed": str(seed)}, None, None, None)
            value = score(*map(float, values)) + draw.gauss(0, 0.005)
            jobs.append(JobResult(job, f"{n}-{seed}", values, value, value, 1.0, **more))
        settings.append(Setting(values, jobs))
    return SweepResults(Path("sweep"), {}, keys, sorted(settings, key=lambda setting: setting.sort_key))


GRID = list(product(("1", "2", "4", "8"), ("0.1", "0.5", "0.9"), ("0.001", "0.01", "0.1")))


def test_importance_is_the_total_sobol_index():
    found = importance(sweep(GRID, lambda t, alpha, lr: 0.5 + 0.04 * t + 0.1 * alpha, seeds=3))
    parts = {"kd.T": 0.04**2 * 7.1875, "kd.alpha": 0.1**2 * 0.32 / 3}  # variances over the grid
    for key, part in parts.items():
        estimate = found.by_key[key]
        assert estimate.mean == pytest.approx(part / (sum(parts.values()) + 0.005**2), abs=3 * estimate.error + 0.02)
        assert estimate.is_known
    assert not found.by_key["optimizer.lr"].is_known
    assert found.explained.mean > 0.9


def test_the_chart_names_the_keys_in_order_and_marks_what_is_not_told():
    figure, text = importance_chart(sweep(GRID, lambda t, alpha, lr: 0.5 + 0.04 * t, seeds=2))
    bar = figure.chart.data[0]
    assert figure.chart.layout.yaxis.ticktext[0] == "kd.T"
    assert bar.marker.color == ("var(--student)", "var(--k9)", "var(--k9)")
    assert "settings that they have not seen" in text
    assert "Grey bars, or none: within 2 standard errors of no effect." in text


@pytest.mark.parametrize(
    ("points", "score", "said"),
    [
        (GRID, lambda *_: 0.7, "does not predict the test accuracy of settings that it has not seen"),
        (GRID[:19], lambda t, *_: 0.1 * t, "fewer than 20 settings have a score"),
    ],
)
def test_noise_and_few_settings_tell_nothing(points, score, said):
    figure, text = importance_chart(sweep(points, score))
    assert figure is None
    assert text.startswith("Which key matters most cannot be told: ")
    assert said in text


def test_two_keys_of_equal_weight_are_not_ranked():
    even = list(product("1234", "1234", "123"))
    _, text = importance_chart(sweep(even, lambda a, b, c: 0.5 + 0.02 * a + 0.02 * b))
    assert text.endswith("Which of the first two keys matters more cannot be told.")


def test_a_line_of_parallel_coordinates_passes_its_values():
    results = sweep(GRID, lambda t, alpha, lr: 0.5 + 0.04 * t + 0.1 * alpha)
    figure = parallel(results)
    *lines, marks = figure.chart.data
    assert len(lines) == len(GRID)
    best = lines[-1]
    assert best.line.color == "var(--student)"
    assert best.meta == results.query(results.best.values)
    on_axes = {x: y for x, y in zip(best.x, best.y, strict=True) if x == int(x)}
    assert on_axes[0] == 1  # T = 8, the largest
    assert on_axes[1] == 1
    assert on_axes[3] == 1  # the highest score
    assert list(figure.chart.layout.xaxis.ticktext) == [*KEYS, "accuracy"]
    assert set(marks.customdata) == {f"{key}={value}" for i, key in enumerate(KEYS) for value in {p[i] for p in GRID}}


def test_the_better_score_is_on_top_also_where_it_is_the_smaller_one():
    mae = Metric("mae", "mean absolute error", "min", "number")
    results = sweep(GRID, lambda t, *_: 9.0 if t == 8 else t, metric=mae)
    *lines, _ = parallel(results).chart.data
    heights = {line.meta.split()[0]: line.y[-1] for line in lines}
    assert heights["kd.T=1"] > heights["kd.T=2"] > heights["kd.T=4"] > heights["kd.T=8"] >= 0


def test_two_keys_have_a_map_and_no_parallel_coordinates():
    assert parallel(sweep([(t, a) for t, a, _ in GRID[::3]], lambda *_: 0.7, keys=KEYS[:2])) is None


def test_many_settings_are_thinned_and_many_numbers_have_a_scale():
    draw = random.Random(1)
    points = [
        (f"{draw.uniform(1, 9):.3f}", f"{draw.random():.3f}", f"{10 ** draw.uniform(-4, -1):.6f}") for _ in range(450)
    ]
    figure = parallel(sweep(points, lambda t, *_: t / 10))
    assert figure.heading == "150 of 450 settings, by accuracy on validation"
    *lines, marks = figure.chart.data
    assert all(0 <= y <= 1 for line in lines for y in line.y)
    assert marks.x in (None, ())
    middle = [each.text for each in figure.chart.layout.annotations if each.y == 0.5]
    assert float(middle[1]) == pytest.approx(0.5, abs=0.02)
    assert float(middle[2]) == pytest.approx(10**-2.5, rel=0.2)  # logarithmic

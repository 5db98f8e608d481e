"""Charts are Plotly figures of the numbers that they are given."""

import io
import json
import math
import os
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image
from plotly.colors import sample_colorscale, unlabel_rgb

from distill.evaluation.embedding_map import pca, project
from distill.evaluation.learning_curves import curves
from distill.evaluation.reporting.charts import (
    Bar,
    Dot,
    Line,
    bars,
    color_axis,
    confusion_matrix,
    embedding_map,
    lines,
    number_axis,
    reliability_diagram,
    robust_range,
    text_on,
    value_range,
)
from distill.evaluation.reporting.images import data_uri
from distill.evaluation.reporting.rendering import Figure, render
from distill.evaluation.results import ReliabilityBin
from distill.utils.output_files import as_json


@pytest.mark.parametrize("points", [[], [(1, 0.5)], [(1, 0.5), (2, 0.5)], [(e, 1e6 / e) for e in range(1, 200)]])
def test_lines_of_any_length(points):
    figure = lines([Line("a <b>", points, "student")], "t", share=False)
    assert [list(zip(trace.x, trace.y, strict=True)) for trace in figure.data] == [points] * bool(points)
    assert [trace.name for trace in figure.data] == ["a &lt;b&gt;"] * bool(points)
    assert figure.layout.meta == "t"


def test_dashed_and_pale_lines_and_the_floor():
    points = [(1, 0.0), (2, 0.8), (3, 0.4)]
    series = [Line("a", points, "student"), Line("b", points, "k9", thin=True), Line("c", points, "alone", True, True)]
    figure = lines(series, "t", share=True, floor=0.6)
    assert [trace.line.dash for trace in figure.data] == ["solid", "solid", "dash"]
    assert [trace.opacity for trace in figure.data] == [1, 0.6, 1]
    assert [trace.line.color for trace in figure.data] == ["var(--student)", "var(--k9)", "var(--alone)"]
    assert figure.layout.yaxis.autorangeoptions.minallowed == 0.6
    assert figure.layout.yaxis.autorangeoptions.clipmax == 1


def test_values_that_are_not_finite_are_gaps():
    points = [(1, 0.5), (2, math.nan), (3, math.inf)]
    assert json.loads(Figure("h", lines([Line("a", points, "student")], "t")).json)["data"][0]["y"] == [0.5, None, None]


def test_a_confusion_matrix_has_a_cell_per_pair_and_escapes_names():
    figure = confusion_matrix([[1, -2], [0, 3]], ["cat & co", "<dog>"], "t")
    heatmap = figure.data[0]
    assert [[math.copysign(1, value) if value else 0 for value in row] for row in heatmap.z] == [[1, -1], [0, 1]]
    assert heatmap.text == (["+1", "-2"], ["", "+3"])
    assert heatmap.hovertext[0][1] == "true class cat &amp; co, answer &lt;dog&gt;: -2"
    assert figure.layout.xaxis.ticktext == ("cat &amp; co", "&lt;dog&gt;")
    assert list(figure.layout.yaxis.range) == [1.5, -0.5]  # the first class on top
    assert len(figure.layout.shapes) == 2


def test_reliability_leaves_empty_bins_out():
    bins = [ReliabilityBin(0.0, 0.5, 0, None, None), ReliabilityBin(0.5, 1.0, 3, 0.8, 2 / 3)]
    bar, means, diagonal = reliability_diagram(bins, "student", "t").data
    assert (bar.x, bar.y) == ((0.75,), (2 / 3,))
    assert bar.marker.opacity == (pytest.approx(1),)
    assert (means.x, means.y) == ((0.8,), (2 / 3,))
    assert (diagonal.x, diagonal.y) == ((0, 1), (0, 1))
    assert "confidence 0.50 to 1.00: 3 samples (100.0 %)" in bar.hovertext[0]


def test_a_map_has_a_series_per_color_and_its_rings_lie_on_top():
    points = [Dot(0, 0, "k0", "a", link=0), Dot(1, 1, "k1", "b<i>", link=1), Dot(2, 2, "k0", "c", link=2)]
    traces = embedding_map(points, [True, False, False], "t").data
    assert [trace.x for trace in traces] == [(1,), (2,), (0,)]
    assert [trace.marker.symbol for trace in traces] == ["circle", "circle", "circle-open"]
    assert [trace.marker.color for trace in traces] == [("var(--k1)",), ("var(--k0)",), ("var(--k0)",)]
    assert [trace.hovertext for trace in traces] == [("b&lt;i&gt;",), ("c",), ("a",)]
    assert [trace.customdata for trace in traces] == [(1,), (2,), (0,)]


def test_bars_are_as_long_as_their_values():
    figure = bars([Bar("a" * 30, -2, "x & y", "k0"), Bar("b", 1, "y", "k1")], "t")
    assert figure.data[0].x == (2, 1)
    assert figure.data[0].text == ("x &amp; y", "y")
    assert list(figure.layout.xaxis.range) == [0, 2]
    assert figure.layout.yaxis.ticktext == (f"{'a' * 23}…", "b")
    assert figure.data[0].hovertext[0] == f"{'a' * 30}: x &amp; y"


def test_numbers_over_their_colors_can_be_read():
    def luminance(rgb):
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (each / 255 for each in rgb)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    axis = color_axis(0.5, 0.9, 0)
    for share in np.linspace(0, 1, 101).tolist():
        background = luminance(unlabel_rgb(sample_colorscale("Viridis", [share])[0]))
        text = luminance((255, 255, 255) if text_on(0.5 + 0.4 * share, axis) == "#fff" else (0, 0, 0))
        dark, light = sorted((background, text))
        assert (light + 0.05) / (dark + 0.05) > 4.4, share


def test_a_color_axis_names_its_ends():
    axis = color_axis(0.89, 0.97, 2)
    assert (axis["cmin"], axis["cmax"]) == (0.89, 0.97)
    assert axis["colorbar"]["ticktext"] == ["89.00 % (2 lower)", "97.00 %"]
    errors = color_axis(5.0, 9.0, 1, "{:.1f}".format, "min")
    assert errors["colorbar"]["ticktext"] == ["5.0", "9.0 (1 higher)"]
    assert (text_on(5.0, errors), text_on(9.0, errors)) == ("#000", "#fff")  # the best is light
    assert color_axis(0.5, 0.5, 0)["cmin"] < 0.5 < color_axis(0.5, 0.5, 0)["cmax"]


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1, 2, 3], "linear"), ([0.001, 1, 50], "log"), ([5], "linear"), ([], "linear"), ([-1, 99], "linear")],
)
def test_an_axis_over_several_powers_is_logarithmic(values, scale):
    assert number_axis(values, "key")["type"] == scale


def test_the_range_of_shares_stays_within_0_and_1():
    assert value_range(0.9, 1.0) == [pytest.approx(0.894), 1.0]
    assert value_range(0.0, 0.0)[0] == 0
    low, high = value_range(0.5, 0.5)
    assert low < 0.5 < high


HOSTILE = "</script><script>alert(1)</script><!-- & %{y} var(--ink)"


def test_no_text_ends_the_script_or_becomes_html(tmp_path):
    (tmp_path / "t.html").write_text(
        '{% extends "shell.html" %}{% from "figure.html" import figure %}'
        "{% block content %}{{ figure(item) }}{% endblock %}"
    )
    figure = bars([Bar(HOSTILE, 1, HOSTILE, "k0")], HOSTILE)
    page = render("t.html", tmp_path, item=Figure(HOSTILE, figure, HOSTILE, [(HOSTILE, "k0", "")]))
    body = page[page.index("<main>") : page.index("</main>")]
    assert "alert" in body
    assert body.count("<script") == 1
    content = body.split('<script type="application/json">')[1].split("</script>")[0]
    escaped = HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert json.loads(content)["data"][0]["text"] == [escaped]


def test_only_the_pages_own_scripts_may_run(tmp_path):
    (tmp_path / "t.html").write_text('{% extends "shell.html" %}')
    page = render("t.html", tmp_path)
    policy = page.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    assert policy.count("'sha256-") == page.count("<script>") == 2
    assert "script-src 'unsafe" not in policy


def test_robust_ends_leave_out_what_lies_far_below():
    assert robust_range([0.1, 0.94, 0.95, 0.96, 0.97]) == (0.89, 0.97)
    assert robust_range([0.94, 0.97]) == (0.94, 0.97)
    assert robust_range([5.0, 6.0, 7.0, 90.0], direction="min") == (5.0, 9.0)
    assert robust_range([5.0, 6.0], direction="min") == (5.0, 6.0)
    assert robust_range([], direction="min") == (0.0, 1.0)
    assert robust_range([]) == (0.0, 1.0)
    assert robust_range([0.5, 0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("image", "size"),
    [
        (torch.zeros(1, 8, 8, dtype=torch.uint8), (8, 8)),
        (torch.rand(3, 10, 20), (20, 10)),
        (torch.randn(5, 8, 8), (8, 8)),
        (Image.new("RGBA", (300, 200)), (128, 85)),
    ],
)
def test_images_are_inside_the_page(image, size):
    kind, _, content = data_uri(image).partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    assert Image.open(io.BytesIO(b64decode(content))).size == size


def test_pca_is_scikit_learns():
    from sklearn.decomposition import PCA

    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7)
    expected = PCA(2).fit_transform(x.double().numpy())
    found = pca(x).numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-4, atol=1e-4)
    assert pca(torch.randn(5, 1)).shape == (5, 2)
    assert project(torch.randn(40, 6), "tsne").shape == (40, 2)


def test_curves_are_read_over_a_resumption(tmp_path):
    header = "epoch,step,train/loss,train/kd,train/acc,val/acc\n"
    for version, rows in enumerate(["0,9,2.0,1.0,0.3,\n0,9,,,,0.4\n1,19,9.0,,,\n", "1,19,1.0,0.5,0.5,\n1,19,,,,0.6\n"]):
        folder = tmp_path / "csv" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(header + rows)
    found = curves(tmp_path)
    assert list(found) == ["loss", "kd", "acc"]
    assert found["loss"] == {"train": [(1, 2.0), (2, 1.0)]}
    assert found["acc"] == {"train": [(1, 0.3), (2, 0.5)], "val": [(1, 0.4), (2, 0.6)]}
    assert curves(tmp_path / "none") == {}


def test_a_damaged_line_of_the_curves_is_left_out(tmp_path):
    for version, content in (
        ("0", b'epoch,val/acc\n"0,0.4\n1,0.5\nx,0.6\n2,\xff\n'),
        ("old", b""),
        ("10", b"epoch,val/acc\n3,"),
    ):
        folder = tmp_path / "csv" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_bytes(content)
    os.mkfifo(tmp_path / "csv" / "version_1")
    (tmp_path / "csv" / "version_2").mkdir()
    os.mkfifo(tmp_path / "csv" / "version_2" / "metrics.csv")
    assert curves(tmp_path) == {"acc": {"val": [(2, 0.5)]}}


def test_json_keeps_numbers_on_one_line():
    text = as_json({"m": [[1, 2], [3, -4]], "x": [0.5, None, 1e-7], "s": ["a"]})
    assert "[1, 2]" in text
    assert "[0.5, null, 1e-07]" in text

"""Charts are well-formed and show what they are given."""

import io
from base64 import b64decode
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from distill.evaluation.embedding_map import pca, project
from distill.evaluation.learning_curves import curves
from distill.evaluation.reporting.charts import (  # fmt: skip
    Axis,
    Bar,
    Cell,
    Dot,
    Level,
    Line,
    Mean,
    Point,
    bars,
    data_uri,
    dot_plot,
    heatmap,
    heatmap_table,
    lines,
    percent_axis,
    reliability_diagram,
    robust_range,
    scatter,
    viridis,
)
from distill.evaluation.reporting.charts.axes import ticks
from distill.utils.output_files import as_json


def parsed(chart):
    return ElementTree.fromstring(str(chart))


@pytest.mark.parametrize("points", [[], [(1, 0.5)], [(1, 0.5), (2, 0.5)], [(e, 1e6 / e) for e in range(1, 200)]])
def test_lines_of_any_length(points):
    chart = parsed(lines([Line("a <b>", points, "student")], "t", share=False))
    assert len(chart.findall("polyline")) == bool(points)
    for circle in chart.findall("circle"):
        assert 0 <= float(circle.get("cx")) <= 360
        assert 0 <= float(circle.get("cy")) <= 220


def test_heatmap_has_a_cell_per_pair_and_escapes_names():
    chart = parsed(heatmap([[1, -2], [0, 3]], ["cat & co", "<dog>"], "t"))
    cells = [each for each in chart.findall("rect") if "cell" in each.get("class")]
    assert len(cells) == 4
    assert "true class cat & co, answer <dog>: -2" in [cell.find("title").text for cell in cells]


def test_reliability_and_scatter_and_bars():
    bins = [{"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
            {"low": 0.5, "high": 1.0, "count": 3, "confidence": 0.8, "accuracy": 2 / 3}]  # fmt: skip
    assert len(parsed(reliability_diagram(bins, "student", "t")).findall("rect")) == 1
    points = [Point(0, 0, "k0", False, "a"), Point(1, 1, "k1", True, "b")]
    kinds = [each.get("class") for each in parsed(scatter(points, "t")).findall("circle")]
    assert kinds == ["dot", "ring"]
    widths = [i.get("style") for i in parsed(bars([Bar("a", -2, "x", "k0"), Bar("b", 1, "y", "k1")])).iter("i")]
    assert widths[0].startswith("width:100.0%")
    assert widths[1].startswith("width:50.0%")


def test_cells_have_their_colours_and_numbers():
    table = [
        [Cell(0.5, "50.00", "± 1.00", "<a>"), None],
        [Cell(1.0, "100", "", "b", True), Cell(float("nan"), "failed", "", "c")],
    ]
    chart = parsed(heatmap_table(table, ["r<", "s"], ["1", "2"], "rows", "columns", (0.5, 1.0)))
    found = chart.findall(".//td")
    assert [viridis(0)[0] in (td.get("style") or "") for td in found] == [True, False, False, False]
    assert viridis(1)[0] in found[2].get("style")
    assert [td.get("class") for td in found] == [None, "none", "marked", "none"]
    assert "".join(found[0].itertext()) == "50.00± 1.00"
    assert found[0].get("title") == "<a>"


def test_viridis_is_matplotlibs_at_its_ends_and_in_the_middle():
    assert [viridis(share)[0] for share in (0, 0.5, 1)] == ["#440154", "#21918c", "#fde725"]
    assert viridis(-1) == viridis(0)


@pytest.mark.parametrize("values", [[1, 2, 3], [0.001, 1, 50], [5], [-1, 3]])
def test_dots_lie_inside_and_a_low_one_on_the_edge(values):
    x, y = Axis.of(values, "key"), percent_axis(0.9, 0.95)
    points = [Dot(value, 0.92, "red", "said") for value in values] + [Dot(values[0], 0.1, "red", "low", True)]
    points.append(Dot(values[0], 0.1, "red", "lower"))
    chart = parsed(
        dot_plot(
            points, "t", x, y, [Mean(values[0], 0.93, 0.5, "m")], [Level("l", 0.94, "alone"), Level("far", 0.1, "k0")]
        )
    )
    circles = chart.findall("circle")
    assert [c.get("class") for c in circles] == ["dot"] * len(values) + ["marked", "ring"]
    assert all(46 <= float(c.get("cx")) <= 360 and 0 <= float(c.get("cy")) <= 186 for c in circles)
    assert [each.find("title").text for each in chart.findall("line[@class='level']")] == ["l"]
    whisker = chart.find("line[@class='whisker']")
    assert all(0 <= float(whisker.get(end)) <= 186.1 for end in ("y1", "y2"))


def test_many_long_names_under_an_axis_do_not_overlap():
    chart = parsed(
        dot_plot([], "t", Axis.categorical([f"a_rather_long_name_{i}" for i in range(40)]), percent_axis(0, 1))
    )
    slanted = [each for each in chart.findall("text") if "rotate(-35)" in (each.get("transform") or "")]
    places = [float(each.get("transform")[10:].split()[0]) for each in slanted]
    assert min(b - a for a, b in pairwise(places)) >= 13


def test_a_line_begins_where_it_reaches_the_floor():
    chart = parsed(lines([Line("a", [(1, 0.0), (2, 0.8), (3, 0.4), (4, 0.9)], "student")], "t", share=True, floor=0.6))
    points = [tuple(map(float, pair.split(","))) for pair in chart.find("polyline").get("points").split()]
    assert len(points) == 4
    step = (points[-1][0] - points[0][0]) / (4 - 1.75)
    assert points[1][0] - points[0][0] == pytest.approx(0.25 * step, abs=0.2)  # 0.6 is reached at 1.75
    assert points[0][1] == points[2][1] == max(y for _, y in points)


def test_robust_ends_leave_out_what_lies_far_below():
    assert robust_range([0.1, 0.94, 0.95, 0.96, 0.97]) == (0.89, 0.97)
    assert robust_range([0.94, 0.97]) == (0.94, 0.97)
    assert robust_range([]) == (0.0, 1.0)
    assert robust_range([0.5, 0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.513, 0.514), (-3, 1e5), (2, 2)])
def test_ticks_are_few_and_inside(low, high):
    found = ticks(low, high)
    assert 1 <= len(found) <= 8
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)


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


def test_json_keeps_numbers_on_one_line():
    text = as_json({"m": [[1, 2], [3, -4]], "x": [0.5, None, 1e-7], "s": ["a"]})
    assert "[1, 2]" in text
    assert "[0.5, null, 1e-07]" in text

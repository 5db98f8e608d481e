"""Charts are well-formed and show what they are given."""

import io
from base64 import b64decode
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from distill.evaluation.curves import curves
from distill.evaluation.embedding import pca, place
from distill.evaluation.outputs import as_json
from distill.report import Bar, Line, Point, bars, data_uri, heatmap, lines, reliability_diagram, scatter
from distill.report.axes import ticks


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
    assert place(torch.randn(40, 6), "tsne").shape == (40, 2)


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

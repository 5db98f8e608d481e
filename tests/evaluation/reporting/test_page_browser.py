"""The pages in headless Chromium: sections, no console errors, no request to anywhere, phone width, dark, print."""

import re

import pytest

from distill.cli.compare import Options as Compare, compare
from distill.cli.evaluate import Options, evaluate

SECTIONS = {
    "report.html": ["numbers", "curves", "calibration", "differences", "embeddings", "examples", "reproduce"],
    "compare.html": ["table", "bars", "curves", "commands"],
}

ALL_DRAWN = "() => [...document.querySelectorAll('.chart')].every(each => each.querySelector('.main-svg'))"
CHART_TEXT = "getComputedStyle(document.querySelector('.xtick text')).fill"

pytestmark = pytest.mark.slow


def color(page, expression):
    """Red, green, blue."""
    return [int(each) for each in re.findall(r"\d+", page.evaluate(expression))[:3]]


@pytest.fixture(scope="module")
def pages(distilled, alone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    evaluate(Options(run=str(distilled), output=str(folder), against=str(alone)))
    compare(Compare(runs=[str(distilled), str(alone)], output=str(folder / "compare.html")))
    return folder


@pytest.mark.parametrize("name", list(SECTIONS))
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_in_a_browser(browser, pages, name, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    address = (pages / name).as_uri()
    page.goto(address, timeout=120_000)  # ms; a busy machine
    page.wait_for_function(ALL_DRAWN)
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert page.eval_on_selector_all("section", "all => all.map(each => each.id)") == SECTIONS[name]
    for section in page.query_selector_all("section"):
        assert section.bounding_box()["height"] > 60
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.images.length") >= (12 if name == "report.html" else 0)
    charts = page.eval_on_selector_all(".main-svg", "all => all.map(each => each.getBoundingClientRect().width)")
    assert len(charts) >= 2
    assert min(charts) > 250
    assert page.eval_on_selector_all(".chart", "all => all.every(each => each.getAttribute('aria-label'))")
    assert (sum(color(page, CHART_TEXT)) > 384) == (scheme == "dark")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 200) == (scheme == "dark")
    page.emulate_media(media="print", color_scheme=scheme)
    page.wait_for_function(
        "() => [...document.querySelectorAll('.chart')].every(each => each.layout.width)"
    )  # drawn anew
    assert sum(color(page, CHART_TEXT)) < 384  # dark on white, as the text around it
    widths = page.eval_on_selector_all(".grid-2 .chart .main-svg", "all => all.map(each => each.clientWidth)")
    assert max(widths) <= 320  # two fit beside each other on a sheet
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    ink = page.evaluate("getComputedStyle(document.querySelector('h1')).color")
    assert sum(map(int, ink[4:-1].split(","))) < 200  # dark on white, whatever the screen was
    rules = "[...document.styleSheets[0].cssRules].filter(r => r instanceof CSSPageRule).map(r => r.cssText).join()"
    assert "margin: 14mm" in page.evaluate(rules)  # a printer that adds none cuts no text off
    columns = "getComputedStyle(document.querySelector('.grid-2')).gridTemplateColumns"
    assert len(page.evaluate(columns).split()) == 2  # no chart takes a sheet for itself
    printed = page.pdf()
    assert printed.count(b"/Type /Page\n") >= (5 if name == "report.html" else 1)
    context.close()


def test_a_point_of_the_map_shows_its_picture(browser, pages):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((pages / "report.html").as_uri(), timeout=120_000)
    page.wait_for_function(ALL_DRAWN)
    across, down, number = page.evaluate("""() => {
      const chart = document.querySelector('#embeddings .chart'), {xaxis, yaxis} = chart._fullLayout;
      chart.scrollIntoView({block: 'center'});
      const box = chart.getBoundingClientRect(), {x, y, customdata} = chart.data.at(-1);
      return [box.left + xaxis._offset + xaxis.d2p(x[0]), box.top + yaxis._offset + yaxis.d2p(y[0]), customdata[0]];
    }""")
    page.mouse.move(across, down)
    page.wait_for_function("() => document.querySelector('.sample').offsetWidth")
    columns = page.evaluate("JSON.parse(document.querySelector('#samples').textContent).columns")
    place = page.evaluate("document.querySelector('.sample').style.backgroundPosition")
    assert place == f"{-96 * (number % columns)}px {-96 * (number // columns)}px".replace("-0px", "0px")
    page.mouse.move(1, 1)
    page.wait_for_function("() => document.querySelector('.sample').hidden")
    page.close()

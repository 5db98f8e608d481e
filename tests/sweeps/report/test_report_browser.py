"""The page of a sweep in headless Chromium: sections, no console errors, no request to anywhere, phone width, dark."""

import pytest

from copies import copy_run
from distill.sweeps.report.files import write_report

SECTIONS = ["best", "map", "effects", "curves", "settings", "jobs", "about"]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "light"), (390, "dark"), (1280, "dark")])
def test_the_page_in_a_browser(browser, grid, alone, tmp_path, width, scheme):
    copy_run(alone, tmp_path / "alone", ["kd=none"], 0.8, 0.8)
    write_report(grid, baseline=tmp_path / "alone")
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    address = (grid / "report.html").as_uri()
    page.goto(address, timeout=120_000)  # ms; a busy machine
    assert said == []
    assert asked == [address]
    assert page.eval_on_selector_all("section", "all => all.map(each => each.id)") == SECTIONS
    for section in page.query_selector_all("section"):
        assert section.bounding_box()["height"] > 60
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    maps = page.eval_on_selector_all("table.cells", "all => all.map(each => each.getBoundingClientRect().width)")
    assert len(maps) == 2
    assert max(maps) <= width - 40  # three columns need no scrolling on a phone
    charts = page.eval_on_selector_all("svg.chart", "all => all.map(each => each.getBoundingClientRect().width)")
    assert len(charts) == 3 + 3  # effects of T, alpha and the seed; curves of all, by T, by alpha
    assert min(charts) > 250
    assert page.locator("td.marked").count() == 2
    for cell in page.query_selector_all("table.cells td[style]"):
        contrast = cell.evaluate(CONTRAST)
        assert contrast > 4.4, cell.inner_text()
    assert page.locator("svg.chart .level").count() == 2 * 3  # teacher and student alone
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 200) == (scheme == "dark")
    context.close()


CONTRAST = """cell => {
  const light = colour => {
    const linear = c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
    const [r, g, b] = colour.match(/[0-9]+/g).map(c => linear(c / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const style = getComputedStyle(cell), pair = [light(style.color), light(style.backgroundColor)].sort((a, b) => b - a);
  return (pair[0] + .05) / (pair[1] + .05);
}"""

"""A setting chosen in a chart or in the table, in headless Chromium: its runs are shown. Legends switch series."""

from itertools import product

import pytest

from copies import begin, copy_run
from distill.sweeps.report.files import write_report

ALL_DRAWN = "() => [...document.querySelectorAll('.chart')].every(each => each.querySelector('.main-svg'))"
POINT = """([section, trace, x, y]) => {
  const chart = document.querySelector(`#${section} .chart`), {xaxis, yaxis, _size} = chart._fullLayout;
  chart.scrollIntoView({block: "center"});
  const box = chart.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.d2p(x), box.top + yaxis._offset + yaxis.d2p(y)];
}"""
CUT = """() => [...document.querySelectorAll('.chart')].flatMap(chart => {
  const box = chart.getBoundingClientRect();
  return [...chart.querySelectorAll('text')].filter(text => {
    const {left, right, top, bottom, width} = text.getBoundingClientRect();
    return width && (left < box.left - 1 || right > box.right + 1 || top < box.top - 1 || bottom > box.bottom + 1);
  }).map(text => text.textContent);
})"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(distilled, tmp_path_factory):
    """3 keys, 24 settings, 2 seeds."""
    sweep = tmp_path_factory.mktemp("three")
    begin(sweep, "kd.T=1,2,4,8", "kd.alpha=0.1,0.5,0.9", "optimizer.lr=0.01,0.1", "seed=0,1", jobs=48)
    for number, (t, a, lr, seed) in enumerate(product((1, 2, 4, 8), (0.1, 0.5, 0.9), (0.01, 0.1), (0, 1))):
        score = 0.5 + 0.04 * t + 0.1 * a + lr / 100 + seed / 1000
        overrides = [f"kd.T={t}", f"kd.alpha={a}", f"optimizer.lr={lr}", f"seed={seed}"]
        copy_run(distilled, sweep / str(number), overrides, score, score)
    write_report(sweep)
    return sweep / "report.html"


@pytest.fixture(scope="module")
def context(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    context.set_default_timeout(240_000)  # ms; a busy machine
    yield context
    context.close()


@pytest.fixture
def page(context, report):
    page = context.new_page()
    page.goto(report.as_uri())
    page.wait_for_function(ALL_DRAWN)
    yield page
    page.close()


def rows(page, table):
    """The visible rows of a table, by what they stand for."""
    return page.eval_on_selector_all(
        f"{table} tbody tr", "all => all.filter(r => r.offsetHeight).map(r => r.dataset.link)"
    )


def click(page, section, x, y):
    """A click on a place of a section's first chart, in the units of its axes."""
    across, down = page.evaluate(POINT, [section, 0, x, y])
    page.mouse.move(across, down)
    page.wait_for_function("section => document.querySelector(`#${section} .hoverlayer .hovertext`)", arg=section)
    page.mouse.click(across, down)
    page.wait_for_function("() => document.querySelector('[type=search]').value")


def test_a_cell_a_line_and_a_value_choose_settings(page):
    assert len(rows(page, ".settings")) == 24
    assert rows(page, ".runs") == []
    click(page, "map", 3, 2)
    setting = page.input_value("[type=search]")
    assert setting.split() == ["kd.T=8", "kd.alpha=0.9", setting.split()[2]]
    assert rows(page, ".settings") == [setting]
    assert rows(page, ".runs") == [f"{setting} seed=0", f"{setting} seed=1"]
    assert page.text_content("[role=search] output") == "1 setting; 2 runs"
    assert page.evaluate("location.hash") == "#settings"

    click(page, "keys", 0, 0)  # the lowest value of the first key
    assert page.input_value("[type=search]") == "kd.T=1"
    assert len(rows(page, ".settings")) == 6
    assert len(rows(page, ".runs")) == 12

    click(page, "keys", 3, 1)  # the end of the best one's line
    assert page.input_value("[type=search]") == "kd.T=8 kd.alpha=0.9 optimizer.lr=0.1"


def test_the_table_is_used_without_a_mouse(page):
    page.locator(".settings button").nth(1).focus()
    page.keyboard.press("Enter")
    second = page.input_value("[type=search]")
    assert rows(page, ".runs") == [f"{second} seed=0", f"{second} seed=1"]
    page.locator("[type=search]").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("kd.T=1 kd.T=2 kd.alpha=0.5")  # values of one key are alternatives
    assert len(rows(page, ".settings")) == 4
    page.keyboard.press("Enter")
    # 8 runs
    page.wait_for_function("() => document.querySelector('#effects .chart').data[0].selectedpoints?.length === 8")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    assert len(rows(page, ".settings")) == 24
    assert rows(page, ".runs") == []
    page.keyboard.type("nothing of this kind")
    assert rows(page, ".settings") == []
    assert page.text_content("[role=search] output") == "0 settings; 0 runs"


def test_a_legend_switches_its_series_by_key(page):
    button = page.locator("#effects .legend button").nth(1)
    button.focus()
    page.keyboard.press("Space")
    visible = "() => [...document.querySelectorAll('#effects .chart')].map(each => each.data[1].visible ?? true)"
    page.wait_for_function(f"() => !({visible})().includes(true)")
    assert button.get_attribute("aria-pressed") == "false"
    assert page.evaluate("document.querySelector('#effects .chart').data[0].visible ?? true")
    page.keyboard.press("Space")
    page.wait_for_function(f"() => !({visible})().includes(false)")


@pytest.mark.parametrize("width", [1280, 360])
def test_no_text_is_cut(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(1000)  # drawn anew
    assert page.evaluate(CUT) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width

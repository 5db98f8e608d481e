"""The page of a sweep in headless Chromium: sections, no console errors, no request to anywhere, phone width, dark."""

import json
import shutil

import pytest

from copies import copy_run
from distill.sweeps.report.files import write_report

ALL_DRAWN = "() => [...document.querySelectorAll('.chart')].every(each => each.querySelector('.main-svg'))"
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
    page.wait_for_function(ALL_DRAWN)
    assert said == []
    assert asked == [address]
    assert page.eval_on_selector_all("section", "all => all.map(each => each.id)") == SECTIONS
    for section in page.query_selector_all("section"):
        assert section.bounding_box()["height"] > 60
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    charts = page.eval_on_selector_all(".chart", "all => all.map(each => each.getBoundingClientRect().width)")
    assert len(charts) == 2 + 3 + 3  # maps; effects of T, alpha and the seed; curves of all, by T, by alpha
    assert min(charts) > 250
    assert max(charts) <= width - 40  # three columns need no scrolling on a phone
    axis_text = page.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill")
    assert (sum(map(int, axis_text[4:-1].split(","))) > 384) == (scheme == "dark")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 200) == (scheme == "dark")
    context.close()


def test_the_page_of_a_thousand_runs_opens_in_two_seconds(browser, distilled, tmp_path):
    copy_run(distilled, tmp_path / "0", ["kd.T=1", "kd.alpha=0.0", "seed=0"])
    for number in range(1, 1000):
        shutil.copytree(tmp_path / "0", tmp_path / str(number))
        t, a, seed = number // 100 + 1, number // 10 % 10 / 10, number % 10
        overrides = {"overrides": [f"kd.T={t}", f"kd.alpha={a}", f"seed={seed}"], "config_dir": None}
        (tmp_path / str(number) / "command.yaml").write_text(json.dumps(overrides))
    write_report(tmp_path)
    page = browser.new_page()
    loaded = []
    for _ in range(3):  # the best of three, for a busy machine
        page.goto((tmp_path / "report.html").as_uri(), timeout=120_000)
        loaded.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        page.wait_for_function(ALL_DRAWN)
    assert min(loaded) < 2000  # ms
    page.close()

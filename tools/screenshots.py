"""The pictures of pages in docs/images, taken anew in Chromium: python tools/screenshots.py RUN SWEEP

RUN is the folder of a run, evaluated with against=, and SWEEP that of a sweep with its report; docs/evaluate.md and
docs/sweeps.md say which commands these are made by.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
# name, whether of the sweep, width in pixels, dark, first and last section (None: from the top of the page)
SHOTS = (
    ("report-numbers", False, 1120, False, None, "numbers"),
    ("report-differences", False, 1120, False, "differences", "differences"),
    ("report-embeddings-dark", False, 1120, True, "embeddings", "embeddings"),
    ("report-phone", False, 390, False, None, "numbers"),
    ("sweep-head", True, 1120, False, None, "map"),
    ("sweep-effects-dark", True, 1120, True, "effects", "curves"),
    ("sweep-phone", True, 390, False, None, "map"),
)
DRAWN = "() => [...document.querySelectorAll('.chart')].every(each => each.querySelector('.main-svg'))"
LONGEST = 1500  # pixels


def take(browser: Browser, page_file: Path, shot: tuple[str, bool, int, bool, str | None, str]) -> None:
    """One picture."""
    name, _, width, dark, first, last = shot
    view: Any = {"width": width, "height": 900}
    context = browser.new_context(viewport=view, color_scheme="dark" if dark else "light", offline=True)
    page = context.new_page()
    page.goto(page_file.resolve().as_uri(), timeout=120_000)  # ms; a busy machine
    page.wait_for_function(DRAWN, timeout=120_000)
    boxes = [page.locator(f"#{section}").bounding_box() if section else None for section in (first, last)]
    top = boxes[0]["y"] - 12 if boxes[0] else 0
    assert boxes[1] is not None, f"{page_file} has no section {last}"
    bottom = boxes[1]["y"] + boxes[1]["height"] + 12
    area: Any = {"x": 0, "y": top, "width": width, "height": min(bottom - top, LONGEST)}
    page.screenshot(path=IMAGES / f"{name}.png", full_page=True, clip=area)
    context.close()


def main(run: str, sweep: str) -> None:
    """All pictures."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for shot in SHOTS:
            take(browser, Path(sweep if shot[1] else run) / "report.html", shot)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

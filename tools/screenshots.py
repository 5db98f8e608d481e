"""The pictures of README and docs, taken anew: python tools/screenshots.py [closing-table] [report] [sweep]

Trains what they show anew under outputs/pictures, and opens the pages in Chromium. Without names all are taken.
docs/images/sources.json then says which code they show (tools/docs_site/pictures.py).
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from docs_site import pictures

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
PLACE = Path("outputs/pictures")
SHORT = ("model=resnet8", "teacher=resnet20", "trainer.max_epochs=5", "threads=1")
# name, width in pixels, dark, first and last section (None: from the top of the page)
SHOTS = (
    ("report-numbers", 1120, False, None, "numbers"),
    ("report-differences", 1120, False, "differences", "differences"),
    ("report-embeddings-dark", 1120, True, "embeddings", "embeddings"),
    ("report-phone", 390, False, None, "numbers"),
    ("sweep-head", 1120, False, None, "map"),
    ("sweep-effects-dark", 1120, True, "effects", "curves"),
    ("sweep-phone", 390, False, None, "map"),
)
DRAWN = "() => [...document.querySelectorAll('.chart')].every(each => each.querySelector('.main-svg'))"
LONGEST = 1500  # pixels


def command(made: str, script: str, *arguments: str) -> None:
    """Runs a command whose output goes to ``made`` and to a file beside it."""
    (ROOT / PLACE).mkdir(parents=True, exist_ok=True)
    print(f"python {script} {' '.join(arguments)}", flush=True)
    done = subprocess.run([sys.executable, script, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    (ROOT / PLACE / made.replace("/", "-")).with_suffix(".txt").write_text(done.stdout, encoding="utf-8")


def train(name: str, *arguments: str) -> None:
    """A run, or with ``-m`` a sweep, in ``outputs/pictures/<name>``."""
    key = "hydra.sweep.dir" if "-m" in arguments else "hydra.run.dir"
    command(name, "train.py", *arguments, f"{key}={PLACE / name}")


def closing_table() -> None:
    """The table of ``make demo``, in its page and as an image."""
    command("demo.txt", "train.py", "threads=1", f"hydra.run.dir={PLACE}/demo")
    table = pictures.closing_table((ROOT / PLACE / "demo.txt").read_text(encoding="utf-8"))
    page = ROOT / pictures.TABLE_PAGE
    page.write_text(pictures.with_table(page.read_text(encoding="utf-8"), table), encoding="utf-8")
    (IMAGES / "closing-table.svg").write_text(pictures.drawn(table), encoding="utf-8")


def report(browser: Browser) -> None:
    """The page of a run, beside the same student alone."""
    train("run", *SHORT)
    train("alone", *SHORT, "kd=none")
    command("run/report.html", "evaluate.py", f"run={PLACE}/run", f"against={PLACE}/alone")
    take_all(browser, "report", PLACE / "run" / "report.html")


def sweep(browser: Browser) -> None:
    """The page of a sweep, beside the student alone."""
    train("sweep", "-m", *SHORT, "kd.T=1,2,4,8", "kd.alpha=0.1,0.5,0.9", "seed=0,1")
    train("sweep-alone", "-m", *SHORT, "kd=none", "seed=0,1")
    command("baseline.txt", "report.py", f"{PLACE}/sweep", f"baseline={PLACE}/sweep-alone")
    take_all(browser, "sweep", PLACE / "sweep" / "report.html")


def take_all(browser: Browser, group: str, page: Path) -> None:
    """The pictures of a page."""
    for shot in SHOTS:
        if shot[0].startswith(f"{group}-"):
            take(browser, ROOT / page, shot)


def take(browser: Browser, page_file: Path, shot: tuple[str, int, bool, str | None, str]) -> None:
    """One picture."""
    name, width, dark, first, last = shot
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


def main(groups: list[str]) -> None:
    """The pictures of these groups."""
    if "closing-table" in groups:
        closing_table()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, shots in (("report", report), ("sweep", sweep)):
            if name in groups:
                shots(browser)
        browser.close()
    for group in groups:
        pictures.record(ROOT, group)


if __name__ == "__main__":
    main(sys.argv[1:] or list(pictures.SOURCES))

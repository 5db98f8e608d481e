"""Shared by all tests: one thread, as small tensors wait longer than they compute; a browser, for pages."""

import logging
import random
import shutil
import sys

import pytest
import torch

import text_runs
from copies import begin, copy_run
from distill.sweeps import record
from distill.utils.logging import setup_logging
from jobs import TINY, run_job

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def messages():
    """Messages are shown as the commands show them; a log file that Hydra has opened is closed again.

    A file that stays open is collected during some later test, which then fails for the ResourceWarning.
    """
    setup_logging()
    yield
    for handler in [handler for handler in logging.root.handlers if isinstance(handler, logging.FileHandler)]:
        logging.root.removeHandler(handler)
        handler.close()


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: make browser (Debian: apt-get install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="session")
def distilled(outputs):
    run_job(outputs / "distilled", *TINY, "teacher=resnet14")
    return outputs / "distilled"


@pytest.fixture(scope="session")
def alone(outputs):
    run_job(outputs / "alone", *TINY, "kd=none")
    return outputs / "alone"


@pytest.fixture(scope="session")
def text_run(tmp_path_factory):
    """A function that returns the folder of the run of a task on texts, trained at the first call."""
    base = tmp_path_factory.mktemp("texts")
    text_runs.files(base)

    def folder(task):
        if not (base / task).is_dir():
            run_job(base / task, *text_runs.arguments(base, task))
        return base / task

    return folder


@pytest.fixture
def grid(distilled, tmp_path):
    """T × alpha × seed with accuracies drawn at random; the job of the last seed of one point has failed."""
    generator, sweep = random.Random(0), tmp_path / "grid"
    begin(sweep, "kd.T=1,2,16", "kd.alpha=0.1,0.9", "seed=0,1,2", jobs=18)
    points = [(t, a, s) for t in ("1", "2", "16") for a in ("0.1", "0.9") for s in "012"]
    for number, (t, a, s) in enumerate(points):
        overrides = [f"kd.T={t}", f"kd.alpha={a}", f"seed={s}", "trainer.max_epochs=2"]
        if number == 17:
            record.fail(sweep / "17", overrides, "its worker process died <&>")
        else:
            scores = generator.uniform(0.8, 0.9), generator.uniform(0.7, 0.95), 0.96
            copy_run(distilled, sweep / str(number), overrides, *scores)
    return sweep


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """The file that none may create; the stranger's module can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "marker"
    sys.modules.pop("strangers_module", None)

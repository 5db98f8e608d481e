"""Finished runs on the digits and on texts, trained once for this folder."""

import pytest

from jobs import TINY, run_job
from text_runs import arguments, files


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "run"
    run_job(folder, *TINY, "teacher=resnet14", "trainer.max_epochs=4")
    return folder


@pytest.fixture(scope="session")
def text_run(tmp_path_factory):
    """The folder of a finished run on texts, by its task."""
    folder, made = tmp_path_factory.mktemp("texts"), {}
    files(folder)

    def run(task):
        if task not in made:
            made[task] = folder / f"run {task}"
            run_job(made[task], *arguments(folder, task))
        return made[task]

    return run

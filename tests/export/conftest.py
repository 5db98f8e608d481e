"""Finished runs on the digits, trained once for this folder."""

import pytest

from jobs import TINY, run_job


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "run"
    run_job(folder, *TINY, "teacher=resnet14", "trainer.max_epochs=4")
    return folder

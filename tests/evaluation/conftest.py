"""Two finished runs on digits: a distilled student, and the same student trained alone."""

import pytest

from jobs import TINY, run_job


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

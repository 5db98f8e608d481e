import pytest

from campaign.findings import Findings
from campaign.forked import preload
from campaign.works import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    preload()
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def findings():
    findings = Findings()
    yield findings
    assert not findings.faults, findings.faults
    assert findings.parts

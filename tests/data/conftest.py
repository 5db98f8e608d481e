import pytest

from data_helpers import write_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("images") / "root", ("ant", "bee", "cow"), 12)

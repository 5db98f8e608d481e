import pytest

from text_helpers import write_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizers") / "tiny")

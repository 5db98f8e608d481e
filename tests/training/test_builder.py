"""What is built from a configuration: the data of one job are not those of the job before it."""

from distill.config.schema import typed
from distill.training.load_data import load_data
from jobs import composed
from text_helpers import write_jsonl, write_tokenizer


def test_each_source_has_its_own_data(tmp_path):
    """Of several jobs in one process, as of a sweep over data.root."""
    tokenizer = write_tokenizer(tmp_path / "tokenizer")
    loaded = []
    for words in (["good", "bad"], ["the film", "a film", "very"]):
        root = write_jsonl(
            tmp_path / f"{len(words)}.jsonl", [{"text": w, "label": w[0]} for w in words for _ in "1234"]
        )
        name = f"teacher.name={tokenizer}"
        settings = typed(composed("data=text", name, f"data.root={root}", "data.max_length=16", "data.batch_size=2"))
        loaded.append(load_data(settings.data, 0))
        assert load_data(settings.data, 1)._shared is loaded[-1]._shared  # but what is the same is loaded once
    assert [data.classes for data in loaded] == [["b", "g"], ["a", "t", "v"]]

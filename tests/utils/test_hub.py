"""A name of the hub: the cache first, without the network; else one request, and one line where it fails."""

import shutil

import pytest

pytest.importorskip("transformers")

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from distill.models import bert_model, hf_model
from distill.training import pretrained
from distill.utils import hub
from distill.utils.errors import UserError
from text_models import WORDS, batch, save_model, save_pooling, save_tokenizer

NAME = "somebody/tiny"


@pytest.fixture
def requests(monkeypatch, tmp_path):
    """An empty cache, and a hub that cannot be reached: the names of the files that it was asked for."""
    asked = []

    def unreachable(url, **_):
        asked.append(url.rpartition("/")[2])
        raise OSError("Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    return asked


@pytest.fixture
def cached(requests, tmp_path):
    """A model in the cache."""
    repository = tmp_path / "cache" / "models--somebody--tiny"
    snapshot = save_tokenizer(repository / "snapshots" / ("0" * 40))
    save_model(snapshot, "bert")
    save_pooling(snapshot, "cls_token", normalize=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return snapshot


def test_the_cache_needs_no_network(cached, requests):
    model = hf_model(NAME, 2, "embedding")
    assert model(batch()).shape == (3, 32)
    assert (model.pooling.mode, model.pooling.normalize) == ("cls", True)
    assert bert_model(1, 32, 4, 2, tokenizer=NAME).config.vocab_size == len(WORDS)
    assert requests == []


def test_a_teacher_of_the_hub_is_known_by_its_commit(cached):
    node = {"_target_": "distill.models.hf_model", "name": NAME, "pretrained": True}
    assert hub.commit(NAME) == 40 * "0"
    assert pretrained.fingerprint_inputs(node, "teacher") == {"commit": 40 * "0"}
    cached.rename(cached.with_name(40 * "1"))
    (cached.parents[1] / "refs" / "main").write_text(40 * "1")
    assert pretrained.fingerprint_inputs(node, "teacher") == {"commit": 40 * "1"}
    assert hub.commit("somebody/else") is None


def test_a_cache_without_the_weights(cached, requests):
    (cached / "model.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"'somebody/tiny' is no folder here, and not \(whole\) in the .* cache, and http"
    ):
        hf_model(NAME, 2)
    assert requests == ["config.json"]
    assert hf_model(NAME, 2, pretrained=False)


def test_files_that_are_not_cached_are_missed(cached, requests):
    shutil.rmtree(cached / "1_Pooling")
    (cached / "modules.json").unlink()
    assert hf_model(NAME, 2, "embedding").pooling.mode == "mean"


def test_no_network(requests):
    with pytest.raises(UserError) as error:
        hf_model(NAME, 2)
    assert requests == ["config.json"]
    assert str(error.value) == (
        f"'{NAME}' is no folder here, and not (whole) in the Hugging Face cache, and {constants.ENDPOINT} cannot be "
        f"reached (Name or service not known): download it once with a network (hf download {NAME}), or name a folder"
    )


def test_offline(requests, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE=1 keeps it from being downloaded$"):
        hub.read_tokenizer(NAME)
    assert requests == []


def test_a_name_that_the_hub_does_not_have(requests, monkeypatch):
    class Response:
        headers, request, status_code = {}, None, 404

    def missing(url, **_):
        raise HfHubHTTPError("Repository Not Found for url:\nmaybe it is private", response=Response())

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", missing)
    with pytest.raises(UserError, match=r"and the Hub does not give it \(Repository Not Found") as error:
        hf_model(NAME, 2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a b", "./a", "../a", "/a/b", "~/nowhere", "a/b/c", "a/", "models\\x"])
def test_what_is_no_name_is_a_folder_that_is_not_there(requests, name):
    with pytest.raises(UserError, match="there is no folder"):
        hub.locate(name, "name")
    assert requests == []


@pytest.mark.parametrize("name", ["--a", "a..b", "a/b--c", "ä"])
def test_names_that_the_hub_does_not_allow(requests, name):
    with pytest.raises(UserError, match="is no folder") as error:
        hf_model(name, 2)
    assert "\n" not in str(error.value)

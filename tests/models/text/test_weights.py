"""Weights that are read, and one line for those that are not: pickled, damaged, of another architecture, not whole."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("transformers")

from transformers import AutoModelForSequenceClassification

from distill.models import hf_model
from distill.utils.errors import UserError
from text_models import batch, save_model


@pytest.fixture
def folder(tmp_path):
    return save_model(tmp_path / "model", "bert", "SequenceClassification", num_labels=3)


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder, match, **arguments):
    with pytest.raises(UserError, match=match) as error:
        hf_model(str(folder), 3, **arguments)
    assert "\n" not in str(error.value)


def test_shards(folder, tmp_path):
    whole = AutoModelForSequenceClassification.from_pretrained(folder)
    whole.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    with torch.no_grad():
        assert torch.equal(hf_model(str(tmp_path / "shards"), 3).eval()(batch()), whole.eval()(**batch()).logits)


def test_a_missing_shard(folder, tmp_path):
    AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(tmp_path / "s", max_shard_size="20KB")
    sorted((tmp_path / "s").glob("*.safetensors"))[0].unlink()
    refused(tmp_path / "s", "its weights cannot be read")


def test_pickled_weights_are_not_read(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    refused(folder, "has its weights as pytorch_model.bin, which could run code: only model.safetensors is read")
    assert hf_model(str(folder), 3, pretrained=False)


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, r"model has no model.safetensors; its files: config.json$")


@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_damaged_weights(folder, content):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    refused(folder, "its weights cannot be read")


def test_weights_that_are_not_whole(folder):
    weights = load_file(folder / "model.safetensors")
    left = {name: value for name, value in weights.items() if "layer.2." not in name}
    save_file(left, folder / "model.safetensors", {"format": "pt"})
    refused(folder, "its weights lack 16 tensors of BertForSequenceClassification")


def test_weights_of_another_architecture(folder, tmp_path):
    other = save_model(tmp_path / "other", "distilbert")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    refused(folder, "its weights lack .* of another architecture than config.json says")


@pytest.mark.parametrize("settings", [{"intermediate_size": 128}, {"vocab_size": 50}])
def test_settings_that_change_shapes(folder, settings):
    refused(folder, "its weights do not fit its configuration: bert.* needs? pretrained=false", **settings)
    assert hf_model(str(folder), 3, pretrained=False, **settings)


def test_half_precision_weights_are_computed_in_float32(folder):
    path = folder / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(path).items()}, path, {"format": "pt"})
    edit(folder, dtype="float16")
    assert {p.dtype for p in hf_model(str(folder), 3).parameters()} == {torch.float32}
    assert {p.dtype for p in hf_model(str(folder), 3, pretrained=False).parameters()} == {torch.float32}


def test_a_configuration_does_not_choose_the_attention(folder):
    edit(folder, _attn_implementation="eager", attn_implementation="somebody/kernel")
    for pretrained in (True, False):
        assert hf_model(str(folder), 3, pretrained=pretrained).config._attn_implementation == "sdpa"


def test_the_structure_alone_needs_no_weights(folder):
    (folder / "model.safetensors").unlink()
    model = hf_model(str(folder), 5, class_names=list("abcde"), pretrained=False)
    assert model(batch()).shape == (3, 5)
    assert model.config.id2label == dict(enumerate("abcde"))


def test_nothing_is_printed(folder, capfd, caplog):
    caplog.set_level(logging.INFO)
    capfd.readouterr()
    hf_model(str(folder), 7)
    out, err = capfd.readouterr()
    assert (out, err, caplog.records) == ("", "", [])

"""Weights in several files, behind an index."""

import json

import pytest
import safetensors.torch
import torch

from distill.config.weights_files import check_checkpoint, weights_of
from distill.models import resnet8
from distill.utils.checkpoints import load_weights
from distill.utils.errors import UserError

INDEX = "model.safetensors.index.json"


@pytest.fixture
def saved(tmp_path):
    """A model in two shards, as transformers writes them."""
    torch.manual_seed(1)
    model = resnet8(10)
    names, where = sorted(model.state_dict()), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        safetensors.torch.save_file({n: model.state_dict()[n].contiguous() for n in part}, tmp_path / file)
        where |= dict.fromkeys(part, file)
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return model


def test_all_shards_are_loaded(saved, tmp_path):
    check_checkpoint(str(tmp_path / INDEX), "init")
    model = resnet8(10)
    load_weights(model, weights_of(str(tmp_path)), "the student resnet8")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in saved.state_dict().items())


def test_shards_of_torch(saved, tmp_path):
    where = dict.fromkeys(saved.state_dict(), "pytorch_model-00001-of-00001.bin")
    torch.save(saved.state_dict(), tmp_path / "pytorch_model-00001-of-00001.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    check_checkpoint(str(tmp_path / "pytorch_model.bin.index.json"), "teacher.checkpoint")
    model = resnet8(10)
    load_weights(model, tmp_path / "pytorch_model.bin.index.json", "the teacher resnet8")
    assert torch.equal(model.state_dict()["fc.weight"], saved.state_dict()["fc.weight"])


def test_what_is_not_whole_is_one_line(saved, tmp_path):
    index, shard = tmp_path / INDEX, tmp_path / "model-00002-of-00002.safetensors"
    with pytest.raises(UserError, match="is one of 2 shards: give their index, .*model.safetensors.index.json"):
        check_checkpoint(str(shard), "init")
    with pytest.raises(UserError, match="is a folder; name a file in it: .*model.safetensors.index.json"):
        check_checkpoint(str(tmp_path), "teacher.checkpoint")
    content = json.loads(index.read_text())
    first = next(iter(content["weight_map"]))
    content["weight_map"][first] = shard.name if content["weight_map"][first] != shard.name else "../x.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match="its shard model-00002-of-00002.safetensors does not hold"):
        load_weights(resnet8(10), index, "the student")
    shard.unlink()
    with pytest.raises(UserError, match="names the shard 'model-00002-of-00002.safetensors', which is no file"):
        check_checkpoint(str(index), "init")
    for text in ("{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": "../b.safetensors"}}'):
        index.write_text(text)
        with pytest.raises(UserError, match="is no index of shards|names the shard"):
            check_checkpoint(str(index), "init")

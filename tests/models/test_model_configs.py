"""Every file under conf/model builds, says what it is, and leaves sizes to the data."""

import inspect
import re

import pytest
from hydra.utils import get_method, instantiate
from omegaconf import OmegaConf

import distill.models
from distill.config import CONF

FILES = sorted((CONF / "model").glob("*.yaml"))
EXTERNAL = {
    "torchvision": "torchvision_model", "timm": "timm_model", "hf": "hf_model",
    "unet_tiny": "unet", "lraspp": "torchvision_segmenter", "deeplabv3": "torchvision_segmenter",
    "bert_tiny": "bert_model", "bert_mini": "bert_model", "bert_small": "bert_model", "llama_tiny": "llama_model",
}  # fmt: skip
OF_A_NAME = ("hf", "from_teacher")  # as large as what is named


def test_each_factory_has_its_file():
    factories = {name for name in dir(distill.models) if inspect.isfunction(getattr(distill.models, name))}
    assert {EXTERNAL.get(file.stem, file.stem) for file in FILES} == factories


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_file(file):
    config = OmegaConf.load(file)
    assert config._target_ == f"distill.models.{EXTERNAL.get(file.stem, file.stem)}"
    keys = {str(key) for key in config} - {"_target_"}
    accepted = set(inspect.signature(get_method(config._target_)).parameters)
    assert keys <= accepted - {"num_classes", "in_channels", "image_size", "output", "class_names"}

    if file.stem in OF_A_NAME:
        return
    comment = file.read_text().splitlines()[0]
    if file.stem.startswith(("bert", "llama")):
        size = {"bert": 30_522, "llama": 49_152}[file.stem.partition("_")[0]]
        config = OmegaConf.merge(config, {"tokenizer": None, "vocab_size": size})
    model = instantiate(config, num_classes=100, **({"image_size": 32} if "image_size" in accepted else {}))
    stated = re.search(r"([\d,]+) parameters at (100 classes|49,152 tokens)", comment)
    assert stated is not None
    assert int(stated[1].replace(",", "")) == sum(parameter.numel() for parameter in model.parameters())

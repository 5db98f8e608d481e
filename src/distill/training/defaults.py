"""What a configuration leaves to the data (null): sizes, epochs, learning rate."""

import logging
import math
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from distill.config.default_teacher import is_alone
from distill.config.schema import Node, TrainConfig
from distill.data import DataModule
from distill.utils import processes
from distill.utils.atomic import write_text
from distill.utils.hub import read_json
from distill.utils.precision import uses_cuda
from distill.utils.processes import usable_cores

log = logging.getLogger(__name__)

VIEWS = 25_600  # that a training shows at least, as long as that is not more than MOST_EPOCHS
FEWEST_EPOCHS, MOST_EPOCHS = 20, 200
USUAL = VIEWS // FEWEST_EPOCHS  # images from which the defaults are the same
LEARNING_RATE = 0.1  # of SGD with batches of LARGEST_BATCH
LARGE_MODELS_RATE = 0.02  # likewise, of models made for 224 pixels: they are larger, and 0.1 diverges on small data
SMALLEST_BATCH, LARGEST_BATCH = 8, 64
PIXELS_PER_CORE = 6e7  # that a training on a CPU shows in all
TEXT_VIEWS, FEWEST_TEXT_EPOCHS, MOST_TEXT_EPOCHS = 20_000, 3, 20  # likewise, of texts
LARGEST_TEXT_BATCH, LARGEST_TAGGING_BATCH, LARGEST_PACKED_BATCH = 32, 16, 8  # tags; rows of packed documents
PACKED_EPOCHS = 3  # of a language model
FINE_TUNING_RATE, FROM_SCRATCH_RATE = 5e-5, 5e-4  # of AdamW on texts, for pretrained models and for new ones
BERT_WIDTH = 768  # whose rate that is; with a class per word a narrower model's is larger by as much as it is narrower
_WIDTHS = ("hidden_size", "dim", "d_model")  # what configurations of transformers call the width
WORDS = {"images": "images", "text": "texts"}
STRIDE_32 = ("resnet18", "resnet34", "resnet50", "torchvision_model", "timm_model", "torchvision_segmenter",
             "segformer")  # fmt: skip # models made for 224 pixels


def batch_size(num_train: int, kind: str = "images", targets: str = "classes") -> int:
    """Samples per step: a power of two, a twentieth of the samples, from 8 to 64; of texts 32, tagged 16, packed 8."""
    most = _largest_batch(kind, targets)
    return int(min(most, max(SMALLEST_BATCH, 2 ** round(math.log2(max(1, num_train / 20))))))


def _largest_batch(kind: str, targets: str) -> int:
    if kind != "text":
        return LARGEST_BATCH
    return {"tokens": LARGEST_TAGGING_BATCH, "next_token": LARGEST_PACKED_BATCH}.get(targets, LARGEST_TEXT_BATCH)


def epochs(num_train: int, kind: str = "images", targets: str = "classes") -> int:
    """Epochs of a training: 20, and more where there are fewer than 1,280 images, up to 200; 3 to 20 on texts.

    A language model takes 3.
    """
    if targets == "next_token":
        return PACKED_EPOCHS
    if kind == "text":
        return min(MOST_TEXT_EPOCHS, max(FEWEST_TEXT_EPOCHS, round(TEXT_VIEWS / num_train)))
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(VIEWS / num_train)))


def _largest(num_train: int, least: int, most: int, pixels: float) -> int:
    affordable = math.sqrt(pixels / (num_train * epochs(num_train)))
    return max(least, int(min(affordable, most)) // 8 * 8)


def largest_image(cfg: TrainConfig) -> partial[int]:
    """From the number of training images to the side in pixels that suits the models and that this machine affords.

    Models of the CIFAR zoo divide the side by 4 and see up to 64 pixels; others divide it by 32, and see 96 to 224.
    """
    targets = [str(node["_target_"]).rpartition(".")[2] for node in (cfg.model, cfg.teacher)]
    pixels = math.inf if uses_cuda(cfg.trainer.accelerator) else PIXELS_PER_CORE * usable_cores()
    if all(target in STRIDE_32 for target in targets):
        return partial(_largest, least=96, most=224, pixels=pixels)
    return partial(_largest, least=32, most=64, pixels=pixels)


def _rate(node: Node, kind: str, targets: str) -> float:
    if kind == "text":
        return _fine_tuning_rate(node, targets) if node.get("pretrained") else FROM_SCRATCH_RATE
    is_large = str(node["_target_"]).rpartition(".")[2] in STRIDE_32
    return LARGE_MODELS_RATE if is_large else LEARNING_RATE


def _fine_tuning_rate(node: Node, targets: str) -> float:
    """Of a pretrained model; with a class per word or token by 1 / width (Yang et al. 2022, arXiv:2203.03466)."""
    if targets not in ("tokens", "next_token"):
        return FINE_TUNING_RATE
    config = read_json(str(Path(str(node.get("name"))).expanduser()), "config.json")
    widths = (config.get(key) for key in _WIDTHS) if isinstance(config, dict) else ()
    width = next((width for width in widths if isinstance(width, int) and width > 0), BERT_WIDTH)
    return min(FROM_SCRATCH_RATE, FINE_TUNING_RATE * BERT_WIDTH / width)


def chosen(cfg: TrainConfig, data: DataModule[Any], labelled: bool = True) -> dict[str, Any]:
    """The values that the configuration leaves to the data, by dotted key; without labels no teacher is trained."""
    num_train, recipe, kind, targets = data.num_train, cfg.teacher["recipe"], cfg.data.kind, data.options.targets
    largest = _largest_batch(kind, targets)
    batch = batch_size(num_train, kind, targets) if cfg.data.batch_size is None else largest
    length = epochs(num_train, kind, targets)
    taught = labelled and not (targets == "next_token" and cfg.teacher.get("pretrained"))  # it is taken as it is
    # Adam's steps do not grow with a gradient, and a small batch of masks has many pixels.
    scale = 1.0 if kind == "text" or targets == "masks" else batch / largest
    lr, teacher_lr = (_rate(node, kind, targets) * scale for node in (cfg.model, cfg.teacher))
    values = {
        **{f"data.{key}": (getattr(cfg.data, key), value) for key, value in data.chosen.items()},
        "data.batch_size": (cfg.data.batch_size, batch),
        "trainer.max_epochs": (cfg.trainer.max_epochs, length),
        "optimizer.lr": (cfg.optimizer.get("lr", lr), lr),
        "teacher.recipe.max_epochs": (recipe["max_epochs"], length if taught else 0),
        "teacher.recipe.batch_size": (recipe["batch_size"], batch),
        "teacher.recipe.optimizer.lr": (recipe["optimizer"].get("lr", teacher_lr), teacher_lr),
    }
    if is_alone(cfg):
        values = {key: value for key, value in values.items() if not key.startswith("teacher.")}
    return {key: value for key, (given, value) in values.items() if given is None and value is not None}


def settle(
    config: DictConfig, cfg: TrainConfig, data: DataModule[Any], folder: Path, labelled: bool = True
) -> DictConfig:
    """The configuration with what it leaves to the data, which the run's folder keeps; said where it is unusual."""
    values = chosen(cfg, data, labelled)
    if not values:
        return config
    usual = data.num_train >= USUAL and not values.keys() & {f"data.{key}" for key in data.chosen}
    said = ", ".join(f"{key}={value:g}" for key, value in values.items())
    log.log(
        logging.DEBUG if usual else logging.INFO,
        f"chosen for {data.num_train:,} training {WORDS[cfg.data.kind]}: {said}",
    )
    config = config.copy()
    for key, value in values.items():
        OmegaConf.update(config, key, value)
    if processes.is_rank_zero():
        write_text(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    return config

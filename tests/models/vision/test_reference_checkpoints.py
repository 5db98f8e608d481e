"""The field's published teachers load: the state dict's keys are those of the reference code, written out here."""

import pytest
import torch

import distill.models

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def norm(*paths: str) -> set[str]:
    return {f"{path}.{entry}" for path in paths for entry in NORM}


def weight(*paths: str) -> set[str]:
    return {f"{path}.weight" for path in paths}


def affine(*paths: str) -> set[str]:
    return {f"{path}.{entry}" for path in paths for entry in ("weight", "bias")}


def resnet(blocks: int, shortcuts: tuple[int, ...]) -> set[str]:
    keys = weight("conv1") | norm("bn1") | affine("fc")
    for stage in (1, 2, 3):
        for block in range(blocks):
            path = f"layer{stage}.{block}"
            keys |= weight(f"{path}.conv1", f"{path}.conv2") | norm(f"{path}.bn1", f"{path}.bn2")
        if stage in shortcuts:
            keys |= weight(f"layer{stage}.0.downsample.0") | norm(f"layer{stage}.0.downsample.1")
    return keys


def wrn(blocks: int, shortcuts: tuple[int, ...]) -> set[str]:
    keys = weight("conv1") | norm("bn1") | affine("fc")
    for stage in (1, 2, 3):
        for block in range(blocks):
            path = f"block{stage}.layer.{block}"
            keys |= weight(f"{path}.conv1", f"{path}.conv2") | norm(f"{path}.bn1", f"{path}.bn2")
        if stage in shortcuts:
            keys |= weight(f"block{stage}.layer.0.convShortcut")
    return keys


def vgg(depth: int) -> set[str]:
    keys = affine("classifier")
    for block in range(5):
        for index in range(depth):
            keys |= affine(f"block{block}.{3 * index}") | norm(f"block{block}.{3 * index + 1}")
    return keys


def mobilenetv2() -> set[str]:
    keys = affine("classifier.0")
    for stem in ("conv1", "conv2"):
        keys |= weight(f"{stem}.0") | norm(f"{stem}.1")
    for group, repeats in enumerate((1, 2, 3, 4, 3, 3, 1)):
        for block in range(repeats):
            path = f"blocks.{group}.{block}.conv"
            keys |= weight(f"{path}.0", f"{path}.3", f"{path}.6") | norm(f"{path}.1", f"{path}.4", f"{path}.7")
    return keys


def shufflenetv1() -> set[str]:
    keys = weight("conv1") | norm("bn1") | affine("linear")
    for stage, units in ((1, 4), (2, 8), (3, 4)):
        for unit in range(units):
            for index in (1, 2, 3):
                keys |= weight(f"layer{stage}.{unit}.conv{index}") | norm(f"layer{stage}.{unit}.bn{index}")
    return keys


def shufflenetv2() -> set[str]:
    keys = weight("conv1", "conv2") | norm("bn1", "bn2") | affine("linear")
    for stage, units in ((1, 4), (2, 8), (3, 4)):
        for unit in range(units):
            for index in range(1, 6 if unit == 0 else 4):
                keys |= weight(f"layer{stage}.{unit}.conv{index}") | norm(f"layer{stage}.{unit}.bn{index}")
    return keys


CASES = {
    "resnet8": resnet(1, shortcuts=(2, 3)),
    "resnet56": resnet(9, shortcuts=(2, 3)),
    "resnet8x4": resnet(1, shortcuts=(1, 2, 3)),
    "resnet32x4": resnet(5, shortcuts=(1, 2, 3)),
    "wrn_16_1": wrn(2, shortcuts=(2, 3)),
    "wrn_40_2": wrn(6, shortcuts=(1, 2, 3)),
    "vgg8": vgg(1),
    "vgg13": vgg(2),
    "mobilenetv2": mobilenetv2(),
    "shufflenetv1": shufflenetv1(),
    "shufflenetv2": shufflenetv2(),
}


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_in_the_reference_naming_loads_strictly(name):
    model = getattr(distill.models, name)(100)
    state = model.state_dict()
    assert set(state) == CASES[name]
    checkpoint = {key: torch.full_like(state[key], 2) for key in CASES[name]}
    model.load_state_dict(checkpoint, strict=True)
    assert all(value.eq(2).all() for value in model.state_dict().values())


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("resnet8x4", "layer1.0.downsample.0.weight", (64, 32, 1, 1)),
        ("wrn_16_2", "block1.layer.0.convShortcut.weight", (32, 16, 1, 1)),
        ("wrn_16_2", "block2.layer.0.bn1.weight", (32,)),
        ("vgg13", "block4.3.weight", (512, 512, 3, 3)),
        ("mobilenetv2", "blocks.0.0.conv.0.weight", (16, 16, 1, 1)),
        ("shufflenetv1", "layer1.0.conv1.weight", (54, 24, 1, 1)),
        ("shufflenetv1", "layer2.0.conv3.weight", (240, 20, 1, 1)),
        ("shufflenetv2", "layer1.0.conv1.weight", (24, 1, 3, 3)),
        ("shufflenetv2", "layer2.0.conv4.weight", (116, 1, 3, 3)),
    ],
)
def test_shapes_where_implementations_differ(name, key, shape):
    assert tuple(getattr(distill.models, name)(100).state_dict()[key].shape) == shape

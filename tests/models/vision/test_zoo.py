"""The CIFAR zoo against the numbers measured on the field's reference code."""

import inspect
import subprocess
import sys
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import distill.models
from distill.utils.errors import UserError

R = "16x32x32 16x32x32 32x16x16 64x8x8"
RX4 = "32x32x32 64x32x32 128x16x16 256x8x8"
W2 = "16x32x32 32x32x32 64x16x16 128x8x8"
V = "64x32x32 128x16x16 256x8x8 512x4x4 512x4x4"

# name: parameters at 100 classes, MACs in millions for one 32×32 image (as printed in the table), maps, embedding
TABLE: dict[str, tuple[int, str, str, int]] = {
    "resnet8": (83_892, "12.5", R, 64),
    "resnet14": (181_108, "26.7", R, 64),
    "resnet20": (278_324, "40.8", R, 64),
    "resnet32": (472_756, "69.1", R, 64),
    "resnet44": (667_188, "97.4", R, 64),
    "resnet56": (861_620, "125.8", R, 64),
    "resnet110": (1_736_564, "253.2", R, 64),
    "resnet8x4": (1_233_540, "177.1", RX4, 256),
    "resnet32x4": (7_433_860, "1083", RX4, 256),
    "resnet50": (23_705_252, "1298", "64x32x32 256x32x32 512x16x16 1024x8x8 2048x4x4", 2048),
    "wrn_16_1": (180_916, "26.7", R, 64),
    "wrn_16_2": (703_284, "101.1", W2, 128),
    "wrn_40_1": (569_780, "83.3", R, 64),
    "wrn_40_2": (2_255_156, "327.6", W2, 128),
    "vgg8": (3_965_028, "96.2", V, 512),
    "vgg13": (9_462_180, "284.9", V, 512),
    "mobilenetv2": (812_836, "6.5", "16x16x16 12x16x16 16x8x8 48x4x4 160x2x2", 1280),
    "shufflenetv1": (949_258, "38.7", "24x32x32 240x16x16 480x8x8 960x4x4", 960),
    "shufflenetv2": (1_355_528, "44.5", "24x32x32 116x16x16 232x8x8 464x4x4", 1024),
}
NAMES = list(TABLE)
# One of each kind, for what depth and width do not change.
KINDS = ["resnet8", "resnet8x4", "wrn_16_1", "wrn_16_2", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2"]
FUNCTIONS = {name: each for name, each in vars(distill.models).items() if inspect.isfunction(each)}
FACTORIES = sorted(name for name, each in FUNCTIONS.items() if "in_channels" in inspect.signature(each).parameters)


def build(name: str, num_classes: int = 100, in_channels: int = 3, image_size: int = 32) -> nn.Module:
    sized = {"image_size": image_size} if name in ("resnet18", "resnet34", "resnet50") else {}
    return getattr(distill.models, name)(num_classes=num_classes, in_channels=in_channels, **sized)


@dataclass
class Measured:
    parameters: int
    mmacs: float
    calls: list[str]
    maps: list[Tensor]
    maps_at_once: list[Tensor]
    linear_inputs: list[Tensor]
    linears: int
    logits: Tensor


@cache
def measure(name: str) -> Measured:
    torch.manual_seed(0)
    model = build(name).eval()
    calls, maps, at_once, linear_inputs = [], [], [], []

    def extractor(path: str):
        def hook(_module, _inputs, output):
            calls.append(path)
            maps.append(output)
            at_once.append(output.clone())

        return hook

    for path in model.stages:
        model.get_submodule(path).register_forward_hook(extractor(path))
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for linear in linears:
        linear.register_forward_pre_hook(lambda _module, inputs: linear_inputs.append(inputs[0]))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        logits = model(torch.randn(1, 3, 32, 32))
    return Measured(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        mmacs=counter.get_total_flops() / 2e6,
        calls=calls,
        maps=maps,
        maps_at_once=at_once,
        linear_inputs=linear_inputs,
        linears=len(linears),
        logits=logits,
    )


@pytest.mark.parametrize("name", NAMES)
def test_parameters(name):
    assert measure(name).parameters == TABLE[name][0]


@pytest.mark.parametrize("name", NAMES)
def test_macs(name):
    printed = TABLE[name][1]
    decimals = len(printed.partition(".")[2])
    assert f"{measure(name).mmacs:.{decimals}f}" == printed


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_the_tables_maps_each_called_once(name):
    seen = measure(name)
    assert ["x".join(map(str, map_.shape[1:])) for map_ in seen.maps] == TABLE[name][2].split()
    assert tuple(seen.calls) == build(name).stages


@pytest.mark.parametrize("name", NAMES)
def test_nothing_changes_a_stages_output_in_place(name):
    seen = measure(name)
    for at_once, in_the_end in zip(seen.maps_at_once, seen.maps, strict=True):
        assert torch.equal(at_once, in_the_end)


@pytest.mark.parametrize("name", NAMES)
def test_embedding_is_the_input_of_the_only_linear_layer(name):
    seen = measure(name)
    assert seen.linears == 1
    assert [tuple(embedding.shape) for embedding in seen.linear_inputs] == [(1, TABLE[name][3])]
    assert seen.logits.shape == (1, 100)


@pytest.mark.parametrize("name", ["resnet8", "resnet8x4", "resnet50", "vgg8", "shufflenetv1"])
def test_embedding_is_the_last_maps_mean_over_the_image(name):
    """Elsewhere a BatchNorm or a convolution follows the last stage."""
    seen = measure(name)
    torch.testing.assert_close(seen.maps[-1].mean((2, 3)), seen.linear_inputs[0])


@pytest.mark.parametrize("name", NAMES)
def test_backward_reaches_every_parameter_on_digits(name):
    """8×8 pixels of one channel, as in scikit-learn's digits."""
    torch.manual_seed(0)
    model = build(name, num_classes=10, in_channels=1, image_size=8).train()
    logits = model(torch.randn(4, 1, 8, 8))
    assert logits.shape == (4, 10)
    nn.functional.cross_entropy(logits, torch.tensor([0, 3, 5, 9])).backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path


@pytest.mark.parametrize("size", [(28, 28), (5, 7), (1, 1)])
@pytest.mark.parametrize("name", KINDS)
def test_any_image_size(name, size):
    with torch.no_grad():
        logits = build(name, num_classes=7, in_channels=2).eval()(torch.randn(2, 2, *size))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


def test_vgg_pools_once_more_for_images_of_64_pixels():
    shapes = []
    model = build("vgg8").eval()
    model.relu4.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[2:])))
    with torch.no_grad():
        model(torch.randn(1, 3, 64, 64))
        model(torch.randn(1, 3, 32, 32))
    assert shapes == [(4, 4), (4, 4)]


@pytest.mark.parametrize("name", ["resnet8x4", "wrn_16_2", "vgg8", "mobilenetv2"])
def test_convolutions_start_from_he_initialisation(name):
    torch.manual_seed(0)
    for module in build(name).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5_000:
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.unique().tolist() == [1]
            assert module.bias.unique().tolist() == [0]


@pytest.mark.parametrize("name", KINDS)
def test_seed_decides_the_weights(name):
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        states.append(build(name).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize(
    ("argument", "value"), [("num_classes", 0), ("num_classes", 2.0), ("in_channels", 0), ("in_channels", True)]
)
def test_bad_sizes_are_named(name, argument, value):
    arguments = {"num_classes": 10, "in_channels": 3} | {argument: value}
    named = {"timm_model": "resnet18", "torchvision_model": "resnet18", "torchvision_segmenter": "fcn_resnet50"}
    arguments |= {"name": named[name]} if name in named else {}
    with pytest.raises(UserError, match=rf"^{argument} must be an integer of at least \d, got {value}$"):
        getattr(distill.models, name)(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distill.models.ResNet(9), "depth must be 6n \\+ 2.* got 9"),
        (lambda: distill.models.ResNet(2), "depth must be 6n \\+ 2.* got 2"),
        (lambda: distill.models.ResNet(8, (16, 32)), "widths must be four.* got \\[16, 32\\]"),
        (lambda: distill.models.WideResNet(18), "depth must be 6n \\+ 4.* got 18"),
        (lambda: distill.models.WideResNet(16, 0), "widen must be .* got 0"),
        (lambda: distill.models.VGG((1, 1, 0, 1, 1)), "depths must be five .* got \\[1, 1, 0, 1, 1\\]"),
        (lambda: distill.models.MobileNetV2(0), "expansion must be .* got 0"),
        (lambda: distill.models.MobileNetV2(6, 0.01), "width must be .* got 0.01"),
    ],
)
def test_bad_architectures_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_every_network_is_exported():
    assert set(NAMES) <= set(FACTORIES)


@pytest.mark.slow
def test_importing_the_models_imports_neither_torchvision_nor_timm():
    code = "import sys, distill.models; print([m for m in ('timm', 'torchvision') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

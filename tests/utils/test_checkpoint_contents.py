"""What a checkpoint's tensors may be: finite, of a kind that the model takes, extra state that a file keeps."""

import functools
import zipfile

import pytest
import torch

from distill.models import resnet8
from distill.utils.checkpoints import check_reloads, load_weights, read_checkpoint, save_weights
from distill.utils.errors import UserError
from distill.utils.profiling import size


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(1)
    return resnet8(10)


def test_weights_that_are_not_finite_are_named(tmp_path, source):
    weights = {name: value.clone() for name, value in source.state_dict().items()}
    weights["layer1.0.conv1.weight"][0, 0] = float("nan")
    torch.save(weights, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x.pt of the teacher resnet8: tensor 'layer1.0.conv1.weight' holds 9 values"):
        load_weights(resnet8(10), tmp_path / "x.pt", "the teacher resnet8")
    weights["layer1.0.conv1.weight"][0, 0] = 0
    weights["bn1.running_var"][0] = float("inf")
    save = {"state_dict": weights}
    torch.save(save, tmp_path / "y.pt")
    target = resnet8(10)
    before = [value.clone() for value in target.state_dict().values()]
    with pytest.raises(UserError, match=r"'bn1.running_var' holds 1 values of 16 that are NaN or infinite"):
        load_weights(target, tmp_path / "y.pt", "the student")
    assert all(map(torch.equal, before, target.state_dict().values()))


def test_a_mask_may_be_infinite(tmp_path):
    class Masked(torch.nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1))

    save_weights(Masked(), tmp_path / "x.safetensors")
    load_weights(Masked(), tmp_path / "x.safetensors", "the student")


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path, packing):
    torch.save({"weight": torch.zeros(5_000_000)}, tmp_path / "plain.pt")
    assert read_checkpoint(tmp_path / "plain.pt")["weight"].shape == (5_000_000,)
    plain = zipfile.ZipFile(tmp_path / "plain.pt")
    with plain, zipfile.ZipFile(tmp_path / "x.pt", "w", packing) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(
        UserError, match=r"x.pt is no readable torch file: it has \d+ bytes, and its records unpack to 2"
    ):
        read_checkpoint(tmp_path / "x.pt")


class Extra(torch.nn.Linear):
    def __init__(self, extra):
        super().__init__(2, 2)
        self.extra = extra

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state


@pytest.mark.parametrize("extra", [{"steps": 3, 1: (2.5, None)}, None, "text", {"queue": torch.arange(3)}])
def test_extra_state_is_kept(tmp_path, extra):
    source, target = Extra(extra), Extra(0)
    save_weights(source, tmp_path / "x.safetensors")
    load_weights(target, tmp_path / "x.safetensors", "the student")
    assert str(target.extra) == str(extra)
    assert torch.equal(target.weight, source.weight)
    save_weights(source, tmp_path / "x.safetensors", signed=False)
    assert size(source, torch.ones(1, 2)).bytes == (tmp_path / "x.safetensors").stat().st_size


def test_extra_state_that_no_file_keeps_is_refused():
    with pytest.raises(UserError, match=r"extra state '_extra_state' \(object\) is more than tensors and plain values"):
        size(Extra(object()), torch.ones(1, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.to(torch.int8), r"torch\.int8, and torch\.float32 in the model"),
        (lambda w: w.to(torch.complex64), r"torch\.complex64, and torch\.float32 in the model"),
        (lambda w: w.to_sparse(), r"sparse \(torch\.sparse_coo\)"),
        (lambda w: w.to("meta"), r"empty \(device meta\)"),
        (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), r"torch\.qint8, and torch\.float32"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_of_another_kind_are_refused(tmp_path, source, change, message):
    torch.save(source.state_dict() | {"fc.weight": change(source.fc.weight.detach())}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=rf"x\.pt of the teacher: tensor 'fc\.weight' is {message}"):
        load_weights(resnet8(10), tmp_path / "x.pt", "the teacher")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float8_e5m2])
def test_other_floats_are_converted(tmp_path, source, dtype):
    torch.save(source.state_dict() | {"fc.weight": source.fc.weight.detach().to(dtype)}, tmp_path / "x.pt")
    target = resnet8(10)
    load_weights(target, tmp_path / "x.pt", "the teacher")
    assert torch.equal(target.fc.weight, source.fc.weight.to(dtype).float())


@pytest.mark.filterwarnings("ignore")
def test_quantised_layers_are_kept(tmp_path):
    """Their state is no tensor, and its meaning is in the versions that a state_dict has beside it."""
    make = functools.partial(torch.ao.quantization.quantize_dynamic, qconfig_spec={torch.nn.Linear})
    source, target = (make(torch.nn.Sequential(torch.nn.Linear(3, 2))) for _ in range(2))
    x = torch.randn(4, 3)
    assert not torch.equal(source(x), target(x))
    check_reloads(source, "the student")
    save_weights(source, tmp_path / "x.safetensors")
    load_weights(target, tmp_path / "x.safetensors", "the student")
    assert torch.equal(source(x), target(x))


class Wrapped(torch.nn.Linear):
    def state_dict(self, *args, **kwargs):
        return {"wrapped": super().state_dict(*args, **kwargs)}


def test_a_model_that_does_not_take_its_own_weights_is_refused(source):
    before = {key: value.clone() for key, value in source.state_dict().items()}
    check_reloads(source, "the student")
    assert all(torch.equal(value, before[key]) for key, value in source.state_dict().items())
    with pytest.raises(UserError, match=r"the student cannot load its own state_dict, .*Wrapped"):
        check_reloads(Wrapped(2, 2), "the student")

import pickle
import zipfile

import pytest
import safetensors.torch
import torch

from distill.models import resnet8, resnet14
from distill.utils.checkpoints import AtomicCheckpointIO, load_weights, read_weights, save_weights
from distill.utils.errors import UserError


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(1)
    return resnet8(10)


def same(a, b):
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"state_dict": w, "epoch": 3},
        lambda w: {"model": w},
        lambda w: {f"module.{k}": v for k, v in w.items()},
        lambda w: {"model": {f"module.{k}": v for k, v in w.items()}},
        lambda w: {"state_dict": {f"model.{k}": v for k, v in w.items()}},
        lambda w: {"state_dict": {f"module.model.{k}": v for k, v in w.items()}},
        lambda w: {
            "state_dict": {**{f"student.{k}": v for k, v in w.items()}, "criterion.losses.f.weight": torch.ones(2)}
        },
        lambda w: {"state_dict": {f"student._orig_mod.{k}": v for k, v in w.items()}},
    ],
)
def test_every_wrapping_loads(tmp_path, source, wrap):
    torch.save(wrap(source.state_dict()), tmp_path / "x.pt")
    target = resnet8(10)
    assert not same(source, target)
    load_weights(target, tmp_path / "x.pt", "the teacher resnet8")
    assert same(source, target)


def test_safetensors(tmp_path, source):
    save_weights(source, tmp_path / "deep" / "x.safetensors")
    target = resnet8(10)
    load_weights(target, tmp_path / "deep" / "x.safetensors", "the teacher")
    assert same(source, target)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.safetensors"]


def test_checkpoints_without_batch_counters_load(tmp_path, source):
    weights = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    torch.save(weights, tmp_path / "old.pt")
    load_weights(resnet8(10), tmp_path / "old.pt", "the teacher")


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


def test_code_is_never_unpickled(tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(UserError, match=f"checkpoint .*{name}"):
            read_weights(tmp_path / name)
    assert "code ran" not in capsys.readouterr().out


def test_errors_are_one_line_that_says_what_does_not_fit(tmp_path, source):
    torch.save(source.state_dict(), tmp_path / "r8.pt")
    with pytest.raises(
        UserError, match=r"does not fit the teacher resnet14: missing keys \d+ \(layer1\.1\.conv1\.weight"
    ) as e:
        load_weights(resnet14(10), tmp_path / "r8.pt", "the teacher resnet14")
    assert "\n" not in str(e.value)
    with pytest.raises(
        UserError, match=r"fc.bias has shape \(10,\) in the file and \(7,\) in the model .* number of classes"
    ):
        load_weights(resnet8(7), tmp_path / "r8.pt", "the teacher resnet8")
    torch.save({**source.state_dict(), "extra.weight": torch.ones(1)}, tmp_path / "more.pt")
    with pytest.raises(UserError, match=r"unexpected keys 1 \(extra.weight\)"):
        load_weights(resnet8(10), tmp_path / "more.pt", "the teacher resnet8")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", b"", "no readable torch file"),
        ("b.pt", b"not a checkpoint at all", "checkpoint .*b.pt"),
        ("c.safetensors", b"junk" * 10, "no readable safetensors file"),
    ],
)
def test_corrupt_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_weights(tmp_path / name)
    assert "\n" not in str(error.value)


def test_truncated_and_foreign_files(tmp_path, source):
    torch.save(source.state_dict(), tmp_path / "x.pt")
    whole = (tmp_path / "x.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"half.pt is no readable torch file"):
        read_weights(tmp_path / "half.pt")
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(UserError, match="zip.pt"):
        read_weights(tmp_path / "zip.pt")
    torch.save(torch.ones(3), tmp_path / "tensor.pt")
    with pytest.raises(UserError, match="holds a Tensor, not a state_dict"):
        read_weights(tmp_path / "tensor.pt")
    torch.save({"lr": 0.1}, tmp_path / "no.pt")
    with pytest.raises(UserError, match="holds no weights; its keys: lr"):
        read_weights(tmp_path / "no.pt")
    with pytest.raises(UserError, match="does not exist"):
        read_weights(tmp_path / "nowhere.pt")
    with pytest.raises(UserError, match="is no file"):
        read_weights(tmp_path)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def killed(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}


def test_a_written_checkpoint_is_plain(tmp_path):
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    assert read_weights(tmp_path / "a.safetensors")["a"].item() == 1


def test_a_prefix_of_the_models_own_is_kept(tmp_path, source):
    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = resnet8(10)

    wrapped = Wrapped()
    torch.save({"state_dict": {f"module.{k}": v for k, v in wrapped.state_dict().items()}}, tmp_path / "w.pt")
    target = Wrapped()
    load_weights(target, tmp_path / "w.pt", "the teacher")
    assert same(wrapped, target)

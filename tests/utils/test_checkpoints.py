import pickle
import zipfile

import lightning.pytorch as L
import pytest
import safetensors.torch
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from distill.models import resnet8, resnet14
from distill.utils.checkpoint_io import AtomicCheckpointIO
from distill.utils.checkpoints import load_weights, read_weights, save_weights
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
        lambda w: {"model_state_dict": w, "optimizer_state_dict": {"state": {}, "param_groups": []}},
        lambda w: {"net": {f"module.{k}": v for k, v in w.items()}, "acc": 93.1, "epoch": 7},
        lambda w: {"model_ema": {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in w.items()}}},
        lambda w: {"model": w, "model_ema": {k: v * 0 for k, v in w.items()}, "optimizer": {"state": {0: {}}}},
        lambda w: {"params": w, "optimizer": {"state": {}}},
        lambda w: {"epoch": 1, "checkpoint": {"model": w}},
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


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_is_called_so(tmp_path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x.pt is a TorchScript file \(torch.jit.save\), which holds code"):
        load_weights(resnet8(10), tmp_path / "x.pt", "the teacher")


@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt"])
def test_a_flipped_bit_is_an_error_or_changes_no_weight(tmp_path, source, name):
    path, target = tmp_path / name, resnet8(10)
    if name == "x.ckpt":
        AtomicCheckpointIO().save_checkpoint({"state_dict": source.state_dict()}, path)
    else:
        save_weights(source, path)
    whole, refused = path.read_bytes(), 0
    for at in range(0, len(whole), len(whole) // 150):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        try:
            load_weights(target, path, "the student")
        except UserError as error:
            refused += 1
            assert str(path) in str(error)
            assert "\n" not in str(error)
        else:
            assert same(source, target), at
    assert refused > 100


@pytest.mark.parametrize("address", ["local://{folder}", "{checkpoints}/../victim.ckpt", "{checkpoints}/link.ckpt"])
def test_a_checkpoint_names_no_file_that_is_deleted(tmp_path, address):
    """As its best epoch, which is replaced by the first one after the resumption."""
    folder, checkpoints = tmp_path / "photos", tmp_path / "checkpoints"
    victims = [folder / "a.png", tmp_path / "victim.ckpt"]
    folder.mkdir()
    for victim in victims:
        victim.write_text("mine")

    def trainer(epochs):
        callback = ModelCheckpoint(dirpath=checkpoints, filename="{epoch}")
        return L.Trainer(
            max_epochs=epochs, limit_train_batches=1, limit_val_batches=0, accelerator="cpu", logger=False,
            callbacks=[callback], plugins=[AtomicCheckpointIO()], enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip

    trainer(1).fit(BoringModel())
    (checkpoints / "link.ckpt").symlink_to(victims[1])
    (saved,) = checkpoints.glob("epoch*.ckpt")
    content = torch.load(saved, weights_only=True)
    for state in content["callbacks"].values():
        state["best_model_path"] = address.format(folder=folder, checkpoints=checkpoints)
    torch.save(content, saved)
    trainer(3).fit(BoringModel(), ckpt_path=saved, weights_only=True)
    assert [victim.read_text() for victim in victims] == ["mine", "mine"]
    assert {path.name for path in checkpoints.glob("epoch*")} == {"epoch=0.ckpt", "epoch=2.ckpt"}  # not epoch=1


def test_the_choice_between_two_sets_of_weights_is_told(tmp_path, source, caplog):
    caplog.set_level("INFO")
    weights = source.state_dict()
    torch.save({"state_dict": weights, "state_dict_ema": dict(weights), "optimizer": {"state": {}}}, tmp_path / "x.pt")
    read_weights(tmp_path / "x.pt", weights)
    (message,) = caplog.messages
    assert message.endswith("the weights under 'state_dict' are taken, not those under state_dict_ema")
    torch.save({"model": weights, "model_ema": weights}, tmp_path / "x.pt")  # the same: there is no choice
    read_weights(tmp_path / "x.pt", weights)
    torch.save({"state_dict": weights, "optimizer": {"state": {}}}, tmp_path / "x.pt")
    read_weights(tmp_path / "x.pt", weights)
    assert len(caplog.messages) == 1


def test_a_pointer_of_git_lfs_is_called_so(tmp_path):
    (tmp_path / "x.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UserError, match="is Git LFS's pointer to a file, not the file: fetch it by git lfs pull"):
        read_weights(tmp_path / "x.safetensors")

"""A cached teacher: the same outputs from the disk as from the model, for the same views only."""

import copy
import hashlib
import subprocess
from contextlib import suppress

import pytest
import torch
from torch import nn

from cached_teachers import INDEX, SAMPLES, C, Counted, batches, cached, epoch
from distill.data import Batch
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache import CachedTeacher, Half, Store, TopK, digest
from distill.distillation.teacher_cache.store import claim
from distill.models import resnet8


def test_the_second_run_computes_a_sample_to_check_only(tmp_path):
    first, second = cached(tmp_path), cached(tmp_path)
    written = [epoch(first, e) for e in range(3)]
    first.flush()
    assert first.model.seen == 18
    read = [epoch(second, e) for e in range(3)]
    assert second.model.seen == 3 * 2  # the first batch of each epoch, again
    assert second.report() == {"begun": 3, "found": 3, "drift": second.drift, "folder": str(second.store.folder)}
    assert second.drift < 1e-3
    for one, other in zip(written, read, strict=True):
        assert all(torch.equal(a.logits, b.logits) for a, b in zip(one, other, strict=True))
    model = Counted()
    torch.testing.assert_close(read[2][0].logits, model(batches(2)[0].inputs), rtol=1e-3, atol=1e-3)


def test_other_orders_and_batches_see_the_same_views(tmp_path):
    first, second = cached(tmp_path), cached(tmp_path)
    epoch(first, 1)
    first.flush()
    order = torch.tensor([5, 3, 1, 0, 2, 4])
    outputs = torch.cat([o.logits for o in epoch(second, 1, size=4, order=order)])
    live = torch.cat([Counted()(batch.inputs) for batch in batches(1)])[order]
    torch.testing.assert_close(outputs, live, rtol=1e-3, atol=1e-3)


def test_an_epoch_cut_short_is_completed(tmp_path):
    first, second, third = (cached(tmp_path) for _ in range(3))
    first.start_epoch(0, 1)
    first(batches(0)[0])
    first.flush()
    epoch(second, 0)
    assert second.model.seen == 2 + 4
    second.flush()
    epoch(third, 0)
    assert third.model.seen == 2


def test_views_that_repeat_are_computed_once(tmp_path):
    teacher = cached(tmp_path, cycle=2)
    teacher.start_epoch(0, 4)
    shown = [[teacher(b) for b in batches(e % 2)] for e in range(4) if teacher.start_epoch(e, 4) is None]
    assert teacher.model.seen == 2 * 6 + 2 * 2
    assert torch.equal(shown[0][1].logits, shown[2][1].logits)


def test_a_cache_of_another_teacher_is_detected(tmp_path, capsys):
    other = Counted()
    with torch.no_grad():
        other.fc.weight.neg_()
    first, second = cached(tmp_path, key="same"), cached(tmp_path, other, key="same")
    for e in range(2):
        epoch(first, e)
    first.flush()
    outputs = epoch(second, 1)
    assert "differs from its teacher by" in capsys.readouterr().err
    torch.testing.assert_close(outputs[2].logits, other(batches(1)[2].inputs), rtol=1e-3, atol=1e-3)
    assert second.store.read("train", 0, 6) is None


def test_weights_and_architecture_make_the_digest():
    torch.manual_seed(0)
    model = resnet8(C)
    before = digest(model)
    assert digest(model) == before
    with torch.no_grad():
        model.fc.bias[0] += 1e-3
    assert digest(model) != before
    assert digest(nn.Sequential(nn.Linear(2, 2), nn.ReLU())) != digest(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))


def test_a_frozen_model_is_digested_once_and_again_after_every_change(monkeypatch):
    torch.manual_seed(0)
    model, other = (resnet8(C).eval().requires_grad_(False) for _ in range(2))
    hashed, sha256 = [], hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda text: hashed.append(text) or sha256(text))
    first = digest(model)
    assert (digest(model), len(hashed)) == (first, 1)
    assert (digest(other) == first, len(hashed)) == (False, 2)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(other.state_dict())
    assert (digest(model) == digest(other), len(hashed)) == (True, 3)
    model.bn1.running_mean += 1
    assert digest(model) != digest(other)
    model.load_state_dict(weights)
    assert (digest(model), digest(copy.deepcopy(model))) == (first, first)
    with torch.inference_mode():
        digest(resnet8(C))


def test_embeddings_are_stored_where_a_term_reads_them(tmp_path):
    plain = cached(tmp_path)
    epoch(plain, 0)
    plain.flush()
    first, second = cached(tmp_path, embedding=True), cached(tmp_path, embedding=True)
    epoch(first, 0)
    assert first.model.seen == 6  # the file without embeddings is of no use
    first.flush()
    outputs = epoch(second, 0)
    assert second.model.seen == 2
    torch.testing.assert_close(outputs[1].embedding, batches(0)[1].inputs, rtol=1e-3, atol=1e-3)


def test_other_splits_are_stored_exactly_and_for_all_epochs(tmp_path):
    teacher = cached(tmp_path)
    batch = Batch(torch.randn(2, 4), torch.tensor([0, 1]), SAMPLES["val"])
    teacher.start_epoch(0, 2)
    first = teacher(batch, "val")
    assert torch.equal(first.logits, teacher.model(batch.inputs))
    seen = teacher.model.seen
    teacher.start_epoch(1, 2)
    assert torch.equal(teacher(batch, "val").logits, first.logits)
    assert torch.equal(cached(tmp_path)(batch, "val").logits, first.logits)
    assert teacher.model.seen == seen


def test_top_k(tmp_path):
    first, second = (cached(tmp_path, codec=TopK(C, 3)) for _ in range(2))
    written = epoch(first, 0)
    first.flush()
    for a, b in zip(written, epoch(second, 0), strict=True):
        assert torch.equal(a.logits, b.logits)
    assert torch.equal(written[0].logits.topk(3).indices, Counted()(batches(0)[0].inputs).topk(3).indices)


def test_a_disk_that_is_full_stops_nothing(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    teacher = cached(tmp_path)
    monkeypatch.setattr(teacher.store, "write", full)
    outputs = [epoch(teacher, e) for e in range(3)]
    teacher.flush()
    assert len(outputs[2]) == 3
    assert capsys.readouterr().err.count("cannot be written") == 1


@pytest.mark.parametrize("split", ["train", "val"])
def test_nothing_is_written_twice(tmp_path, split, monkeypatch):
    teacher = cached(tmp_path)
    written = []
    monkeypatch.setattr(teacher.store, "write", lambda *a: written.append(a[:2]))
    teacher.start_epoch(0, 1)
    for _ in range(2):
        teacher(Batch(torch.randn(2, 4), torch.tensor([0, 1]), SAMPLES[split][:2]), split)
        teacher.flush()
    assert written.count((split, 0)) == 1


def test_a_first_epoch_cut_short_is_not_computed_again(tmp_path):
    """Without random augmentation every epoch shows the same, and the file is written when the first has ended."""
    teacher = cached(tmp_path, cycle=1)
    for number in range(3):
        teacher.start_epoch(number, 3)
        for batch in batches(0)[: 2 if number == 0 else 3]:  # the first epoch was cut short
            teacher(batch)
    assert teacher.model.seen <= len(INDEX) + 2


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, capsys):
    (tmp_path / "file").touch()
    model = Counted()
    store = Store(tmp_path / "file" / "cache", {"teacher": digest(model)})
    teacher = CachedTeacher(Teacher(model), store, Half(C), SAMPLES)
    outputs = epoch(teacher, 0)
    teacher.flush()
    assert len(outputs) == 3
    assert capsys.readouterr().err.count("cannot be written") == 1


def mounted(folder, options):
    """A small file system of its own; skips where none can be mounted."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


def test_a_file_system_that_is_full_and_one_that_is_read_only(tmp_path, capsys):
    root = tmp_path / "disk"
    mounted(root, "size=64k")
    try:
        claim(root)
        first = cached(root)
        epoch(first, 0)
        first.flush()
        fill(root / "ballast")
        outputs = [epoch(first, e) for e in (1, 2)]
        first.flush()
        assert len(outputs[1]) == 3
        assert capsys.readouterr().err.count("cannot be written") == 1
        assert not list(root.glob("*/*.part*"))
        subprocess.run(["mount", "-o", "remount,ro", root], check=True)
        second = cached(root)
        epoch(second, 0)
        assert second.model.seen == 2  # it is read
        epoch(second, 1)
        second.flush()
        assert capsys.readouterr().err.count("cannot be written") == 1
        third = cached(root, key="another")
        epoch(third, 0)
        assert third.model.seen == 6
        third.flush()
        assert capsys.readouterr().err.count("cannot be written") == 1
    finally:
        subprocess.run(["umount", root], check=True)


def fill(path):
    """Writes until there is no room."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


def test_validation_outputs_survive_a_cache_that_is_cleared(tmp_path):
    other = Counted()
    with torch.no_grad():
        other.fc.weight.neg_()
    first, second = cached(tmp_path, key="same"), cached(tmp_path, other, key="same", cycle=1)
    first.start_epoch(0, 1)
    for batch in batches(0)[:2]:
        first(batch)
    first.flush()
    second.start_epoch(0, 2)
    second(batches(0)[2])
    second(Batch(torch.randn(2, 4), torch.tensor([0, 1]), SAMPLES["val"]), "val")
    second.start_epoch(1, 2)
    second(batches(0)[0])  # the first that was there: it differs
    second.flush()
    assert second.drift > 1

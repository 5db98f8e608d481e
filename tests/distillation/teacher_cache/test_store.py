"""Files of outputs: whole or not used, added to by several processes, bounded."""

import multiprocessing
import os
import signal

import pytest
import safetensors.torch
import torch

from distill.distillation.teacher_cache import CachedOutputs, Store, make_room
from distill.distillation.teacher_cache.store import claim
from distill.utils.errors import UserError

KEY = {"teacher": "t", "seed": 0}


def outputs_of(rows, n=10):
    outputs = CachedOutputs.none(n)
    at = torch.tensor(rows)
    outputs.put(at, {"logits": at[:, None].expand(-1, 3).half()})
    return outputs


@pytest.fixture
def store(tmp_path):
    claim(tmp_path / "cache")
    return Store(tmp_path / "cache", KEY)


def test_an_epoch_comes_back(store):
    store.write("train", 3, outputs_of([1, 4]))
    stored = store.read("train", 3, 10)
    assert stored.present.nonzero()[:, 0].tolist() == [1, 4]
    assert stored.rows["logits"][4].tolist() == [4, 4, 4]
    assert not stored.complete
    assert not stored.empty
    assert store.read("train", 2, 10) is None
    assert store.read("val", 3, 10) is None


def test_two_that_write_one_epoch_add_up(store):
    store.write("train", 0, outputs_of([0, 1, 2, 3, 4]))
    store.write("train", 0, outputs_of([4, 5, 6, 7, 8, 9]))
    stored = store.read("train", 0, 10)
    assert stored.complete
    assert stored.rows["logits"][:, 0].tolist() == list(range(10))


def test_a_complete_file_is_not_written_again(store):
    store.write("train", 0, outputs_of(range(10)))
    (path,) = store.folder.glob("train-*")
    before = path.stat().st_ino
    store.write("train", 0, outputs_of([1, 2]))
    store.write("train", 0, outputs_of(range(10)))
    assert path.stat().st_ino == before
    more = outputs_of(range(10))
    more.rows["embedding"] = torch.ones(10, 2).half()
    store.write("train", 0, more)
    assert set(store.read("train", 0, 10).rows) == {"logits", "embedding"}


def writer(root, rows):
    store = Store(root, KEY)
    for epoch in range(5):
        store.write("train", epoch, outputs_of(rows))


def test_processes_that_write_at_once_lose_nothing(store):
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=writer, args=(store.root, [2 * i, 2 * i + 1])) for i in range(5)]
    for process in others:
        process.start()
    for process in others:
        process.join(60)
        assert process.exitcode == 0
    for epoch in range(5):
        assert store.read("train", epoch, 10).complete
    assert not list(store.folder.glob("*.part*"))


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(bytes(content))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_file_that_is_not_whole_is_deleted_and_never_used(store, capsys, damage):
    store.write("train", 0, outputs_of(list(range(10))))
    path = store.folder / "train-00000.safetensors"
    damage(path)
    assert store.read("train", 0, 10) is None
    assert "is not whole" in capsys.readouterr().err
    assert not path.exists()


def test_another_number_of_samples_is_not_used(store, capsys):
    store.write("train", 0, outputs_of([0]))
    assert store.read("train", 0, 11) is None


def test_another_teacher_or_seed_has_a_folder_of_its_own(store):
    assert Store(store.root, {**KEY, "teacher": "u"}).folder != store.folder
    assert Store(store.root, {**KEY, "seed": 1}).folder != store.folder
    assert Store(store.root, dict(reversed(KEY.items()))).folder == store.folder


def test_the_least_recently_used_are_deleted(tmp_path):
    stores = [Store(tmp_path / "c", {**KEY, "seed": i}) for i in range(3)]
    for age, store in zip((30, 10, 20), stores, strict=True):
        store.write("train", 0, outputs_of(list(range(10))))
        os.utime(store.folder, (10**9 - age, 10**9 - age))
    size = sum(f.stat().st_size for f in stores[0].folder.glob("*"))
    make_room(tmp_path / "c", needed=size, limit=3 * size, keep=[stores[0].folder])
    assert all(store.folder.exists() for store in stores)  # what is there of it is not counted twice
    make_room(tmp_path / "c", needed=2 * size, limit=3 * size, keep=[stores[0].folder])
    assert [store.folder.exists() for store in stores] == [True, True, False]
    make_room(tmp_path / "c", needed=size, limit=100 * size, keep=[stores[0].folder])
    assert stores[1].folder.exists()


def test_room_is_made_for_what_is_still_to_be_written_by_all_teachers(tmp_path):
    stores = [Store(tmp_path / "c", {**KEY, "seed": i}) for i in range(3)]
    stores[2].write("train", 0, outputs_of(list(range(10))))
    size = sum(f.stat().st_size for f in stores[2].folder.glob("*"))
    make_room(tmp_path / "c", needed=2 * size, limit=4 * size, keep=[store.folder for store in stores[:2]])
    assert [store.folder.exists() for store in stores] == [True, True, False]


def test_a_killed_writer_leaves_nothing_for_long(store):
    (store.folder / "train-00000.part4711").touch()
    store.write("train", 0, outputs_of([0]))
    assert not list(store.folder.glob("*.part*"))


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"cache.dir=.* holds other files: name a folder of its own"):
        claim(tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        claim(tmp_path / "thesis.tex")
    claim(tmp_path / "new")
    claim(tmp_path / "new")


def killed(root):
    save = safetensors.torch.save_file

    def cut(tensors, path, *more):
        save(tensors, path, *more)
        os.truncate(path, 40)
        os.kill(os.getpid(), signal.SIGKILL)

    safetensors.torch.save_file = cut
    Store(root, KEY).write("train", 0, outputs_of(range(10)))


def test_a_writer_that_is_killed_leaves_nothing_behind(store):
    process = multiprocessing.get_context("fork").Process(target=killed, args=(store.root,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(list(store.folder.glob("*.part*"))) == 1
    assert store.read("train", 0, 10) is None
    store.write("train", 0, outputs_of(range(10)))  # its lock is free
    assert store.read("train", 0, 10).complete
    assert not list(store.folder.glob("*.part*"))


def test_a_folder_that_another_process_deletes(store, monkeypatch):
    store.write("train", 0, outputs_of(range(10)))

    def gone(*_):
        raise FileNotFoundError

    monkeypatch.setattr(os, "utime", gone)
    assert store.read("train", 0, 10).complete

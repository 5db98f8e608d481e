import hashlib
import os
import time
from pathlib import Path

import pytest

from distill.data.sources import file_digests
from distill.data.sources.file_digests import content_digests


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Three files that changed long ago for the clock of the digests, whose cache is in the same folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(file_digests, "_REMEMBERED_FROM", 0)
    monkeypatch.setattr(file_digests, "_RACY_NS", -(10**12))
    (tmp_path / "root").mkdir()
    for i in range(3):
        (tmp_path / "root" / f"{i}.bmp").write_bytes(bytes([i]) * 100)
    return [str(tmp_path / "root" / f"{i}.bmp") for i in range(3)]


@pytest.fixture
def reads(monkeypatch):
    """The paths that were read."""
    paths = []
    digest = file_digests._digest
    monkeypatch.setattr(file_digests, "_digest", lambda path: paths.append(path) or digest(path))
    return paths


def sha(*values):
    return [hashlib.sha256(bytes([value]) * 100).digest() for value in values]


def test_only_what_changed_is_read_again(files, reads, tmp_path):
    root = tmp_path / "root"
    assert content_digests(files, root) == sha(0, 1, 2)
    assert content_digests(files[::-1], root) == sha(2, 1, 0)
    assert sorted(reads) == files
    reads.clear()
    first, second, third = map(Path, files)
    status = second.stat()
    (root / "new").write_bytes(bytes([7]) * 100)
    (root / "new").replace(second)  # of the same name, size and modification time
    os.utime(second, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content_digests(files, root) == sha(0, 7, 2)
    assert reads == [files[1]]
    first.rename(root / "t")
    third.rename(first)
    (root / "t").rename(third)
    assert content_digests(files, root) == sha(2, 7, 0)


def test_a_file_that_changed_just_now_is_not_remembered(files, reads, tmp_path, monkeypatch):
    monkeypatch.setattr(file_digests, "_RACY_NS", 10**12)
    for _ in range(2):
        content_digests(files, tmp_path / "root")
    assert len(reads) == 6


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_a_damaged_memory_is_forgotten(files, tmp_path, damage):
    content_digests(files, tmp_path / "root")
    (memory,) = (tmp_path / "cache" / "distill" / "file_digests").iterdir()
    memory.write_bytes(damage(memory.read_bytes()))
    assert content_digests(files, tmp_path / "root") == sha(0, 1, 2)


def test_a_folder_that_cannot_be_written_costs_time_only(files, reads, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    for _ in range(2):
        assert content_digests(files, tmp_path / "root") == sha(0, 1, 2)
    assert len(reads) == 6


def test_files_that_are_gone_are_forgotten_in_time(files, tmp_path):
    root = tmp_path / "root"
    for i in range(9):
        (root / "0.bmp").write_bytes(bytes([i]) * 100)
        os.utime(root / "0.bmp", ns=(i, i))
        content_digests(files[:1], root)
    (memory,) = (tmp_path / "cache" / "distill" / "file_digests").iterdir()
    assert memory.stat().st_size <= 32 + 6 * 64


def test_an_unreadable_file_has_a_digest_of_its_own(files, tmp_path):
    os.mkfifo(tmp_path / "root" / "pipe.bmp")
    begin = time.perf_counter()
    paths = [str(tmp_path / "root" / name) for name in ("pipe.bmp", "nothing.bmp")]
    assert content_digests(paths, tmp_path / "root") == [bytes(32)] * 2
    assert time.perf_counter() - begin < 5

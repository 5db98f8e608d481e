"""Files appear whole or not at all, whatever goes wrong while they are written."""

import errno
import json
import os
from pathlib import Path

import pytest

from distill.utils.atomic import atomic_folder, atomic_path, new_folder, write_json, write_text
from distill.utils.errors import UserError


def test_the_folder_is_made_and_the_text_is_utf8(tmp_path):
    write_text(tmp_path / "a" / "b" / "names.txt", "café\n")
    assert (tmp_path / "a" / "b" / "names.txt").read_bytes() == b"caf\xc3\xa9\n"


def test_json_ends_with_a_line_and_unknown_values_are_text(tmp_path):
    write_json(tmp_path / "x.json", {"folder": tmp_path})
    assert (tmp_path / "x.json").read_text().endswith("}\n")
    assert json.loads((tmp_path / "x.json").read_text()) == {"folder": str(tmp_path)}


@pytest.mark.parametrize("several", [False, True])
def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path, several):
    write_text(tmp_path / "x.txt", "before")

    def fail():
        with atomic_path(tmp_path / "x.txt", several) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fail()
    assert (tmp_path / "x.txt").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_until_the_end_a_reader_sees_the_earlier_file(tmp_path):
    write_text(tmp_path / "x.txt", "before")
    with atomic_path(tmp_path / "x.txt") as temporary:
        temporary.write_text("after")
        assert (tmp_path / "x.txt").read_text() == "before"
    assert (tmp_path / "x.txt").read_text() == "after"


def test_writers_side_by_side_do_not_share_a_temporary_file(tmp_path):
    with atomic_path(tmp_path / "x.txt", several_writers=True) as own:
        assert str(os.getpid()) in own.name
        own.write_text("one")
        write_text(tmp_path / "x.txt", "two")
    assert (tmp_path / "x.txt").read_text() == "one"


def test_a_folder_replaces_the_earlier_one_as_a_whole_or_not_at_all(tmp_path):
    (tmp_path / "x.part").mkdir()
    (tmp_path / "x.part" / "of a killed process").touch()
    for name in ("one", "two"):
        with atomic_folder(tmp_path / "x") as temporary:
            assert list(temporary.iterdir()) == []
            (temporary / name).touch()
        assert [path.name for path in (tmp_path / "x").iterdir()] == [name]

    def fail():
        with atomic_folder(tmp_path / "x") as temporary:
            (temporary / "three").touch()
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fail()
    assert [path.name for path in tmp_path.rglob("*")] == ["x", "two"]


def test_a_new_folder_is_nobody_elses(tmp_path):
    path = str(tmp_path / "day" / "second")
    made = [new_folder(path) for _ in range(3)]
    assert made == [path, f"{path}-2", f"{path}-3"]
    (tmp_path / "day" / "second-4").touch()
    assert new_folder(path) == f"{path}-5"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("name", [None, "x.txt.part"])
def test_a_full_or_failing_disk_is_one_line_that_names_the_file(tmp_path, code, name):
    def fail():
        with atomic_path(tmp_path / "x.txt"):
            raise OSError(code, os.strerror(code), name and str(tmp_path / name))

    with pytest.raises(UserError, match=f"^{tmp_path}/x.txt cannot be written: {os.strerror(code)}$"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_another_file_stays_what_it_is(tmp_path):
    def read():
        with atomic_folder(tmp_path / "x" / "export"):
            (tmp_path / "photo.png").read_bytes()

    with pytest.raises(FileNotFoundError):
        read()


def test_a_folder_is_not_lost_between_the_two_renames(tmp_path, monkeypatch):
    """The process is killed there, or nothing can be renamed any more; the next one fails before it has another."""
    with atomic_folder(tmp_path / "x") as temporary:
        (temporary / "one").touch()
    original, calls = Path.replace, []

    def replace(self, target):
        calls.append(target)
        if len(calls) > 1:
            raise OSError(errno.EIO, "Input/output error", str(self))
        return original(self, target)

    def write(message):
        with atomic_folder(tmp_path / "x"):
            if message:
                raise UserError(message)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="x cannot be written"):
        patch.setattr(Path, "replace", replace)
        write("")
    assert [path.name for path in tmp_path.iterdir()] == ["x.earlier"]
    with pytest.raises(UserError, match="the model differs"):
        write("the model differs")
    assert [path.name for path in tmp_path.rglob("*")] == ["x", "one"]


def test_a_folder_that_was_being_replaced_is_never_half_of_it(tmp_path, monkeypatch):
    """Whatever step fails, one of the two stands there as a whole."""
    for failing in ("one", "two"):
        with atomic_folder(tmp_path / "x") as temporary:
            (temporary / "one").touch()
        original, calls = Path.replace, iter((failing == "one", failing == "two"))

        def replace(self, target, original=original, calls=calls):
            if next(calls, False):
                raise OSError(errno.EIO, "Input/output error", str(self))
            return original(self, target)

        def write():
            with atomic_folder(tmp_path / "x") as temporary:
                (temporary / "two").touch()

        with monkeypatch.context() as patch, pytest.raises(UserError, match="x cannot be written"):
            patch.setattr(Path, "replace", replace)
            write()
        assert [path.name for path in tmp_path.rglob("*")] == ["x", "one"]

"""Files appear whole or not at all, whatever goes wrong while they are written."""

import json
import os

import pytest

from distill.utils.atomic import atomic_folder, atomic_path, write_json, write_text


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

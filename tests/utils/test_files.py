import os
import socket

import pytest

from distill.utils.errors import UserError
from distill.utils.files import list_files, open_file, printable, subfolders


def names(folder):
    return sorted(file.name for file in list_files(folder, {".png"}))


def test_every_file_once_through_links_and_loops(tmp_path):
    root = tmp_path / "root"
    (root / "a" / "deep").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    for path in (
        root / "a" / "1.png",
        root / "a" / "deep" / "2.PNG",
        tmp_path / "outside" / "3.png",
        root / "notes.txt",
    ):
        path.write_bytes(b"-")
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "self.png").symlink_to("self.png")
    (root / "b").symlink_to(tmp_path / "outside")
    (root / "c").symlink_to(root / "a")
    assert names(root) == ["a/1.png", "a/deep/2.PNG", "a/self.png", "b/3.png"]
    (root / "hard.png").hardlink_to(root / "a" / "1.png")
    identities = {file.name: file.identity for file in list_files(root, {".png"})}
    assert identities["hard.png"] == identities["a/1.png"] != identities["b/3.png"]
    assert identities["a/self.png"] is None


def test_what_is_hidden_or_of_the_system_is_ignored(tmp_path):
    for name in ("1.png", ".hidden.png", "__MACOSX/1.png", ".git/1.png", "@eaDir/1.png", "x.png/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    assert names(tmp_path) == ["1.png", "x.png/2.png"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"locked cannot be listed: permission denied$"):
        names(tmp_path)


def test_a_link_to_a_folder_that_is_gone_is_named(tmp_path):
    for name in ("b", "a", ".c"):
        (tmp_path / name).mkdir()
    (tmp_path / "d").symlink_to(tmp_path / "a")
    (tmp_path / "gone.png").symlink_to("nothing")
    assert subfolders(tmp_path) == ["a", "b", "d"]
    for target in ("nothing", "gone"):  # the latter is a loop
        (tmp_path / "gone").symlink_to(target)
        with pytest.raises(UserError, match=r"/gone is a link to nothing: mend or remove it$"):
            subfolders(tmp_path)
        (tmp_path / "gone").unlink()


def test_only_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a named pipe, not a file"):
        open_file(tmp_path / "pipe")
    with pytest.raises(OSError, match="a folder, not a file"):
        open_file(tmp_path)
    with pytest.raises(OSError, match="a device, not a file"):
        open_file("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "s"))  # the name of a socket has at most 108 bytes
        with pytest.raises(OSError, match="a socket, not a file"):
            open_file(tmp_path / "s")


def test_printable():
    assert printable(os.fsdecode(b"caf\xe9 \xc3\xa9\n.png")) == r"caf\xe9 é\n.png"

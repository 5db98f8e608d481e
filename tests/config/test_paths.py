"""What a path is made of: it is read, recorded, printed and asked back as it is."""

import subprocess
from dataclasses import dataclass

import pytest
from omegaconf import OmegaConf

from distill.config import command_line, paths
from distill.config.options import arg, parse
from distill.utils.errors import UserError
from distill.utils.invocation import shell_word
from jobs import composed

NASTY = [
    "run [x]", "a,b", "two  spaces", "it's", 'a "quoted" one', "a=b", "~", "~x", "x~", "$HOME", "${data.root}", "a\\b",
    "a\\", "a\\'b", "a\\\\'", "a\\${b}", "line\nbreak", "tab\tx", "café", "日本", "#1", "a;b&c|d", "(1)", "{x}", "`x`",
    "!", "*?", "2026", "1e3", "1_000", "010", "true", "null ", "a:b", "%s", "[red]", "-x", "\\n", "a\\ b", "'", "''",
    "e\u0301", ":bug:",
]  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
def test_a_quoted_path_is_itself_again(name):
    path = f"/data/{name}"
    for override in (f"data.root={paths.quoted(path)}", f"data.root={command_line.hydra_value(path)}"):
        assert composed("data=imagefolder", override).data.source.root == path
        assert paths.text(override) == path


@pytest.mark.parametrize("name", [name for name in NASTY if "\\" not in name and "${" not in name])
def test_a_path_is_read_as_it_is_written(name):
    (override,) = paths.readable([f"data.root=/data/{name}"], multirun=False)
    assert composed("data=imagefolder", override).data.source.root == f"/data/{name}".rstrip()


@pytest.mark.parametrize(
    ("override", "multirun", "read"),
    [
        ("data.root=2026", False, "data.root='2026'"),
        ("init=1e3", False, "init='1e3'"),
        ("data.root=a,b", True, "data.root=a,b"),
        ("data.root='a,b',c", True, "data.root='a,b',c"),
        ("hydra.run.dir=outputs/${now:%H}", False, "hydra.run.dir=outputs/${now:%H}"),
        ("+data.root=a b(1)", False, "+data.root='a b(1)'"),
        ("kd.T=~x", False, "kd.T=~x"),
        ("resume=null", False, "resume=null"),
    ],
)
def test_only_paths_that_are_misread_are_quoted(override, multirun, read):
    assert paths.readable([override], multirun) == [read]


def test_a_tilde_is_a_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    overrides = ["data.root=~/photos", "teachers_dir=~", "cache.dir='~/c d'", "hydra.run.dir=~/run (1)", "init=x/~"]
    cfg = composed("data=imagefolder", *paths.readable(overrides, multirun=False))
    assert (cfg.data.root, cfg.data.source.root, cfg.teachers_dir) == ("/home/me/photos", "/home/me/photos", "/home/me")
    assert (cfg.cache.dir, cfg.init) == ("/home/me/c d", "x/~")
    assert paths.readable(overrides, multirun=False)[3] == "hydra.run.dir='/home/me/run (1)'"
    assert paths.home("~root") != "~root"
    assert paths.home("~nobody-of-this-name/x") == "~nobody-of-this-name/x"
    (tmp_path / "~").mkdir()
    assert paths.home("~") == "~"  # a folder of that name is there


@dataclass
class Keys:
    run: str = arg("a folder", "")
    output: str | None = arg("a file", None)
    others: list[str] = arg("files", [])


@pytest.mark.parametrize("name", NASTY)
def test_a_small_command_takes_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = f"x/{name}"
    assert parse(Keys, [f"run={path}", f"output={path}"]) == Keys(path, path, [])
    (tmp_path / "x").mkdir()
    (tmp_path / path).touch()
    assert parse(Keys, [path], rest="others").others == [path]


def test_what_is_no_path_is_read_as_before():
    assert parse(Keys, ["run='a b'", "output=null"]) == Keys("a b", None, [])
    assert parse(Keys, ["run=2026", "output=010"]) == Keys("2026", "010", [])


def test_a_printed_word_can_be_pasted():
    words = " ".join(map(shell_word, [*NASTY, "\udcff"]))
    assert "\n" not in words
    shown = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True).stdout
    assert shown.split(b"\0")[:-1] == [name.encode("utf-8", "surrogateescape") for name in [*NASTY, "\udcff"]]
    assert OmegaConf.create({"x": paths.literal("\\${x}")}).x == "\\${x}"


@pytest.mark.parametrize("value", ["", "''", "null"])
@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir"])
def test_a_folder_without_a_name_is_refused(key, value):
    with pytest.raises(UserError, match=rf"{key}= names no folder"):
        paths.readable([f"{key}={value}"], multirun=False)
    assert paths.readable([f"{key}=."], multirun=False) == [f"{key}=."]


def test_the_home_folder_in_a_flag(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert paths.readable(["--config-dir=~/conf", "--config-dir", "x"], multirun=False) == [
        "--config-dir=/somewhere/conf",
        "--config-dir",
        "x",
    ]
    assert command_line.config_dir(["--config-dir=~/conf"]) == "/somewhere/conf"

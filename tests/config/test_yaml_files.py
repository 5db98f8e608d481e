"""Aliases of aliases are refused before they are written out; those that people use are not."""

import pytest

from distill.config import yaml_files
from distill.utils.errors import UserError


def bomb(levels, of=9):
    lines = [f"a0: &a0 [{','.join('1' * of)}]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * of)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("text", [bomb(12), bomb(200), "a: &a [*a]\n", "a: &a {b: {c: *a}}\n"])
def test_what_would_not_end_is_refused_at_once(tmp_path, text):
    (tmp_path / "kd").mkdir()
    file = tmp_path / "kd" / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=f"{file} has aliases that stand for more than 100000 values"):
        yaml_files.check(tmp_path)


@pytest.mark.parametrize(
    "text", [bomb(3), "a: &a {lr: 1}\nb: *a\n", "a: [*\n", "x: 2 * 3\n", b"\xff*".decode("latin1")]
)
def test_what_people_write_passes(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    yaml_files.check(tmp_path)
    yaml_files.check(None)


def test_values_are_counted_with_their_aliases(monkeypatch, tmp_path):
    (tmp_path / "mine.yaml").write_text("a: &a [1, 2]\nb: *a\n")  # the mapping, two keys, two lists of two
    monkeypatch.setattr(yaml_files, "MOST_VALUES", 9)
    yaml_files.check(tmp_path)
    monkeypatch.setattr(yaml_files, "MOST_VALUES", 8)
    with pytest.raises(UserError, match="more than 8 values"):
        yaml_files.check(tmp_path)

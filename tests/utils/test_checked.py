"""Records are what was written, or an error."""

import json

import pytest

from distill.utils.checked import parse, write_json, write_yaml

CONTENT = {"acc": 0.9531, "names": ["café", 'a "quoted" name'], "nested": {"T": 4.0, "nothing": None}}
YAML = "overrides:\n- kd.T=2,8\nbegun: 17.5\n"


def test_what_was_written_is_read(tmp_path):
    write_json(tmp_path / "a.json", CONTENT)
    assert parse(tmp_path / "a.json") == CONTENT
    write_yaml(tmp_path / "a.yaml", YAML)
    assert parse(tmp_path / "a.yaml") == {"overrides": ["kd.T=2,8"], "begun": 17.5}


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_no_bit_and_no_length_gives_other_values(tmp_path, name):
    path = tmp_path / name
    write_json(path, CONTENT) if name == "a.json" else write_yaml(path, YAML)
    whole, right = path.read_bytes(), parse(path)
    damaged = [whole[:length] for length in range(len(whole))]
    for at in range(len(whole)):
        for bit in range(8):
            damaged.append(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
    for content in damaged:
        path.write_bytes(content)
        try:
            read = parse(path)
        except ValueError:
            continue
        assert {key: read.get(key) for key in right} == right, content


def test_what_another_program_wrote_anew_is_read_as_it_is(tmp_path):
    write_json(tmp_path / "a.json", CONTENT)
    edited = json.loads((tmp_path / "a.json").read_text()) | {"acc": 0.5}
    (tmp_path / "a.json").write_text(json.dumps(edited, indent=2))
    assert parse(tmp_path / "a.json")["acc"] == 0.5
    (tmp_path / "b.yaml").write_text(YAML)
    assert parse(tmp_path / "b.yaml")["begun"] == 17.5


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_no_object_is_an_error(tmp_path, content):
    for name in ("a.json", "a.yaml"):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match="."):
            parse(tmp_path / name)


def test_json_without_end_is_an_error(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="recursion"):
        parse(tmp_path / "a.json")

"""The configuration reference has every key of the schema, each with its type, default, unit and description."""

import re
from typing import Any

import pytest

from distill.config import CONF
from docs_site import config_reference, key_facts

ROWS = {row.key: row for row in config_reference.rows()}
FIELDS = config_reference.schema_fields()


def last(key: str) -> str:
    return key.rpartition(".")[2]


@pytest.mark.parametrize("key", FIELDS)
def test_a_key_of_the_schema_is_described(key: str) -> None:
    below = [row for name, row in ROWS.items() if name == key or name.startswith(f"{key}.")]
    assert below, f"{key} is missing"
    assert all(row.about and row.type for row in below), key


def test_rows_say_what_the_schema_says() -> None:
    assert ROWS["kd.T"] == config_reference.Row("kd.T", "number or schedule", 4.0, "", ROWS["kd.T"].about)
    assert "temperature" in ROWS["kd.T"].about
    assert (ROWS["data.memory_gb"].type, ROWS["data.memory_gb"].unit) == ("number", "GB")
    assert ROWS["data.mean"].type == "list of numbers"
    assert ROWS["only"].type == "teacher"
    assert ROWS["kd.terms.<name>.weight"].about == "a number or a schedule"
    assert ROWS["teacher.recipe.max_epochs"].unit == "epochs"


def test_every_number_has_a_unit_or_is_known_to_have_none() -> None:
    numbers = [key for key, row in ROWS.items() if "number" in row.type]
    assert [key for key in numbers if key not in key_facts.UNITS and last(key) not in key_facts.UNITS] == []


def test_every_field_of_any_type_has_words() -> None:
    fields = [key for key, hint in FIELDS.items() if hint is Any]
    assert [key for key in fields if key not in key_facts.TYPES and last(key) not in key_facts.TYPES] == []


@pytest.mark.parametrize("table", [key_facts.TYPES, key_facts.UNITS], ids=["types", "units"])
def test_no_fact_is_of_a_key_that_is_gone(table: dict[str, str]) -> None:
    names = {*ROWS, *map(last, ROWS), *FIELDS, *map(last, FIELDS)}
    assert sorted(set(table) - names) == []


def test_the_page_has_every_option_of_every_group() -> None:
    page = config_reference.page()
    for file in CONF.glob("*/**/*.yaml"):
        assert f"**`{file.parent.relative_to(CONF)}={file.stem}`**" in page
    assert "| `kd.terms.dkd.loss.beta` | `8.0` |" in page
    assert "| `hydra.launcher.timeout_min` | `null` |" in page
    assert "| `model.backbone` | text | `null` |" in page
    for line in page.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (4, 6), line

"""Every key of the configuration is in one of the two sets, of those that shape a result or of those that do not."""

from dataclasses import fields, is_dataclass
from typing import get_type_hints

import pytest

from distill.config import key_sets
from distill.config.schema import RecipeConfig, TrainConfig


def keys(cls, prefix=""):
    hints = get_type_hints(cls)
    for field in fields(cls):
        name, kind = f"{prefix}{field.name}", hints[field.name]
        yield from keys(kind, f"{name}.") if is_dataclass(kind) else [name]


EVERY = [*keys(TrainConfig), *keys(RecipeConfig, "teacher.recipe.")]


@pytest.mark.parametrize("key", EVERY)
def test_each_key_either_shapes_a_result_or_does_not(key):
    leaf = f"{key}." if key == "teacher" else key
    assert leaf.startswith(key_sets.FREE) != leaf.startswith(key_sets.SHAPES_A_RESULT)


@pytest.mark.parametrize("name", ["FREE", "SHAPES_A_RESULT", "NOT_THE_STUDENTS", "NOT_A_SETTING"])
def test_no_set_names_a_key_that_is_not_there(name):
    for beginning in getattr(key_sets, name):
        assert any(f"{key}.".startswith(beginning) for key in EVERY), beginning


def test_what_shapes_no_result_belongs_to_nobodys_recipe():
    assert set(key_sets.FREE) <= set(key_sets.NOT_THE_STUDENTS)

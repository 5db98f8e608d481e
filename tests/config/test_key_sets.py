"""Every key of the configuration is in one of the two sets, of those that shape a result or of those that do not."""

from dataclasses import fields, is_dataclass
from typing import get_type_hints

import pytest

from distill.config import key_sets
from distill.config.schema import RecipeConfig, TrainConfig

# What shapes a run's result: through the models, the data they see, or how it is computed.
SHAPES_A_RESULT = (
    "model", "teacher.", "task", "load_best_model_at_end", "optimizer", "scheduler", "callbacks", "seed", "only",
    "init", "quantize", "channels_last", "compile", "cuda_graph", "prefetch", "kd.", "cache.enabled", "cache.top_k",
    "cache.sampled", "cache.only", "cache.cycle",
    "data.name", "data.source", "data.root", "data.image", "data.label", "data.batch_size", "data.eval_batch_size",
    "data.kind", "data.text", "data.tokenizer", "data.teacher_", "data.max_length", "data.image_size", "data.in_memory",
    "data.memory_gb", "data.augment", "data.transform", "data.mean", "data.std", "data.num_classes",
    "data.val_fraction", "data.test_fraction", "data.split_seed", "data.subset", "data.on_broken",
    "trainer._target_", "trainer.max_epochs", "trainer.accelerator", "trainer.devices", "trainer.num_nodes",
    "trainer.strategy", "trainer.precision", "trainer.gradient_clip_val", "trainer.accumulate_grad_batches",
    "trainer.check_val_every_n_epoch", "trainer.limit_", "trainer.deterministic",
)  # fmt: skip


def keys(cls, prefix=""):
    hints = get_type_hints(cls)
    for field in fields(cls):
        name, type_ = f"{prefix}{field.name}", hints[field.name]
        yield from keys(type_, f"{name}.") if is_dataclass(type_) else [name]


EVERY = [*keys(TrainConfig), *keys(RecipeConfig, "teacher.recipe.")]


@pytest.mark.parametrize("key", EVERY)
def test_each_key_either_shapes_a_result_or_does_not(key):
    leaf = f"{key}." if key == "teacher" else key
    assert leaf.startswith(key_sets.FREE) != leaf.startswith(SHAPES_A_RESULT)


@pytest.mark.parametrize("key_set", [key_sets.FREE, SHAPES_A_RESULT, key_sets.NOT_THE_STUDENTS, key_sets.NOT_A_SETTING])
def test_no_set_names_a_key_that_is_not_there(key_set):
    for beginning in key_set:
        assert any(f"{key}.".startswith(beginning) for key in EVERY), beginning


def test_what_shapes_no_result_belongs_to_nobodys_recipe():
    assert set(key_sets.FREE) <= set(key_sets.NOT_THE_STUDENTS)

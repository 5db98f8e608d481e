"""The default pairs of stages of student and teacher."""

from distill.distillation.model_info import ModelInfo
from distill.losses.adapters import map_shape
from distill.utils.errors import UserError


def stage_pairs(student: ModelInfo, teacher: ModelInfo, term: str) -> list[tuple[str, str]]:
    """Pairs of stages (student's, teacher's), shallow to deep, without the stem (a first stage of a single layer).

    Of the sizes H × W that stages of both models have, the last stage of each is paired. Where there is no common
    size, or one of the models keeps one size throughout (plain transformers), stages are paired by depth: as many as
    the shorter list has, spread evenly, the last with the last.

    Args:
        student: of the student.
        teacher: of the teacher.
        term: its name, for the error.

    Raises:
        UserError: a model without known stages.
    """
    left, right = _stages(student, term, "student"), _stages(teacher, term, "teacher")
    sizes = [_by_size(model_info, keys) for model_info, keys in ((student, left), (teacher, right))]
    common = [size for size in sizes[0] if size in sizes[1]]
    if common and min(map(len, sizes)) > 1:
        return [(sizes[0][size], sizes[1][size]) for size in common]
    count = min(len(left), len(right))
    return list(zip(_spread(left, count), _spread(right, count), strict=True))


def _stages(model_info: ModelInfo, term: str, side: str) -> list[str]:
    """The stages but the stem; the stem where there is nothing else."""
    if not model_info.stages:
        raise UserError(
            f"term '{term}' reads inner layers, and {model_info.name} has no known stages: "
            f"name them by module path, kd.terms.{term}.{side}=[...] on both sides"
        )
    first, *rest = range(len(model_info.stages))
    stem = not any(path.startswith(f"{model_info.stages[first]}.") for path in model_info.shapes)
    return [model_info.layer(i) for i in (rest if rest and stem else [first, *rest])]


def _by_size(model_info: ModelInfo, keys: list[str]) -> dict[tuple[int, int], str]:
    """The last stage of each size, in the order of the stages."""
    last_key: dict[tuple[int, int], str] = {}
    for key in keys:
        try:
            _, _, height, width = map_shape(model_info.shape(key))
        except ValueError:  # neither a map nor a square of tokens
            continue
        last_key[height, width] = key
    return last_key


def _spread(keys: list[str], count: int) -> list[str]:
    """``count`` of the keys, evenly spread, the last one among them."""
    return [keys[round((i + 1) * len(keys) / count) - 1] for i in range(count)]

"""The default pairs of stages of student and teacher."""

from distill.distillation.model_info import ModelInfo
from distill.losses.adapters import map_shape
from distill.utils.errors import UserError


def stage_pairs(student: ModelInfo, teacher: ModelInfo, term: str) -> list[tuple[str, str]]:
    """Pairs of stages (student's, teacher's), shallow to deep, without the stem (a first stage of a single layer).

    The layers of a student that was cut from the teacher are paired with those they were taken from. Otherwise, of the
    sizes H × W that stages of both models have, the last stage of each is paired. Where there is no common
    size, or one of the models keeps one size throughout (plain transformers), stages are paired by depth: as many as
    the shorter list has, spread evenly, the last with the last.

    Raises:
        UserError: a model without known stages; names the ``term``.
    """
    student_keys, teacher_keys = _stages(student, term, "student"), _stages(teacher, term, "teacher")
    taken = () if teacher.teacher_layers else student.teacher_layers  # not of an assistant, cut itself
    if len(taken) == len(student_keys) and max(taken, default=0) < len(teacher_keys):
        return [(key, teacher_keys[i]) for key, i in zip(student_keys, taken, strict=True)]
    by_size, teacher_by_size = _last_by_size(student, student_keys), _last_by_size(teacher, teacher_keys)
    common = [size for size in by_size if size in teacher_by_size]
    if common and len(by_size) > 1 and len(teacher_by_size) > 1:
        return [(by_size[size], teacher_by_size[size]) for size in common]
    count = min(len(student_keys), len(teacher_keys))

    def spread(keys: list[str]) -> list[str]:
        return [keys[round((i + 1) * len(keys) / count) - 1] for i in range(count)]

    return list(zip(spread(student_keys), spread(teacher_keys), strict=True))


def _stages(model_info: ModelInfo, term: str, side: str) -> list[str]:
    """The stages but the stem; the stem where there is nothing else."""
    if not model_info.stages:
        raise UserError(
            f"term '{term}' reads inner layers, and {model_info.name} has no known stages: "
            f"name them by module path, kd.terms.{term}.{side}=[...] on both sides"
        )
    of_text = bool(model_info.attention)  # its embeddings come before the layers
    has_stem = of_text or not any(path.startswith(f"{model_info.stages[0]}.") for path in model_info.shapes)
    first = 1 if has_stem and len(model_info.stages) > 1 else 0
    return [model_info.layer(i) for i in range(first, len(model_info.stages))]


def _last_by_size(model_info: ModelInfo, keys: list[str]) -> dict[tuple[int, int], str]:
    """The last stage of each size, in the order of the stages."""
    last_key: dict[tuple[int, int], str] = {}
    for key in keys:
        try:
            _, _, height, width = map_shape(model_info.shape(key))
        except ValueError:  # neither a map nor a square of tokens
            continue
        last_key[height, width] = key
    return last_key

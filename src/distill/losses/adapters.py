"""Adapters: learned projections of student features to the teacher's number of channels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.checks import upcast

MAX_PREFIX = 8  # class, distillation and register tokens before those of the image


def grid(length: int) -> int:
    """Side of the square grid that L tokens are, after the fewest prefix tokens (class, registers) that leave one.

    Raises:
        ValueError: no square remains after up to 8 prefix tokens.
    """
    for prefix in range(min(MAX_PREFIX, length - 1) + 1):
        side: int = round((length - prefix) ** 0.5)  # math.isqrt takes no length that torch.compile left open
        if side * side == length - prefix:
            return side
    raise ValueError(f"{length} tokens are no square grid, whether or not up to {MAX_PREFIX} come before it")


def as_map(x: Tensor) -> Tensor:
    """Tokens (N, L, D) as a map (N, D, g, g), prefix tokens dropped (see :func:`grid`); a map as it is.

    Raises:
        ValueError: tokens that are no square grid, or vectors.
    """
    if x.dim() == 4:
        return x
    shape = map_shape(x.shape)
    return x[:, -shape[2] * shape[3] :].transpose(1, 2).reshape(x.shape[0], *shape[1:])


def map_shape(shape: Sequence[int]) -> tuple[int, int, int, int]:
    """The shape that :func:`as_map` gives."""
    if len(shape) == 4:
        return (shape[0], shape[1], shape[2], shape[3])
    if len(shape) != 3:
        raise ValueError(f"features of shape {tuple(shape)} are neither maps (N, C, H, W) nor tokens (N, L, D)")
    side = grid(shape[1])
    return (shape[0], shape[2], side, side)


def map_shapes(
    student: Sequence[int], teacher: Sequence[int], problem: str = "cannot be matched"
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """:func:`map_shape` of both features.

    Raises:
        ValueError: features that are no maps; shows both shapes and the ``problem``.
    """
    try:
        return map_shape(student), map_shape(teacher)
    except ValueError as error:
        shapes = f"{tuple(student)} (student) and {tuple(teacher)} (teacher)"
        raise ValueError(f"features of shape {shapes} {problem}: {error}") from None


def match_sizes(students: Sequence[Tensor], teachers: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """:func:`match_size` of every stage: the student's maps, and the teacher's."""
    pairs = [match_size(student, teacher) for student, teacher in zip(students, teachers, strict=True)]
    return [student for student, _ in pairs], [teacher for _, teacher in pairs]


def match_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pools the larger of two maps (N, C, H, W) to the smaller one's H × W, in float32 at least.

    Where one is a map and the other tokens, the tokens become a map first (see :func:`as_map`). Two of one kind that
    have no H × W (tokens, vectors) are left as they are.
    """
    if {student.dim(), teacher.dim()} == {3, 4}:
        student, teacher = as_map(student), as_map(teacher)
    if student.dim() != 4 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))

    def pooled(x: Tensor) -> Tensor:
        return x if x.shape[2:] == size else F.adaptive_avg_pool2d(upcast(x), size)

    return pooled(student), pooled(teacher)


def normalisable(*features: Tensor) -> bool:
    """Whether BatchNorm of the maps is defined in training: more than one value per channel. Other features need none.

    A training batch for which it is not (one sample, 1×1 map) counts as 0 in the losses with adapters.
    """
    return all(x.dim() != 4 or x[:, 0].numel() > 1 for x in features)


def adapt(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)``; x in the precision of a module that is all in half precision, as pooling leaves it in float32."""
    weight = next(module.parameters(), None)
    if weight is not None and weight.dtype in (torch.float16, torch.bfloat16):
        x = x.to(weight.dtype)
    adapted: Tensor = module(x)
    return adapted


def adapter(student: Sequence[int], teacher: Sequence[int], relu: bool = True) -> nn.Sequential:
    """A module that maps features of the student's shape to the teacher's number of channels.

    Maps (N, C, H, W), or a map and tokens: 1×1 convolution, BatchNorm and, with ``relu``, ReLU. Tokens (N, L, D) and
    vectors (N, D): linear, LayerNorm and, with ``relu``, ReLU. Give it what :func:`match_size` returns.

    Args:
        student: shape of the student's features, batch axis first.
        teacher: shape of the teacher's features, batch axis first.
        relu: end with a ReLU, as the teacher's features do that come out of one.

    Raises:
        ValueError: the two kinds of features cannot be matched; both shapes are shown.
    """
    if {len(student), len(teacher)} == {3, 4}:
        student, teacher = map_shapes(student, teacher)
    s, t = tuple(student), tuple(teacher)
    if len(s) == len(t) == 4:
        layers: list[nn.Module] = [nn.Conv2d(s[1], t[1], kernel_size=1, bias=False), nn.BatchNorm2d(t[1])]
    elif len(s) == len(t) == 2 or (len(s) == len(t) == 3 and s[1] == t[1]):
        layers = [nn.Linear(s[-1], t[-1], bias=False), nn.LayerNorm(t[-1])]
    else:
        raise ValueError(
            f"features of shape {s} (student) and {t} (teacher) cannot be matched: "
            "both must be maps (N, C, H, W), tokens (N, L, D) of one length, or vectors (N, D)"
        )
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))

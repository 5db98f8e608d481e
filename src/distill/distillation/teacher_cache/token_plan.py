"""Whether and how a language model's distributions are cached: what was asked for, and what it takes on disk."""

import shutil
from pathlib import Path
from typing import cast

import torch
from torch import nn

from distill.config.schema import CacheConfig
from distill.distillation.criterion import Criterion
from distill.distillation.teacher_cache.token_codecs import Largest, Sampled, TokenCodec
from distill.losses.sampled import SampledLoss
from distill.utils.errors import UserError

MOST_DRAWN = 255  # counts take a byte


def token_codec(options: CacheConfig, criterion: Criterion, vocabulary: int, seed: int) -> TokenCodec | None:
    """How each token's distribution is stored; None: it is not, as neither ``sampled`` nor ``top_k`` is set.

    Raises:
        UserError: values that do not fit, or terms that what is kept does not suffice for.
    """
    if options.sampled is None and options.top_k is None:
        return None
    key = f"cache.{'top_k' if options.sampled is None else 'sampled'}"
    if options.sampled is not None and options.top_k is not None:
        raise UserError("cache.sampled and cache.top_k are two ways to keep a distribution: set one of them")
    terms = [term for term in criterion.terms if term.needs_teacher]
    other = next((term for term in terms if "teacher_logits" not in term.reads or term.uses_features), None)
    if other is not None:
        raise UserError(
            f"{key} keeps distributions alone, and term '{other.name}' reads more of the teacher: leave it out"
        )
    if options.sampled is None:
        assert options.top_k is not None
        if options.top_k >= vocabulary:
            raise UserError(f"cache.top_k={options.top_k} must be below the number of tokens, {vocabulary:,}")
        return Largest(vocabulary, options.top_k)
    if options.sampled > MOST_DRAWN:
        raise UserError(f"cache.sampled must be at most {MOST_DRAWN}, got {options.sampled}")
    temperatures = set[float]()
    for term in terms:
        loss = cast(nn.ModuleList, criterion.losses[term.name])[0]
        if not isinstance(loss, SampledLoss) or term.standardize or not _is_expectation(loss):
            raise UserError(
                f"cache.sampled draws tokens from the teacher, by which term '{term.name}' cannot be estimated: "
                "kd, skew_kl (not reverse) and tvd can, without standardize; or set cache.top_k"
            )
        if "T" in term.schedules:
            raise UserError(f"cache.sampled draws tokens at one temperature, and that of term '{term.name}' varies")
        temperatures.add(float(loss.T))
    if len(temperatures) > 1:
        listed = ", ".join(f"{T:g}" for T in sorted(temperatures))
        raise UserError(f"cache.sampled draws tokens at one temperature, and the terms have T={listed}")
    T = temperatures.pop() if temperatures else 1.0
    if T != 1 and criterion.task is not None and criterion.task.info.score == "kl":
        raise UserError(f"task.score=kl is measured at T=1, and cache.sampled draws tokens at T={T:g}: set kd.T=1")
    return Sampled(vocabulary, options.sampled, T, seed)


def _is_expectation(loss: SampledLoss) -> bool:
    return loss.per_token(torch.zeros(1), torch.zeros(1)) is not None


def check_room(folder: Path, size: int) -> None:
    """A UserError where a disk has less room than a cache takes, said before it is begun."""
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise UserError(
            f"cache.dir={folder}: the teacher cache takes {size / 1e9:.3g} GB, and {free / 1e9:.3g} are free"
        )

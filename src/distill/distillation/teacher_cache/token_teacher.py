"""A language model as a teacher whose distributions are cached on disk, sparsely; see ``token_codecs``."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.data import Batch
from distill.data.targets import IGNORED
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache.store import Store
from distill.distillation.teacher_cache.teacher import CachedTeacher
from distill.distillation.teacher_cache.token_codecs import TokenCodec
from distill.losses.chunked import ROWS
from distill.models.outputs import Outputs
from distill.utils.inputs import first_samples

CHECKED = 2  # rows of documents that are computed again in each epoch


class CachedTokenTeacher(CachedTeacher):
    """Reads what a codec kept of each token's distribution; what is missing is computed and cached, on every split.

    The model is moved to the training's device when it first has to compute: with a whole cache it never is.

    Args:
        teacher: computes what is missing.
        store: the files.
        codec: how distributions are stored.
        samples: see :class:`CachedTeacher`.
        length: the most tokens of a row.
    """

    def __init__(
        self, teacher: Teacher, store: Store, codec: TokenCodec, samples: Mapping[str, Tensor], length: int
    ) -> None:
        super().__init__(teacher, store, None, samples, cycle=1, length=length)  # type: ignore[arg-type]
        self._codec = codec
        self._device: torch.device | None = None

    def to(self, device: torch.device) -> "CachedTokenTeacher":
        """Note where it is to compute, if it has to."""
        self._device = device
        return self

    def _live(self, batch: Batch, split: str) -> Outputs:
        if self._device is not None:
            self.live.to(self._device)
        return self.live(batch, split)

    def _encoded(self, batch: Batch, split: str) -> dict[str, Tensor]:
        """What is stored of a batch: zeros where nothing is to be learnt, and behind its end."""
        live = self._live(batch, split)
        valid = batch.target != IGNORED
        states, head, found = live.logits[valid], live.head, list[dict[str, Tensor]]()
        assert head is not None
        first = int(batch.index[0]) * self.length if self.length else 0
        for start in range(0, max(1, len(states)), ROWS):
            found.append(self._codec.encode(head(states[start : start + ROWS]), first + start))
        rows = {}
        for name in found[0]:
            values = torch.cat([part[name] for part in found])
            whole = values.new_zeros(*batch.target.shape, values.shape[-1])
            whole[valid] = values
            rows[name] = F.pad(whole, (0, 0, 0, (self.length or 0) - whole.shape[1]))
        return rows

    def _computed(self, batch: Batch, split: str) -> dict[str, Tensor]:
        return self._encoded(batch, split)

    def _outputs(self, rows: Mapping[str, Tensor], split: str, batch: Batch) -> Outputs:
        del split
        codes = self._codec.codes({name: each[:, : batch.target.shape[1]] for name, each in rows.items()})
        head: Any = self._codec
        return Outputs(codes, {}, None, head=head)

    def _drift(self, batch: Batch, rows: Mapping[str, Tensor]) -> float:
        few = Batch(first_samples(batch.inputs, CHECKED), batch.target[:CHECKED], batch.index[:CHECKED])
        codes = self._outputs({name: each[:CHECKED] for name, each in rows.items()}, "train", few).logits
        live, valid = self._live(few, "train"), few.target != IGNORED
        assert live.head is not None
        states = live.logits[valid][:ROWS]
        return float(self._codec.difference(live.head(states), codes[valid][:ROWS])) if len(states) else 0.0

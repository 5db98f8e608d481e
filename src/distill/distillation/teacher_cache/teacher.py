"""A teacher that remembers its answers."""

import hashlib
import sys
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distill.data import Batch
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache.codecs import Codec, Exact, half
from distill.distillation.teacher_cache.store import CachedOutputs, Store
from distill.models.outputs import Outputs

CHECKED = 16  # samples an epoch whose answers are computed again
DRIFT = 0.05  # root mean square of the difference over that of the answers, above which a cache is not believed


_digests: WeakKeyDictionary[nn.Module, tuple[Any, str]] = WeakKeyDictionary()  # by model: its state, the digest


def digest(model: nn.Module) -> str:
    """Digest of a model's architecture (its modules, as printed) and weights; a frozen one is read once."""
    weights = model.state_dict()
    tensors = [*model.parameters(), *model.buffers()]
    fixed = not any(tensor.requires_grad or tensor.is_inference() for tensor in tensors)
    state = (repr(model), [(tensor.data_ptr(), tensor._version) for tensor in tensors] if fixed else [])
    if fixed and model in _digests and _digests[model][0] == state:
        return _digests[model][1]
    hasher = hashlib.sha256(state[0].encode())
    for name, tensor in weights.items():
        hasher.update(name.encode())
        hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    _digests[model] = (state, hasher.hexdigest())
    return _digests[model][1]


class CachedTeacher(Teacher):
    """A teacher whose logits (and embedding) come from the cache where they are there, and go there where not.

    On the training split it always gives what the cache can hold, also when it has just computed it: a run that
    fills a cache and one that reads it learn from the same numbers. On the other splits nothing is rounded.

    Args:
        teacher: asked for what is missing; no term may read its inner layers.
        store: where answers are kept.
        codec: how training logits are kept.
        samples: index of every sample of each split, by the split's name ("train", "val", "test").
        cycle: views repeat after so many epochs; None: never.
        embedding: whether a term reads it.

    Attributes:
        drift: relative difference between cache and teacher, of the samples that were last computed again.
        found: epochs, of those begun, that were in the cache whole.
        begun: epochs begun.
    """

    def __init__(
        self,
        teacher: Teacher,
        store: Store,
        codec: Codec,
        samples: Mapping[str, Tensor],
        cycle: int | None = None,
        embedding: bool = False,
    ) -> None:
        self.live = teacher
        self.model = teacher.model
        self.store = store
        self.codec = codec
        self.cycle = cycle
        self.embedding = embedding
        self.drift = 0.0
        self.found = self.begun = 0
        self._order = {split: index.sort().values for split, index in samples.items()}
        self._exact = Exact(0)
        self._epoch = self._shown = 0  # of the views, and of the training
        self._answers: dict[str, CachedOutputs] = {}
        self._new: set[str] = set()  # splits with answers that are not on disk yet
        self._unchecked = False
        self._writable = store.problem is None
        if store.problem is not None:
            self._cannot_write(store.problem)

    def start_epoch(self, epoch: int, max_epochs: int) -> None:  # noqa: ARG002
        """Turns to the views of an epoch, counted from 0."""
        if epoch != self._shown and "train" in self._answers:  # views that repeat: now they are asked for again
            self._answers["train"].empty = False
        self._shown = epoch
        epoch = epoch % self.cycle if self.cycle else epoch
        if epoch != self._epoch:
            self.flush()
            self._answers.pop("train", None)
            self._epoch = epoch

    def _load(self, split: str) -> None:
        samples = len(self._order[split])
        found = self.store.read(split, self._epoch, samples)
        if found is None or (self.embedding and "embedding" not in found.rows):
            found = CachedOutputs.none(samples)
            found.empty = split == "train"  # the order of an epoch repeats nothing; other splits come every epoch
        self._answers[split] = found
        if split == "train":
            self.begun += 1
            self.found += found.whole
            self._unchecked = not found.empty

    def _codec(self, split: str) -> Codec:
        return self.codec if split == "train" else self._exact

    @torch.no_grad()
    def __call__(self, batch: Batch, split: str = "train") -> Outputs:
        """The answers to one batch of a split."""
        if split not in self._answers:
            self._load(split)
        device = batch.index.device
        if self._order[split].device != device:
            self._order[split] = self._order[split].to(device)
        answers = self._answers[split].to(device)
        at = torch.searchsorted(self._order[split], batch.index)
        if answers.has(at):
            rows = {name: kept[at] for name, kept in answers.rows.items()}
            if split != "train" or not self._unchecked or self._agrees(batch, rows):
                return self._outputs(rows, split)
        live = self.live(batch, split)
        rows = self._codec(split).encode(live.logits)
        if self.embedding:
            assert live.embedding is not None
            rows["embedding"] = half(live.embedding) if split == "train" else live.embedding.float()
        self._answers[split].put(at, rows)
        self._new.add(split)
        return self._outputs(rows, split)

    def _outputs(self, rows: Mapping[str, Tensor], split: str) -> Outputs:
        return Outputs(self._codec(split).decode(rows), {}, rows["embedding"].float() if self.embedding else None)

    def _agrees(self, batch: Batch, rows: Mapping[str, Tensor]) -> bool:
        """Computes a few answers again; where they differ from the cache's, all of it is thrown away."""
        self._unchecked = False
        few = Batch(batch.inputs[:CHECKED], batch.target[:CHECKED], batch.index[:CHECKED])
        now = self.codec.decode(self.codec.encode(self.live(few).logits))
        kept = self.codec.decode(rows)[:CHECKED]
        self.drift = float((now - kept).square().mean().sqrt() / now.square().mean().sqrt().clamp(min=1e-6))
        if self.drift <= DRIFT:
            return True
        _warn(f"{self.store.folder} differs from its teacher by {100 * self.drift:.1f} %: it is built again")
        self.store.clear()
        self._new.clear()
        self._answers = {"train": CachedOutputs.none(len(self._order["train"])).to(batch.index.device)}
        return False

    def report(self) -> dict[str, Any]:
        """Epochs begun, those of them that were in the cache whole, the last drift, the folder."""
        return {"begun": self.begun, "found": self.found, "drift": self.drift, "folder": str(self.store.folder)}

    def flush(self) -> None:
        """Writes what was computed."""
        for split in sorted(self._new):
            try:
                if self._writable:
                    self.store.write(split, self._epoch, self._answers[split])
            except OSError as error:
                self._writable = False
                self._cannot_write(error)
        self._new.clear()
        if "train" in self._answers:  # a training that follows on another may show the same epoch
            self._answers["train"].empty = False

    def _cannot_write(self, error: OSError) -> None:
        _warn(f"{self.store.folder} cannot be written ({error}): the teacher answers what is not there")

    def live_teachers(self, every_batch: bool = False) -> list[Teacher]:
        """None where the whole epoch is cached; with ``every_batch``, none unless nothing of the epoch is."""
        if every_batch:
            cached = self._answers.get("train")
            return [self.live] if cached is not None and cached.empty else []
        if "train" not in self._answers:
            self._load("train")
        return [] if self._answers["train"].whole else [self.live]

    def to(self, device: torch.device) -> "CachedTeacher":
        """Moves the teacher."""
        self.live.to(device)
        return self


def _warn(text: str) -> None:
    print(f"warning: teacher cache {text}", file=sys.stderr, flush=True)

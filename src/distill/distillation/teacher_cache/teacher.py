"""A teacher whose outputs are cached on disk."""

import hashlib
import logging
from collections.abc import Mapping
from typing import TypedDict
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.data import Batch
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache.codecs import Codec, Exact, half
from distill.distillation.teacher_cache.store import CachedOutputs, Store
from distill.models.hub.preprocess import preprocess_of
from distill.models.outputs import Outputs
from distill.utils.checkpoints import weights_of
from distill.utils.errors import WriteError
from distill.utils.inputs import first_samples, shapes

log = logging.getLogger(__name__)

CHECKED = 16  # samples per epoch whose logits are computed again
DRIFT = 0.05  # largest RMS of their difference, relative to the RMS of the logits, with which a cache is used

State = tuple[str, list[tuple[int, int]]]  # a model as printed; where its tensors lie and their versions, if frozen
_digests: WeakKeyDictionary[nn.Module, tuple[State, str]] = WeakKeyDictionary()


def digest(model: nn.Module) -> str:
    """Digest of a model's architecture (its modules, as printed) and weights; a frozen one is read once.

    How it prepares its inputs itself is part of it.
    """
    weights = weights_of(model)
    tensors = [*model.parameters(), *model.buffers()]
    frozen = not any(tensor.requires_grad or tensor.is_inference() for tensor in tensors)
    own = preprocess_of(model)  # a hook, which is no module
    state = (
        f"{model!r} sees {own!r}" if own else repr(model),
        [(tensor.data_ptr(), tensor._version) for tensor in tensors] if frozen else [],
    )
    if frozen and model in _digests and _digests[model][0] == state:
        return _digests[model][1]
    hasher = hashlib.sha256(state[0].encode())
    for name, tensor in weights.items():
        hasher.update(name.encode())
        hasher.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    _digests[model] = (state, hasher.hexdigest())
    return _digests[model][1]


class CacheReport(TypedDict):
    """Epochs begun, those of them that were cached completely, the last drift, the folder."""

    begun: int
    found: int
    drift: float
    folder: str


class CachedTeacher(Teacher):
    """Reads logits (and embedding) from a cache; what is missing is computed and cached.

    On the training split freshly computed outputs pass through the codec too: a run that fills a cache and one that
    reads it train on the same numbers. On the other splits nothing is rounded.

    Args:
        teacher: computes what is missing; no term may read its hidden features.
        store: the files.
        codec: how training logits are stored.
        samples: index of every sample of each split, by the split's name ("train", "val", "test").
        cycle: views repeat after so many epochs; None: never.
        embedding: whether a term reads it.
        length: L of logits (N, L, C), the most tokens of a text; None: they are (N, C).

    Attributes:
        drift: relative difference between cache and teacher, of the samples that were last computed again.
        complete: epochs, of those begun, that were cached completely.
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
        length: int | None = None,
    ) -> None:
        super().__init__(teacher.model)
        self.length = length
        self.live = teacher
        self.store = store
        self.cycle = cycle
        self.embedding = embedding
        self.drift = 0.0
        self.complete = self.begun = 0
        self._codecs: dict[str, Codec] = {"train": codec, "val": Exact(0), "test": Exact(0)}
        self._index = {split: index.sort().values for split, index in samples.items()}
        self._training_epoch = 0
        self._epoch = 0  # of the views
        self._cached: dict[str, CachedOutputs] = {}
        self._new: set[str] = set()  # splits with outputs that are not on disk yet
        self._unchecked = False
        if store.problem is not None:
            self._cannot_write(store.problem)

    def start_epoch(self, epoch: int, max_epochs: int) -> None:  # noqa: ARG002
        """Turn to the views of an epoch, counted from 0."""
        if epoch != self._training_epoch and "train" in self._cached:  # repeated views: from now on rows are read
            self._cached["train"].empty = False
        self._training_epoch = epoch
        epoch = epoch % self.cycle if self.cycle else epoch
        if epoch != self._epoch:
            self.flush()
            self._cached.pop("train", None)
            self._epoch = epoch

    def _load(self, split: str) -> CachedOutputs:
        samples = len(self._index[split])
        cached = self.store.read(split, self._epoch, samples)
        if cached is None or (self.embedding and "embedding" not in cached.rows):
            # a training epoch has no sample twice; other splits repeat every epoch
            cached = CachedOutputs.none(samples, empty=split == "train")
        self._cached[split] = cached
        if split == "train":
            self.begun += 1
            self.complete += cached.complete
            self._unchecked = not cached.empty
        return cached

    @torch.no_grad()
    def __call__(self, batch: Batch, split: str = "train") -> Outputs:
        """The outputs for one batch of a split."""
        device = batch.index.device
        cached = (self._cached.get(split) or self._load(split)).to(device)
        if self._index[split].device != device:
            self._index[split] = self._index[split].to(device)
        at = torch.searchsorted(self._index[split], batch.index)
        if cached.has(at):
            rows = {name: values[at] for name, values in cached.rows.items()}
            if split != "train" or not self._unchecked or self._agrees(batch, rows):
                return self._outputs(rows, split, batch)
        rows = self._computed(batch, split)
        self._cached[split].put(at, rows)
        self._new.add(split)
        return self._outputs(rows, split, batch)

    def _computed(self, batch: Batch, split: str) -> dict[str, Tensor]:
        """What the teacher answers to a batch, as it is stored."""
        live = self.live(batch, split)
        rows = self._codecs[split].encode(self._padded(live.logits))
        if self.embedding:
            assert live.embedding is not None
            rows["embedding"] = half(live.embedding) if split == "train" else live.embedding.float()
        return rows

    def _outputs(self, rows: Mapping[str, Tensor], split: str, batch: Batch) -> Outputs:
        logits = self._cut(self._codecs[split].decode(rows), batch)
        return Outputs(logits, {}, rows["embedding"].float() if self.embedding else None)

    def _padded(self, logits: Tensor) -> Tensor:
        """Logits of texts as they are stored: all of one length."""
        return logits if self.length is None else F.pad(logits, (0, 0, 0, self.length - logits.shape[1]))

    def _cut(self, logits: Tensor, batch: Batch) -> Tensor:
        """Stored logits of texts as long as those of a batch."""
        return logits if self.length is None else logits[:, : shapes(batch.for_teacher)[0][1]]

    def _agrees(self, batch: Batch, rows: Mapping[str, Tensor]) -> bool:
        """Compute the logits of a few samples again; where they differ from the cache's, clear it."""
        self._unchecked = False
        self.drift = self._drift(batch, rows)
        if self.drift <= DRIFT:
            return True
        drift = f"{100 * self.drift:.1f} %"
        log.warning(f"teacher cache {self.store.folder} differs from its teacher by {drift}: it is built again")
        self.store.clear()
        self._new.clear()
        self._cached = {"train": CachedOutputs.none(len(self._index["train"])).to(batch.index.device)}
        return False

    def _drift(self, batch: Batch, rows: Mapping[str, Tensor]) -> float:
        """How far stored rows are from what the teacher answers to a few samples, relative to it."""
        codec = self._codecs["train"]
        inputs = first_samples(batch.for_teacher, CHECKED)
        few = Batch(inputs, batch.target[:CHECKED], batch.index[:CHECKED])
        logits = codec.decode(codec.encode(self.live(few).logits))
        difference = logits - self._cut(codec.decode(rows)[:CHECKED], batch)
        if self.length is not None:  # what stands in the padding depends on the batch that was stored
            mask = inputs["attention_mask"].bool()
            logits, difference = logits[mask], difference[mask]
        return float(difference.square().mean().sqrt() / logits.square().mean().sqrt().clamp(min=1e-6))

    def report(self) -> CacheReport:
        """What the cache was good for."""
        return {"begun": self.begun, "found": self.complete, "drift": self.drift, "folder": str(self.store.folder)}

    def flush(self) -> None:
        """Write what was computed to disk."""
        for split in sorted(self._new):
            if self.store.problem is None:
                try:
                    self.store.write(split, self._epoch, self._cached[split])
                except OSError as error:
                    self._cannot_write(error)
        self._new.clear()
        if "train" in self._cached:  # the next training may show the same epoch
            self._cached["train"].empty = False

    def _cannot_write(self, error: OSError) -> None:
        self.store.problem = error
        problem = (
            str(error)
            if isinstance(error, WriteError)
            else f"{self.store.folder} cannot be written: {error.strerror or error}"
        )
        log.warning(f"teacher cache: {problem}; the teacher answers what is not there")

    def live_teachers(self, every_batch: bool = False) -> list[Teacher]:
        """None where the whole epoch is cached; with ``every_batch``, none unless nothing of the epoch is."""
        cached = self._cached.get("train")
        if every_batch:
            return [self.live] if cached is not None and cached.empty else []
        return [] if (cached or self._load("train")).complete else [self.live]

    def to(self, device: torch.device) -> "CachedTeacher":
        """Move the teacher to a device."""
        self.live.to(device)
        return self

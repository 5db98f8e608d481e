"""One embedding per text from its tokens, as a folder of sentence-transformers says."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.utils.errors import UserError, check_choice

MODES = ("mean", "cls")
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
_LIBRARY = "sentence_transformers.models"


@dataclass(frozen=True)
class Pooling:
    """How hidden states (N, L, D) become embeddings (N, D).

    Attributes:
        mode: "mean" over the tokens that the attention mask names, or "cls", the first token's state.
        normalize: divide each embedding by its Euclidean norm.
    """

    mode: str = "mean"
    normalize: bool = False

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Embeddings (N, D), in float32 where ``hidden`` is of half precision.

        Args:
            hidden: last hidden states (N, L, D).
            mask: attention mask (N, L), 1 for tokens and 0 for padding.
        """
        hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        if self.mode == "cls":
            pooled = hidden[:, 0]
        else:
            weights = mask.to(hidden.dtype).unsqueeze(-1)
            pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return F.normalize(pooled, dim=1) if self.normalize else pooled

    def save(self, folder: Path, width: int) -> None:
        """Writes what sentence-transformers reads beside a model's own files."""
        modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *[("2_Normalize", "Normalize")] * self.normalize]
        rows = [{"idx": i, "name": str(i), "path": p, "type": f"{_LIBRARY}.{t}"} for i, (p, t) in enumerate(modules)]
        config = {"word_embedding_dimension": width, "pooling_mode_cls_token": self.mode == "cls",
                  "pooling_mode_mean_tokens": self.mode == "mean", "pooling_mode_max_tokens": False,
                  "pooling_mode_mean_sqrt_len_tokens": False}  # fmt: skip
        for path, _ in modules[1:]:
            (folder / path).mkdir(exist_ok=True)
        (folder / "modules.json").write_text(json.dumps(rows, indent=2))
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(config, indent=2))


def read_pooling(name: str, modules: Any, config: Any, mode: str | None) -> Pooling:
    """The pooling of a model.

    Args:
        name: of the model, for error messages.
        modules: content of its ``modules.json``; None: it has none.
        config: content of its ``1_Pooling/config.json``; None: it has none.
        mode: what the user asks for; None: what the files say, else the mean.

    Raises:
        UserError: a mode that is neither "mean" nor "cls", or modules after the pooling that change the embedding.
    """
    if mode is not None:
        check_choice("pooling", mode, MODES)
    kinds = [str(m.get("type", "")).rpartition(".")[2] for m in modules or () if isinstance(m, dict)]
    unknown = [kind for kind in kinds if kind not in _KNOWN_MODULES]
    if unknown:
        raise UserError(
            f"{name} has a module {unknown[0]} after its pooling (modules.json), which is not supported: "
            f"only {', '.join(_KNOWN_MODULES)}"
        )
    normalize = "Normalize" in kinds
    if mode is None and isinstance(config, dict):
        on = [key.removeprefix("pooling_mode_") for key, value in config.items() if value is True and "mode_" in key]
        if isinstance(config.get("pooling_mode"), str):  # newer versions name it
            on = [config["pooling_mode"]]
        names = [{"mean_tokens": "mean", "cls_token": "cls"}.get(key, key) for key in on]
        if len(names) != 1 or names[0] not in MODES:
            raise UserError(
                f"{name} pools by {' and '.join(names) or 'nothing'} (1_Pooling/config.json), which is not supported: "
                f"set pooling to one of {', '.join(MODES)}"
            )
        mode = names[0]
    return Pooling(mode or "mean", normalize)

"""A run's student, ready for use."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.data import Preprocess
from distill.data.text.preprocess import TextPreprocess
from distill.data.vision.masked import unboxed
from distill.models.text.generation import continuations
from distill.tasks.base import Task
from distill.utils.errors import UserError
from distill.utils.inputs import to_device


class Predictor(nn.Module):
    """A run's student (in eval mode) with its preprocessing, its task, and the names of its outputs."""

    def __init__(
        self, model: nn.Module, preprocess: Preprocess | TextPreprocess, classes: tuple[str, ...], task: Task
    ) -> None:
        super().__init__()
        self.task = task
        self.model = model
        self.preprocess: Any = preprocess
        self.classes = classes

    def forward(self, inputs: Any) -> Tensor:
        """Logits (N, C) of a preprocessed batch; of words (N, L, C), of pixels (N, C, h, w)."""
        logits: Tensor = self.model(inputs)
        return logits

    @torch.inference_mode()
    def outputs(self, inputs: Any) -> Tensor:
        """The same, on the model's device, in float32 on the CPU."""
        outputs: Tensor = self(to_device(inputs, next(self.model.parameters()).device))
        return outputs.float().cpu()

    def predict(self, samples: Sequence[Any]) -> list[Any]:
        """What is predicted for each PIL image (or tensor C×H×W), or for each text.

        Args:
            samples: of a run of texts strings; of pairs tuples of two; of task=tokens lists of words, or texts whose
                words have blanks between them.

        Returns:
            Of a classifier (class, probability); of task=tokens a list of (word, tag), the tag None of a word behind
            the place where a text is cut; of another task a dictionary, see
            :meth:`Task.decode`; of a language model what it writes after each text.

        Raises:
            UserError: a sample that is none, of texts.
        """
        if not isinstance(self.preprocess, TextPreprocess):
            return self._decoded(self.outputs(self.preprocess.batch(samples)))
        texts = self.preprocess.checked(samples)
        if self.preprocess.causal:
            return self.continued(texts)
        outputs = self.text_outputs(texts)
        for number, output in enumerate(outputs, 1):
            if output is None:
                raise UserError(f"the tokenizer makes no token of text {number}")
        rows = [output for output in outputs if output is not None]
        if self.preprocess.words:
            return [[*zip(words, self.tags(row), strict=True)] for words, row in zip(texts, rows, strict=True)]
        return self._decoded(torch.stack(rows)) if rows else []

    def masks(self, images: Sequence[Any]) -> list[Tensor]:
        """Of task=segmentation the class of every pixel of each PIL image (or tensor C×H×W), uint8 (H, W)."""
        outputs = self.outputs(self.preprocess.batch(images))
        sizes = [(image.height, image.width) if hasattr(image, "height") else image.shape[1:] for image in images]
        return [self.class_map(output, *size) for output, size in zip(outputs, sizes, strict=True)]

    def class_map(self, output: Tensor, height: int, width: int) -> Tensor:
        """The class of every pixel of an image of this size, uint8, of its output (C, h, w)."""
        size = (self.preprocess.height, self.preprocess.width)
        logits = F.interpolate(output[None], size=size, mode="bilinear", align_corners=False)
        classes = logits.argmax(1)[0].to(torch.uint8)
        return unboxed(classes, height, width) if self.preprocess.pad else classes

    def continued(self, prompts: Sequence[str], max_new_tokens: int = 64, temperature: float = 0.0) -> list[str]:
        """What a language model writes after each prompt; see :func:`~distill.models.text.generation.continuations`."""
        whole: Any = getattr(self.model, "model", self.model)
        return (
            continuations(whole, self.preprocess.loaded.whole, prompts, max_new_tokens, temperature) if prompts else []
        )

    def _decoded(self, outputs: Tensor) -> list[Any]:
        decoded = self.task.decode(outputs, self.classes)
        return [(each["class"], each["probability"]) for each in decoded] if self.task.has_classes else decoded

    def text_outputs(self, texts: Sequence[Any], batch_size: int = 64) -> list[Tensor | None]:
        """The outputs of texts as :meth:`TextPreprocess.checked` returns them; those of like length share a batch.

        Returns:
            Of each text float32 (C,); of words (W, C), a row for each word, NaN of one that the model does not see;
            None of a text without a token.
        """
        found: list[Tensor | None] = [None] * len(texts)
        if not texts:
            return found
        encoded = self.preprocess.encode(texts)
        order = encoded.lengths.argsort(stable=True)
        for at in order[encoded.lengths[order] > 0].split(batch_size):
            outputs = self.outputs(self.preprocess.padded(encoded, at))
            rows = at.tolist()
            places = self.preprocess.first_tokens([texts[row] for row in rows]) if self.preprocess.words else None
            for i, row in enumerate(rows):
                output = outputs[i]
                if places is not None:
                    of_words = places[i, : len(texts[row])]
                    output = output[of_words.clamp(min=0)].masked_fill((of_words < 0)[:, None], torch.nan)
                found[row] = output
        return found

    def tags(self, output: Tensor) -> list[str | None]:
        """The tag of each word, of its row of :meth:`text_outputs`; None of one that the model does not see."""
        (decoded,) = self.task.decode(output[None], self.classes)
        seen = (~output.isnan().any(1)).tolist()
        return [tag if is_seen else None for tag, is_seen in zip(decoded["tags"], seen, strict=True)]

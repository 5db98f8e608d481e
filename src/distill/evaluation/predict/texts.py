"""Predictions for texts."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from distill.evaluation.predict.text_files import TextFile, TextSample
from distill.evaluation.predict.writers import Prediction, answers

if TYPE_CHECKING:
    from distill.evaluation.predictor import Predictor

POOL = 50  # batches whose texts are sorted by length


def continue_texts(
    predictor: "Predictor", files: Sequence[TextFile], batch_size: int, max_new_tokens: int, temperature: float
) -> Iterator[Prediction]:
    """What a language model writes after each text, in order.

    Args:
        predictor: see :func:`distill.load`.
        files: with the prompts.
        batch_size: texts that are continued together.
        max_new_tokens: at most.
        temperature: 0: the likeliest token each time.
    """
    samples = chain.from_iterable(file.samples() for file in files)
    while batch := list(islice(samples, batch_size)):
        prompts = [sample.text for sample in batch if sample.error is None]
        found = iter(predictor.continued(prompts, max_new_tokens, temperature))
        for sample in batch:
            if sample.error is None:
                yield Prediction(described(sample), [{"continuation": next(found)}])
            else:
                yield Prediction(described(sample), error=sample.error)


def predict_texts(predictor: "Predictor", files: Sequence[TextFile], top: int, batch_size: int) -> Iterator[Prediction]:
    """One prediction per text, in order; texts of like length share a batch.

    Args:
        predictor: see :func:`distill.load`.
        files: with the texts.
        top: classes per prediction.
        batch_size: texts per forward.
    """
    samples = chain.from_iterable(file.samples() for file in files)
    while pool := list(islice(samples, POOL * batch_size)):
        yield from _predicted(predictor, pool, top, batch_size)


def _predicted(
    predictor: "Predictor", samples: Sequence[TextSample], top: int, batch_size: int
) -> Iterator[Prediction]:
    texts = [sample.text for sample in samples if sample.error is None]
    outputs = iter(predictor.text_outputs(texts, batch_size))
    for sample in samples:
        if sample.error is not None:
            yield Prediction(described(sample), error=sample.error)
            continue
        output = next(outputs)
        if output is None:
            yield Prediction(described(sample), error="the tokenizer makes no token of the text")
        elif predictor.preprocess.words:
            tags = predictor.tags(output)
            yield Prediction(described(sample), [{"word": w, "tag": t} for w, t in zip(sample.text, tags, strict=True)])
        else:
            yield Prediction(described(sample), answers(predictor, output[None], top)[0])


def described(sample: TextSample) -> dict[str, Any]:
    """Its file, its line if it is one of several, and the text, of a pair both; of words with blanks between."""
    place = {"file": sample.file, **({} if sample.line is None else {"line": sample.line})}
    if sample.text is None:
        return place
    if isinstance(sample.text, tuple):
        return {**place, "text": sample.text[0], "text_pair": sample.text[1]}
    return {**place, "text": sample.text if isinstance(sample.text, str) else " ".join(sample.text)}

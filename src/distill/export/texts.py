"""The student of a run on texts as it is exported."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from distill.data import Batch, TextDataModule, TextPreprocess
from distill.data.text.batches import TextBatches
from distill.evaluation.inference import joined
from distill.evaluation.runs import Run
from distill.export import formats, text_code
from distill.export.options import Options
from distill.export.parity import Runner
from distill.export.quantization import quantise_dynamically
from distill.export.student import Student, Use, plain, target_facts, write_graph
from distill.export.text_tokenizer import save_tokenizer
from distill.models.outputs import Outputs, output_layer
from distill.models.text.encoder import TextModel
from distill.utils.errors import UserError

BATCH = 32
TIMED = 64  # texts that timed batches are made of
PROBLEMS = {"classes": "single_label_classification", "multilabel": "multi_label_classification",
            "numbers": "regression"}  # as transformers calls them  # fmt: skip


@dataclass(frozen=True)
class TextStudent(Student):
    """See :class:`Student`; a batch is a ``Batch`` of texts of like length.

    Attributes:
        data: the run's.
        test: the test split.
        order: positions in it of the compared texts, from short to long, int64 (N,).
        names: of the inputs that the model takes.
    """

    sizes: ClassVar[tuple[int, ...]] = (1, 8, 32)
    after_int8: ClassVar[str] = "max_accuracy_drop= allows more"

    data: TextDataModule
    test: TextBatches
    order: Tensor
    names: tuple[str, ...]

    def batches(self) -> Iterator[Batch]:
        """The test samples."""
        return (self.test[0, at] for at in torch.split(self.order, BATCH))

    def batch(self, size: int) -> Batch:
        """The texts whose length is nearest to the median."""
        lengths = self.test.lengths[self.order]
        at = self.order[(lengths - lengths.median()).abs().argsort(stable=True)[:TIMED]]
        return self.test[0, at.repeat(-(-size // len(at)))[:size]]

    def runner(self, model: Runner, is_teacher: bool = False) -> Runner:
        """A model of the run as a function of batches."""
        if self.run.task.output == "causal":
            return lambda batch: self._of_targets(model(batch.inputs), batch, output_layer(model))
        return lambda batch: model(batch.for_teacher if is_teacher else batch.inputs)

    def _of_targets(self, output: Tensor, batch: Batch, head: Any = None) -> Tensor:
        """Of a language model's output the log-probabilities of the targets, float32 (N, L, 1)."""
        return self.run.task.recorded(Outputs(output, {}, None, head=head), batch.target)[..., :1]

    def outputs(self, runner: Runner) -> Tensor:
        """As of every student; 0 where a text has no token."""
        outputs = super().outputs(runner)
        if self.run.task.dims == 3:
            mask = joined([batch.inputs["attention_mask"][..., None].float() for batch in self.batches()])
            outputs = outputs.masked_fill(mask == 0, 0.0)
        return outputs

    def write_beside(self, folder: Path) -> None:
        """The tokenizer's files and, of a model of transformers, its config.json."""
        save_tokenizer(self.data, folder, self.names)
        model = self.run.student.model
        if isinstance(model, TextModel):
            model.config.problem_type = None if model.output != "text" else PROBLEMS[self.run.task.targets]
            model.config.save_pretrained(folder)

    def write(self, name: str, path: Path, threads: int) -> Runner:
        """See :meth:`Student.write`."""
        model = self.run.student.model
        if name == "safetensors":
            if not isinstance(model, TextModel):
                raise UserError(
                    "format=safetensors of texts is a folder of transformers, and the student is a "
                    f"{type(model).__name__} of your own: format=onnx,torch_export can write it"
                )
            with formats.quiet():
                model.save_pretrained(path.parent)
            return self._open_folder(path.parent, model)
        if self.run.task.output == "causal":
            raise UserError(f"format={name}: a language model is written as format=safetensors, for transformers")
        graph = write_graph(name, plain(model), self._example(), path, self.facts, threads)
        return lambda batch: graph(self._graph_inputs(batch))

    def quantise(self, source: Path, path: Path, threads: int) -> Runner:
        """See :meth:`Student.quantise`."""
        quantise_dynamically(source, path)
        graph = formats.open_onnx(path, threads)
        return lambda batch: graph(self._graph_inputs(batch))

    def of(self, run: Run) -> "TextStudent":
        """Another run's student on the same test samples."""
        return replace(self, run=run, facts=_facts(run, self.names), code=text_code.code(run))

    def use(self) -> Use:
        """What the model card says of texts."""
        values = {
            "code": self.code,
            "onnx_code": text_code.onnx_code(self.run),
            "preprocess": self.facts["preprocess"],
        }
        pipelines = {"tokens": "token-classification", "embedding": "feature-extraction",
                     "causal": "text-generation"}  # fmt: skip
        output = self.run.task.output
        library = "sentence-transformers" if output == "embedding" else "transformers"
        return Use(
            "texts.md", values, library if self.code else "pytorch", pipelines.get(output, "text-classification")
        )

    def _graph_inputs(self, batch: Batch) -> dict[str, Tensor]:
        return {name: batch.inputs[name] for name in self.names}

    def _example(self) -> dict[str, Tensor]:
        """Two texts or more for tracing, the shortest."""
        at = self.order[:2]
        inputs = self._graph_inputs(self.test[0, at if len(at) > 1 else at.repeat(2)])
        return {name: tensor.clone() for name, tensor in inputs.items()}

    def _open_folder(self, folder: Path, student: TextModel) -> Runner:
        """The model that the card's lines load with transformers alone."""
        assert self.code is not None
        names: dict[str, Any] = {}
        with formats.quiet():
            exec(self.code.replace(f'"{text_code.FOLDER}"', repr(str(folder))), names)
        loaded = names["model"].eval()
        if student.output == "causal":
            known = ("input_ids", "position_ids")  # without a mask: documents are told apart by their positions
            return lambda batch: self._of_targets(
                loaded(use_cache=False, **{n: batch.inputs[n] for n in known}).logits, batch
            )

        def run(batch: Batch) -> Tensor:
            output = loaded(**self._graph_inputs(batch))
            if student.pooling is None:
                logits: Tensor = output.logits
                return logits
            return student.pooling(output.last_hidden_state, batch.inputs["attention_mask"])

        return run


def open_texts(run: Run, options: Options) -> TextStudent:
    """Opens a run's student and its test texts.

    Raises:
        UserError: see ``Run``; options that are of images only.
    """
    for key, usual in (("calibration", "minmax"), ("calibration_images", 512)):
        if getattr(options, key) != usual:
            raise UserError(f"{key}={getattr(options, key)} is of images: int8 of texts needs no calibration")
    data = run.data
    assert isinstance(data, TextDataModule)
    test = data.dataset("test", train=False)
    chosen = torch.linspace(0, len(test) - 1, min(options.images, len(test))).round().long()
    order = chosen[test.lengths[chosen].argsort(stable=True)]
    model = run.student.model
    given = test[0, order[:1]].inputs
    names = tuple(name for name in given if not isinstance(model, TextModel) or name in model.accepted)
    names = tuple(name for name in names if name != "position_ids")  # of packed documents
    return TextStudent(
        run=run,
        targets=joined([test[0, at].target for at in torch.split(order, BATCH)]),
        facts=_facts(run, names),
        code=text_code.code(run),
        preprocess="described",
        calibration=None,
        data=data,
        test=test,
        order=order,
        names=names,
    )


def _facts(run: Run, names: tuple[str, ...]) -> dict[str, Any]:
    preprocess = run.preprocess
    assert isinstance(preprocess, TextPreprocess)
    shape = "(batch, length, classes)" if run.task.dims == 3 else "(batch, numbers)"
    described = {
        "kind": "text",
        "tokenizer": "tokenizer.json",
        "max_length": preprocess.max_length,
        "pairs": preprocess.pairs,
        "words": preprocess.words,
        "graph": {"inputs": list(names), "dtype": "int64", "shape": "(batch, length)",
                  "output": formats.OUTPUT, "output_shape": shape},
    }  # fmt: skip
    return {"classes": list(run.classes), "preprocess": described | target_facts(run)}

"""The file formats: writing each, and opening it again to run it."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill.export.failures import reason
from distill.export.parity import Runner
from distill.utils.checkpoints import load_weights
from distill.utils.errors import UserError, first_line

INT8 = "onnx int8"
FILES = {"onnx": "model.onnx", INT8: "model-int8.onnx", "torch_export": "model.pt2", "safetensors": "model.safetensors"}
INPUT, OUTPUT = "images", "logits"
PACKAGES = ("onnx", "onnxscript", "onnxruntime", "safetensors")  # that write and run the files

Example = Tensor | dict[str, Tensor]  # what a graph takes


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporters' logs, warnings and prints."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _capture(model: nn.Module, example: Example) -> torch.export.ExportedProgram:
    """The model's graph with a dynamic batch size (of texts also length), without the paths of its source files.

    Raises:
        UserError: it cannot be captured; the message names the module.
    """
    free: Any = {0: torch.export.Dim("batch")}
    if isinstance(example, dict):  # as far as the model has positions
        free = {name: dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC) for name in example}
    try:
        program = torch.export.export(model, (example,), dynamic_shapes=(free,), strict=False)
    except Exception as error:
        raise UserError(f"torch.export cannot capture the student: {reason(error, model)}") from error
    graphs = [m.graph for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    for node in (node for graph in graphs for node in graph.nodes):
        node.meta.pop("stack_trace", None)
    return program


def write_onnx(model: nn.Module, example: Example, path: Path, facts: dict[str, Any]) -> None:
    """Writes one ONNX file with weights inside; ``facts`` become its metadata, as JSON.

    Args:
        model: in eval mode.
        example: at least 2 images, or the inputs of at least 2 texts by name, int64 (B, L).
        path: the file.
        facts: by key, "classes" among them.

    Raises:
        UserError: an operator without ONNX counterpart, or a model that cannot be captured; its module is named.
    """
    names = list(example) if isinstance(example, dict) else [INPUT]
    with quiet():
        program = _capture(model, example)
        try:
            onnx = torch.onnx.export(program, dynamo=True, input_names=names, output_names=[OUTPUT], verbose=False)
        except Exception as error:
            raise UserError(f"ONNX export failed: {reason(error, model, program)}") from error
        assert onnx is not None
        graph: Any = onnx.model.graph
        free = ("batch", "length") if isinstance(example, dict) else ("batch",)
        for value in (*graph.inputs, *graph.outputs):
            for axis, name in enumerate(free):
                if not isinstance(value.shape[axis], int):
                    value.shape[axis] = name
        for value in (value for node in graph for value in node.outputs if value.name != OUTPUT):
            value.shape = None  # inferred again, with the new names of the free dimensions
        onnx.model.metadata_props.update({key: json.dumps(value) for key, value in facts.items()})
        onnx.save(path, external_data=False)


def open_onnx(path: Path, threads: int) -> Runner:
    """An ONNX file in onnxruntime on the CPU, as a function of its input, or of its inputs by name."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # an operator, or a type such as float64, that it has not on a CPU
        raise UserError(
            f"onnxruntime cannot run the student: {first_line(error)}; format=torch_export,safetensors can keep it"
        ) from error
    names = [value.name for value in session.get_inputs()]

    def run(batch: Example) -> Tensor:
        tensors = batch if isinstance(batch, dict) else {INPUT: batch}
        (output,) = session.run([OUTPUT], {name: tensors[name].numpy() for name in names})
        return torch.from_numpy(output)

    return run


def write_torch_export(model: nn.Module, example: Example, path: Path, facts: dict[str, Any]) -> None:
    """Writes one ``torch.export`` archive, ``facts.json`` in it. Arguments and errors as in :func:`write_onnx`."""
    with quiet():
        program = _capture(model, example)
        torch.export.save(program, path, extra_files={"facts.json": json.dumps(facts)})


def open_torch_export(path: Path) -> Runner:
    """A ``torch.export`` archive as a function of its input."""
    with quiet():
        return torch.export.load(path).module()


def open_safetensors(path: Path, model: nn.Module, code: str | None) -> Runner:
    """The weights in the model that ``code`` builds without this project; where ``code`` is None, in ``model``."""
    if code is None:
        load_weights(model, path, path.name)
    else:
        names: dict[str, Any] = {"model": model}
        exec(code.replace(f'"{path.name}"', repr(str(path))), names)
        model = names["model"]
    return model.eval()

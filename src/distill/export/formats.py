"""The files: how each is written, and how it is opened again to be run."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill.export.failures import reason
from distill.export.parity import Runner
from distill.utils.checkpoints import load_weights, save_weights
from distill.utils.errors import UserError

FILES = {"onnx": "model.onnx", "torch_export": "model.pt2", "safetensors": "model.safetensors"}
INPUT, OUTPUT = "images", "logits"


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporters' logs, warnings and prints."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _capture(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The model's graph with a free batch size, without the paths of the source files it came from.

    Raises:
        UserError: it cannot be captured; its module is named.
    """
    batch = torch.export.Dim("batch")
    try:
        program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},), strict=False)
    except Exception as error:
        raise UserError(f"torch.export cannot capture the student: {reason(error, model)}") from error
    graphs = [part.graph for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule)]
    for node in (node for graph in graphs for node in graph.nodes):
        node.meta.pop("stack_trace", None)
    return program


def write_onnx(model: nn.Module, example: Tensor, path: Path, facts: dict[str, Any]) -> None:
    """One ONNX file with weights inside; ``facts`` become its metadata, as JSON.

    Args:
        model: what is exported, in eval mode.
        example: at least 2 inputs.
        path: the file.
        facts: by key; "classes" among them.

    Raises:
        UserError: an operator without ONNX counterpart, or a model that cannot be captured; its module is named.
    """
    with quiet():
        program = _capture(model, example)
        try:
            onnx = torch.onnx.export(program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False)
        except Exception as error:
            raise UserError(f"ONNX export failed: {reason(error, model, program)}") from error
        assert onnx is not None
        graph: Any = onnx.model.graph
        graph.inputs[0].shape[0] = graph.outputs[0].shape[0] = "batch"
        for value in (value for node in graph for value in node.outputs if value.name != OUTPUT):
            value.shape = None  # it is inferred anew, under the new name
        onnx.model.metadata_props.update({key: json.dumps(value) for key, value in facts.items()})
        onnx.save(path, external_data=False)


def open_onnx(path: Path, threads: int) -> Runner:
    """An ONNX file in onnxruntime on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


def write_torch_export(model: nn.Module, example: Tensor, path: Path, facts: dict[str, Any]) -> None:
    """One ``torch.export`` archive; ``facts`` as ``facts.json`` in it. Arguments and errors as in ``write_onnx``."""
    with quiet():
        program = _capture(model, example)
        torch.export.save(program, path, extra_files={"facts.json": json.dumps(facts)})


def open_torch_export(path: Path) -> Runner:
    """A ``torch.export`` archive as a function of images."""
    with quiet():
        module = torch.export.load(path).module()

    def run(images: Tensor) -> Tensor:
        logits: Tensor = module(images)
        return logits

    return run


def write_safetensors(model: nn.Module, path: Path) -> None:
    """The weights alone, under the names that the architecture's own code gives them."""
    save_weights(model, path)


def open_safetensors(path: Path, fresh: nn.Module, code: str | None) -> Runner:
    """The weights in a model again: the one that ``code`` builds without this project, else ``fresh``."""
    if code is None:
        load_weights(fresh, path, path.name)
        model = fresh
    else:
        names: dict[str, Any] = {}
        exec(code.replace(path.name, str(path)), names)
        model = names["model"]
    model.eval()

    def run(images: Tensor) -> Tensor:
        logits: Tensor = model(images)
        return logits

    return run


def versions() -> dict[str, str]:
    """Versions of the packages that write and run the files, where they are installed."""
    installed = {}
    for package in ("onnx", "onnxscript", "onnxruntime", "safetensors"):
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed

"""Post-training quantisation of the ONNX file to int8, through onnxruntime's quantiser."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from distill.export.formats import INPUT, quiet
from distill.utils.errors import UserError, first_line

BATCH = 64


def quantise(source: Path, target: Path, images: Tensor, method: str) -> None:
    """Weights in int8, per output channel and symmetric; activations in uint8, per tensor; as QDQ nodes.

    The normalisation at the input stays in float32.

    Args:
        source: an ONNX file of :func:`distill.export.formats.write_onnx`.
        target: the file to write; metadata are kept.
        images: inputs of the file, on which the ranges of activations are measured.
        method: "minmax" or "entropy".

    Raises:
        UserError: the quantiser fails on the graph.
    """
    from onnx import load
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(torch.split(images, BATCH))

        def get_next(self) -> dict[str, object] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch.numpy()}

    with quiet(), tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(source, prepared)
            normalisation = _normalisation_nodes(load(prepared))
            quantize_static(
                prepared,
                target,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=normalisation,
                calibrate_method={"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy}[method],
            )
        except Exception as error:  # its passes raise many types
            raise UserError(f"onnxruntime cannot quantise {source.name}: {first_line(error)}") from error


def quantise_dynamically(source: Path, target: Path) -> None:
    """Weights in int8, per output channel and symmetric; the range of activations is taken of each batch.

    Matrix products and embeddings are quantised, the rest stays in float32.

    Args:
        source: an ONNX file of :func:`distill.export.formats.write_onnx`.
        target: the file to write; metadata are kept.

    Raises:
        UserError: the quantiser fails on the graph.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        try:
            quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)
        except Exception as error:  # its passes raise many types
            raise UserError(f"onnxruntime cannot quantise {source.name}: {first_line(error)}") from error


def _normalisation_nodes(model: object) -> list[str]:
    """Names of the nodes that normalise: the first ones from the input that cast, scale or shift."""
    names: list[str] = []
    value = INPUT
    while True:
        node = next((n for n in model.graph.node if value in n.input), None)  # type: ignore[attr-defined]
        if node is None or node.op_type not in ("Cast", "Mul", "Sub"):
            return names
        names.append(node.name)
        value = node.output[0]

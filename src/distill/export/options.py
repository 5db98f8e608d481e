"""The keys of ``export.py`` and their checks; imports neither torch nor Lightning."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from distill.config import own_code, trust
from distill.config.options import arg
from distill.utils.errors import UserError, check_choice, check_range

FORMATS = ("onnx", "torch_export", "safetensors")
PREPROCESS = ("embedded", "described")
QUANTIZE = ("int8",)
CALIBRATION = ("minmax", "entropy")
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime")}


@dataclass
class Options:
    """The keys of ``export.py``."""

    run: str = arg("a finished run's folder, or a weights file in it")
    format: Any = arg(f"one or several, with commas, of {', '.join(FORMATS)}", "onnx")
    output: str | None = arg("folder to write; null: <run>/export", None)
    overwrite: bool = arg("replace that folder where it exists", False)
    preprocess: str = arg("of images; embedded: the graph takes raw pixels and normalises; described: in "
                          "preprocess.json only", "embedded")  # fmt: skip
    quantize: str | None = arg("int8: an ONNX file in int8 as well; of images calibrated on training images", None)
    calibration: str = arg("ranges of activations in int8: minmax or entropy", "minmax")
    calibration_images: int = arg("training images that it sees", 512)
    images: int = arg("test images or texts to compare on, at most", 10000)
    tolerance: float = arg(
        "largest difference of a logit from PyTorch's, relative to logits above 1; else: refused",
        1e-3,
    )
    max_accuracy_drop: float = arg(
        "int8: largest loss of the test score, of a share absolute, else relative; above it: refused", 0.02
    )
    against: str | None = arg("another run, whose student's files are measured in the same table and not kept", None)
    trust: Any = arg(trust.HELP, None)
    code: str | None = arg(own_code.HELP, None)
    seconds: float = arg("time to measure each model and batch size; 0: no measurement of speed", 1.0)
    threads: int | None = arg("CPU threads; null: as the run had", None)
    license: str = arg("licence of the model card, by its Hugging Face identifier", "unknown")


def check(options: Options) -> list[str]:
    """Checks every key.

    Returns:
        The formats, each once.

    Raises:
        UserError: an unknown format, int8 without ONNX, a value out of range, a missing package.
    """
    formats = options.format if isinstance(options.format, list) else str(options.format or "").split(",")
    names = list(dict.fromkeys(str(name).strip() for name in formats))
    for name in names or [""]:
        check_choice("format", name, FORMATS)
    for key, allowed in (("preprocess", PREPROCESS), ("quantize", QUANTIZE), ("calibration", CALIBRATION)):
        if getattr(options, key) is not None:
            check_choice(key, getattr(options, key), allowed)
    for key in ("images", "calibration_images", "threads"):
        check_range(key, getattr(options, key), 1)
    for key in ("tolerance", "max_accuracy_drop", "seconds"):
        if not getattr(options, key) >= 0:  # infinity: no limit
            raise UserError(f"{key} must be at least 0, got {getattr(options, key)}")
    if options.quantize and "onnx" not in names:
        raise UserError("quantize=int8 quantises the ONNX file: add onnx to format")
    for name in names:
        missing = [package for package in PACKAGES.get(name, ()) if find_spec(package) is None]
        if missing:
            raise UserError(f'format={name} needs {" and ".join(missing)}: pip install "distill[export]"')
    return names

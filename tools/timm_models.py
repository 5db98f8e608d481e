"""Whether every model of timm can be a student: built, run in both modes, measured.

python tools/timm_models.py ['resnet*' ...] [--families] [--image-size 96]

Prints a line per model that fails, in its words, and the number of those that do not. All of timm takes hours; with
``--families`` one small model of each of timm's files is taken.
"""

import argparse
import sys
from collections.abc import Sequence

import timm

from distill.data import Preprocess
from distill.evaluation.runs import RecordedData
from distill.tasks.classification import Classification
from distill.training.builder import build_model
from distill.utils.errors import UserError
from distill.utils.profiling import size

SMALL = ("test_", "atto", "femto", "pico", "nano", "xxs", "_xs", "micro", "mini", "tiny", "_s", "small", "18", "_b0")
CLASSES = 7


def families() -> dict[str, str]:
    """A small model of each of timm's modules, by the module's name; its size is guessed from its name."""

    def guess(name: str) -> tuple[int, int, str]:
        return next((i for i, word in enumerate(SMALL) if word in name), len(SMALL)), len(name), name

    names = {module: timm.list_models(module=module) for module in timm.list_modules()}
    return {module: min(models, key=guess) for module, models in names.items() if models}


def side(name: str) -> int:
    """Height and width of the images of a model's own configuration."""
    config = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    return int(config.input_size[-1]) if config else 224


def check(name: str, image_size: int | None = None) -> None:
    """Builds a model as a student, runs it in both modes and counts its operations.

    Raises:
        UserError: it cannot be a student.
    """
    height = image_size or side(name)
    preprocess = Preprocess(3, height, height, None, (0.5,) * 3, (0.5,) * 3)
    data = RecordedData([str(i) for i in range(CLASSES)], None, None, preprocess)
    node = {"_target_": "distill.models.timm_model", "name": name}
    student = build_model(
        node, "model", "the student", data, Classification(CLASSES), channels_last=True, training=True
    )
    assert size(student.model, data.example(1)).macs > 0


def main(arguments: Sequence[str]) -> int:
    """Checks the models whose names match the patterns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", default=["*"])
    parser.add_argument("--families", action="store_true")
    parser.add_argument("--image-size", type=int)
    options = parser.parse_args(arguments)
    chosen = list(families().values()) if options.families else timm.list_models(options.patterns)
    failed = 0
    for name in chosen:
        try:
            check(name, options.image_size)
        except UserError as error:
            print(f"{name}: {error}", flush=True)
            failed += 1
        except Exception as error:  # what no line of ours explains
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
            failed += 1
    print(f"{len(chosen) - failed} of {len(chosen)} can be students")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a run keeps so that it is opened without the files that it began with; the paths of these alone are recorded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.data import TextDataModule
from distill.data.text.kept import TEACHER_TOKENIZER, TOKENIZER, keep_tokenizer
from distill.distillation.model_info import NamedModel
from distill.training.plan import Experiment
from distill.training.roles import STUDENT, Role
from distill.utils.atomic import atomic_folder


def config_folder(run: Path, role: Role) -> Path:
    """Where a run keeps the ``config.json`` of a text model: ``model``, of other models ``<role>/model``."""
    return run / "model" if role == STUDENT else run / str(role) / "model"


def keep_for_opening(models: Mapping[Role, NamedModel], experiment: Experiment) -> None:
    """Writes the configurations of text models and the tokenizers, a few files of JSON.

    Raises:
        WriteError: the run's folder.
    """
    data = experiment.data
    if isinstance(data, TextDataModule):
        for name, side in ((TOKENIZER, data.loaded.student), (TEACHER_TOKENIZER, data.loaded.teacher)):
            if side is not None:  # of the teacher: it reads as the student does
                words, causal = (data.options.targets == each for each in ("tokens", "next_token"))
                keep_tokenizer(side.tokenizer, experiment.folder / name, words, causal)
    for role, net in models.items():
        save: Any = getattr(net.model, "save_config", None)
        if save is not None:
            with atomic_folder(config_folder(experiment.folder, role)) as temporary:
                save(temporary)

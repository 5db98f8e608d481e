import shutil
import warnings

from distill.config.schema import TrainerConfig
from distill.training.trainer import evaluator, quiet

CPU = TrainerConfig(accelerator="cpu", devices=1, limit_val_batches=1.0, limit_test_batches=1.0)


def test_a_machine_with_slurm_is_no_news(monkeypatch):
    """Lightning suggests ``srun`` wherever it is installed."""
    monkeypatch.setattr(shutil, "which", lambda name, *_: f"/bin/{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet()
        evaluator(CPU, "32-true")

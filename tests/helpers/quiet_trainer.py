"""A Lightning Trainer that writes and prints nothing, and the warnings it gives for that."""

import lightning
import pytest

WARNINGS = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*callbacks used to create the checkpoint",
    "ignore:.*have no .val_dataloader",
)


def trainer(**kwargs):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return lightning.Trainer(**{"max_epochs": 1, "enable_model_summary": False, **quiet, **kwargs})

import subprocess
import sys

import lightning.pytorch as pl
import pytest
import torch

from data_helpers import batches, source
from distill.data import Batch, ImageDataModule
from distill.data.sources import digits
from distill.utils.errors import UserError

AUGMENT = {"crop_padding": 2, "flip": True, "cutout": 3}


def test_digits_from_end_to_end():
    data = ImageDataModule.from_options(digits, batch_size=64, augment={"crop_padding": 1})
    data.prepare_data()
    data.setup("fit")
    data.setup()
    assert (data.num_classes, data.in_channels, data.image_size) == (10, 1, 8)
    assert data.classes == [str(i) for i in range(10)]
    assert data.num_train == 1294
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, Batch)
    assert (batch.inputs.shape, batch.inputs.dtype) == ((64, 1, 8, 8), torch.float32)
    assert batch.target.dtype == batch.index.dtype == torch.int64
    assert data.example(3).shape == (3, 1, 8, 8)
    assert abs(torch.cat([b.inputs for b in data.val_dataloader()]).mean()) < 0.1
    facts = data.describe()
    assert (facts["train"], facts["val"], facts["test"], facts["carved"]) == (1294, 144, 359, ["val", "test"])


def test_with_options_shares_the_data():
    calls = []

    def counted():
        calls.append(1)
        return source()()

    data = ImageDataModule.from_options(counted, 10, augment=AUGMENT)
    other = data.with_options(seed=5, batch_size=20)
    other.setup()
    data.setup()
    assert len(calls) == 1
    assert data.fingerprint == other.fingerprint
    assert (data.batch_size, other.batch_size, data.seed, other.seed) == (10, 20, 0, 5)
    assert other.loaded is data.loaded
    assert len(other.train_dataloader()) < len(data.train_dataloader())
    assert data.with_options(batch_size=4).seed == 0


def test_a_batch_larger_than_the_training_split():
    data = ImageDataModule.from_options(source(), 4096)
    assert [len(b.target) for b in data.train_dataloader()] == [data.num_train]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "data.batch_size must be a whole number, 1 or more, got 0"),
        ({"batch_size": 2.5}, "got 2.5"),
        ({"eval_batch_size": 0}, "data.eval_batch_size"),
        ({"val_fraction": 0}, "data.val_fraction must lie between 0 and 1, both excluded, got 0"),
        ({"test_fraction": 1.0}, "data.test_fraction"),
        ({"val_fraction": -0.1}, "got -0.1"),
        ({"image_size": 0}, "data.image_size"),
        ({"num_workers": -1}, "data.num_workers must be a whole number, 0 or more, got -1"),
        ({"subset": 1}, "data.subset"),
        ({"num_classes": 1}, "data.num_classes"),
        ({"on_broken": "ignore"}, "on_broken must be error or skip, got 'ignore'"),
        ({"std": [0.0]}, "data.std must be positive"),
        ({"source": 3}, "data.source must be a callable"),
        ({"augment": {"scale": [0.1, 1]}}, "set data.image_size"),
        ({"augment": {"scale": [0.1, 1]}, "image_size": 8, "in_memory": True}, "data.augment.scale must be null"),
        ({"transform": print, "in_memory": True}, "data.transform must be null"),
        (
            {"transform": print, "augment": {"scale": [0.1, 1]}, "image_size": 8},
            "takes the place of data.augment.scale",
        ),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(UserError, match=message) as caught:
        ImageDataModule.from_options(**{"source": source(), "batch_size": 8, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_lightning_takes_it_as_it_is():
    class Seen(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3 * 8 * 8, 3)
            self.seen = []

        def training_step(self, batch, batch_idx):
            self.seen.append((self.current_epoch, batch.index.tolist()))
            return torch.nn.functional.cross_entropy(self.layer(batch.inputs.flatten(1)), batch.target)

        def validation_step(self, batch, batch_idx):
            assert isinstance(batch, Batch)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    module, data = Seen(), ImageDataModule.from_options(source(), 16, augment=AUGMENT)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    pl.Trainer(max_epochs=2, accelerator="cpu", log_every_n_steps=1, **quiet).fit(module, datamodule=data)
    loader = data.train_dataloader()
    assert module.seen == [(e, b.index.tolist()) for e in (0, 1) for b in batches(loader, e)]


@pytest.mark.slow
def test_importing_is_cheap():
    heavy = "torchvision", "sklearn", "pyarrow", "datasets"
    code = (
        f"import sys, lightning.pytorch, torch; before = set(sys.modules); import distill.data, distill.data.sources; "
        f"new = set(sys.modules) - before; print([name for name in {heavy} if name in new])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=800)
    assert result.stdout.strip() == "[]"


def test_training_is_shuffled_anew_in_every_epoch():
    data = ImageDataModule.from_options(source(), batch_size=16)
    data.setup()
    first, second = ([int(i) for b in batches(data.train_dataloader(), epoch) for i in b.index] for epoch in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != sorted(first)
    assert first != second

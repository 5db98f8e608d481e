import functools
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.transforms import v2

from benchmarks import memory
from data_helpers import picture, write_folder
from distill.data import Augment, Batch, DataModule, Splits, TensorImages
from distill.data.sources import digits, image_folder
from distill.data.vision.images import BrokenImageError, digest
from distill.utils.errors import UserError

AUGMENT = {"crop_padding": 2, "flip": True, "cutout": 3}


def batches(loader, epoch=0):
    loader.sampler.set_epoch(epoch)
    return list(loader)


def by_index(found):
    return {int(i): x for batch in found for i, x in zip(batch.index, batch.inputs, strict=True)}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[i], other[i]) for i in one)


def source(n=60, classes=3, channels=3, size=8, **kwargs):
    """A callable source of noise in memory."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)
    return lambda: Splits(TensorImages(pixels, torch.arange(n) % classes), **kwargs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("images") / "root", ("ant", "bee", "cow"), 12)


def test_digits_from_end_to_end():
    data = DataModule.from_options(digits, batch_size=64, augment={"crop_padding": 1})
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


def test_the_splits_are_disjoint_and_stratified():
    data = DataModule.from_options(source(200, 4), 16, val_fraction=0.25, test_fraction=0.2)
    seen = {}
    for name, loader in (
        ("train", data.train_dataloader()),
        ("val", data.val_dataloader()),
        ("test", data.test_dataloader()),
    ):
        found = batches(loader)
        seen[name] = torch.cat([b.index for b in found])
        assert (
            torch.cat([b.target for b in found]).bincount().tolist()
            == {"train": [30], "val": [10], "test": [10]}[name] * 4
        )
        assert torch.equal(torch.cat([b.index for b in found]) % 4, torch.cat([b.target for b in found]))
    assert sorted(torch.cat(list(seen.values())).tolist()) == list(range(200))
    again = DataModule.from_options(source(200, 4), 7, seed=9, val_fraction=0.25, test_fraction=0.2)
    assert torch.equal(torch.cat([b.index for b in again.val_dataloader()]), seen["val"])
    other = DataModule.from_options(source(200, 4), 7, split_seed=1, val_fraction=0.25, test_fraction=0.2)
    assert not torch.equal(torch.cat([b.index for b in other.val_dataloader()]), seen["val"])


def test_normalisation_is_by_the_training_split():
    data = DataModule.from_options(source(), 60)
    loader = data.train_dataloader()
    inputs = torch.cat([b.inputs for b in loader])
    assert torch.allclose(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(inputs.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
    given = DataModule.from_options(source(), 60, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])
    batch = next(iter(given.test_dataloader()))
    raw = source()().train.pixels[batch.index].double() / 255
    expected = (raw - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    assert torch.allclose(batch.inputs.double(), expected, atol=1e-5)


def test_views_do_not_depend_on_batch_size_workers_or_memory(folder):
    def views(batch_size, epoch=1, **kwargs):
        data = DataModule.from_options(
            functools.partial(image_folder, folder),
            batch_size,
            augment=AUGMENT,
            mean=[0.5] * 3,
            std=[0.5] * 3,
            **kwargs,
        )
        return by_index(batches(data.train_dataloader(), epoch))

    first = views(8)
    assert same(first, views(13))
    assert same(first, views(8, in_memory=False, num_workers=0))
    assert same(first, views(8, in_memory=False, num_workers=2))
    assert not same(first, views(8, epoch=2))
    assert not same(first, views(8, seed=1))


def test_views_from_files_do_not_depend_on_batch_size_or_workers(folder):
    def data(batch_size, workers, **kwargs):
        return DataModule.from_options(
            functools.partial(image_folder, folder),
            batch_size,
            image_size=10,
            augment={"scale": [0.2, 1.0], "flip": True},
            num_workers=workers,
            **kwargs,
        )

    alone = data(8, 0).train_dataloader()
    first, second = by_index(batches(alone, 0)), by_index(batches(alone, 1))
    assert not same(first, second)
    loader = data(6, 2).train_dataloader()  # its workers persist from epoch to epoch
    assert same(first, by_index(batches(loader, 0)))
    assert same(second, by_index(batches(loader, 1)))
    before = torch.get_rng_state()
    batches(alone, 0)
    assert torch.equal(before, torch.get_rng_state())
    assert same(by_index(batches(alone, 3)), by_index(batches(alone, 3)))
    plain = [b.inputs for b in data(5, 0).val_dataloader()]
    assert all(
        torch.equal(a, b) for a, b in zip(plain, [b.inputs for b in data(5, 0, seed=3).val_dataloader()], strict=True)
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_in_its_middle(folder, workers):
    data = DataModule.from_options(
        functools.partial(image_folder, folder), 5, augment=AUGMENT, in_memory=workers == 0, num_workers=workers
    )
    whole = batches(data.train_dataloader(), 2)
    loader = data.train_dataloader()
    loader.sampler.start = 3
    rest = batches(loader, 2)
    assert len(loader) == len(whole)
    assert len(rest) == len(whole) - 3
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(rest, whole[3:], strict=True))
    assert len(batches(loader, 3)) == len(whole)


def test_with_options_shares_the_data():
    calls = []

    def counted():
        calls.append(1)
        return source()()

    data = DataModule.from_options(counted, 10, augment=AUGMENT)
    other = data.with_options(seed=5, batch_size=20)
    other.setup()
    data.setup()
    assert len(calls) == 1
    assert data.fingerprint == other.fingerprint
    assert (data.batch_size, other.batch_size, data.seed, other.seed) == (10, 20, 0, 5)
    assert other.images is data.images
    assert len(other.train_dataloader()) < len(data.train_dataloader())
    assert data.with_options(batch_size=4).seed == 0


def test_the_fingerprint(folder, tmp_path):
    def of(where=folder, batch_size=8, **kwargs):
        return DataModule.from_options(functools.partial(image_folder, where), batch_size, **kwargs).fingerprint

    for streaming in ({}, {"in_memory": False}):
        first = of(**streaming)
        assert first == of(batch_size=3, seed=4, num_workers=2, eval_batch_size=1, **streaming)
        changed = [
            {"augment": {"flip": True}},
            {"augment": {"crop_padding": 1}},
            {"split_seed": 1},
            {"val_fraction": 0.2},
            {"image_size": 9},
            {"subset": 12},
            {"mean": [0.1] * 3},
            {"std": [0.1] * 3},
        ]
        found = {of(**streaming, **change) for change in changed}
        assert len(found) == len(changed)
        assert first not in found
        moved = tmp_path / f"moved{len(streaming)}"
        write_folder(moved, ("ant", "bee", "cow"), 12)
        assert of(moved, **streaming) == first
        picture(99).save(moved / "ant" / "003.png", compress_level=0)
        assert of(moved, **streaming) != first
    crop = {"transform": v2.Compose([v2.RandomCrop(8)]), "image_size": 8}
    assert of(**crop) == of(**{**crop, "transform": v2.Compose([v2.RandomCrop(8)])})
    assert of(**crop) != of(**{**crop, "transform": v2.Compose([v2.RandomCrop(8, padding=1)])})


def test_looking_at_images_in_memory_copies_few_of_them():
    pixels = torch.empty(60_000, 3, 64, 64, dtype=torch.uint8)  # 740 MB, touched nowhere: all one page of zeros
    images = TensorImages(pixels, torch.zeros(len(pixels)))
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of what ran before
    before = memory.peak()
    whole = images.identity(torch.arange(len(pixels)))
    assert memory.peak() - before < 400e6
    assert whole != images.identity(torch.arange(len(pixels) - 1))
    few = TensorImages(torch.arange(48, dtype=torch.uint8).view(4, 3, 2, 2), torch.zeros(4))
    assert few.identity(torch.tensor([2, 0])) == digest(few.pixels[[2, 0]])


def test_evaluation_sees_no_augmentation_and_order():
    data = DataModule.from_options(source(), 8, augment=AUGMENT, eval_batch_size=7)
    found = batches(data.val_dataloader(), 0) + batches(data.test_dataloader(), 4)
    for batch in found:
        assert torch.equal(batch.inputs, data.images.scaling(source()().train.pixels[batch.index]))
    index = torch.cat([b.index for b in batches(data.test_dataloader())])
    assert torch.equal(index, index.sort().values)
    assert len(found[0].index) == 5
    assert len(batches(data.test_dataloader())[0].index) == 7


def test_half_of_the_views_are_mirrored_and_the_global_generator_is_left_alone():
    pixels = torch.zeros(2000, 1, 4, 4, dtype=torch.uint8)
    pixels[..., 0] = 255
    data = DataModule.from_options(
        lambda: Splits(TensorImages(pixels, torch.arange(2000) % 2)), 50, augment={"flip": True}, mean=[0.0], std=[1.0]
    )
    before = torch.get_rng_state()
    views = torch.cat([b.inputs for b in data.train_dataloader()])
    assert torch.equal(before, torch.get_rng_state())
    assert abs(views[:, 0, 0, 0].mean() - 0.5) < 0.05


def test_subset():
    data = DataModule.from_options(source(), 8, subset=9)
    assert data.num_train == 9
    assert torch.cat([b.target for b in data.train_dataloader()]).bincount().tolist()[0] > 0
    whole = DataModule.from_options(source(), 8)
    assert DataModule.from_options(source(), 8, subset=1000).num_train == whole.num_train
    assert torch.equal(next(iter(data.val_dataloader())).index, next(iter(whole.val_dataloader())).index)


def test_a_batch_larger_than_the_training_split():
    data = DataModule.from_options(source(), 4096)
    assert [len(b.target) for b in data.train_dataloader()] == [data.num_train]


def test_sizes(folder, tmp_path):
    partial = functools.partial(image_folder, folder)
    assert DataModule.from_options(partial, 8, image_size=7).example().shape == (2, 3, 7, 7)
    assert DataModule.from_options(partial, 8, image_size=7, in_memory=False).example().shape == (2, 3, 7, 7)
    assert not DataModule.from_options(partial, 8, memory_gb=1e-6).in_memory
    assert DataModule.from_options(partial, 8, memory_gb=1e-3).in_memory
    assert DataModule.from_options(source(), 8, memory_gb=1e-6).in_memory  # they are there anyway
    assert not DataModule.from_options(source(), 8, memory_gb=1e-6, image_size=7).in_memory
    write_folder(tmp_path / "root", count=10)
    picture(0, (9, 5)).save(tmp_path / "root" / "bee" / "0.png")
    for held, message in ((True, r"3×12×12 and 3×5×9"), (False, r"12×12 and 5×9")):
        with pytest.raises(UserError, match=rf"differ in size: {message} \(.*0\.png\); set data\.image_size"):
            DataModule.from_options(functools.partial(image_folder, tmp_path / "root"), 8, in_memory=held).setup()


class Pairs(Dataset):
    """A user's data set; ``make`` turns a number into an image."""

    def __init__(self, make, n=60):
        self.make, self.n = make, n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.make(i), i % 3


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda i: picture(i), (3, 12, 12)),
        (lambda i: picture(i, mode="L"), (1, 12, 12)),
        (lambda i: torch.full((4, 5, 5), i, dtype=torch.uint8), (4, 5, 5)),
        (lambda i: np.full((6, 5, 3), i, np.uint8), (3, 6, 5)),
        (lambda i: np.full((6, 6), i, np.uint8), (1, 6, 6)),
        (lambda i: torch.full((2, 5, 5), i / 60), (2, 5, 5)),
        (lambda i: np.full((2, 5, 5), i / 60), (2, 5, 5)),
    ],
)
def test_a_users_dataset(make, shape):
    data = DataModule.from_options(lambda: Pairs(make), 6)
    assert data.example().shape == (2, *shape)
    assert data.num_classes == 3
    first = by_index(data.test_dataloader())
    files = DataModule.from_options(
        lambda: Pairs(make), 6, in_memory=False, mean=[0.0] * shape[0], std=[1.0] * shape[0]
    )
    for i, inputs in by_index(files.test_dataloader()).items():
        image = np.asarray(make(i)).astype(np.float64) / (
            255 if data.images.splits["train"].pixels.dtype == torch.uint8 else 1
        )
        image = image[None] if image.ndim == 2 else image
        image = image.transpose(2, 0, 1) if image.shape != shape else image
        np.testing.assert_allclose(inputs, image, atol=1e-6)
        assert i in first


def test_the_forms_of_a_source():
    pairs = Pairs(picture)
    for given in (
        Splits(pairs, test=pairs, classes=["a", "b", "c"]),
        {"train": pairs, "test": pairs, "classes": ["a", "b", "c"]},
        type("Source", (), {"train": pairs, "test": pairs, "val": None, "classes": ["a", "b", "c"]})(),
    ):
        data = DataModule.from_options(lambda given=given: given, 6)
        assert data.classes == ["a", "b", "c"]
        assert data.describe()["test"] == 60
        assert data.describe()["carved"] == ["val"]
    subset = DataModule.from_options(lambda: Subset(pairs, range(48)), 6)
    assert subset.num_train + len(subset.val_dataloader().dataset) + len(subset.test_dataloader().dataset) == 48
    tensors = TensorDataset(torch.rand(60, 1, 4, 4), torch.arange(60) % 3)
    assert DataModule.from_options(lambda: tensors, 6).example().shape == (2, 1, 4, 4)


def test_labels_come_from_targets_only_where_they_agree():
    pairs = Pairs(picture)
    pairs.targets = [9] * 60
    assert DataModule.from_options(lambda: pairs, 6).num_classes == 3
    pairs.targets = [i % 3 for i in range(60)]
    pairs.__class__ = type("Same", (Pairs,), {})
    assert DataModule.from_options(lambda: pairs, 6).num_classes == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_of_the_users(folder, workers):
    def of(**kwargs):
        return DataModule.from_options(
            functools.partial(image_folder, folder), 6, num_workers=workers, image_size=8, **kwargs
        )

    crop = v2.Compose([v2.RandomCrop(8), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    data = of(transform=crop, augment={"flip": True})
    first = by_index(batches(data.train_dataloader()))
    assert same(first, by_index(batches(of(transform=crop, augment={"flip": True}).train_dataloader())))
    assert not same(first, by_index(batches(of(transform=crop, augment={"flip": True}, seed=1).train_dataloader())))
    assert all(x.shape == (3, 8, 8) for x in first.values())
    assert max(x.abs().max() for x in first.values()) < 3
    with pytest.raises(UserError, match=r"shapes .* end data\.transform with a crop"):
        batches(of(transform=v2.RandomChoice([v2.CenterCrop(8), v2.CenterCrop(9)])).train_dataloader())
    with pytest.raises(UserError, match=r"data\.transform must return an image or a tensor, got int"):
        batches(of(transform=lambda image: 3).train_dataloader())


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
        DataModule.from_options(**{"source": source(), "batch_size": 8, **options})
    assert "\n" not in str(caught.value)


def test_an_unknown_key_of_augment():
    with pytest.raises(TypeError, match="crop"):
        DataModule.from_options(source(), 8, augment={"crop": 4})
    assert DataModule.from_options(source(), 8, augment=Augment(flip=True)).image_options.augment.flip


def labelled(labels, classes=None, test=None):
    def images(values):
        return TensorImages(
            torch.zeros(len(values), 1, 2, 2, dtype=torch.uint8), torch.tensor(values, dtype=torch.int64)
        )

    return lambda: Splits(images(labels), test=None if test is None else images(test), classes=classes)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (labelled([]), {}, "the train split is empty"),
        (labelled([0, 1] * 9, test=[]), {}, "the test split is empty"),
        (labelled([0] * 9), {}, r"all of one class \(0\)"),
        (labelled([0, 1, 7] * 9, ["a", "b"]), {}, r"label 7 of train image 2 is outside 0\.\.1 \(2 classes; 9 such"),
        (labelled([0, -1] * 9), {}, "label -1 of train image 1"),
        (labelled([0, 1] * 9, ["a", "b"], test=[0, 2]), {}, "label 2 of test image 1"),
        (labelled([0] * 9 + [1], ["cat", "dog"]), {}, "class 'dog' has 1 training image: 3 splits .* at least 3"),
        (labelled([0] * 9 + [1] * 2, ["cat", "dog"]), {}, "class 'dog' has 2 training images"),
        (labelled([0, 1] * 9), {"val_fraction": 0.01}, r"data\.val_fraction=0\.01 splits 14 images into 14 and 0"),
        (labelled([0, 1] * 9), {"test_fraction": 0.99}, r"data\.test_fraction=0\.99 splits 18 images into 0 and 18"),
        (labelled([0, 1, 2, 3] * 20), {"subset": 3}, r"data\.subset=3 splits .* each of the 4 classes"),
        (labelled([0, 1] * 9), {"num_classes": 3}, "data.num_classes=3, but the data have 2 classes"),
        (labelled([0, 1] * 20), {"mean": [0.5] * 3}, "data.mean has 3 values, but the images have 1 channels"),
        (lambda: None, {}, "a source must return Splits.* got NoneType"),
        (lambda: 3, {}, "got int"),
        (lambda: Splits(5), {}, "a split must be a map-style dataset .* got int"),
        (lambda: Pairs(picture, 0), {}, "the dataset Pairs is empty"),
        (lambda: Pairs(lambda i: "text"), {}, "image 0 of Pairs must be a PIL image, a tensor or an array, got str"),
        (
            lambda: Pairs(lambda i: torch.zeros(3)),
            {},
            r"must be a uint8 or float C×H×W tensor, got torch.float32 \(3,\)",
        ),
        (lambda: TensorDataset(torch.rand(6, 1, 4, 4), torch.rand(6)), {}, "labels of TensorDataset must be integers"),
        (lambda: Splits(source()().train, test=source(channels=1)().train), {}, "train images have 3 channels, test"),
        (lambda: Splits(source()().train, test=source(size=9)().train), {}, "differ in size: 8×8 and 9×9"),
    ],
)
def test_wrong_data(given, options, message):
    with pytest.raises(UserError, match=message) as caught:
        DataModule.from_options(given, **{"batch_size": 8, **options}).setup()
    assert "\n" not in str(caught.value)


def test_one_image_suffices_where_nothing_is_carved():
    pixels = TensorImages(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 0, 0, 1]))
    data = DataModule.from_options(lambda: Splits(pixels, pixels, pixels), 2)
    assert data.num_train == 4


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

    module, data = Seen(), DataModule.from_options(source(), 16, augment=AUGMENT)
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
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("labels", [[1, 2, 3], [0, 1000, 2000], [0, 1, 10**12]])
def test_unnamed_classes_without_gaps(labels):
    pixels = torch.zeros(30, 1, 4, 4, dtype=torch.uint8)
    images = TensorImages(pixels, torch.tensor(labels * 10))
    with pytest.raises(UserError, match=r"the labels must be 0..C-1 without gaps: .* 3 different ones from"):
        DataModule.from_options(lambda: Splits(images), batch_size=4).setup()


def test_training_is_shuffled_anew_in_every_epoch():
    data = DataModule.from_options(source(), batch_size=16)
    data.setup()
    first, second = ([int(i) for b in batches(data.train_dataloader(), epoch) for i in b.index] for epoch in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != sorted(first)
    assert first != second


def test_batches_of_workers_are_made_on_the_host(monkeypatch):
    """A forked process cannot use CUDA."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**34, 2**34))
    strategy = type("Strategy", (), {"root_device": torch.device("cuda", 0)})
    for workers, place in ((None, "cuda"), (0, "cuda"), (2, "cpu")):
        data = DataModule.from_options(digits, 8, num_workers=workers)
        data.trainer = type("Trainer", (), {"strategy": strategy})
        assert data._device(torch.zeros(4, dtype=torch.uint8)).type == place


def test_a_batch_is_shown_one_step_before_it_is_handed_out():
    loader = DataModule.from_options(source(), 8).train_dataloader()
    handed, shown = [], []
    for count, batch in enumerate(loader):
        handed.append(batch)
        assert loader.state_dict()["batches"] == count + 1
        if count == 1:  # from here on
            loader.prefetch = shown.append
        if shown:
            assert any(batch is seen for seen in shown)
            assert len(shown) == min(len(handed) - 1, len(loader) - 2)
    assert len(handed) == len(loader) > 4
    assert all(a is b for a, b in zip(handed[2:], shown, strict=True))
    again = list(loader)
    assert len(shown) == len(handed) - 2 + len(again)


def test_what_is_left_out_counts_where_batches_are_shown(folder):
    loader = DataModule.from_options(
        functools.partial(image_folder, folder), 4, in_memory=False, num_workers=0
    ).train_dataloader()
    loader.prefetch, get, calls = lambda batch: None, type(loader.dataset).__getitem__, []

    class Leaky(type(loader.dataset)):
        def __getitem__(self, key):  # all images of the second and of the last batch are broken, and skipped
            calls.append(key)
            return None if len(calls) in (2, len(loader)) else get(self, key)

    loader.dataset.__class__ = Leaky
    positions = [loader.state_dict()["batches"] for _ in loader]
    assert positions == [1, *range(3, len(loader))]
    assert loader.state_dict()["batches"] == len(loader)


def test_what_cannot_be_shown_comes_in_its_turn(folder):
    loader = DataModule.from_options(
        functools.partial(image_folder, folder), 4, in_memory=False, num_workers=0
    ).train_dataloader()
    shown, failing = [], 3
    read = loader.dataset.read
    calls = []

    def broken(epoch, positions):
        calls.append(1)
        if len(calls) > failing:
            raise BrokenImageError("bad.png cannot be read")
        return read(epoch, positions)

    loader.dataset.read = broken
    loader.prefetch = shown.append
    handed = []
    batches = iter(loader)
    with pytest.raises(UserError, match="bad.png cannot be read"):
        while True:
            handed.append(next(batches))
    assert len(handed) == len(shown) == failing

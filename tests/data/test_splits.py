import pytest
import torch
from torch.utils.data import IterableDataset, Subset, TensorDataset

from data_helpers import Pairs, batches, picture, source
from distill.data import ImageDataModule, Splits, TensorImages, as_image_set, as_splits
from distill.data.splits import stratified
from distill.utils.errors import UserError


def test_the_splits_are_disjoint_and_stratified():
    data = ImageDataModule.from_options(source(200, 4), 16, val_fraction=0.25, test_fraction=0.2)
    seen = {}
    for name, loader in (
        ("train", data.train_dataloader()),
        ("val", data.val_dataloader()),
        ("test", data.test_dataloader()),
    ):
        epoch = batches(loader)
        seen[name] = torch.cat([b.index for b in epoch])
        assert (
            torch.cat([b.target for b in epoch]).bincount().tolist()
            == {"train": [30], "val": [10], "test": [10]}[name] * 4
        )
        assert torch.equal(torch.cat([b.index for b in epoch]) % 4, torch.cat([b.target for b in epoch]))
    assert sorted(torch.cat(list(seen.values())).tolist()) == list(range(200))
    again = ImageDataModule.from_options(source(200, 4), 7, seed=9, val_fraction=0.25, test_fraction=0.2)
    assert torch.equal(torch.cat([b.index for b in again.val_dataloader()]), seen["val"])
    other = ImageDataModule.from_options(source(200, 4), 7, split_seed=1, val_fraction=0.25, test_fraction=0.2)
    assert not torch.equal(torch.cat([b.index for b in other.val_dataloader()]), seen["val"])


def test_subset():
    data = ImageDataModule.from_options(source(), 8, subset=9)
    assert data.num_train == 9
    assert torch.cat([b.target for b in data.train_dataloader()]).bincount().tolist()[0] > 0
    whole = ImageDataModule.from_options(source(), 8)
    assert ImageDataModule.from_options(source(), 8, subset=1000).num_train == whole.num_train
    assert torch.equal(next(iter(data.val_dataloader())).index, next(iter(whole.val_dataloader())).index)


def test_the_forms_of_a_source():
    pairs = Pairs(picture)
    for form in (
        Splits(pairs, test=pairs, classes=["a", "b", "c"]),
        {"train": pairs, "test": pairs, "classes": ["a", "b", "c"]},
        type("Source", (), {"train": pairs, "test": pairs, "val": None, "classes": ["a", "b", "c"]})(),
    ):
        data = ImageDataModule.from_options(lambda form=form: form, 6)
        assert data.classes == ["a", "b", "c"]
        assert data.describe()["test"] == 60
        assert data.describe()["carved"] == ["val"]
    subset = ImageDataModule.from_options(lambda: Subset(pairs, range(48)), 6)
    assert subset.num_train + len(subset.val_dataloader().dataset) + len(subset.test_dataloader().dataset) == 48
    tensors = TensorDataset(torch.rand(60, 1, 4, 4), torch.arange(60) % 3)
    assert ImageDataModule.from_options(lambda: tensors, 6).example().shape == (2, 1, 4, 4)


def labelled(labels, classes=None, test=None):
    def images(values):
        return TensorImages(
            torch.zeros(len(values), 1, 2, 2, dtype=torch.uint8), torch.tensor(values, dtype=torch.int64)
        )

    return lambda: Splits(images(labels), test=None if test is None else images(test), classes=classes)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (labelled([]), {}, "the train split is empty"),
        (labelled([0, 1] * 9, test=[]), {}, "the test split is empty"),
        (labelled([0] * 9), {}, r"all of one class \(0\)"),
        (labelled([0, 1, 7] * 9, ["a", "b"]), {}, r"label 7 of train image 2 is outside 0\.\.1 \(2 classes; 9 such"),
        (labelled([0, -1] * 9), {}, "label -1 of train image 1"),
        (labelled([1, 2, 3] * 9), {}, r"must be 0\.\.C-1 without gaps: .* 3 different ones from"),
        (labelled([0, 1000, 2000] * 9), {}, r"must be 0\.\.C-1 without gaps: .* 3 different ones from"),
        (labelled([0, 1, 10**12] * 9), {}, r"must be 0\.\.C-1 without gaps: .* 3 different ones from"),
        (labelled([0, 1] * 9, ["a", "b"], test=[0, 2]), {}, "label 2 of test image 1"),
        (labelled([0] * 9 + [1], ["cat", "dog"]), {}, "class 'dog' has 1 training sample: 3 splits .* at least 3$"),
        (
            labelled(range(12), [f"{i}.5" for i in range(12)]),
            {},
            "12 of these 12 classes .* task=regression does that$",
        ),
        (labelled(range(12), [f"mail {i}" for i in range(12)]), {}, r"are these the labels \(data.label=<column>\)\?$"),
        (labelled([0] * 9 + [1] * 2, ["cat", "dog"]), {}, "class 'dog' has 2 training samples"),
        (labelled([0, 1] * 9), {"val_fraction": 0.01}, r"data\.val_fraction=0\.01 splits 14 samples into 14 and 0"),
        (labelled([0, 1] * 9), {"test_fraction": 0.99}, r"data\.test_fraction=0\.99 splits 18 samples into 0 and 18"),
        (labelled([0, 1, 2, 3] * 20), {"subset": 3}, r"data\.subset=3 splits .* each of the 4 classes"),
        (labelled([0, 1] * 9), {"num_classes": 3}, "data.num_classes=3, but the data have 2 classes"),
        (labelled([0, 1] * 20), {"mean": [0.5] * 3}, "data.mean has 3 values, but the images have 1 channels"),
        (lambda: None, {}, "a source must return Splits.* got NoneType"),
        (lambda: 3, {}, "got int"),
        (lambda: Splits(5), {}, "a split must be a map-style dataset .* got int"),
        (lambda: Pairs(picture, 0), {}, "the dataset Pairs is empty"),
        (
            lambda: Pairs(lambda i: "text"),
            {},
            "image 0 of Pairs .* must be a PIL image, a tensor or an array, got str",
        ),
        (
            lambda: Pairs(lambda i: torch.zeros(3)),
            {},
            r"image 0 of Pairs cannot be read: it must be C×H×W, H×W×C or H×W, got \(3,\)",
        ),
        (lambda: TensorDataset(torch.rand(6, 1, 4, 4), torch.rand(6)), {}, "labels of TensorDataset must be integers"),
        (lambda: Splits(source()().train, test=source(channels=1)().train), {}, "train images have 3 channels, test"),
        (lambda: Splits(source()().train, test=source(size=9)().train), {}, "differ in size: 8×8 and 9×9"),
    ],
)
def test_wrong_data(source, options, message):
    with pytest.raises(UserError, match=message) as caught:
        ImageDataModule.from_options(source, **{"batch_size": 8, **options}).setup()
    assert "\n" not in str(caught.value)


def test_one_image_suffices_where_nothing_is_carved():
    pixels = TensorImages(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 0, 0, 1]))
    data = ImageDataModule.from_options(lambda: Splits(pixels, pixels, pixels), 2)
    assert data.num_train == 4


class Named(Pairs):
    def __init__(self, classes, labels):
        super().__init__(picture, len(labels))
        self.classes, self.labels = classes, labels

    def __getitem__(self, i):
        return picture(i), self.labels[i]


def test_names_decide_between_splits():
    """As of two ImageFolders, whose numbers depend on the folders there are."""
    train = Named(["ant", "bee", "cow"], [0, 1, 2] * 20)
    test = Named(["bee", "cow"], [0, 1] * 5)
    for mapping in ({"train": train, "test": test}, Splits(train, test=Subset(test, range(10)))):
        splits = as_splits(mapping, as_image_set)
        assert splits.classes == ["ant", "bee", "cow"]
        assert splits.test.labels.tolist() == [1, 2] * 5
        splits.test.image(3)  # its label is still the dataset's
    with pytest.raises(UserError, match="the label of image 1 of Named is 'dog', which is no class of the training"):
        as_splits({"train": train, "test": Named(["ant", "dog"], [0, 1])}, as_image_set)


def test_the_names_of_splits_in_a_mapping():
    train, other = Named(["ant", "bee"], [0, 1] * 9), Named(["ant", "bee"], [0, 1])
    splits = as_splits({"train": train, "validation": other, "extra": other}, as_image_set)
    assert (len(splits.val), splits.test) == (2, None)
    with pytest.raises(UserError, match="has the keys train, val and test, got 'Test', 'dev'"):
        as_splits({"train": train, "Test": other, "dev": other}, as_image_set)


def test_many_classes_of_few_images(caplog):
    """A split of fewer images than classes holds one each, and training keeps every class."""
    labels, pool = torch.arange(3000) % 1000, torch.arange(3000)
    rest, taken = stratified(pool, labels, 600, 0, "data.test_fraction=0.2", every_class=False)
    assert sorted(torch.cat([rest, taken]).tolist()) == pool.tolist()
    assert labels[taken].bincount().max() == 1
    assert len(labels[rest].unique()) == 1000
    assert len(taken) == 600
    assert torch.equal(taken, stratified(pool, labels, 600, 0, "", every_class=False)[1])
    assert not torch.equal(taken, stratified(pool, labels, 600, 1, "", every_class=False)[1])
    assert "data.test_fraction=0.2 takes 600 samples, fewer than there are classes (1000)" in caplog.text
    stratified(pool, labels, 1, 0, "data.val_fraction=0.1", every_class=False)
    assert "data.val_fraction=0.1 takes 1 sample, fewer than" in caplog.text
    with pytest.raises(UserError, match="each part needs at least one of each of the 1000 classes"):
        stratified(pool, labels, 600, 0, "data.subset=600")
    with pytest.raises(UserError, match="x takes 9 samples, and only 5 classes have more than one"):
        stratified(torch.arange(25), torch.arange(25) % 20 % 15, 9, 0, "x", every_class=False)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(picture(0), 0)])


class StreamOfAKnownLength(Stream):
    def __len__(self):
        return 1


class NoLength:
    def __getitem__(self, index):
        return picture(index), index % 2


@pytest.mark.parametrize(
    "make", [Stream, StreamOfAKnownLength, NoLength, lambda: iter([]), lambda: {"train": Stream()}]
)
def test_what_is_no_map_style_dataset_is_called_so(make):
    with pytest.raises(UserError, match=r"must be a map-style dataset \(with __getitem__ and __len__\) .*, got "):
        as_splits(make(), as_image_set)


def test_classes_without_a_training_image_are_named(caplog):
    labels = torch.tensor([0, 2] * 10)
    data = ImageDataModule.from_options(
        lambda: Splits(TensorImages(torch.rand(20, 3, 4, 4), labels), classes=["ant", "bee", "cow", "dog"]), 4
    )
    data.setup()
    assert data.num_classes == 4
    assert "2 of 4 classes have no training sample: bee, dog" in caplog.text

"""What reaches a model as the target: classes, labels, numbers, or nothing; and what is refused."""

import pytest
import torch

from data_helpers import Pairs, batches, picture
from distill.data import ImageDataModule, Splits, TensorImages
from distill.data.targets import moments
from distill.utils.errors import UserError


def noise(n=60):
    return torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def data(labels, targets, **options):
    names = options.pop("classes", None)
    splits = Splits(TensorImages(noise(len(labels)), labels), classes=names)
    return ImageDataModule.from_options(lambda: splits, 16, targets=targets, **options)


def seen(module, split):
    """Targets of a split by index."""
    found = batches(module.evaluation_loader(split))
    return torch.cat([b.index for b in found]), torch.cat([b.target for b in found])


def test_numbers_reach_the_batches_and_are_standardised_by_the_training_rows():
    ages = torch.arange(60) * 0.5 + 3
    module = data(ages, "numbers")
    assert (module.num_classes, module.classes) == (1, ["0"])
    for split in ("train", "val", "test"):
        index, target = seen(module, split)
        assert target.dtype == torch.float32
        assert torch.equal(target, ages[index][:, None])
    train = ages[module.indices("train")].double()
    assert module.target_mean == pytest.approx([train.mean().item()])
    assert module.target_std == pytest.approx([train.std(correction=0).item()])
    facts = module.describe()
    assert (facts["targets"], facts["target_mean"], facts["target_std"]) == (
        "numbers",
        module.target_mean,
        module.target_std,
    )
    assert (facts["train"], facts["val"], facts["test"]) == (43, 5, 12)


def test_several_numbers_with_names_one_of_them_constant():
    numbers = torch.stack([torch.linspace(-1, 1, 60), torch.full((60,), 7.0)], 1)
    module = data(numbers, "numbers", classes=["x", "y"])
    assert module.classes == ["x", "y"]
    assert module.target_mean[1] == 7
    assert module.target_std[1] == 1
    assert torch.equal(seen(module, "test")[1], numbers[module.indices("test")])


def test_moments_of_large_numbers_with_a_small_spread():
    mean, std = moments(torch.tensor([[1000.0, 5e5], [1001.0, 5e5], [1002.0, 5e5]]))
    assert mean == (1001, 5e5)
    assert std == (pytest.approx((2 / 3) ** 0.5), 1)


def test_labels_of_which_there_may_be_several():
    labels = torch.stack([torch.arange(60) % 2, torch.arange(60) % 3 == 0], 1)
    module = data(labels, "multilabel", classes=["odd", "three"])
    index, target = seen(module, "train")
    assert target.dtype == torch.float32
    assert torch.equal(target, labels[index].float())
    assert module.target_mean is None


def test_without_labels_all_targets_are_zero_and_nothing_is_named():
    module = data(torch.arange(60) % 7, "none")
    assert module.classes == []
    assert torch.equal(seen(module, "val")[1], torch.zeros(5, dtype=torch.int64))


def test_splits_and_subset_are_drawn_at_random_by_the_seed():
    one, again, other = (data(torch.rand(60), "numbers", subset=20, split_seed=seed) for seed in (0, 0, 1))
    for split in ("train", "val", "test"):
        assert torch.equal(one.indices(split), again.indices(split))
        assert not torch.equal(one.indices(split), other.indices(split))
    assert one.num_train == 20
    rows = torch.cat([one.indices(split) for split in ("train", "val", "test")])
    assert len(rows.unique()) == len(rows) == 37


def test_the_fingerprint_covers_kind_and_values():
    ages = torch.rand(60)
    changed = ages.clone()
    changed[data(ages, "numbers").indices("val")[0]] += 1
    zeros = torch.zeros(60, 2)
    zeros[::2] = 1
    modules = [data(ages, "numbers"), data(changed, "numbers"), data(zeros, "numbers"), data(zeros, "multilabel")]
    assert len({module.fingerprint for module in modules}) == 4
    assert data(ages, "numbers").fingerprint == modules[0].fingerprint


@pytest.mark.parametrize(
    ("labels", "targets", "message"),
    [
        (
            torch.arange(60) % 3,
            "numbers",
            "the labels are classes .* and the task needs numbers: .*task=classification",
        ),
        (torch.arange(60) % 3, "multilabel", "the task needs a 0 or 1 for every label"),
        (torch.rand(60), "classes", "no class number"),
        (
            torch.rand(60, 2),
            "classes",
            "2 numbers per sample, and the task needs one class per sample: .*task=regression",
        ),
        (torch.eye(2).repeat(30, 1), "classes", "2 numbers per sample, each 0 or 1, .*task=multilabel"),
        (torch.eye(2).repeat(30, 1) * 2, "multilabel", "the task needs a 0 or 1"),
        (torch.full((60,), torch.nan), "numbers", r"the label of train image 0 is nan, no finite number \(60 such"),
        (torch.tensor([1.0] * 59 + [torch.inf]), "numbers", "the label of train image 59 is inf, no finite number"),
    ],
)
def test_labels_that_do_not_fit_the_task(labels, targets, message):
    with pytest.raises(UserError, match=message) as caught:
        data(labels, targets).setup()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            Splits(TensorImages(noise(), torch.rand(60, 2)), test=TensorImages(noise(9), torch.rand(9, 3))),
            "the samples of train have 2 numbers, and those of test 3",
        ),
        (Splits(TensorImages(noise(), torch.rand(60, 2)), classes=["x"]), "have 2 numbers, and the source names 1"),
        (
            Splits(TensorImages(noise(), torch.rand(60)), test=TensorImages(noise(0), torch.rand(0))),
            "test split is empty",
        ),
    ],
)
def test_splits_that_do_not_fit_each_other(splits, message):
    with pytest.raises(UserError, match=message):
        ImageDataModule.from_options(lambda: splits, 16, targets="numbers").setup()


def test_number_of_outputs_that_the_user_expects():
    assert data(torch.rand(60), "numbers", num_classes=1).num_classes == 1
    with pytest.raises(UserError, match="data.num_classes=2, but the data have 1 number$"):
        data(torch.rand(60), "numbers", num_classes=2).setup()


def test_labels_that_every_image_has_are_warned_of(caplog):
    labels = torch.stack([torch.ones(60), torch.arange(60) % 2], 1)
    data(labels, "multilabel", classes=["all", "odd"]).setup()
    assert "every training sample has 1 of 2 labels: all" in caplog.text


class Labelled(Pairs):
    def __init__(self, label, n=60):
        super().__init__(picture, n)
        self.label = label

    def __getitem__(self, i):
        return self.make(i), self.label(i)


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize(
    ("label", "targets", "expected"),
    [
        (lambda i: i / 7, "numbers", lambda i: [i / 7]),
        (lambda i: [i, -i / 3], "numbers", lambda i: [i, -i / 3]),
        (lambda i: torch.tensor([i % 2, i % 3 == 0]), "multilabel", lambda i: [i % 2, i % 3 == 0]),
    ],
)
def test_pairs_of_a_map_style_dataset(label, targets, expected, memory):
    module = ImageDataModule.from_options(
        lambda: Labelled(label), 16, targets=targets, in_memory=memory, num_workers=0, mean=[0.5] * 3, std=[0.5] * 3
    )
    index, target = seen(module, "train")
    assert torch.equal(target, torch.tensor([expected(i) for i in index.tolist()], dtype=torch.float32))


def test_a_map_style_dataset_of_images_alone():
    class Images(Pairs):
        def __getitem__(self, i):
            return self.make(i)

    module = ImageDataModule.from_options(lambda: Images(picture), 16, targets="none")
    assert seen(module, "test")[1].tolist() == [0] * 12


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (lambda i: "tall", "the labels of Labelled must be numbers, got 'tall' for image 0"),
        (lambda i: [1.0] * (1 + (i == 5)), "image 0 of Labelled has 1 numbers as its label, image 5 2"),
        (lambda i: i, "the labels are classes"),
    ],
)
def test_labels_of_pairs_that_are_no_numbers(label, message):
    with pytest.raises(UserError, match=message):
        ImageDataModule.from_options(lambda: Labelled(label), 16, targets="numbers").setup()

import numpy as np
import pytest
import torch
from scipy import stats

from data_helpers import write_folder
from distill.data import ImageDataModule, Splits, TensorImages, uniform
from distill.data.sources import image_folder
from distill.data.vision.mixing import Mixing
from distill.utils.errors import UserError

N = 4000


def numbers(n=N):
    return uniform(0, 0, torch.arange(n), 5)


def of(mixup=0.0, cutmix=0.0, **kwargs):
    images = TensorImages(torch.randint(0, 255, (60, 3, 8, 8), dtype=torch.uint8), torch.arange(60) % 3)
    options = {"mean": [0.5] * 3, "std": [0.2] * 3, "seed": 3, **kwargs}
    augment = {"mixup": mixup, "cutmix": cutmix, "crop_padding": 1, "flip": True}
    return ImageDataModule.from_options(
        lambda: Splits(images, images, images), augment=augment, **{"batch_size": 20, **options}
    )


def epoch(data, number=0):
    loader = data.train_dataloader()
    loader.sampler.epoch = number
    seen = {}
    for batch in loader:
        seen |= {int(i): (x, y) for i, x, y in zip(batch.index, batch.inputs, batch.target, strict=True)}
    return seen


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixups_shares_are_betas(alpha):
    mixing = Mixing(alpha, 0.0, 10)
    _, share = mixing(torch.zeros(N, 1, 2, 2), torch.ones(N, 1, 2, 2), numbers())
    assert stats.kstest(share.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_mixup_is_its_formula():
    first, second = torch.randn(2, 50, 3, 4, 4)
    mixed, share = Mixing(1.0, 0.0, 10)(first, second, numbers(50))
    for i in range(50):
        torch.testing.assert_close(mixed[i], share[i] * first[i] + (1 - share[i]) * second[i])


def test_cutmix_takes_one_box_and_counts_its_pixels():
    mixing = Mixing(0.0, 1.0, 10)
    mixed, share = mixing(torch.zeros(N, 2, 12, 10), torch.ones(N, 2, 12, 10), numbers())
    taken = mixed.numpy()
    np.testing.assert_array_equal(taken[:, 0], taken[:, 1])
    np.testing.assert_allclose(1 - taken[:, 0].mean(axis=(1, 2)), share.numpy(), atol=1e-6)
    for one in taken[:200, 0]:
        rows, columns = one.any(axis=1), one.any(axis=0)
        np.testing.assert_array_equal(one, np.outer(rows, columns))
        assert all(np.abs(np.diff(line.astype(int))).sum() <= 2 for line in (rows, columns))
    whole = 1 - share[(taken[:, 0, 0, 0] == 0) & (taken[:, 0, -1, -1] == 0)].mean()
    assert 0.1 < whole < 0.6
    assert taken[:, 0].any(axis=(1, 2)).mean() > 0.9


def test_both_share_the_samples():
    mixed, share = Mixing(0.4, 1.0, 10)(torch.zeros(N, 1, 8, 8), torch.ones(N, 1, 8, 8), numbers())
    boxed = ((mixed == 0) | (mixed == 1)).all(dim=(1, 2, 3)) & (share < 1) & (share > 0)
    blended = (mixed == mixed[:, :, :1, :1]).all(dim=(1, 2, 3))
    assert 0.4 < blended.float().mean() < 0.6
    assert 0.4 < boxed.float().mean() < 0.6


def test_partners_are_drawn_from_everywhere():
    partners = Mixing(1.0, 0.0, 10).partners(numbers(), 20)
    counts = partners.bincount(minlength=20)
    assert len(counts) == 20
    assert counts.min() > N / 20 / 2


@pytest.mark.parametrize("kind", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 1.0}])
def test_a_view_depends_on_seed_epoch_and_index_only(kind):
    torch.manual_seed(0)
    data = of(**kind)
    seen = epoch(data)
    other = epoch(data.with_options(batch_size=7))
    assert all(torch.equal(seen[i][0], other[i][0]) and torch.equal(seen[i][1], other[i][1]) for i in other)
    assert not torch.equal(seen[0][0], epoch(data, 1)[0][0])
    assert not torch.equal(seen[0][0], epoch(data.with_options(seed=4))[0][0])
    assert data.random_views


def test_targets_are_distributions_over_two_classes():
    seen = epoch(of(mixup=1.0))
    target = torch.stack([seen[i][1] for i in range(60)])
    torch.testing.assert_close(target.sum(1), torch.ones(60))
    assert ((target > 0).sum(1) <= 2).all()
    assert ((target > 0).sum(1) == 2).any()
    for batch in of(mixup=1.0).val_dataloader():
        assert batch.target.dtype == torch.int64


def test_files_are_mixed_as_memory_is_and_broken_partners_left_out(tmp_path):
    folder = write_folder(tmp_path / "train", count=10, size=(8, 8))
    source = {"augment": {"mixup": 1.0}, "val_fraction": 0.2, "test_fraction": 0.2, "mean": [0.5] * 3, "std": [0.2] * 3}
    in_memory = ImageDataModule.from_options(lambda: image_folder(tmp_path), 6, in_memory=True, **source)
    from_files = ImageDataModule.from_options(
        lambda: image_folder(tmp_path), 6, in_memory=False, num_workers=0, **source
    )
    first, second = epoch(in_memory), epoch(from_files)
    assert all(torch.equal(first[i][0], second[i][0]) and torch.equal(first[i][1], second[i][1]) for i in first)
    for file in sorted(folder.glob("*/*.png"))[:3]:
        file.write_bytes(b"no image")
    skipping = ImageDataModule.from_options(
        lambda: image_folder(tmp_path), 6, in_memory=False, num_workers=0, on_broken="skip", **source
    )
    seen = epoch(skipping)
    assert all(torch.isfinite(x).all() and float(y.sum()) == pytest.approx(1) for x, y in seen.values())


def test_a_negative_alpha():
    with pytest.raises(UserError, match="data.augment.mixup is alpha of Beta"):
        of(mixup=-1.0)


def test_a_batch_whose_partners_can_all_not_be_read(tmp_path):
    folder = write_folder(tmp_path / "train", count=10, size=(8, 8))
    options = {"augment": {"mixup": 1.0}, "mean": [0.5] * 3, "std": [0.2] * 3, "on_broken": "skip", "in_memory": False}
    data = ImageDataModule.from_options(lambda: image_folder(tmp_path), 2, num_workers=0, **options)
    views, whole = data.dataset("train", train=True), data.dataset("train", train=False)
    for file in folder.glob("*/*.png"):
        file.write_bytes(b"no image")
    images = torch.zeros(2, 3, 8, 8)
    batch = views._mixed(views.batch_transform.mixing, images.clone(), views._rows[:2], 0)
    assert torch.equal(batch.inputs, images)
    assert torch.equal(batch.target.argmax(1), whole._labels[whole._rows[:2]])
    torch.testing.assert_close(batch.target.amax(1), torch.ones(2))

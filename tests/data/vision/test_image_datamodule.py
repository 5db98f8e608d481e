import functools

import pytest
import torch
from torchvision.transforms import v2

from data_helpers import batches, by_index, picture, same, source, write_folder
from distill.data import Augment, ImageDataModule, Splits, TensorImages
from distill.data.sources import digits, image_folder
from distill.utils.errors import UserError

AUGMENT = {"crop_padding": 2, "flip": True, "cutout": 3}


def test_normalisation_is_by_the_training_split():
    data = ImageDataModule.from_options(source(), 60)
    loader = data.train_dataloader()
    inputs = torch.cat([b.inputs for b in loader])
    assert torch.allclose(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(inputs.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
    configured = ImageDataModule.from_options(source(), 60, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])
    batch = next(iter(configured.test_dataloader()))
    raw = source()().train.pixels[batch.index].double() / 255
    expected = (raw - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    assert torch.allclose(batch.inputs.double(), expected, atol=1e-5)


def test_views_do_not_depend_on_batch_size_workers_or_memory(folder):
    def views(batch_size, epoch=1, **kwargs):
        data = ImageDataModule.from_options(
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
        return ImageDataModule.from_options(
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


def test_the_fingerprint(folder, tmp_path):
    def of(where=folder, batch_size=8, **kwargs):
        return ImageDataModule.from_options(functools.partial(image_folder, where), batch_size, **kwargs).fingerprint

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
        fingerprints = {of(**streaming, **change) for change in changed}
        assert len(fingerprints) == len(changed)
        assert first not in fingerprints
        moved = tmp_path / f"moved{len(streaming)}"
        write_folder(moved, ("ant", "bee", "cow"), 12)
        assert of(moved, **streaming) == first
        picture(99).save(moved / "ant" / "003.png", compress_level=0)
        assert of(moved, **streaming) != first
    crop = {"transform": v2.Compose([v2.RandomCrop(8)]), "image_size": 8}
    assert of(**crop) == of(**{**crop, "transform": v2.Compose([v2.RandomCrop(8)])})
    assert of(**crop) != of(**{**crop, "transform": v2.Compose([v2.RandomCrop(8, padding=1)])})


def test_evaluation_sees_no_augmentation_and_order():
    data = ImageDataModule.from_options(source(), 8, augment=AUGMENT, eval_batch_size=7)
    seen = batches(data.val_dataloader(), 0) + batches(data.test_dataloader(), 4)
    for batch in seen:
        assert torch.equal(batch.inputs, data.preprocess.scaling(source()().train.pixels[batch.index]))
    index = torch.cat([b.index for b in batches(data.test_dataloader())])
    assert torch.equal(index, index.sort().values)
    assert len(seen[0].index) == 5
    assert len(batches(data.test_dataloader())[0].index) == 7


def test_half_of_the_views_are_mirrored_and_the_global_generator_is_left_alone():
    pixels = torch.zeros(2000, 1, 4, 4, dtype=torch.uint8)
    pixels[..., 0] = 255
    data = ImageDataModule.from_options(
        lambda: Splits(TensorImages(pixels, torch.arange(2000) % 2)), 50, augment={"flip": True}, mean=[0.0], std=[1.0]
    )
    before = torch.get_rng_state()
    views = torch.cat([b.inputs for b in data.train_dataloader()])
    assert torch.equal(before, torch.get_rng_state())
    assert abs(views[:, 0, 0, 0].mean() - 0.5) < 0.05


def test_sizes(folder, tmp_path):
    partial = functools.partial(image_folder, folder)
    assert ImageDataModule.from_options(partial, 8, image_size=7).example().shape == (2, 3, 7, 7)
    assert ImageDataModule.from_options(partial, 8, image_size=7, in_memory=False).example().shape == (2, 3, 7, 7)
    assert not ImageDataModule.from_options(partial, 8, memory_gb=1e-6).loaded.in_memory
    assert ImageDataModule.from_options(partial, 8, memory_gb=1e-3).loaded.in_memory
    assert ImageDataModule.from_options(source(), 8, memory_gb=1e-6).loaded.in_memory  # they are there anyway
    assert not ImageDataModule.from_options(source(), 8, memory_gb=1e-6, image_size=7).loaded.in_memory
    partial = functools.partial(image_folder, write_folder(tmp_path / "root", count=10))
    picture(0, (9, 5)).save(tmp_path / "root" / "bee" / "0.png")
    for in_memory, message in ((True, r"3×12×12 and 3×5×9"), (False, r"12×12 and 5×9")):
        with pytest.raises(UserError, match=rf"differ in size: {message} \(.*0\.png\); set data\.image_size"):
            ImageDataModule.from_options(
                functools.partial(image_folder, tmp_path / "root"), 8, in_memory=in_memory
            ).setup()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_of_the_users(folder, workers):
    def of(**kwargs):
        return ImageDataModule.from_options(
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


def test_an_unknown_key_of_augment():
    with pytest.raises(TypeError, match="crop"):
        ImageDataModule.from_options(source(), 8, augment={"crop": 4})
    assert ImageDataModule.from_options(source(), 8, augment=Augment(flip=True)).image_options.augment.flip


def test_batches_of_workers_are_made_on_the_host(monkeypatch):
    """A forked process cannot use CUDA."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**34, 2**34))
    strategy = type("Strategy", (), {"root_device": torch.device("cuda", 0)})
    for workers, device in ((None, "cuda"), (0, "cuda"), (2, "cpu")):
        data = ImageDataModule.from_options(digits, 8, num_workers=workers)
        data.trainer = type("Trainer", (), {"strategy": strategy})
        assert data._device(torch.zeros(4, dtype=torch.uint8)).type == device

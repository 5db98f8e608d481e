import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from data_helpers import encoded, picture, write_parquet
from distill.data import ImageDataModule
from distill.data.sources import huggingface
from distill.data.sources.huggingface import _check_names, load_splits
from distill.utils.errors import UserError

pytest.importorskip("datasets", reason='needs the package datasets: pip install "distill[hf]"')
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

NAMES = ["ant", "bee", "cow"]
LABELS = [i % 3 for i in range(60)]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A folder that load_dataset reads as a data set, and a cache."""
    root = tmp_path_factory.mktemp("hub")
    for name, labels in (("train", LABELS), ("validation", LABELS[:9]), ("test", LABELS[:6])):
        (root / "set" / "data").mkdir(parents=True, exist_ok=True)
        write_parquet(root / "set" / "data" / f"{name}-00000-of-00001.parquet", labels, NAMES)
    return root / "set", root / "cache"


def test_a_local_folder(local):
    splits = huggingface(str(local[0]), root=local[1])
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [60, 9, 6]
    assert splits.classes == NAMES
    assert splits.train.labels.tolist() == LABELS
    np.testing.assert_array_equal(np.asarray(splits.train.image(7)), np.asarray(picture(7)))
    data = ImageDataModule.from_options(lambda: splits, 8)
    assert data.example().shape == (2, 3, 12, 12)
    files = ImageDataModule.from_options(lambda: splits, 8, in_memory=False, num_workers=0)
    assert files.fingerprint == ImageDataModule.from_options(lambda: splits, 4, in_memory=False).fingerprint
    assert next(iter(files.train_dataloader())).inputs.shape == (8, 3, 12, 12)


def test_other_splits(local):
    splits = huggingface(str(local[0]), root=local[1], train="validation", val="test", test="test")
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [9, 6, 6]


def test_errors(local, tmp_path, monkeypatch):
    def message(name=str(local[0]), **kwargs):
        with pytest.raises(UserError) as caught:
            huggingface(name, root=local[1], **kwargs)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "has the splits train, validation, test" in message(test="dev")
    assert "there is no 'photo' as the image column (data.image); Allowed: img, label" in message(image_column="photo")
    assert "column 'label' holds no images" in message(image_column="label")
    assert "cannot be loaded" in message(str(tmp_path))
    assert "channels must be 1 or 3" in message(channels=2)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert 'pip install "distill[hf]"' in message()


def test_a_hub_that_cannot_be_reached_is_one_line_at_once(tmp_path, monkeypatch, capfd):
    """Not the half minute of retries of huggingface_hub."""
    import datasets

    def unreachable(url, **_):
        raise OSError("Name or service not known")

    def asked(*_, **__):
        raise AssertionError("the hub was asked again")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(huggingface_hub.HfApi, "hf_hub_download", asked)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        load_splits("nobody/nothing", None, "train", None, None, tmp_path / "cache", None, "data.root")
    assert str(caught.value) == (
        "data.root=nobody/nothing: the data set cannot be loaded: it is no file or folder here, not in the cache of "
        "the package datasets, and https://huggingface.co cannot be reached (Name or service not known)"
    )
    assert datasets.config.HF_HUB_OFFLINE is False
    assert capfd.readouterr().err == ""


def test_files_that_list_the_classes_in_another_order(tmp_path):
    """``datasets`` reads every file with the list of the first."""
    for name, names in (("train", NAMES), ("test", NAMES[::-1])):
        write_parquet(tmp_path / f"{name}.parquet", LABELS, names)
    with pytest.raises(UserError, match=r"test\.parquet lists other classes .* in another order: use data=parquet"):
        huggingface(str(tmp_path), root=tmp_path / "cache")


def test_files_of_the_hub_that_list_the_classes_in_another_order(tmp_path, monkeypatch):
    for name, names in (("a", NAMES), ("b", NAMES), ("c", NAMES[::-1])):
        write_parquet(tmp_path / f"{name}.parquet", LABELS, names)
    monkeypatch.setattr(
        huggingface_hub.HfFileSystem, "open", lambda self, path: (tmp_path / Path(path).name).open("rb")
    )
    hub = [f"hf://datasets/owner/name@1234/data/{name}.parquet" for name in "abcd"]
    _check_names(hub[:2], "label", NAMES)
    with pytest.raises(UserError, match=r"^hf://datasets/owner/name@1234/data/c\.parquet lists other classes than the"):
        _check_names(hub[:3], "label", NAMES)
    with pytest.raises(UserError, match=r"d\.parquet lists cannot be read: no such file or directory$"):
        _check_names(hub, "label", NAMES)


@pytest.mark.parametrize("kind", ["bytes", "structs whose paths are all null"])
def test_images_without_their_feature(tmp_path, kind):
    contents = [encoded(i) for i in range(9)]
    images = contents if kind == "bytes" else [{"bytes": content, "path": None} for content in contents]
    pq.write_table(pa.table({"image": images, "label": LABELS[:9]}), tmp_path / "train.parquet")
    splits = huggingface(str(tmp_path), root=tmp_path / "cache")
    np.testing.assert_array_equal(np.asarray(splits.train.image(7)), np.asarray(picture(7)))

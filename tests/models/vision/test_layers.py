import pytest
import torch

from distill.models.checks import check_sizes
from distill.models.vision.layers import channel_shuffle
from distill.utils.errors import UserError


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_channel_shuffle_equals_torchs_own(groups):
    x = torch.randn(2, 12, 3, 5)
    assert torch.equal(channel_shuffle(x, groups), torch.nn.functional.channel_shuffle(x, groups))


def test_channel_shuffle_of_a_channels_last_map():
    x = torch.randn(2, 12, 3, 5)
    assert torch.equal(channel_shuffle(x.to(memory_format=torch.channels_last), 3), channel_shuffle(x, 3))


@pytest.mark.parametrize("image_size", [0, -1, 32.0, "32"])
def test_bad_image_size_is_named(image_size):
    with pytest.raises(UserError, match=f"image_size must be an integer of at least 1, got {image_size!r}"):
        check_sizes(10, 3, image_size)

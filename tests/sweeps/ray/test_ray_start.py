"""Ray that does not come up is a line, not a traceback."""

import pytest

from distill.utils.errors import UserError
from hydra_plugins.distill_ray import RayLauncher

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'distill[ray]'")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (None, "Ray could not be started: The current node timed out during startup"),
        ("head:6379", "hydra.launcher.address=head:6379: The current node timed out during startup"),
    ],
)
def test_a_machine_that_is_too_busy(monkeypatch, address, message):
    def too_slow(**_):
        raise Exception("The current node timed out during startup. This could\nhappen because")

    monkeypatch.setattr(ray, "init", too_slow)
    with pytest.raises(UserError) as caught:
        RayLauncher(address=address)._start()
    assert str(caught.value).startswith(message)

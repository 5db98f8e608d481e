"""The preset on real CIFAR-10, made short. The real thing is in docs/results.md."""

import pytest

from jobs import CIFAR10, run_job


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10.exists(), reason="CIFAR-10 is not beside the repository (../shared/data/cifar10)")
def test_a_student_learns_real_images_with_a_teacher(tmp_path):
    report = run_job(
        tmp_path / "run", "experiment=cifar10_quick", "data=parquet", f"data.root={CIFAR10}", "data.subset=2560",
        "teacher=resnet8", "teacher.recipe.max_epochs=2", "trainer.max_epochs=2", "kd=combined",
        "trainer.limit_test_batches=8", "logger=none", "trainer.precision=auto",
    )  # fmt: skip
    assert report["data"]["train"] == 2560
    assert report["student"]["last"]["test"]["acc"] > 0.15  # chance is 0.10
    assert report["student"]["macs"] == pytest.approx(12.5e6, rel=0.01)

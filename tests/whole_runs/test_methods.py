"""Methods that change the model or keep a bank, in whole runs on real digits."""

import pytest
import torch
from safetensors.torch import load_file

from jobs import TINY, run_job
from weights import weights

pytestmark = pytest.mark.slow
QUICK = (*TINY[1:], "teacher=resnet14")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


def test_the_deployed_student_has_the_teachers_classifier(root):
    report = run_job(root / "simkd", *QUICK, "kd=simkd")
    teacher = load_file(report["teacher"]["path"])
    student = weights(root / "simkd")
    assert torch.equal(student["classifier.weight"], teacher["fc.weight"])
    alone = run_job(root / "alone", *QUICK, "kd=none")
    assert report["student"]["parameters"] > alone["student"]["parameters"]
    assert report["student"]["train"]["loss"] == pytest.approx(report["student"]["train"]["simkd"], rel=1e-5)


def test_crds_bank_has_a_row_per_training_sample(root):
    report = run_job(root / "crd", *QUICK, "kd=crd", "trainer.max_epochs=1")
    trained = torch.load(root / "crd/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    (bank,) = (value for key, value in trained.items() if key.endswith("student_bank"))
    (labels,) = (value for key, value in trained.items() if key.endswith("crd.0.labels"))
    assert len(bank) == report["data"]["train"]
    assert (labels >= 0).all()  # one epoch has been through every row

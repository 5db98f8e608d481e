"""The cache in whole runs on real digits: who reads whose outputs, and what refuses."""

import pytest
import torch

from distill.distillation.teacher import Teacher
from distill.utils.errors import UserError
from distill.utils.logging import setup_logging
from jobs import TINY, run_job
from summaries import kept
from weights import equal, weights

pytestmark = pytest.mark.slow
QUICK = (*TINY, "teacher=resnet14", "data.augment.crop_padding=1", "data.augment.flip=true")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
def computed(monkeypatch):
    """Sizes of the batches that teachers computed."""
    seen = []
    call = Teacher.__call__

    def counted(self, batch, split="train"):
        seen.append(len(batch.target))
        return call(self, batch, split)

    monkeypatch.setattr(Teacher, "__call__", counted)
    return seen


def test_later_runs_learn_from_the_stored_outputs(root, computed, capsys):
    first = run_job(root / "first", *QUICK)
    filled = sum(computed)
    assert first["student"]["teacher_cache"][0]["found"] == 0
    computed.clear()
    setup_logging("debug")
    again = run_job(root / "again", *QUICK)
    assert again["student"]["teacher_cache"][0]["found"] == 2
    assert sum(computed) <= 2 * 16 < filled
    assert "teacher cache: 2 of 2 epochs were there" in capsys.readouterr().out
    assert equal(weights(root / "first"), weights(root / "again"))
    assert kept(first["student"])["test"] == kept(again["student"])["test"]
    computed.clear()
    run_job(root / "other-student", *QUICK, "model=wrn_16_1", "kd=dkd", "kd.T=2", "data.batch_size=50")
    assert sum(computed) <= 2 * 16
    computed.clear()
    run_job(root / "other-seed", *QUICK, "seed=1")
    assert sum(computed) > 100


@pytest.mark.parametrize("mixing", ["mixup=0.2", "cutmix=1.0"])
def test_mixed_views_are_stored_too(root, computed, mixing):
    name = mixing.partition("=")[0]
    run_job(root / f"{name}-first", *QUICK, f"data.augment.{mixing}", "kd=kd")
    filled = sum(computed)
    computed.clear()
    again = run_job(root / f"{name}-again", *QUICK, f"data.augment.{mixing}", "kd=kd")
    assert sum(computed) <= 2 * 16 < filled
    assert again["student"]["teacher_cache"][0]["drift"] < 1e-3
    assert equal(weights(root / f"{name}-first"), weights(root / f"{name}-again"))


def test_what_is_stored_is_what_the_teacher_predicts(root):
    run_job(root / "cached", *QUICK)
    run_job(root / "live", *QUICK, "cache.enabled=false")
    live = weights(root / "live")
    for key, value in weights(root / "cached").items():
        torch.testing.assert_close(value, live[key], rtol=2e-2, atol=2e-2)


def test_relations_on_embeddings_are_stored(root, computed):
    run_job(root / "rkd", *QUICK, "kd=rkd")
    computed.clear()
    again = run_job(root / "rkd2", *QUICK, "kd=rkd")
    assert sum(computed) <= 2 * 16
    assert again["student"]["teacher_cache"][0]["found"] == 2
    assert equal(weights(root / "rkd"), weights(root / "rkd2"))


def test_a_mean_of_teachers_stores_the_outputs_of_each(root, computed):
    several = (*QUICK, "kd=multi_teacher", "kd.teachers=[wrn_16_1]")
    run_job(root / "several", *several)
    computed.clear()
    again = run_job(root / "several2", *several, "kd.ensemble._target_=distill.distillation.ensemble.ConfidenceMean")
    assert [cache["found"] for cache in again["student"]["teacher_cache"]] == [2, 2]
    assert sum(computed) <= 4 * 16


def test_inner_layers_need_the_teacher_itself(root, capsys):
    setup_logging("debug")
    report = run_job(root / "at", *QUICK, "kd=at")
    assert "term 'at' reads the teacher's inner layers: it runs live" in capsys.readouterr().out
    assert "teacher_cache" not in report["student"]


def test_a_cycle_repeats_views_and_not_their_order(root):
    report = run_job(root / "cycle", *QUICK, "cache.cycle=1", "trainer.max_epochs=3", "seed=5")
    assert report["student"]["teacher_cache"][0]["begun"] == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cache.enabled=true", "cache.max_gb=1e-6"], r"takes 2 epochs × .* and cache.max_gb=1e-06; cache.top_k"),
        (["cache.top_k=10"], "cache.top_k=10 must be below the number of classes, 10"),
        (["cache.top_k=0"], "cache.top_k must be at least 1, got 0"),
        (["cache.cycle=0"], "cache.cycle must be at least 1, got 0"),
        (["cache.dir=src"], "cache.dir=src holds other files"),
    ],
)
def test_mistakes_come_before_training(root, overrides, message):
    with pytest.raises(UserError, match=message):
        run_job(root / "wrong", *QUICK, "teacher=wrn_16_1", "teacher.recipe.seed=9", *overrides)
    assert not list(root.glob("teachers/wrn*-9*"))


def test_a_cache_that_is_too_large_is_not_used(root, capsys):
    setup_logging("debug")
    report = run_job(root / "large", *QUICK, "cache.max_gb=1e-6")
    assert "teacher cache: not used, 2 epochs × " in capsys.readouterr().out
    assert "teacher_cache" not in report["student"]


def test_a_folder_that_cannot_be_written_changes_no_result(root, capsys):
    """Whether the disk takes the cache or not, the student learns from the same numbers."""
    run_job(root / "written", *QUICK, "seed=6")
    (root / "file").touch()
    overrides = (*QUICK, "seed=6", f"cache.dir={root}/file/cache")
    report = run_job(root / "unwritten", *overrides)
    assert capsys.readouterr().err.count("cannot be written: Not a directory; the teacher answers") == 1
    assert equal(weights(root / "written"), weights(root / "unwritten"))
    assert report["student"]["teacher_cache"][0]["found"] == 0
    with pytest.raises(UserError, match=r"^cache.dir=\S*/file/cache cannot be written: Not a directory$"):
        run_job(root / "asked-for", *overrides, "cache.enabled=true")


BOTH = """
defaults: [multi_teacher, _self_]
terms:
  rkd: {loss: {_target_: distill.losses.RKD}}
"""


def test_of_several_teachers_the_first_gives_the_embedding(root, computed, capsys, tmp_path):
    """A term that reads it is added to the mean of their logits."""
    (tmp_path / "kd").mkdir()
    (tmp_path / "kd" / "both.yaml").write_text(BOTH)
    several = (*QUICK, "kd=both", "kd.teachers=[wrn_16_1]", "trainer.max_epochs=1")
    setup_logging("debug")
    run_job(root / "both", *several, config_dirs=[tmp_path])
    assert "(10 logits + 64 of the embedding) × 2 teachers = " in capsys.readouterr().out
    computed.clear()
    again = run_job(root / "both2", *several, config_dirs=[tmp_path])
    assert [cache["found"] for cache in again["student"]["teacher_cache"]] == [1, 1]
    assert sum(computed) <= 2 * 16
    assert equal(weights(root / "both"), weights(root / "both2"))

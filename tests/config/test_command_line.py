"""Commands taken apart and repeated."""

import pytest
from omegaconf import OmegaConf

from distill.config import command_line
from distill.config.compose import compose

TERM = ("+kd.terms.mine.loss._target_=distill.losses.DKD", "+kd.terms.mine.weight=3")


@pytest.mark.parametrize(
    ("more", "terms"),
    [
        ((), ["at", "mine"]),
        (("kd.T=2",), ["at", "mine"]),
        (("+kd.terms.other.loss._target_=distill.losses.KD",), ["at", "mine", "other"]),
    ],
)
def test_a_term_of_the_command_line_is_there_again_when_a_run_is_continued(tmp_path, more, terms):
    given = command_line.with_new_terms(["kd=at", *TERM])
    OmegaConf.save(command_line.record(given), tmp_path / command_line.RECORD)
    words, _ = command_line.resumed([f"resume={tmp_path}", *more])
    cfg = compose([word for word in words if not word.startswith("hydra.")])
    assert list(cfg.kd.terms) == terms
    assert cfg.kd.terms.mine.weight == 3

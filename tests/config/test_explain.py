import logging.config
import sys

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf.errors import OmegaConfBaseException

from distill.config.compose import ERRORS, compose
from distill.config.explain import check_flags, explain, familiar
from distill.config.schema import typed
from distill.utils.errors import UserError
from jobs import composed


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("epochs", "trainer.max_epochs"),
        ("lr", "optimizer.lr"),
        ("batch_size", "data.batch_size"),
        ("temperature", "kd.T"),
        ("alpha", "kd.alpha"),
        ("trainer.epochs", "trainer.max_epochs"),
        ("teacher.lr", "teacher.recipe.optimizer.lr"),
        ("teacher.batch-size", "teacher.recipe.batch_size"),
        ("kd.terms.kd.loss.temperature", None),
        ("data.alpha", None),
    ],
)
def test_names_of_other_programs(key, expected):
    assert familiar(key) == expected


def test_what_they_stand_for_exists():
    """A key that is renamed is renamed here."""
    from distill.config.explain import FAMILIAR, OF_A_TEACHER, _composed, _groups

    names = {*_composed("hydra.run"), *_groups()}
    keys = [*FAMILIAR, *(familiar(f"teacher.{FAMILIAR[key][0]}") for key in (*OF_A_TEACHER, "optimizer.lr"))]
    assert [key for key in keys if key not in names] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "5"], r"there is no flag --epochs, .* did you mean trainer.max_epochs=5\?"),
        (["--lr=0.1"], r"there is no flag --lr, .* did you mean optimizer.lr=0.1\?"),
        (["--model", "resnet8", "kd.T=4"], r"did you mean model=resnet8\?"),
        (["--prefetch", "kd.T=4"], r"did you mean prefetch=<value>\?"),
        (["--foo"], "--help lists the keys"),
    ],
)
def test_flags_of_other_programs(arguments, message):
    with pytest.raises(UserError, match=message):
        check_flags(arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cfg", "x"], "--cfg.*invalid choice: 'x'"),
        (["-c"], "expected one argument"),
        (["-", "kd=dkd"], "'-' is no key"),
    ],
)
def test_flags_that_argparse_would_answer_with_its_usage(arguments, message):
    with pytest.raises(UserError, match=message):
        check_flags(arguments)


def test_an_interpolated_option_is_worded(monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)  # of an earlier test
    with pytest.raises(ERRORS) as caught:
        compose(["kd=${hydra:run.dir}"])
    assert explain(caught.value) == "the choice of a group: HydraConfig was not set"


def test_flags_of_hydra_pass():
    check_flags(["-m", "--config-dir", "x", "--cfg", "job", "--multirun", "--info", "kd.T=4"])


MODEL = """
class Net:
    def __init__(self, width, depth=2, num_classes=10):
        pass
"""


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("widht", "there is no key 'widht'; did you mean model.width?"),
        (
            "model.widht",
            "there is no key 'model.widht'; did you mean 'width'? Allowed in model: backbone, _target_, width, depth",
        ),
        ("model.depth", "there is no key 'model.depth'; +model.depth=... gives it to explained_net.Net"),
    ],
)
def test_keys_of_the_users_own_model(key, message, tmp_path, monkeypatch):
    (tmp_path / "explained_net.py").write_text(MODEL)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.yaml").write_text("_target_: explained_net.Net\nwidth: 8\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["train.py", "--config-dir", str(tmp_path), "model=mine", f"{key}=3"])
    with pytest.raises(Exception, match="Could not override") as caught:
        compose(["model=mine", f"{key}=3"], [tmp_path])
    assert explain(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "model={_target_: explained_net.Net, widht: 8}",
            "there is no key 'model.widht'; did you mean 'width'? Allowed in model: _target_, width, depth, ",
        ),
        (
            "model={_target_: explained_net.Net, depth: 8}",
            "there is no key 'model.depth'; +model.depth=... gives it to explained_net.Net",
        ),
        (
            "model={_target_: explained_net.build, widht: 8}",
            "there is no key 'model.widht'; +model.widht=... hands it on to explained_net.build; Allowed in model: ",
        ),
    ],
)
def test_a_node_given_as_a_whole_has_the_keys_of_its_own_target(argument, message, tmp_path, monkeypatch):
    (tmp_path / "explained_net.py").write_text(f"{MODEL}\n\ndef build(**kwargs):\n    return Net(**kwargs)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "explained_net", raising=False)
    monkeypatch.setattr(sys, "argv", ["train.py", argument])
    with pytest.raises(ERRORS) as caught:
        compose([argument])
    assert explain(caught.value).startswith(message)


def test_a_key_that_a_builder_hands_on(monkeypatch):
    arguments = ["model=timm", "model.drop_path_rate=0.1"]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(ERRORS) as caught:
        compose(arguments)
    assert "+model.drop_path_rate=... hands it on to distill.models.timm_model; Allowed" in explain(caught.value)


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    """logging.config says "Unable to configure handler 'file'", as in a run's folder without write permission."""
    handler = {"class": "logging.FileHandler", "filename": str(tmp_path)}
    with pytest.raises(ValueError, match="Unable to configure handler") as caught:
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "handlers": {"file": handler}})
    assert explain(caught.value) == f"{tmp_path}: Is a directory"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data=text", "teacher=bert_tiny", "model=bert_tiny"), "model.tokenizer follows a key that follows it"),
        (("model=bert_tiny", "teacher=resnet20", "model.tokenizer=${teacher.tokenizer}"),
         "model.tokenizer follows teacher.tokenizer, which there is not"),
    ],
)  # fmt: skip
def test_keys_that_follow_others(overrides, message):
    with pytest.raises(OmegaConfBaseException) as error:
        typed(composed(*overrides))
    assert message in explain(error.value)

"""Every YAML file under conf composes, and what it names can be built."""

import inspect
from importlib.util import find_spec

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from distill.config import CONF
from distill.config.compose import compose
from distill.config.instantiate import instantiate
from distill.config.schema import typed
from distill.training.flows import check
from distill.utils.errors import UserError
from jobs import ROOT, composed

GROUPS = {
    group.name: sorted(path.stem for path in group.glob("*.yaml"))
    for group in CONF.iterdir()
    if group.is_dir() and group.name != "__pycache__"
}
EVERY = [(group, option) for group, options in GROUPS.items() for option in options]
TEXT = ["data.root=README.md", "teacher.name=x"]
NEEDED = {
    "imagefolder": ["data.root=tests"],
    "huggingface": ["data.source.name=x"],
    "parquet": ["data.root=."],
    "csv": ["data.root=README.md"],
    "text": TEXT,
    **{key: ["data=text", *TEXT] for key in ("bert_mini", "bert_small", "bert_tiny", "from_teacher", "llama_tiny")},
    "hf": ["data=text", *TEXT, "model.name=y"],
}


def resolved(*overrides):
    return typed(composed(*overrides))


@pytest.mark.parametrize(("group", "option"), EVERY)
def test_composes_and_checks(group, option):
    cfg = resolved(f"{group}={option}", *NEEDED.get(option, []))
    if option == "parquet":
        cfg.data.source["train"] = str(ROOT / "README.md")
    if option in ("mlflow", "wandb") and find_spec(option) is None:
        with pytest.raises(UserError, match=rf"logger={option} needs {option}: pip install 'distill\[{option}\]'"):
            check(cfg)
    else:
        check(cfg)


@pytest.mark.parametrize("option", GROUPS["kd"])
def test_losses_are_built(option):
    for name, term in resolved(f"kd={option}").kd.terms.items():
        assert callable(instantiate(term.loss, f"kd.terms.{name}.loss"))


@pytest.mark.parametrize("plus", ["+", "++"])
def test_a_command_line_adds_a_term(plus):
    added = [f"{plus}kd.terms.mine.{rest}" for rest in ("loss._target_=distill.losses.DKD", "loss.beta=2", "weight=3")]
    terms = resolved(*added).kd.terms
    assert list(terms) == ["kd", "mine"]
    assert (terms["mine"].loss, terms["mine"].weight) == ({"_target_": "distill.losses.DKD", "beta": 2}, 3)
    assert terms["kd"] == resolved().kd.terms["kd"]
    whole = resolved(f"{plus}kd.terms.mine={{loss:{{_target_:distill.losses.DKD,beta:2}},weight:3}}")
    assert whole.kd.terms["mine"] == terms["mine"]


@pytest.mark.parametrize("group", ["optimizer", "scheduler", "logger", "callbacks"])
def test_these_are_built(group, tmp_path):
    from distill.training.builder import build_optimization
    from distill.utils.errors import UserError

    for option in GROUPS[group]:
        cfg = resolved(f"{group}={option}", "optimizer.lr=0.1")
        if group in ("optimizer", "scheduler"):
            assert build_optimization(cfg)[0]
            continue
        for name, node in getattr(cfg, group).items():
            try:
                assert instantiate(
                    node, f"{group}.{name}", save_dir=str(tmp_path), dirpath=str(tmp_path), tracking_uri=None
                )
            except UserError as error:  # an optional package that is not installed
                assert name in ("wandb", "mlflow"), error
                assert name in str(error)


def targets(node, path=()):
    """Every node with a ``_target_``, with its dotted key."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield ".".join(path), node
        for key, value in node.items():
            yield from targets(value, (*path, str(key)))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from targets(value, (*path, str(i)))


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: str(file.relative_to(CONF)))
def test_arguments_are_parameters_of_what_the_file_names(file):
    for key, node in targets(OmegaConf.to_container(OmegaConf.load(file), resolve=False)):
        try:
            parameters = inspect.signature(get_object(node["_target_"])).parameters
        except Exception as error:  # an optional package that is not installed
            missing = str(error)
            assert any(name in missing for name in ("wandb", "mlflow")), missing
            continue
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            unknown = {name for name in node if name not in ("_target_", "_partial_", "defaults")} - set(parameters)
            assert not unknown, (key, node["_target_"])


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir"])
def test_commands_of_one_second_have_two_folders(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configs = [compose([], return_hydra_config=True) for _ in range(2)]
    OmegaConf.register_new_resolver("now", lambda _: "now", replace=True)
    first, again, second = (OmegaConf.select(configs[i], key) for i in (0, 0, 1))
    assert (first == again, second) == (True, f"{first}-2")

"""What the configuration of somebody else's run may name: nothing but models, losses, ... of known packages."""

import sys
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from attacks import ATTACKS, attack, put
from distill.config import CONF, trust
from distill.config.instantiate import instantiate
from distill.config.trust import Trust
from distill.utils.errors import UserError
from jobs import composed

FILE = Path("run/summary.json")
KEYS = (
    "model", "model.block", "teacher", "teacher.recipe.optimizer", "teacher.recipe.scheduler", "optimizer", "scheduler",
    "optimizer.params", "kd.terms.kd.loss", "kd.terms.kd.loss.inner", "kd.ensemble", "kd.flow", "kd.flow.model",
    "kd.student_wrapper", "data.source", "data.source.inner", "data.transform", "data.transform.transforms",
    "data.augment", "trainer", "trainer.profiler", "callbacks.best", "callbacks.mine", "callbacks.best.inner",
    "logger.mine", "logger.csv.inner", "cache", "unknown",
)  # fmt: skip
LISTS = ("kd.teachers", "kd.assistants", "kd.peers", "model.layers", "kd.flow.models", "kd.terms.kd.loss._args_")


@pytest.fixture(scope="module")
def config():
    return OmegaConf.to_container(composed(), resolve=True)


@pytest.mark.parametrize("name", ["torch_hub", "module", "own_escape", "compiled"])
def test_the_attacks_are_real(name, tmp_path, marker):
    """Hydra's own list does not stop these."""
    with suppress(UserError):
        instantiate(attack(name, tmp_path), "model")
    assert marker.exists()


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("key", [*KEYS, *LISTS])
def test_nothing_else_is_built_under_any_key(key, name, config, tmp_path, marker):
    """Not as the object of the key, nor among its arguments."""
    config, node = deepcopy(config), attack(name, tmp_path)
    put(config, key, [node] if key in LISTS else node)
    with pytest.raises(UserError) as refused:
        Trust(FILE).check(config)
    message = str(refused.value)
    assert message.startswith(f"{key}.0._target_ in {FILE}" if key in LISTS else f"{key}._target_ in {FILE}")
    assert "\n" not in message
    assert not marker.exists()
    assert "strangers_module" not in sys.modules


@pytest.mark.parametrize("target", [
    "torch.load", "torch.hub.load_state_dict_from_url", "torch.jit.load", "torch.compile", "torch.optim.SGD",
    "timm.models.load_checkpoint", "timm.models.sys.modules", "torchvision.io.read_file",
    "torchvision.models.get_model", "torch.nn.Module.__init__", "torch.nn.Module.load_state_dict",
    "lightning.pytorch.Trainer", "builtins.eval",
    "distill.evaluation.runs.load", "distill.cli.train.main", "distill.models.hub.vision._build", "torch.nn", "timm",
    "${oc.env:HOME}", "a b", "", ".", "torch..nn", 7, None, ["os.system"], {"_target_": "os.system"},
])  # fmt: skip
def test_what_is_no_model_is_no_model(target):
    with pytest.raises(UserError, match=r"^model\._target_ in run/summary\.json"):
        Trust(FILE).check({"model": {"_target_": target}})


@pytest.mark.parametrize("overrides", [
    *([f"{group}={path.stem}"] for group in ("model", "kd", "data", "optimizer", "scheduler", "callbacks", "logger")
      for path in sorted((CONF / group).glob("*.yaml"))),
    ["model=timm", "model.name=resnet10t", "teacher=torchvision", "teacher.name=resnet18"],
    ["teacher=hf", "teacher.name=./minilm", "model=from_teacher", "model.layers=[0,2]"],
    ["teacher=hf", "teacher.name=owner/model", "model=bert_tiny"],
    ["model._target_=torchvision.models.resnet18"],
    ["model._target_=timm.create_model", "+model.model_name=resnet10t"],
    ["model._target_=timm.models.resnet18", "+model.norm_layer={_target_:torch.nn.BatchNorm2d,_partial_:true}"],
    ["model={_target_:torch.nn.Sequential,_args_:[{_target_:torch.nn.Flatten},{_target_:torch.nn.LazyLinear}]}"],
    ["data.transform={_target_:torchvision.transforms.v2.Compose,"
     "transforms:[{_target_:torchvision.transforms.v2.RandomHorizontalFlip}]}"],
    ["kd.ensemble={_target_:distill.distillation.ensemble.ConfidenceMean}"],
    ["optimizer._target_=timm.optim.Lamb", "scheduler._target_=torch.optim.lr_scheduler.StepLR"],
    ["+trainer.profiler={_target_:lightning.pytorch.profilers.SimpleProfiler}"],
    ["+callbacks.best.train_time_interval={_target_:datetime.timedelta,minutes:30}"],
])  # fmt: skip
def test_all_that_this_package_and_its_libraries_have_is_allowed(overrides):
    needs = {"kd=multi_teacher": ["kd.teachers=[resnet14]"]}.get(overrides[0], [])
    try:
        resolved = OmegaConf.to_container(composed(*overrides, *needs, "data.root=photos"), resolve=True)
    except Exception:
        pytest.skip("an option of another place in the configuration")
    Trust(FILE).check(resolved)


def test_own_modules_are_named(tmp_path, monkeypatch):
    (tmp_path / "their_models").mkdir()
    (tmp_path / "their_models" / "__init__.py").write_text(
        "import os\nfrom .net import Net\nfrom torch.hub import load\n"
    )
    (tmp_path / "their_models" / "net.py").write_text("class Net:\n    @classmethod\n    def small(cls): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = {"model": {"_target_": "their_models.Net"}, "kd": {"peers": [{"_target_": "their_models.net.Net.small"}]}}
    with pytest.raises(
        UserError, match=r"names their_models\.Net and is refused.*if you trust it, add trust=their_models$"
    ):
        Trust(FILE).check(own)
    Trust(FILE, ("their_models",)).check(own)
    Trust(FILE, targets={"their_models.Net", "their_models.net.Net.small"}).check(own)
    for escape in ("their_models.os.system", "their_models.load", "their_models.os.path.join", "their_modelsx.Net"):
        with pytest.raises(UserError, match=r"^model\._target_ in"):
            Trust(FILE, ("their_models",)).check({"model": {"_target_": escape}})


@pytest.mark.parametrize(("value", "names"), [
    (None, ()), ("a", ("a",)), ("[a, b.c]", ("a", "b.c")), ("a,b", ("a", "b")), (["a", "b"], ("a", "b")), ([], ()),
])  # fmt: skip
def test_modules_are_one_or_several(value, names):
    assert trust.modules(value) == names


@pytest.mark.parametrize(
    "value", ["os", "[my_models,subprocess]", "builtins", "a b", "torch.*", ["../x"], "os.path", ""]
)
def test_modules_of_python_and_what_is_no_module_are_refused(value):
    with pytest.raises(UserError, match=r"^trust"):
        trust.modules(value)


@pytest.mark.parametrize("node", [
    {"_target_": "distill.models.timm_model", "name": "resnet10t", "checkpoint_path": "evil.pth"},
    {"_target_": "distill.models.timm_model", "name": "resnet10t", "pretrained_cfg": {"file": "evil.pth"}},
    {"_target_": "distill.models.timm_model", "name": "local-dir:evil"},
    {"_target_": "timm.create_model", "model_name": "hf-hub:somebody/evil"},
    {"_target_": "timm.models.resnet18", "pretrained_cfg_overlay": {"file": "evil.pth"}},
])  # fmt: skip
def test_a_librarys_model_loads_no_file_that_the_run_names(node):
    with pytest.raises(UserError, match=r"^model\.\w+ in run/summary\.json names what timm would load .*trust=timm$"):
        Trust(FILE).check({"model": node})
    Trust(FILE, ("timm",)).check({"model": node})


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${oc.create:{_target_:os.system}}", "x${model.name}", "$${x}"])
def test_interpolations_are_no_values_of_a_run(value):
    """A run's configuration is resolved: Hydra would resolve it once more."""
    for node in ({"name": value}, {"inner": [{"name": value}]}):
        with pytest.raises(UserError, match=r"^model\.[\w.]*name in .* has no interpolations"):
            Trust(FILE).check({"model": {"_target_": "distill.models.resnet8", **node}})


@pytest.mark.parametrize("override", [
    "--config-dir=/tmp/x", "-m", "--experimental-rerun=x.pickle", "hydra.callbacks.x._target_=torch.hub.load",
    "+hydra.callbacks.x={_target_:torch.hub.load}", "++hydra.job.env_set.LD_PRELOAD=x.so", "~hydra.callbacks",
    "hydra={job_logging:{x:1}}", "hydra.searchpath=[file:///tmp/x]", "hydra/job_logging=x", " hydra.verbose=true",
    "+model@hydra.callbacks.x=resnet8", "hydra/launcher@hydra.sweeper=x", "hydra.launcher.setup=[reboot]",
    "hydra.launcher.sbatch={wrap:reboot}", "hydra.launcher.address=evil:6379", "hydra.sweeper.storage=mysql://evil/x",
    "hydra.launcher.partition='a\nb'", "hydra.sweeper.sampler_args={x:{_target_:os.system}}",
    "hydra.sweep.subdir=../../x", "hydra.sweep.subdir=/tmp/x", "seed=${oc.env:HOME}", "kd.T=${oc.decode:${x}}",
    "logger.csv.save_dir=logs", "++logger={csv: {name: ../../x}}", "+logger.tb.version=/tmp/x", "logger.csv.name=~/x",
    "logger.mlflow.tracking_uri=evil", "logger.wandb.name='a\\:http://evil'", "callbacks.best.dirpath=x",
    "callbacks.best.filename=../../x", "callbacks={best: {filename: a/../../x}}", "callbacks.best.filename=$HOME/x",
    "", "=", "a=b=[",
])  # fmt: skip
def test_recorded_overrides_that_are_more_than_values_are_not_repeated(override):
    with pytest.raises(UserError, match=r"^run/command\.yaml"):
        trust.check_override(override, Path("run/command.yaml"))


@pytest.mark.parametrize("override", [
    "model=resnet8", "kd.T=4", "+trainer.max_steps=3", "~logger", "kd=[dkd,sp]", "kd.peers=['${model}']", "seed=0,1,2",
    "kd.T={schedule:linear,start:8,end:2}", "data.root='a, [b]=c'", "hydra/launcher=slurm", "hydra/sweeper=optuna",
    "hydra.launcher.gpus_per_job=0.25", "hydra.launcher.partition=gpu-a100", "hydra.sweeper.n_trials=20",
    "hydra.sweeper.pruner_args={n_startup_trials: 5, n_warmup_steps: 3}", "hydra.sweep.dir=outputs/T",
    "callbacks.best.filename='best/{epoch}..{step}'", "callbacks.best.monitor=val/loss", "logger=csv_tensorboard",
    "optimizer.lr=interval(0.01,1)", "experiment=cifar10_quick", "optimizer@teacher.recipe.optimizer=adam",
])  # fmt: skip
def test_recorded_values_are_repeated(override):
    trust.check_override(override, Path("run/command.yaml"))

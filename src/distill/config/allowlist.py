"""The objects that each key of a configuration takes: of which packages, and of which kind."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


def within(name: str, module: str) -> bool:
    """Whether a dotted name is a module or below it."""
    return name == module or name.startswith(f"{module}.")


def resolve(name: str) -> Any:
    """What a dotted name stands for, found as Hydra finds it, but without its log."""
    first, *parts = name.split(".")
    value, path = import_module(first), first
    for part in parts:
        path = f"{path}.{part}"
        value = getattr(value, part) if hasattr(value, part) else import_module(path)
    return value


def _exported(module: str) -> Callable[[Any], bool]:
    return lambda factory: getattr(import_module(module), factory.__name__, None) is factory


def _torchvision_builder(factory: Any) -> bool:
    models = import_module("torchvision.models")
    name = factory.__name__
    return name in models.list_models() and models.get_model_builder(name) is factory


def _timm_builder(factory: Any) -> bool:
    timm, name = import_module("timm"), factory.__name__
    return factory is timm.create_model or bool(timm.is_model(name) and timm.model_entrypoint(name) is factory)


@dataclass(frozen=True)
class Rule:
    """Objects of one package that a key takes.

    Attributes:
        path: with what their names begin.
        base: classes derived from it are taken; None: no class by its base.
        factory: whether a function, or a class that no ``base`` covers, is taken; None: none.
        module: where they are defined; None: ``path``.
    """

    path: str
    base: str | None = None
    factory: Callable[[Any], bool] | None = None
    module: str | None = None

    def takes(self, value: Any) -> bool:
        """Whether a resolved object is one of these."""
        if not within(str(getattr(value, "__module__", None)), self.module or self.path):
            return False
        if inspect.isclass(value) and self.base and issubclass(value, resolve(self.base)):
            return True
        return self.factory is not None and not inspect.ismethod(value) and self.factory(value)


_MODULES = (
    Rule("torch.nn", "torch.nn.Module"),
    Rule("torchvision", "torch.nn.Module"),
    Rule("timm", "torch.nn.Module"),
)
_OURS = "distill"  # older versions named their modules otherwise; where an object is defined decides

# By kind: how error messages call what a key takes, and the rules.
KINDS: dict[str, tuple[str, tuple[Rule, ...]]] = {
    "model": (
        "a model of distill, torchvision, timm or transformers",
        (
            Rule(_OURS, factory=_exported("distill.models"), module="distill.models"),
            Rule("torchvision.models", factory=_torchvision_builder),
            Rule("timm", factory=_timm_builder),
            Rule("transformers", "torch.nn.Module", module="transformers.models"),
            *_MODULES,
        ),
    ),
    "loss": (
        "a loss of distill or torch.nn",
        (Rule(_OURS, factory=_exported("distill.losses"), module="distill.losses"), *_MODULES),
    ),
    "ensemble": (
        "an ensemble of distill",
        (Rule(_OURS, "distill.distillation.ensemble.WeightedMean", module="distill.distillation.ensemble"),),
    ),
    "wrapper": ("a wrapper of distill", (Rule(_OURS, "torch.nn.Module", module="distill.distillation.simkd"),)),
    "flow": ("a flow of distill", (Rule(_OURS, "distill.training.flows.Flow", module="distill.training.flows"),)),
    "task": ("a task of distill", (Rule(_OURS, "distill.tasks.base.Task", module="distill.tasks"),)),
    "optimizer": (
        "an optimizer of torch.optim or timm.optim",
        (Rule("torch.optim", "torch.optim.Optimizer"), Rule("timm.optim", "torch.optim.Optimizer")),
    ),
    "scheduler": (
        "a scheduler of distill or torch.optim",
        (
            Rule(_OURS, factory=_exported("distill.training.schedulers"), module="distill.training.schedulers"),
            Rule("torch.optim", "torch.optim.lr_scheduler.LRScheduler"),
        ),
    ),
    "source": (
        "a source of distill",
        (Rule(_OURS, factory=_exported("distill.data.sources"), module="distill.data.sources"),),
    ),
    "transform": (
        "a transform of torchvision",
        (Rule("torchvision.transforms", "builtins.object"), Rule("torch.nn", "torch.nn.Module")),
    ),
    "trainer": ("Lightning's Trainer", (Rule("lightning.pytorch", "lightning.pytorch.Trainer"),)),
    "callback": ("a callback of Lightning", (Rule("lightning.pytorch", "lightning.pytorch.Callback"),)),
    "logger": ("a logger of Lightning", (Rule("lightning.pytorch", "lightning.pytorch.loggers.Logger"),)),
    # arguments of those above
    "module": (
        "a module of torch.nn, torchvision, timm or transformers",
        (*_MODULES, Rule("transformers", "transformers.PretrainedConfig", module="transformers.models")),
    ),
    "profiler": ("a profiler of Lightning", (Rule("lightning.pytorch", "lightning.pytorch.profilers.Profiler"),)),
    "duration": ("a datetime.timedelta", (Rule("datetime", "datetime.timedelta"),)),
    "nothing": ("no object", ()),
}

# The kind of the object under a key ("*": any name).
KEYS: dict[tuple[str, ...], str] = {
    ("model",): "model",
    ("teacher",): "model",
    ("kd", "teachers", "*"): "model",
    ("kd", "assistants", "*"): "model",
    ("kd", "peers", "*"): "model",
    ("kd", "terms", "*", "loss"): "loss",
    ("kd", "ensemble"): "ensemble",
    ("kd", "student_wrapper"): "wrapper",
    ("kd", "flow"): "flow",
    ("task",): "task",
    ("optimizer",): "optimizer",
    ("scheduler",): "scheduler",
    **{
        (*teacher, "recipe", name): name
        for teacher in (("teacher",), ("kd", "teachers", "*"))
        for name in ("optimizer", "scheduler")
    },
    ("data", "source"): "source",
    ("data", "transform"): "transform",
    ("trainer",): "trainer",
    ("callbacks", "*"): "callback",
    ("logger", "*"): "logger",
}

# The kind of objects among the arguments of an object of a kind.
ARGUMENTS = {"model": "module", "module": "module", "loss": "module", "transform": "transform", "flow": "model",
             "trainer": "profiler", "callback": "duration"}  # fmt: skip

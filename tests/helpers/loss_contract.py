"""What the contract tests give to a loss, by the names of its parameters; student and teacher have the same shapes."""

import inspect

import torch

from distill import losses

SHAPES = {"logits": (5,), "output": (5,), "embedding": (6,), "feature": (4, 4, 4), "attention": (5, 24)}
OF_TOKENS = {"HiddenStates", "PKD", "MiniLM"}  # their features are hidden states (L, D)
OF_MAPS = {"CWD"}  # whose output is a map
SAMPLES = 8


def built(name, seed=0, **settings):
    """The loss module of this name, with what it builds from the shapes."""
    torch.manual_seed(seed)
    loss = getattr(losses, name)(**settings)
    if hasattr(loss, "build"):
        loss.build(**{key: _shape(key, name) for key in inspect.signature(loss.build).parameters})
    return loss


def _shape(key, name):
    if key in ("num_samples", "num_classes"):
        return 40 if key == "num_samples" else SHAPES["logits"][0]
    what = "attention" if name in OF_TOKENS else "feature" if name in OF_MAPS else key.split("_")[1]
    shape = (SAMPLES, *SHAPES.get(what, SHAPES["feature"]))
    if key.endswith("attention"):
        return [shape] * 3
    several = key.endswith("s") and not key.endswith("logits")
    return [shape, shape] if several else shape


def inputs(loss, samples=SAMPLES, dtype=torch.float32, seed=0):
    """Random values of everything that ``forward`` reads; a list of two maps where it reads several."""
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for key in inspect.signature(loss.forward).parameters:
        if key == "attention_mask":  # texts of 5, 4 and 3 tokens
            lengths = SHAPES["attention"][0] - torch.arange(samples) % 3
            values[key] = (torch.arange(SHAPES["attention"][0]) < lengths[:, None]).long()
            continue
        if key in ("target", "index"):
            values[key] = torch.arange(samples) % SHAPES["logits"][0] if key == "target" else torch.arange(samples)
            continue
        shape = _shape(key, type(loss).__name__)
        made = [
            torch.randn(samples, *one[1:], generator=generator, dtype=torch.float64).to(dtype)
            for one in (shape if isinstance(shape, list) else [shape])
        ]
        values[key] = made if isinstance(shape, list) else made[0]
    return values


def changed(values, change, prefix=""):
    """The values with ``change`` applied to every tensor whose name starts with ``prefix``."""
    return {
        key: value
        if not key.startswith(prefix)
        else [change(one) for one in value]
        if isinstance(value, list)
        else change(value)
        for key, value in values.items()
    }


def student_tensors(values):
    """The student's tensors, lists flattened."""
    every = [value for key, value in values.items() if key.startswith("student_")]
    return [one for value in every for one in (value if isinstance(value, list) else [value])]

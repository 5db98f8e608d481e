import sys
from types import ModuleType

import pytest

from distill.config.instantiate import check, instantiate, resolve_target
from distill.utils.errors import UserError


def net(monkeypatch, signature):
    """A module with a constructor of this signature, which returns its arguments."""
    module = ModuleType("own_net")
    exec(f"def Net({signature}): return dict(locals())", vars(module))
    monkeypatch.setitem(sys.modules, "own_net", module)
    return {"_target_": "own_net.Net"}


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        *((f"{name}", {name: 4}) for name in ("num_classes", "n_classes", "nclasses", "num_labels", "num_outputs")),
        ("out_features: int = 10", {"out_features": 4}),
        ("classes: int | None = None", {"classes": 4}),
        ("classes: list[str] = ()", {"classes": ()}),
        ("num_classes, out_features=64", {"num_classes": 4, "out_features": 64}),
        ("n_classes, in_chans=1, channels=8", {"n_classes": 4, "in_chans": 3, "channels": 8}),
    ],
)
def test_a_constructor_is_given_what_the_data_say_by_its_own_names(signature, expected, monkeypatch):
    assert instantiate(net(monkeypatch, signature), "model", num_classes=4, in_channels=3) == expected


def test_what_the_configuration_sets_stays(monkeypatch):
    node = net(monkeypatch, "n_classes, out_features=64") | {"n_classes": 7}
    assert instantiate(node, "model", num_classes=4) == {"n_classes": 7, "out_features": 64}


def test_a_constructor_that_needs_another_argument_is_one_line(monkeypatch):
    with pytest.raises(UserError, match="model: own_net.Net: .*missing 1 required positional argument: 'how_many'"):
        instantiate(net(monkeypatch, "how_many"), "model", num_classes=4)


@pytest.mark.parametrize("annotation", ["float", "int | None"])
def test_text_where_a_number_belongs_is_one_line(annotation, monkeypatch):
    node = net(monkeypatch, f"width: {annotation} = 8") | {"width": "wide"}
    with pytest.raises(UserError, match=r"^model.width must be a number, got 'wide'$"):
        instantiate(node, "model")


def test_a_constructor_that_hands_on_whatever_it_gets_is_told_to_name_it(monkeypatch):
    node = net(monkeypatch, "num_classes")
    vars(sys.modules["own_net"])["any"] = lambda **kwargs: sys.modules["own_net"].Net(**kwargs)
    message = r"model: own_net.any: Net\(\) missing .* 'num_classes'; it takes \*\*kwargs .*: name num_classes in its"
    with pytest.raises(UserError, match=message):
        instantiate(node | {"_target_": "own_net.any"}, "model", num_classes=4)
    vars(sys.modules["own_net"])["any"] = lambda **kwargs: kwargs["num_classes"]
    with pytest.raises(
        UserError, match=r"own_net.any: KeyError: 'num_classes'; it takes \*\*kwargs .* in its signature"
    ):
        instantiate(node | {"_target_": "own_net.any"}, "model", num_classes=4)


def test_hydra_logs_no_lines_of_its_own(caplog):
    with pytest.raises(UserError, match=r"model\._target_: cannot import 'torch\.nn\.Nope'"):
        resolve_target({"_target_": "torch.nn.Nope"}, "model")
    assert caplog.records == []


def test_what_a_constructor_hands_on_is_named_with_the_nearest(monkeypatch):
    module = ModuleType("own_net")
    source = """
class Inner:
    def __init__(self, width=8, depth=2): ...
def build(**kwargs): return Inner(**kwargs)
"""
    exec(source, vars(module))
    monkeypatch.setitem(sys.modules, "own_net", module)
    with pytest.raises(
        UserError, match="model: own_net.build: takes no 'widht'; did you mean 'width'. Allowed: width, depth"
    ):
        instantiate({"_target_": "own_net.build", "widht": 3}, "model", num_classes=4)


def test_a_target_that_is_no_function_is_one_line():
    with pytest.raises(UserError, match="logger.x._target_: math.pi is a float, which cannot be called"):
        check({"_target_": "math.pi"}, "logger.x")

"""The weights and settings of the papers, as they reach the objects without an override."""

import pytest
from omegaconf import OmegaConf

from distill.config.instantiate import instantiate
from jobs import composed

SHARE = 0.0834  # 20 of 240 epochs


def warmup(value):
    return {"schedule": "warmup", "value": value, "epochs": SHARE}


# option: α, weight, T where it has one, then the loss's own settings and its layers or pretraining
PUBLISHED = {
    "kd": (0.1, 1.0, {"T": 4.0, "t_squared": True}),
    "dkd": (None, warmup(1.0), {"alpha": 1.0, "beta": 8.0, "T": 4.0}),
    "dist": (None, 2.0, {"beta": 1.0, "gamma": 1.0, "T": 4.0}),
    "nkd": (None, 1.0, {"gamma": 1.5, "T": 1.0}),
    "ttm": (None, 45.0, {"gamma": 0.1}),
    "wttm": (None, 2.25, {"gamma": 0.1}),
    "mlkd": (0.1, 1.0, {"Ts": (2.0, 3.0, 4.0, 5.0, 6.0)}),
    "reverse_kl": (0.1, 1.0, {"T": 1.0}),
    "jsd": (0.1, 1.0, {"beta": 0.5, "T": 1.0}),
    "skew_kl": (0.1, 1.0, {"alpha": 0.1, "reverse": False, "T": 1.0}),
    "tvd": (0.1, 1.0, {"T": 1.0}),
    "logit_mse": (0.1, 1.0, {}),
    "margin_mse": (0.1, 1.0, {}),
    "tfkd": (0.9, 1.0, {"a": 0.99, "T": 20.0}),
    "fitnet": (None, 100.0, {"relu": True}),
    "at": (None, 1000.0, {"p": 2.0}),
    "fsp": (None, 0.0, {}),
    "nst": (None, 50.0, {}),
    "ab": (None, 0.0, {"margin": 1.0, "scale": 3 / 1000}),
    "ft": (None, 200.0, {"k": 0.5}),
    "vid": (None, 1.0, {"variance": 5.0, "hidden": None}),
    "ofd": (None, 1e-3, {}),
    "reviewkd": (None, warmup(1.0), {"max_mid_channels": 512}),
    "simkd": (0.0, 1.0, {}),
    "crd": (None, 0.8, {"dim": 128, "K": 16384, "tau": 0.07, "momentum": 0.5}),
    "hidden": (None, 1.0, {"distance": "mse"}),
    "pkd": (None, 0.1, {}),
    "minilm": (None, 1.0, {"relation_heads": None}),
    "rkd": (None, 1.0, {"distance": 25.0, "angle": 50.0}),
    "pkt": (None, 30000.0, {}),
    "sp": (None, 3000.0, {}),
    "cc": (None, 100.0, {"kernel": "gaussian", "gamma": 0.4, "order": 2}),
    "ickd": (None, 2.5, {}),
}


def kd_of(option):
    return OmegaConf.to_container(composed(f"kd={option}"), resolve=True)["kd"]


@pytest.mark.parametrize("option", sorted(PUBLISHED))
def test_the_yaml_and_the_class_have_the_published_defaults(option):
    alpha, weight, settings = PUBLISHED[option]
    node = kd_of(option)
    ((name, term),) = node["terms"].items()
    assert name == option
    assert (node["alpha"], term["weight"]) == (alpha, weight)
    from_yaml = instantiate(term["loss"], "loss")
    alone = instantiate({"_target_": term["loss"]["_target_"]}, "loss") if settings else None
    for made in (from_yaml, alone) if settings else ():
        values = {key: getattr(made, key) for key in settings}
        assert {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()} == settings


def test_layers_and_first_phases():
    assert (kd_of("fitnet")["terms"]["fitnet"]["student"], kd_of("fitnet")["terms"]["fitnet"]["teacher"]) == (2, 2)
    for option in ("fsp", "ab", "ft"):
        assert kd_of(option)["terms"][option]["pretraining"]["epochs"] == 30 / 240
    for option in ("at", "nst", "vid", "ab", "ofd", "reviewkd"):
        assert kd_of(option)["terms"][option]["student"] is None  # every stage


def test_flows():
    ban, dml = kd_of("ban"), kd_of("dml")
    assert (ban["alpha"], ban["T"], ban["generations"]) == (None, 1.0, 3)
    assert (dml["alpha"], dml["T"], len(dml["peers"])) == (None, 1.0, 1)
    assert kd_of("multi_teacher")["ensemble"]["T"] == kd_of("takd")["T"] == 4.0

"""The configuration: which keys exist, whether their values are allowed, and objects made from them."""

from pathlib import Path

CONF = Path(__file__).resolve().parents[1] / "conf"  # the YAML files

PUBLIC_MODULES = {  # names that configurations may use, whatever the layout of the package
    "ensemble": "distill.distillation.ensemble",
    "schedulers": "distill.training.schedulers",
    "simkd": "distill.distillation.simkd",
}

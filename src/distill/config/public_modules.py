"""Modules that configurations name, under names that do not depend on the layout of the package."""

PUBLIC_MODULES = {
    "ensemble": "distill.distillation.ensemble",
    "schedulers": "distill.training.schedulers",
    "simkd": "distill.distillation.simkd",
}

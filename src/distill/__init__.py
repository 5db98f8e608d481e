"""Knowledge distillation with Hydra and Lightning."""

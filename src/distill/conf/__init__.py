"""The configuration: groups of YAML files, which Hydra finds as ``pkg://distill.conf``."""

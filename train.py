"""Trains a teacher, distils it into a student, compares the two.

python train.py model=resnet8 teacher=resnet20 data=cifar10 kd=kd kd.T=4 kd.alpha=0.1 seed=1
"""

from typing import Any

import hydra
from omegaconf import DictConfig

from distill.cli.main import job, launch


@hydra.main(version_base="1.3", config_path="pkg://distill.conf", config_name="train")
def main(cfg: DictConfig) -> Any:
    """One job, or each job of a multirun."""
    return job(cfg)


if __name__ == "__main__":
    launch(main)

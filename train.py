"""Trains a teacher, distils it into a student, compares the two.

python train.py model=resnet8 teacher=resnet20 data=cifar10 kd=kd kd.T=4 kd.alpha=0.1 seed=1
"""

from distill.cli.train import main

if __name__ == "__main__":
    main()

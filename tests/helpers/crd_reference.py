"""CRD written from its formula with numpy and loops, and the small losses and batches that it is compared on."""

import math

import numpy as np
import torch

from distill.losses.relations.crd import CRD

N, D_S, D_T, DIM, SAMPLES = 6, 5, 4, 3, 20


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def projected(head, x):
    return unit(x.detach().numpy() @ head.weight.detach().numpy().T + head.bias.detach().numpy())


class Reference:
    """CRD with every sample of the bank as a candidate, in loops, from exponentials instead of logarithms."""

    def __init__(self, loss):
        self.banks = [loss.student_bank.numpy().astype(float), loss.teacher_bank.numpy().astype(float)]
        self.banks = [bank.copy() for bank in self.banks]
        self.labels = [-1] * len(self.banks[0])
        self.z = [None, None]
        self.loss = loss

    def side(self, anchors, bank, fresh, target, index, which, training):
        size = len(bank)
        rows = []
        for n, anchor in enumerate(anchors):
            own = bank[index[n]] if training and self.labels[index[n]] >= 0 else fresh[n]
            negatives = [
                bank[k]
                for k in range(size)
                if self.labels[k] != target[n] and not (training and k == index[n])
            ]  # fmt: skip
            rows.append([math.exp(anchor @ other / self.loss.tau) for other in [own, *negatives]])
        if (z := self.z[which]) is None:
            z = np.mean([value for row in rows for value in row]) * size
            if training:
                self.z[which] = z
        c = min(self.loss.K, size) / size
        total = 0.0
        for row in rows:
            p = [value / z for value in row]
            total -= math.log(p[0] / (p[0] + c)) + sum(math.log(c / (q + c)) for q in p[1:])
        return total / len(anchors)

    def __call__(self, s, t, target, index, training=True):
        s, t = projected(self.loss.student_head, s), projected(self.loss.teacher_head, t)
        target, index = target.tolist(), index.tolist()
        value = self.side(s, self.banks[1], t, target, index, 0, training)
        value += self.side(t, self.banks[0], s, target, index, 1, training)
        if training:
            m = self.loss.momentum
            for n, i in enumerate(index):
                for bank, new in zip(self.banks, (s[n], t[n]), strict=True):
                    bank[i] = unit(m * bank[i] + (1 - m) * new) if self.labels[i] >= 0 else new
                self.labels[i] = target[n]
        return value


def built(**settings):
    torch.manual_seed(0)
    loss = CRD(**({"dim": DIM} | settings))
    loss.build((N, D_S), (N, D_T), num_samples=SAMPLES)
    return loss


def batch(step, n=N):
    generator = torch.Generator().manual_seed(100 + step)
    index = torch.randperm(SAMPLES, generator=generator)[:n]
    s, t = torch.randn(n, D_S, generator=generator), torch.randn(n, D_T, generator=generator)
    return s, t, index % 3, index


def state(loss):
    return {name: value.clone() for name, value in loss.state_dict().items()}

import subprocess
import sys
import threading

import pytest
import torch
from torchvision.transforms import v2

from distill.data.vision.fingerprint import described

MODULE = """
import functools
import threading
from torchvision.transforms import v2
from distill.data.vision.fingerprint import described

class Blur:
    def __init__(self, strength, lock=None):
        self.strength = strength
        self.lock = lock

    def __call__(self, image):
        return image{change}

def invert(image):
    return image{change}

transforms = [Blur(1), Blur(2), Blur(1, threading.Lock()), functools.partial(invert), v2.Compose([v2.Lambda(invert)])]
if __name__ == "__main__":
    import mine
    print(*map(described, mine.transforms), sep="\\n")
"""


def described_in_another_process(folder, change):
    (folder / "mine.py").write_text(MODULE.format(change=change))
    command = [sys.executable, "-B", "mine.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.slow
def test_what_a_transform_holds_and_the_code_it_runs(tmp_path):
    before, after = (described_in_another_process(tmp_path, change) for change in ("", " + 1"))
    assert len({*before, *after}) == len(before) + len(after) == 10
    assert all(" at 0x" not in text for text in before)
    assert described_in_another_process(tmp_path, "") == before  # with other memory addresses and hashes of text


def test_parameters_and_tensors():
    class Shift:
        def __init__(self, by):
            self.by = by

    def text(by):
        return described(Shift(by))

    assert text(torch.tensor([1.0])) == text(torch.tensor([1.0]))
    values = (torch.tensor([1.0]), torch.tensor([[1.0]]), torch.tensor([2.0]), 0.3, 0.31)
    assert len({text(value) for value in values}) == len(values)
    assert described(v2.RandomHorizontalFlip(0.5)) != described(v2.RandomHorizontalFlip(0.6))
    assert described(threading.Lock()).startswith("<unlocked _thread.lock object>")
    assert described(None) == "None"

"""Shared by all tests: one thread, as small tensors wait longer than they compute."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)

"""What holds for every test."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Models here are too small for two threads, and other work may want the second."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

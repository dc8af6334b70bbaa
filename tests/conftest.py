"""What holds for every test."""

from unittest import mock

import pytest
import torch

from seedbed import data


@pytest.fixture(autouse=True)
def one_thread():
    """Models here are too small for two threads, and other work may want the second."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def nothing_chosen(tmp_path_factory, monkeypatch):
    """No test knows which files anyone has chosen to execute, nor chooses some for good."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(autouse=True, scope="module")
def nothing_registered():
    """No file of tests knows what data sets another has given a name."""
    with mock.patch.dict(data.DATA), mock.patch.object(data, "_REGISTERED", set(data._REGISTERED)):
        yield

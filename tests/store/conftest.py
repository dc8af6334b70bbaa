"""Disks that fill up and places that cannot be written."""

import resource
from contextlib import contextmanager

import pytest


@contextmanager
def _no_file_beyond(size):
    """The kernel writes what fits, then refuses: a full disk as a process without privileges can have it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def no_file_beyond():
    return _no_file_beyond

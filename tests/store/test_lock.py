"""One writer per group of seeds."""

import pytest

from seedbed import SeedbedError
from seedbed.store.locks import held


def test_a_second_writer_is_refused_and_a_later_one_is_not(tmp_path):
    with (
        held(tmp_path / ".lock", "training"),
        pytest.raises(SeedbedError, match=r"process \d+ on .* is training"),
        held(tmp_path / ".lock", "training"),
    ):
        pass
    with held(tmp_path / ".lock", "training"):
        pass

"""One writer per group of seeds."""

import pytest

from seedbed import SeedbedError
from seedbed.store.atomic import exclusive


def test_a_second_writer_is_refused_and_a_later_one_is_not(tmp_path):
    with (
        exclusive(tmp_path / ".lock"),
        pytest.raises(SeedbedError, match="another process is training"),
        exclusive(tmp_path / ".lock"),
    ):
        pass
    with exclusive(tmp_path / ".lock"):
        pass

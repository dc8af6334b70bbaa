"""Which files of one's own this user has chosen to execute: a run folder names its file, but names are no permission.

The checksums are kept in ``$XDG_STATE_HOME/seedbed`` (``~/.local/state/seedbed``). Losing them costs an ``--experiment``.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seedbed.core.errors import SeedbedError
from seedbed.store.atomic import write_atomic

MOST = 10_000  # checksums that are kept, the latest


def state_file() -> Path:
    """Where the checksums are."""
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(os.path.expanduser(home)) / "seedbed" / "chosen.json"


def chosen() -> list[str]:
    """The checksums of all that was executed because this user named it; none where that cannot be read."""
    try:
        found = json.loads(state_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [sha for sha in found if isinstance(sha, str)] if isinstance(found, list) else []


def choose(source: Mapping[str, Any]) -> None:
    """Keep that this user has named a file; that it cannot be kept is no error.

    Args:
        source: its record, see ``experiments.files.OwnFile``; of code that is no file there is nothing to keep.
    """
    if "file" not in source:
        return
    before = chosen()
    new = [sha for sha in source["sha256"].values() if sha not in before]
    if new:
        text = json.dumps([*before, *new][-MOST:], indent=0)
        with suppress(SeedbedError):
            write_atomic(state_file(), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def is_chosen(sources: Mapping[str, str]) -> bool:
    """Whether this user has named every one of these files, by their checksums."""
    return bool(sources) and set(sources.values()) <= set(chosen())

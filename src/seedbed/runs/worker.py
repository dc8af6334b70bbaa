"""One group of seeds in a process of its own: ``python -m seedbed.runs.worker FOLDER EXPERIMENT SECONDS GROUP``."""

import os
import sys
import threading

from seedbed.core.errors import SeedbedError
from seedbed.core.interrupts import exit_code, interrupts
from seedbed.experiments import find
from seedbed.runs.group import train
from seedbed.store.folder import Folder


def main(arguments: list[str]) -> int:
    """Train one group of a run folder; the exit code is 2 for bad input, and that of the signal after an interrupt."""
    path, name, seconds, index = arguments
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with interrupts(patient=False):
            folder = Folder(path)
            manifest = folder.manifest()
            experiment = find(name).with_config(manifest.config)
            train(folder, experiment, manifest.groups[int(index)], manifest, float(seconds), None)
    except SeedbedError as error:
        print(f"seedbed: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        return exit_code(stop)
    return 0


def _end_with_parent() -> None:
    """End at once when standard input, whose other end the parent holds, is closed: an orphan would go on writing
    beside the worker that continues its group."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A folder of pictures of a run: a folder for each seed, a file for each draw, and a note that says whose they are.

A draw is keyed by its index, so what is there needs no other record: more are written where a file is missing.
"""

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from seedbed.core.errors import SeedbedError, one_line
from seedbed.core.temporary import sweep
from seedbed.store.atomic import clear_os_errors, make_folder, sync_folder, tentative, write_atomic
from seedbed.store.locks import held
from seedbed.store.outputs import output
from seedbed.store.schema import is_table, is_text, shown

NOTE = "seedbed.json"
MOST = 1_000_000  # pictures of a seed: names have six digits, so that they sort
SIDE = 10  # rows and columns of a grid
GAP = 128  # grey between the pictures of a grid, to be seen beside black and beside white
_NAME = re.compile(r"[0-9]{6}\.png")
_OTHER = "choose another folder with --out"


class Album:
    """A folder of pictures with the note that says whose they are.

    Args:
        folder: where.
        identity: what they have in common; pictures of which anything differs are others.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.note = output(folder / NOTE)
        self.identity = identity
        self._token = secrets.token_hex(8)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only process that puts pictures here, having seen that they may be; a new folder goes if none are.

        Raises:
            SeedbedError: for a folder that holds other pictures, or none and yet something else.
        """
        self._check()  # also before its lock is made: nothing is touched in a folder of somebody else's
        with tentative(self.folder), held(self.folder / ".lock", f"writing pictures to {self.folder}"):
            self._check()
            yield

    def _check(self) -> None:
        with clear_os_errors(self.folder):
            there = self._read()
            # Names with a dot in front are left alone: a lock, a file half-written, what a file manager keeps.
            names = sorted(path.name for path in self.folder.glob("[!.]*"))
        if there is None:
            if names:
                raise SeedbedError(
                    f"{self.folder} holds {one_line(names[0])} and no {NOTE}: no folder of pictures; {_OTHER}"
                )
            return
        for key in {**self.identity, **there}:
            if key != "seeds" and there.get(key) != (here := self.identity.get(key)):
                what = f"{key} is {shown(there.get(key))} there, and {shown(here)} of what is asked for"
                raise SeedbedError(f"{self.folder} holds other pictures ({what}); {_OTHER}")

    def admit(self, weights: Mapping[int, str]) -> None:
        """Write down which weights draw the pictures of some seeds, before there are any.

        Args:
            weights: a fingerprint by seed.

        Raises:
            SeedbedError: if other weights have drawn those that are there.
        """
        known = (self._read() or {}).get("seeds", {})
        for seed, now in weights.items():
            if known.get(str(seed), now) != now:
                raise SeedbedError(f"{self.folder} holds pictures of seed {seed} from before it trained on; {_OTHER}")
        all_ = known | {str(seed): now for seed, now in weights.items()}
        if all_ != known:
            text = json.dumps({**self.identity, "seeds": all_}, indent=1)
            write_atomic(self.note, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))
        for seed in weights:
            with clear_os_errors(self._place(seed)):
                make_folder(self._place(seed))
                sweep(self._place(seed))

    def missing(self, seed: int, count: int) -> Bool[np.ndarray, "count"]:
        """Which of the first ``count`` are not there; an empty file is what a power failure may leave of one."""
        missing = np.ones(count, bool)
        with clear_os_errors(self._place(seed)):
            for entry in os.scandir(self._place(seed)):
                if _NAME.fullmatch(entry.name) and int(entry.name[:6]) < count and entry.stat().st_size:
                    missing[int(entry.name[:6])] = False
        return missing

    def write(self, seed: int, index: int, greys: UInt8[np.ndarray, "channels height width"]) -> None:
        """Write one picture. Its name is there once all of it is; what is flushed to disk is ``flush``'s to say.

        To flush each of many thousand small files would take longer than to draw them, and the file system does it soon:
        what it has not done when the power fails is an empty file or none, and is drawn again.
        """
        name = _name(index)
        temporary = self._place(seed) / f".{name}.{self._token}.tmp"
        with clear_os_errors(self._place(seed)):
            try:
                with open(temporary, "xb") as handle:
                    _image(greys).save(handle, "PNG", compress_level=1)
                os.replace(temporary, self._place(seed) / name)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def flush(self, seed: int) -> None:
        """Flush the names of a seed's pictures to disk."""
        sync_folder(self._place(seed))

    def write_grid(self, seed: int, count: int) -> None:
        """Write the first of a seed's pictures as one, in rows of ten with a pixel between them."""
        path = output(self.folder / f"seed{seed}.png")
        with clear_os_errors(path):
            tiles = [_greys_in(self._place(seed) / _name(index)) for index in range(min(count, SIDE**2))]
        write_tiles(path, tiles)

    def write_chain(self, seed: int, rows: Sequence[UInt8[np.ndarray, "chains channels height width"]]) -> None:
        """Write a few chains of a seed as one picture, a row for each step that they were looked at."""
        write_tiles(output(self.folder / f"seed{seed}-chain.png"), [tile for row in rows for tile in row], len(rows[0]))

    def _place(self, seed: int) -> Path:
        return self.folder / f"seed{seed}"

    def _read(self) -> dict[str, Any] | None:
        """What the note says; ``None`` if there is none."""
        try:
            found = json.loads(self.note.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise SeedbedError(f"{self.note} is damaged ({one_line(str(error))}); {_OTHER}") from error
        if not is_table(found) or not is_table(found.get("seeds"), is_text):
            raise SeedbedError(f"{self.note} is damaged (seeds must be texts by seed); {_OTHER}")
        return found


def write_tiles(path: Path, tiles: Sequence[UInt8[np.ndarray, "channels height width"]], columns: int = SIDE) -> None:
    """Write pictures as one, so many to a row with a pixel between them."""
    channels, height, width = tiles[0].shape
    columns = min(len(tiles), columns)
    rows = -(-len(tiles) // columns)
    grid = np.full((channels, rows * (height + 1) - 1, columns * (width + 1) - 1), GAP, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        grid[:, top : top + height, left : left + width] = tile
    write_atomic(path, lambda temporary: _image(grid).save(temporary, "PNG"))


def _name(index: int) -> str:
    return f"{index:06}.png"


def _image(greys: UInt8[np.ndarray, "channels height width"]) -> Image.Image:
    return Image.fromarray(greys[0] if len(greys) == 1 else np.ascontiguousarray(np.moveaxis(greys, 0, -1)))


def _greys_in(path: Path) -> UInt8[np.ndarray, "channels height width"]:
    with Image.open(path) as image:
        greys = np.asarray(image)
    return greys[None] if greys.ndim == 2 else np.moveaxis(greys, -1, 0)

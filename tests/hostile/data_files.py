"""Files of data that are damaged, lie about what is in them, or hold what nobody can learn from."""

import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from case import SMOKE, Case, Expected
from PIL import Image

ROWS = np.random.default_rng(1).normal(size=(40, 3))
BITS = (np.random.default_rng(2).random((40, 6, 6)) < 0.4).astype("u1")
LINES = ["a,b,c", *(",".join(f"{value:.6f}" for value in row) for row in ROWS)]
CSV = "\n".join(LINES).encode() + b"\n"


def npy(array: np.ndarray, *, pickled: bool = False) -> bytes:
    """The bytes of an ``.npy`` file."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=pickled)
    return out.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    """The bytes of an ``.npz`` file."""
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def claims(shape: object, kind: str = "<f8") -> bytes:
    """An ``.npy`` header of any shape and type, with hardly a value behind it."""
    head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (len(head) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(64)


def idx(*sizes: int, kind: int = 8, content: bytes = BITS.tobytes()) -> bytes:
    """An IDX file that says these sizes."""
    return bytes((0, 0, kind, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes) + content


def mat() -> bytes:
    """A MATLAB file of one array."""
    from scipy.io import savemat

    out = io.BytesIO()
    savemat(out, {"x": ROWS})
    return out.getvalue()


def png(width: int = 6, height: int = 6, mode: str = "L") -> bytes:
    """A picture."""
    out = io.BytesIO()
    Image.new(mode, (width, height)).save(out, "PNG")
    return out.getvalue()


def bomb(side: int) -> bytes:
    """A picture of a few bytes that says it is a square of so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def zipped(**files: bytes) -> bytes:
    """An archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def with_line(at: int, line: str) -> bytes:
    """The good table with another line."""
    return "\n".join([*LINES[:at], line, *LINES[at + 1 :]]).encode()


def _last(value: float) -> np.ndarray:
    rows = ROWS.copy()
    rows[-1, -1] = value
    return rows


TABLES: dict[str, tuple[bytes, Expected]] = {
    "good": (CSV, "fine"),
    "with CRLF": (CSV.replace(b"\n", b"\r\n"), "fine"),
    "with a byte order mark": (b"\xef\xbb\xbf" + CSV, "fine"),
    "gzipped": (gzip.compress(CSV), "fine"),
    "empty": (b"", "refused"),
    "of white space": (b" \n\t\n\r\n", "refused"),
    "of names alone": (b"a,b,c\n", "refused"),
    "of one row": (CSV[: CSV.index(b"\n", 10) + 1], "refused"),
    "of one number": (b"5", "refused"),
    "of a text column": (b"a,b\n" + b"".join(b"%d,word%d\n" % (i, i) for i in range(20)), "refused"),
    "of mixed widths": (with_line(9, "1,2"), "refused"),
    "of a wide line late": (CSV + b"1,2,3,4,5\n" * 3, "refused"),
    "of an unbalanced quote": (with_line(5, '"1,2,3'), "refused"),
    "of quotes in quotes": (with_line(5, '"1""2",2,3'), "refused"),
    "with NaN": (with_line(7, "1,nan,2"), "refused"),
    "with inf": (with_line(7, "1,inf,2"), "refused"),
    "with 1e39": (with_line(7, "1,1e39,2"), "refused"),
    "with 1e308": (with_line(7, "1,1e308,-1e308"), "refused"),
    "with 1e400": (with_line(7, "1,1e400,2"), "refused"),
    "with a hole": (with_line(7, "1,,2"), "refused"),
    "with formulas": (with_line(7, "=1+1,2,3"), "refused"),
    "in UTF-16": (CSV.decode().encode("utf-16"), "refused"),
    "in Latin-1": ("é,b,c\n".encode("latin-1") + CSV[6:], "refused"),
    "with NUL": (with_line(5, "1,\0,2"), "refused"),
    "of constant columns": (b"a,b\n" + b"1,2\n" * 20, "refused"),
    "of copies": (b"a,b\n" + b"".join(b"%d,%d\n" % (i, 2 * i) for i in range(20)), "refused"),
    "of names twice": (CSV.replace(b"a,b,c", b"a,a,c"), "refused"),
    "of control characters": (CSV.replace(b"a,b,c", b"a\x1b[31m,\x07,c"), "either"),
    "of half a header": (CSV.replace(b"a,b,c", b"a,1,c"), "refused"),
    "of one long line": (b"1," * 200_000, "refused"),
    "of an enormous cell": (with_line(5, "1" * 200_000 + ",2,3"), "refused"),
    "of huge whole numbers": (with_line(5, "9" * 40 + ",2,3"), "refused"),
    "of half a gzip": (gzip.compress(CSV)[:60], "refused"),
    "of a gzip bomb": (gzip.compress(b"1,2\n" * 4_000_000), "refused"),
    "of binary": (bytes(range(256)) * 8, "refused"),
    "that is Parquet": (b"PAR1" + bytes(40) + b"PAR1", "refused"),
    "that is half Parquet": (b"PAR1", "refused"),
    "that is a spreadsheet": (zipped(**{"xl/workbook.xml": b"<x/>"}), "refused"),
    "that is a page": (b"<!doctype html><html><body>404, not found</body></html>", "refused"),
    "that is JSON": (b'{"a": [1, 2, 3]}', "refused"),
}
ARRAYS: dict[str, tuple[str, bytes, Expected]] = {
    "good": ("x.npy", npy(ROWS), "fine"),
    "empty": ("x.npy", b"", "refused"),
    "without rows": ("x.npy", npy(np.zeros((0, 3))), "refused"),
    "without columns": ("x.npy", npy(np.zeros((9, 0))), "refused"),
    "of one number": ("x.npy", npy(np.array(5.0)), "refused"),
    "of one row": ("x.npy", npy(ROWS[:1]), "refused"),
    "of one axis": ("x.npy", npy(ROWS[:, 0]), "refused"),
    "of five axes": ("x.npy", npy(np.zeros((9, 1, 2, 2, 2))), "refused"),
    "of no channels": ("x.npy", npy(np.zeros((9, 5, 6, 7))), "refused"),
    "of text": ("x.npy", npy(np.array([["a", "b"]] * 9)), "refused"),
    "of complex numbers": ("x.npy", npy(ROWS + 1j), "refused"),
    "of times": ("x.npy", npy(np.zeros((9, 2), "M8[s]")), "refused"),
    "of records": ("x.npy", npy(np.zeros(9, [("a", "f4"), ("b", "f4")])), "refused"),
    "of objects": ("x.npy", npy(np.array([[1, None]] * 9, object), pickled=True), "refused"),
    "with NaN": ("x.npy", npy(_last(np.nan)), "refused"),
    "with inf": ("x.npy", npy(_last(-np.inf)), "refused"),
    "beyond fp32": ("x.npy", npy(ROWS * 1e300), "refused"),
    "of one number beyond fp32": ("x.npy", npy(_last(4e38)), "refused"),
    "of pictures beyond fp32": ("x.npy", npy(np.random.default_rng(0).normal(size=(20, 4, 4)) * 1e39), "refused"),
    "of long doubles": ("x.npy", npy(ROWS.astype(np.longdouble)), "either"),
    "of huge whole numbers": ("x.npy", npy(np.array([[2**62, i] for i in range(9)])), "either"),
    "of unsigned 64 bits": ("x.npy", npy(np.array([[2**64 - 1, i] for i in range(9)], np.uint64)), "either"),
    "of constants": ("x.npy", npy(np.ones((9, 3)) * 1.5), "refused"),
    "of zeros": ("x.npy", npy(np.zeros((20, 4, 4), "u1")), "either"),
    "that claims 2^62 rows": ("x.npy", claims((2**62, 2)), "refused"),
    "that claims 10^30 rows": ("x.npy", claims((10**30, 2)), "refused"),
    "that claims 10^12 rows": ("x.npy", claims((10**12, 2)), "refused"),
    "that claims negative rows": ("x.npy", claims((-4, 2)), "refused"),
    "that claims to be a fraction": ("x.npy", claims("(1.5, 2)"), "refused"),
    "that claims to be no shape": ("x.npy", claims("'x'"), "refused"),
    "of an unknown type": ("x.npy", claims((4, 2), "<q9"), "refused"),
    "of a header that is code": ("x.npy", claims("(__import__('os').system('touch owned'), 2)"), "refused"),
    "of deep brackets": ("x.npy", claims("(" * 500 + "4" + ")" * 500), "refused"),
    "of a header too long": ("x.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{", "refused"),
    "of version 9": ("x.npy", b"\x93NUMPY\x09\x00" + npy(ROWS)[8:], "refused"),
    "of a table's text": ("x.npy", CSV, "refused"),
    "of nothing within": ("x.npz", npz(), "refused"),
    "of two arrays": ("x.npz", npz(a=ROWS, b=ROWS), "refused"),
    "of two of one split": ("x.npz", npz(train=ROWS, training=ROWS), "refused"),
    "of tests alone": ("x.npz", npz(test=ROWS), "refused"),
    "of splits of other shapes": ("x.npz", npz(train=ROWS, test=ROWS[:, :2]), "refused"),
    "of one test": ("x.npz", npz(train=ROWS, test=ROWS[:1]), "refused"),
    "of a path within": ("x.npz", zipped(**{"../../owned.npy": npy(ROWS)}), "either"),
    "of text within": ("x.npz", zipped(**{"train.npy": b"text"}), "refused"),
    "of a pickle within": ("x.npz", zipped(**{"train.npy": npy(np.array([None] * 9, object), pickled=True)}), "refused"),
    "of a bomb": ("x.npz", zipped(**{"train.npy": claims((10**9, 9)) + bytes(10**7)}), "refused"),
    "of no archive": ("x.npz", b"PK\x03\x04" + bytes(50), "refused"),
    "of an IDX file": ("x-idx3-ubyte", idx(40, 6, 6), "fine"),
    "of a gzipped IDX file": ("x.gz", gzip.compress(idx(40, 6, 6)), "fine"),
    "of an IDX file cut off": ("x-idx3-ubyte", idx(40, 6, 6)[:99], "refused"),
    "of an IDX file's head": ("x-idx3-ubyte", idx(40, 6, 6)[:7], "refused"),
    "of an IDX file too long": ("x-idx3-ubyte", idx(40, 6, 6) + b"more", "refused"),
    "of an IDX file that claims 2^93": ("x-idx3-ubyte", idx(2**31, 2**31, 2**31), "refused"),
    "of an IDX file of nothing": ("x-idx3-ubyte", idx(0, 6, 6, content=b""), "refused"),
    "of an IDX file of doubles": ("x-idx1-ubyte", idx(180, kind=0x0E, content=BITS.tobytes()), "refused"),
    "of half a gzipped IDX file": ("x.gz", gzip.compress(idx(40, 6, 6))[:40], "refused"),
    "of a gzip of text": ("x.gz", gzip.compress(b"hello"), "refused"),
    "of a MATLAB file": ("x.mat", mat(), "fine"),
    "of half a MATLAB file": ("x.mat", mat()[:200], "refused"),
    "of MATLAB 7.3": ("x.mat", b"MATLAB 7.3 MAT-file" + bytes(600), "refused"),
    "of a MATLAB file of zeros": ("x.mat", bytes(400), "refused"),
    "of a MATLAB file of text": ("x.mat", b"hello" * 99, "refused"),
}
PICTURES: dict[str, tuple[dict[str, bytes], Expected]] = {
    "empty": ({}, "refused"),
    "of files that are none": ({"a.txt": b"x"}, "refused"),
    "of empty pictures": ({"a.png": b"", "b.png": b""}, "refused"),
    "of half a picture": ({**{f"{i}.png": png() for i in range(9)}, "x.png": png()[:45]}, "refused"),
    "of text named as pictures": ({"a.png": b"hello", "b.jpg": b"world"}, "refused"),
    "of one picture": ({"a.png": png()}, "refused"),
    "of two sizes": ({"a.png": png(), "b.png": png(7, 6)}, "refused"),
    "of a transparent one": ({"a.png": png(mode="RGBA"), "b.png": png()}, "refused"),
    "of 16 bits": ({f"{i}.png": png(mode="I;16") for i in range(9)}, "refused"),
    "of a bomb": ({f"{i}.png": bomb(60_000) for i in range(3)}, "refused"),
    "of a larger bomb": ({f"{i}.png": bomb(2**31 - 1) for i in range(3)}, "refused"),
    "of a bomb below the limit": ({f"{i}.png": bomb(9_000) for i in range(3)}, "refused"),
    "of pictures without sides": ({f"{i}.png": bomb(0) for i in range(3)}, "refused"),
    "of a split alone": ({f"test/{i}.png": png() for i in range(9)}, "refused"),
    "of an empty split": ({**{f"train/{i}.png": png() for i in range(9)}, "test/a.txt": b""}, "refused"),
    "of names that are not UTF-8": ({f"caf\udce9{i}.png": png() for i in range(9)}, "fine"),
    "of names of control characters": ({f"\x1b[31m\n{i}.png": b"x" for i in range(9)}, "refused"),
    "of black pictures to binarise": ({f"{i}.png": png() for i in range(40)}, "either"),
}


def data_files(draw: random.Random) -> Iterator[Case]:
    """Each of the files above by one of the verbs that read it, and good ones cut off and changed at random."""
    for what, (content, expects) in TABLES.items():
        yield _file(draw, "csv", "t.csv", f"a table {what}", content, expects)
    for what, (name, content, expects) in ARRAYS.items():
        yield _file(draw, "array", name, f"an array {what}", content, expects)
    for what, (files, expects) in PICTURES.items():
        yield _case(draw, "folder:pictures", f"a folder {what}", partial(_folder, files), expects)
    good = {"t.csv": CSV, "x.npy": npy(ROWS), "x.npz": npz(train=ROWS), "i.gz": gzip.compress(idx(40, 6, 6)), "x.mat": mat()}
    for name, content in good.items():
        kind = "csv" if name == "t.csv" else "array"
        for _ in range(4):
            cut = draw.randrange(1, len(content))
            yield _file(draw, kind, name, f"{name} cut at {cut}", content[:cut], "either")
            changed = bytearray(content)
            at = draw.randrange(len(content))
            for offset in range(at, min(at + draw.choice((1, 4)), len(content))):
                changed[offset] = draw.randrange(256)
            yield _file(draw, kind, name, f"{name} changed at {at}", bytes(changed), "either")


def _file(draw: random.Random, kind: str, name: str, what: str, content: bytes, expects: Expected) -> Case:
    return _case(draw, f"{kind}:{name}", what, partial(_write, name, content), expects)


def _case(draw: random.Random, name: str, what: str, prepare: Callable[[Path], None], expects: Expected) -> Case:
    verbs: list[tuple[str, ...]] = [("data", "show", name), ("data", "show", name), ("data", "check", name)]
    verbs += [("run", "gaussian" if expects == "refused" else "vae", "-d", name, *SMOKE)] if expects != "fine" else []
    argv = draw.choice([*verbs, ()])
    if not argv:
        code = draw.choice((f"seedbed.data.load({name!r})", f"seedbed.data.load({name!r}, seed=3).checksum()"))
        return Case(kind="data files", what=f"{what}: {code}", code=code, prepare=prepare, expects=expects)
    if argv[1] == "gaussian":
        argv = tuple(word for word in argv if word not in ("--hidden",))[:-1]  # it has none
    trains = argv[0] == "run" and expects != "refused"
    said = f"{what}: seedbed {' '.join(argv[:4])}"
    return Case(kind="data files", what=said, argv=argv, prepare=prepare, expects=expects, trains=trains)


def _write(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)


def _folder(files: dict[str, bytes], folder: Path) -> None:
    (folder / "pictures").mkdir()
    for name, content in files.items():
        (folder / "pictures" / name).parent.mkdir(exist_ok=True)
        (folder / "pictures" / name).write_bytes(content)

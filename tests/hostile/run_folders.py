"""Run folders of which something is gone, cut off, changed, or not what it says."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from case import RUN, A, B, Case, Expected

Change = Callable[[Path], None]
TABLE, CHECKPOINT = "table/seed-0-1.csv", "checkpoints/seed-0-1/step-0000000006.safetensors"

VERBS: tuple[tuple[tuple[str, ...], bool], ...] = (
    ((*RUN, "--name", "a"), True),
    (("run", RUN[1], "-n", "3", *RUN[4:], "--name", "a"), True),
    (("report", A), False),
    (("compare", A, B), False),
    (("evaluate", A, "-q", "-k", "2"), False),
    (("sample", A, "-n", "2"), False),
)
FACE = (
    f"seedbed.load({A!r}).table",
    f"seedbed.load({A!r}).models",
    f"seedbed.load({A!r}).sample(2, 1)",
    f"seedbed.load({A!r}).summary",
    f"seedbed.load({A!r})._repr_html_()",
    f"seedbed.load({A!r}).figure('samples')",
    f"seedbed.compare({A!r}, {B!r})",
)
# Who asks for all runs is told of a damaged one, and shown the others.
NEIGHBOURS = (("report", "runs"), ("report", "toy", "-m", "vae"))

ODD: tuple[Any, ...] = (
    None,
    5,
    -1,
    1.5,
    True,
    "abc",
    "",
    [],
    [1],
    [None],
    {},
    {"x": 1},
    [[0.5]],
    [["a"]],
    10**30,
    "x" * 5000,
)
FIELDS = ("experiment", "config", "groups", "strategy", "threads", "device", "data", "versions", "command", "created")
FIELDS += ("reason", "source", "format", "hash")
SETTINGS = ("data", "hidden", "latents", "lr", "steps", "train_size", "activation", "precision")
DATA = ("name", "checksum", "domain", "shape", "protocol")


def run_folders(draw: random.Random) -> Iterator[Case]:
    """Each damage, looked at by some verb; the most telling ones by several."""
    for what, change, expects in (*_files(draw), *_manifests(draw), *_tables(draw), *_checkpoints(draw)):
        for argv, trains in draw.sample(VERBS, 2):
            answer: Expected = "either" if trains or argv[0] != "sample" else expects
            yield Case(
                kind="run folders",
                what=f"{what}: {' '.join(argv[:2])}",
                argv=argv,
                prepare=change,
                expects=answer,
                trains=trains,
            )
        if draw.random() < 0.5:
            code = draw.choice(FACE)
            yield Case(kind="run folders", what=f"{what}: {code}", code=code, prepare=change, expects="either")
        if draw.random() < 0.3:
            argv = draw.choice(NEIGHBOURS)
            yield Case(kind="run folders", what=f"{what}: {' '.join(argv)}", argv=argv, prepare=change, expects="fine")


Damage = tuple[str, Change, Expected]


def _files(draw: random.Random) -> Iterator[Damage]:
    """Any file of a run gone, empty, cut off, changed, a folder, or a link to itself."""
    names = ("run.json", TABLE, CHECKPOINT, "artefacts/reference.npz", "artefacts/samples/seed-0-1.npz")
    for name in names:
        for how in ("gone", "empty", "cut", "changed", "a folder", "a loop", "text"):
            expects: Expected = "refused" if name == CHECKPOINT else "either"
            yield f"{name} {how}", partial(_damage, name, how, draw.random()), expects
    for name in ("table", "checkpoints", "artefacts", "checkpoints/seed-0-1"):
        yield f"{name}/ gone", lambda folder, name=name: shutil.rmtree(folder / A / name), "either"
        yield f"{name}/ a file", partial(_damage, name, "text", 0.0), "either"
        yield f"{name}/ a loop", partial(_damage, name, "a loop", 0.0), "either"
    yield "the folder a file", partial(_damage, "", "text", 0.0), "refused"
    yield "the folder empty", partial(_emptied), "refused"
    for text in ("{", "[]", '{"nll": 5}', '{"nll": {"metrics": [5]}}', '{"nll": {"metrics": [{"name": 5}]}}', "\udcff"):
        yield f"notes of an evaluation {text!r}", partial(_note, text), "either"


def _damage(name: str, how: str, where: float, folder: Path) -> None:
    path = folder / A / name
    content = path.read_bytes() if path.is_file() else b""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    at = int(where * len(content))
    if how == "a folder":
        path.mkdir()
    elif how == "a loop":
        path.symlink_to(path.name)
    elif how != "gone":
        flipped = content[:at] + bytes(byte ^ 0x55 for byte in content[at : at + 3]) + content[at + 3 :]
        path.write_bytes({"empty": b"", "cut": content[:at], "changed": flipped, "text": b"precious\n"}[how])


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder / A)
    (folder / A).mkdir()


def _note(text: str, folder: Path) -> None:
    (folder / A / "evaluations").mkdir()
    shutil.copy(folder / A / TABLE, folder / A / "evaluations/nll-test-k2.csv")
    (folder / A / "evaluations/nll-test-k2.json").write_bytes(os.fsencode(text))


def _manifests(draw: random.Random) -> Iterator[Damage]:
    """The manifest with a field of another type, one less, one more, one too large."""
    for field in FIELDS:
        for odd in draw.sample(ODD, 2):
            yield f"run.json {field} = {odd!r:.20}", partial(_json, ("",), field, odd), "either"
        yield f"run.json without {field}", partial(_json, ("",), field, ...), "either"
    for part, names in (("config", SETTINGS), ("data", DATA)):
        for field in names:
            yield f"run.json {part}.{field} odd", partial(_json, (part,), field, draw.choice(ODD)), "either"
            yield f"run.json without {part}.{field}", partial(_json, (part,), field, ...), "either"
    for groups in ([], [[]], [[0, 0]], [[0, 1], [1]], [[-1]], [[5]], [0, 1], [[0, 1, 10**30]], [[True, 0]], [["0"]]):
        yield f"run.json groups = {groups}", partial(_json, ("",), "groups", groups), "either"
    yield "run.json with a field more", partial(_json, ("",), "more", 1), "either"
    yield "run.json nested 10^5 deep", lambda folder: _text(folder, "[" * 100_000), "either"  # there is a copy
    yield (
        "run.json of a BOM",
        lambda folder: _text(folder, "\ufeff" + (folder / A / "run.json").read_text("utf-8")),
        "either",
    )
    yield "run.json of NaN", partial(_json, ("config",), "lr", float("nan")), "either"
    yield "run.json of another device", partial(_json, ("",), "device", "cuda:0 (NVIDIA H100)"), "either"


def _json(path: tuple[str, ...], field: str, value: Any, folder: Path) -> None:
    manifest = json.loads((folder / A / "run.json").read_text(encoding="utf-8"))
    part = manifest[path[0]] if path[0] else manifest
    if value is ...:
        part.pop(field, None)
    else:
        part[field] = value
    _text(folder, json.dumps(manifest))


def _text(folder: Path, text: str) -> None:
    (folder / A / "run.json").write_text(text, encoding="utf-8")


def _tables(draw: random.Random) -> Iterator[Damage]:
    """Rows that no run writes."""
    lines = {
        "a negative step": "0,-5,valid,neg_elbo_nats,1.0,nats,80,0.1,1.0",
        "text for a number": "0,5,valid,neg_elbo_nats,abc,nats,80,0.1,1.0",
        "a seed of another run": "99,6,test,neg_elbo_nats,1.0,nats,80,0.1,1.0",
        "a fraction of a seed": "0.5,6,test,neg_elbo_nats,1.0,nats,80,0.1,1.0",
        "a column more": "0,6,test,neg_elbo_nats,1.0,nats,80,0.1,1.0,7",
        "a column less": "0,6,test,neg_elbo_nats,1.0",
        "an unknown split": "0,6,nosuch,neg_elbo_nats,1.0,nats,80,0.1,1.0",
        "an unknown metric": "0,6,test,nosuch,1.0,nats,80,0.1,1.0",
        "a huge number": "0,6,test,neg_elbo_nats,1e400,nats,80,0.1,1.0",
        "NUL": "0,6,test,\0,1.0,nats,80,0.1,1.0",
        "an open quote": '0,6,test,"neg_elbo_nats,1.0,nats,80,0.1,1.0',
        "no UTF-8": "0,6,test,\udcff,1.0,nats,80,0.1,1.0",
        "a huge step": f"0,{10**30},valid,neg_elbo_nats,1.0,nats,80,0.1,1.0",
        "negative examples": "0,6,test,neg_elbo_nats,1.0,nats,-80,-0.1,1.0",
    }
    for what, line in lines.items():
        yield f"a table with {what}", partial(_rows, line, draw.random() < 0.5), "either"
    yield "a table without its head", lambda folder: _headless(folder), "either"


def _rows(line: str, early: bool, folder: Path) -> None:
    path = folder / A / TABLE
    head, *rows = path.read_bytes().splitlines(keepends=True)
    odd = [os.fsencode(line) + b"\n"]
    path.write_bytes(b"".join([head, *odd, *rows] if early else [head, *rows, *odd]))


def _headless(folder: Path) -> None:
    path = folder / A / TABLE
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


def _checkpoints(draw: random.Random) -> Iterator[Damage]:
    """A checkpoint that can be read, and is another one."""
    for field in ("done", "step", "counts", "wall_s", "ended"):
        for odd in draw.sample(ODD, 1):
            yield f"a checkpoint's {field} = {odd!r:.20}", partial(_header, field, odd), "either"
        yield f"a checkpoint without {field}", partial(_header, field, ...), "either"
    for what in ("a list", "null", "text"):
        yield f"a checkpoint whose metadata are {what}", partial(_metadata, what), "refused"
    for what in ("none", "fewer", "wider", "cast", "of nan", "renamed", "swapped"):
        yield f"a checkpoint's tensors {what}", partial(_tensors, what), "refused"


def _stored(folder: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    from safetensors import safe_open

    path = folder / A / CHECKPOINT
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        return path, {name: file.get_tensor(name).clone() for name in names}, dict(file.metadata())


def _save(path: Path, tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    path.write_bytes(save(tensors, metadata))


def _header(field: str, value: Any, folder: Path) -> None:
    path, tensors, metadata = _stored(folder)
    meta = json.loads(metadata["seedbed"])
    if value is ...:
        meta.pop(field, None)
    else:
        meta[field] = value
    _save(path, tensors, {**metadata, "seedbed": json.dumps(meta)})


def _metadata(what: str, folder: Path) -> None:
    path, tensors, metadata = _stored(folder)
    _save(path, tensors, {**metadata, "seedbed": {"a list": "[1]", "null": "null", "text": "text"}[what]})


def _tensors(what: str, folder: Path) -> None:
    import torch

    path, tensors, metadata = _stored(folder)
    floats = [name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel() > 4]
    first = floats[0]
    if what == "none":
        tensors = {}
    elif what == "fewer":
        del tensors[first]
    elif what == "wider":
        tensors[first] = torch.cat([tensors[first], tensors[first]], -1)
    elif what == "cast":
        tensors = {name: tensor.double() for name, tensor in tensors.items()}
    elif what == "of nan":
        tensors[first] = torch.full_like(tensors[first], torch.nan)
    elif what == "renamed":
        tensors["other/name"] = tensors.pop(first)
    else:
        tensors[first] = tensors[first].flip(0).contiguous()
    _save(path, tensors, metadata)

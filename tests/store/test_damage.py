"""What is not what was written is never taken for it."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from seedbed.core.errors import SeedbedError
from seedbed.store import checkpoint
from seedbed.store.table import DamagedTable, LongTable, Row

META = {"layout": checkpoint.SEALED, "done": False, "wall_s": 1.0, "seeds": [0, 1], "counts": {}}
TREE = {"params": {"model": torch.arange(6.0).view(2, 3)}, "fixed": {"scale": torch.ones(2)}}


def rewritten(path, meta=lambda about: about, tensors=lambda found: found):
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["seedbed"])
        names = file.keys()
        found = {name: file.get_tensor(name) for name in names}
    path.write_bytes(save(tensors(found), {"seedbed": json.dumps(meta(about))}))


@pytest.mark.parametrize(
    "tensors",
    [
        lambda found: {name: value for name, value in found.items() if name != "fixed/scale"},
        lambda found: {**found, "fixed/scale": found["fixed/scale"].int()},
        lambda found: {**found, "fixed/scale": 2 * found["fixed/scale"]},
        lambda found: {**found, "params/model": torch.cat([found["params/model"]] * 2, 1)},
    ],
)
def test_other_tensors_are_damage(tmp_path, tensors):
    path = checkpoint.save(tmp_path, 3, TREE, META, b"rows\n")
    rewritten(path)
    assert checkpoint.load(path)[1] == {"step": 3, **META} and checkpoint.load_rows(path) == b"rows\n"
    rewritten(path, tensors=tensors)
    with pytest.raises(checkpoint.DamagedCheckpoint):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "change", [{"step": -1}, {"step": "x"}, {"done": 1}, {"wall_s": None}, {"sha256": "", "header": ""}]
)
def test_other_metadata_are_damage(tmp_path, change):
    path = checkpoint.save(tmp_path, 3, TREE, META)
    rewritten(path, meta=lambda about: {**about, **change})
    with pytest.raises(checkpoint.DamagedCheckpoint):
        checkpoint.load_meta(path)
    rewritten(path, meta=lambda about: {"step": 3, **META})
    with pytest.raises(checkpoint.DamagedCheckpoint, match="its checksum is missing"):
        checkpoint.load(path)


def test_doubled_rows_count_once_and_others_are_told(tmp_path):
    table, row = LongTable(tmp_path / "t.csv"), Row(0, 1, "test", "nll_nats", 0.5, "nats", 2, 0.1, 1.0)
    table.append([row])
    text = table.path.read_text()
    line = text.splitlines()[1]
    table.path.write_text(f"{text}{line}\n")
    assert table.read() == [row]
    table.path.write_text(f"{text}{line.replace('0.5', '0.75')}\n")
    with pytest.raises(DamagedTable, match="another nll_nats of seed 0"):
        table.read()
    table.path.write_text(f"{text}{line},1\n")
    with pytest.raises(SeedbedError, match="10 cells, expected 9"):
        table.read()

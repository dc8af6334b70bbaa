"""Run folders as the store writes them, made up: no training."""

import math

import numpy as np
import pytest

from seedbed.cli.main import main
from seedbed.store.folder import Folder
from seedbed.store.manifest import Manifest
from seedbed.store.table import Row

STEPS = 1000


def write_run(
    root,
    name,
    level=0.1,
    *,
    data="rings",
    seeds=6,
    upto=1.0,
    lost=(),
    worse=(),
    metric="gap_nats",
    points=20,
    arrays=True,
    spread=0.03,
    experiment=None,
    tag="abc12345",
    config=None,
    protocol=None,
    checksum="ab" * 32,
    domain=None,
    path=None,
    created="2026-11-21T08:00:00+00:00",
):
    """A run of ``toy/<data>/<name>`` whose seeds end near ``level``; ``upto`` < 1 leaves it unfinished."""
    folder = Folder(path or root / "toy" / data / name / tag)
    ids, g = list(range(seeds)), np.random.default_rng([seeds, round(1e6 * level)])
    settings = {"steps": STEPS, "batch_size": 256, "lr": 0.002, "data": data, "vary": "model", "hidden": [64, 64]}
    Manifest(
        experiment=experiment or f"toy/{data}/{name}",
        config={**settings, **(config or {})},
        groups=[ids],
        strategy="vectorized",
        threads=1,
        device="cpu",
        data={"name": data, "protocol": protocol or f"{data}, drawn, data seed 0", "checksum": checksum}
        | ({"domain": domain} if domain else {}),
        versions={"python": "3.11.7", "seedbed": "0.1.0", "torch": "2.13.0"},
        command=f"seedbed run toy/{data}/{name} -n {seeds}",
        created=created,
    ).write(folder.path)
    ends, rows = level * (1 + spread * g.standard_normal(seeds)), []
    for seed in ids:
        for step in np.linspace(STEPS / points, STEPS, points).round().astype(int).tolist():
            if step > STEPS * upto or (seed in lost and step > STEPS * 0.3):
                break
            value = ends[seed] + math.exp(-6 * step / STEPS) * (1 + 0.02 * g.standard_normal())
            rows.append(Row(seed, step, "train", "utility", -value, "mean", 256, 0.0, step * 0.01))
            rows.append(Row(seed, step, "valid", metric, value, "nats", 1000, 0.002, step * 0.01))
        if upto >= 1:
            fate = "diverged" if seed in lost else "worse_than_baseline" if seed in worse else "finished"
            at = STEPS * (0.3 if seed in lost else 1.0)
            rows.append(Row(seed, STEPS, "status", fate, at, "steps", 1, 0.0, 11.0))
            rows.append(Row(seed, STEPS, "test", metric, float(ends[seed]), "nats", 5000, 0.001, 11.0))
    if rows:
        folder.table(ids).append(rows)
    if arrays and upto >= 1:
        axis = np.linspace(-4.5, 4.5, 24)
        grid = -(axis[:, None] ** 2 + axis**2) / 2 - math.log(2 * math.pi)
        folder.save_arrays("samples", ids, {"x": g.normal(size=(seeds, 200, 2)).astype(np.float32)})
        folder.save_arrays("density", ids, {"log_q": np.stack([grid] * seeds).astype(np.float32)})
        reference = {"x": g.normal(size=(200, 2)), "extent": np.array([-4.5, 4.5]), "log_p": grid}
        folder.save_reference({k: v.astype(np.float32) for k, v in reference.items()})
    return folder


@pytest.fixture
def write():
    """``write(root, name, level, **what else)``: a made-up run folder."""
    return write_run


@pytest.fixture
def study(tmp_path):
    """``runs/`` with four models on two data sets; a seed of ``flow`` on moons diverged."""
    for data in ("rings", "moons"):
        for name, level in (("vae", 0.3), ("lvae", 0.302), ("flow", 0.1), ("spline-flow", 0.03)):
            lost = (2,) if (data, name) == ("moons", "flow") else ()
            write_run(tmp_path / "runs", name, level, data=data, lost=lost)
    return tmp_path / "runs"


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Run the command line in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        out = capsys.readouterr()
        return int(stop.value.code or 0), out.out, out.err

    return run


@pytest.fixture
def refused(call):
    """The one line with which the command line refuses."""

    def run(*arguments):
        code, out, err = call(*arguments)
        assert (code, out) == (2, "")
        assert "Traceback" not in err and len(err.strip().splitlines()) == 1, err
        return err

    return run

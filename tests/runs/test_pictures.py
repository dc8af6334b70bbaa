"""`sample --out FOLDER`: draws as picture files, in chunks, continued, and never among those of anything else."""

import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

import seedbed
from seedbed.cli.main import main
from seedbed.core.errors import SeedbedError
from seedbed.evaluate import estimate
from seedbed.evaluate.chain import Way
from seedbed.runs import album, pictures
from seedbed.runs.pictures import save_pictures
from seedbed.store.locks import Busy, held

TINY = {"steps": 2, "eval_every": 1, "batch_size": 8, "hidden": (4,), "latents": 2, "threads": 1, "quiet": True}
BITS = "digits/digits-binary/vae"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of every kind of picture, and of points, once."""
    out, draw = tmp_path_factory.mktemp("trained"), np.random.default_rng(0)
    seedbed.run(BITS, seeds=3, out=out / "runs", name="bits", **TINY)
    arrays = {
        "levels": draw.integers(0, 7, (60, 1, 4, 6)),
        "colour": draw.integers(0, 256, (60, 3, 5, 4)),
        "real": draw.uniform(-1, 3, (60, 1, 4, 4)).astype("f"),
        "shares": draw.beta(0.5, 0.5, (60, 1, 4, 4)).astype("f"),
    }
    for name, array in arrays.items():
        np.save(out / f"{name}.npy", array)
        data = f"array:{out / name}.npy{',levels=7' * (name == 'levels')}"
        seedbed.run("vae", data=data, seeds=2, out=out / "runs", name=name, **TINY)
    seedbed.run("toy/8gaussians/vae", seeds=1, out=out / "runs", name="points", train_size=50, eval_size=50, **TINY)
    return out


@pytest.fixture
def work(trained, tmp_path, monkeypatch):
    """A folder of one's own with those runs."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_of(name: str) -> seedbed.Run:
    return seedbed.load(next(Path("runs").rglob(f"{name}/run.json")).parent)


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def refused(capsys, *arguments: object) -> str:
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "") and len(err.strip().splitlines()) == 1 and err.startswith("seedbed: "), err
    return err


def decoded(folder: Path | str, count: int, mode: str = "L") -> np.ndarray:
    """A seed's pictures, ``[count, channels, height, width]``; there are no others."""
    names = [f"{index:06}.png" for index in range(count)]
    assert sorted(path.name for path in Path(folder).iterdir()) == names
    images = [Image.open(Path(folder) / name) for name in names]
    assert {(image.format, image.mode) for image in images} == {("PNG", mode)}
    array = np.stack([np.asarray(image) for image in images])
    return array[:, None] if mode == "L" else np.moveaxis(array, -1, 1)


def files(folder: Path | str) -> dict[str, tuple[bytes, int]]:
    """Every file with what it holds and when it was written."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def contents(folder: Path | str, ending: str = "") -> dict[str, bytes]:
    """Every file of a kind with what it holds."""
    return {name: content for name, (content, _) in files(folder).items() if name.endswith(ending)}


def test_the_files_are_the_draws(capsys, work):
    code, out, err = call(capsys, "sample", "bits", "--count", 70, "--out", "a/b", "-q")
    assert (code, out, err) == (0, "wrote 70 pictures of each of 3 seeds to a/b\n", "")
    draws = run_of("bits").sample(70).numpy()
    assert set(np.unique(draws)) == {0, 1}
    for seed in range(3):
        assert np.array_equal(decoded(f"a/b/seed{seed}", 70), 255 * draws[seed])
    assert {path.name for path in Path("a/b").iterdir()} == {"seed0", "seed1", "seed2", "seedbed.json"}
    assert call(capsys, "sample", "bits", "-n", 5, "--seed", 1, "--out", "one")[1] == "wrote 5 pictures of seed 1 to one\n"
    assert np.array_equal(decoded("one/seed1", 5), 255 * draws[1, :5]) and not Path("one/seed0").exists()
    assert call(capsys, "sample", "bits", "-n", 5, "--out", "s.npz")[0] == 0
    assert np.array_equal(np.load("s.npz")["x"], draws[:, :5])


@pytest.mark.parametrize(("name", "mode", "black", "white"), [("levels", "L", 0, 6), ("colour", "RGB", 0, 255)])
def test_levels_are_spread_over_all_greys(work, name, mode, black, white):
    run = run_of(name)
    save_pictures(run, "p", 70)
    draws = run.sample(70).numpy()
    assert draws.max() == white
    for seed in run.seeds:
        assert np.array_equal(decoded(f"p/seed{seed}", 70, mode), np.rint(255 * draws[seed].astype(float) / white))
    note = json.loads(Path("p/seedbed.json").read_text())
    assert (note["black"], note["white"]) == (black, white)


def test_real_numbers_have_the_greys_of_the_page(work):
    """From 0 to 1, or as far as the held-out examples go; what lies beyond is black or white."""
    for name in ("shares", "real"):
        run = run_of(name)
        save_pictures(run, name, 40)
        held_out, draws = run.stored.arrays("reference")["x"].astype("f"), run.sample(40).numpy()
        low, high = min(0.0, held_out.min()), max(1.0, held_out.max())
        assert (low, high) == (0, 1) if name == "shares" else (low < -0.9 and high > 2.9)
        assert draws.min() < low and draws.max() > high
        expected = np.clip((draws - low) / (high - low), 0, 1) * 255
        for seed in run.seeds:
            assert np.abs(decoded(f"{name}/seed{seed}", 40) - expected[seed]).max() <= 0.5 + 1e-4


def test_no_chunk_changes_a_picture(work):
    run = run_of("levels")
    save_pictures(run, "whole", 200)
    with mock.patch.object(pictures, "SPAN", 128):
        save_pictures(run, "parts", 200, memory_gib=1e-9)  # a block at once
    for count in (1, 37, 64, 200):
        save_pictures(run, "grown", count)
    save_pictures(run, "one", 200, 1)
    whole = contents("whole", ".png")
    assert len(whole) == 400
    assert contents("parts", ".png") == contents("grown", ".png") == whole
    ones = {name: content for name, content in whole.items() if name.startswith("seed1/")}
    assert contents("one", ".png") == ones


def test_memory_bounds_what_is_drawn_at_once(work):
    run, sizes = run_of("bits"), []

    def noted(stack, draw, count, first=0, kept=estimate.draw_samples):
        sizes.append(count)
        return kept(stack, draw, count, first)

    with mock.patch.object(estimate, "draw_samples", noted):
        save_pictures(run, "small", 200, memory_gib=1e-9)
        assert max(sizes) == 64
        sizes.clear()
        save_pictures(run, "large", 200)
        assert max(sizes) == 200


def test_what_is_missing_is_drawn_and_nothing_else(capsys, work):
    run, last = run_of("bits"), []
    assert save_pictures(run, "p", 100, progress=lambda done, total: last.append((done, total))) == 300
    assert last == [(done, 300) for done in range(1, 301)]
    before = files("p")
    assert call(capsys, "sample", "bits", "-n", 60, "--out", "p")[1].endswith("to p; 180 of them were there before\n")
    assert save_pictures(run, "p", 100) == 0 and files("p") == before
    gone = ["seed0/000003.png", "seed0/000099.png", "seed2/000070.png"]
    for name in gone[:2]:
        (Path("p") / name).unlink()
    (Path("p") / gone[2]).write_bytes(b"")  # what a power failure may leave
    assert save_pictures(run, "p", 100) == 3
    after = files("p")
    assert {name for name in before if before[name] != after[name]} == set(gone)
    assert {name: content for name, (content, _) in after.items()} == {
        name: content for name, (content, _) in before.items()
    }


def test_one_that_was_stopped_goes_on(work):
    run, kept, left = run_of("bits"), album.Album.write, [70]

    def stopped(self, *what):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        kept(self, *what)

    with mock.patch.object(album.Album, "write", stopped), pytest.raises(KeyboardInterrupt):
        save_pictures(run, "p", 50)
    assert len(list(Path("p").rglob("*.png"))) == 69
    half = Path("p/seed1/.000019.png.0123456789abcdef.tmp")
    half.write_bytes(b"half of it")  # what a killed one leaves
    assert save_pictures(run, "p", 50) == 150 - 69
    assert not half.exists()
    for seed in range(3):
        assert np.array_equal(decoded(f"p/seed{seed}", 50), 255 * run.sample(50, seed).numpy())
    with mock.patch.object(Image.Image, "save", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        save_pictures(run, "p", 51)
    assert not list(Path("p").rglob(".*"))


def test_pictures_of_anything_else_are_refused(capsys, work):
    run = run_of("bits")
    save_pictures(run, "p", 3)
    before = files("p")
    assert 'p holds other pictures (run is "' in refused(capsys, "sample", "levels", "--out", "p")
    assert 'of is "draws" there, and "means"' in refused(capsys, "sample", "bits", "--out", "p", "--shown", "mean")
    again = seedbed.run(BITS, seeds=3, out="again", name="bits", **TINY)
    with pytest.raises(SeedbedError, match=r"other pictures \(created is .* there"):
        save_pictures(again, "p", 3)
    note = json.loads(Path("p/seedbed.json").read_text())
    assert note["experiment"] == BITS and note["data"] == "digits-binary" and set(note["seeds"]) == {"0", "1", "2"}
    assert files("p") == before
    Path("p/seedbed.json").write_text(json.dumps({**note, "seeds": {**note["seeds"], "1": "of other weights"}}))
    assert "holds pictures of seed 1 from before it trained on" in refused(capsys, "sample", "bits", "--out", "p")
    for damaged in ("{", "[]", json.dumps({**note, "seeds": 3})):
        Path("p/seedbed.json").write_text(damaged)
        assert "seedbed.json is damaged" in refused(capsys, "sample", "bits", "--out", "p")


def test_seeds_that_join_the_run_join_its_pictures(work):
    save_pictures(run_of("bits"), "p", 4)
    grown = seedbed.run(BITS, seeds=4, out="runs", name="bits", **TINY)
    assert save_pictures(grown, "p", 4) == 4
    assert set(json.loads(Path("p/seedbed.json").read_text())["seeds"]) == {"0", "1", "2", "3"}


def test_a_folder_of_something_else_is_left_alone(capsys, work):
    for name in ("theirs.txt", "seed0/000000.png"):
        folder = Path(name.replace("/", "-"))
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
        stamp = folder.stat().st_mtime_ns
        assert f"{folder} holds {name.split('/')[0]} and no seedbed.json" in refused(
            capsys, "sample", "bits", "--out", folder
        )
        assert [path.name for path in folder.rglob("*") if path.is_file()] == [Path(name).name]
        assert folder.stat().st_mtime_ns == stamp
    assert "Not a directory" in refused(capsys, "sample", "bits", "--out", "theirs.txt/theirs.txt")
    inside = run_of("bits").path / "artefacts" / "p"
    assert "is of the run" in refused(capsys, "sample", "bits", "--out", inside)
    Path("new").mkdir()
    Path("new/.DS_Store").touch()
    assert call(capsys, "sample", "bits", "-n", 1, "--out", "new")[0] == 0


def test_one_process_at_a_time(work):
    with held(Path("p/.lock"), "writing"), pytest.raises(Busy, match="is writing"):
        save_pictures(run_of("bits"), "p", 1)


def test_what_is_no_picture_is_refused(capsys, work):
    says = "toy/8gaussians/vae draws examples of shape [2], which are no pictures; --out FILE.npz takes them"
    assert says in refused(capsys, "sample", "points", "--out", "p")
    assert "--grid is of pictures" in refused(capsys, "sample", "bits", "--grid", "--out", "x.npz")
    for flags, what in (
        (["-n", 0], "count must be at least 1, got 0"),
        (["-n", -1], "count must be at least 1, got -1"),
        (["-n", 1_000_001], "count must be at most 1000000"),
        (["--memory-gib", 0], "memory in GiB must be above 0"),
        (["--memory-gib", "nan"], "memory in GiB must be a finite number"),
        (["--seed", 7], "seed 7 is not in this run"),
    ):
        assert what in refused(capsys, "sample", "bits", "--out", "p", *flags)
    with mock.patch.object(pictures, "draw", lambda model, count, ctx: ctx.noise.normal((64,), batch=count)):
        assert "draws examples of shape [64]" in refused(capsys, "sample", "bits", "--out", "p")
    assert not Path("p").exists()
    wrong: Any = save_pictures
    with pytest.raises(SeedbedError, match="expected a Run"):
        wrong("bits", "p", 1)
    with pytest.raises(SeedbedError, match="folder must be a path"):
        wrong(run_of("bits"), 3, 1)


def test_means_stand_in_for_the_draws_that_were_made_of_them(capsys, work):
    for name, top in (("bits", 1), ("levels", 6), ("colour", 255)):
        run = run_of(name)
        assert call(capsys, "sample", name, "-n", 64, "--out", name, "--shown", "mean", "-q")[0] == 0
        stored = run.stored.arrays("samples")
        assert np.array_equal(stored["x"], run.sample(64).numpy())
        for row, seed in enumerate(run.seeds):
            got = decoded(f"{name}/seed{seed}", 64, "RGB" if name == "colour" else "L")
            assert np.abs(got - 255 * stored["mean"][row].astype(float)).max() < 0.7, top  # they are kept in two bytes each


def test_a_model_without_means_is_refused(capsys, work):
    class Noise(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logit = torch.nn.Parameter(torch.zeros(()))

        def log_prob(self, x):
            return (x * self.logit - torch.nn.functional.softplus(self.logit)).sum((1, 2, 3))

        def sample(self, count):
            return torch.bernoulli(self.logit.sigmoid().expand(count, 1, 8, 8))

    settings = {"seeds": 2, "steps": 2, "out": "runs", "name": "n", "threads": 1, "quiet": True}
    run = seedbed.fit(Noise, "digits-binary", loss=lambda m, x: -m.log_prob(x), **settings)
    with pytest.raises(SeedbedError, match=r"draws x without a p\(x \| z\), so no mean of it can be shown"):
        save_pictures(run, "p", 2, way=Way(shown="mean"))
    assert not Path("p").exists()
    assert save_pictures(run, "p", 70) == 140
    for seed in (0, 1):
        assert np.array_equal(decoded(f"p/seed{seed}", 70), 255 * run.sample(70, seed).numpy())


def test_a_grid_shows_the_first_hundred(capsys, work):
    assert call(capsys, "sample", "colour", "-n", 103, "--grid", "--out", "p", "-q")[0] == 0
    first = decoded("p/seed1", 103, "RGB")
    grid = np.moveaxis(np.asarray(Image.open("p/seed1.png")), -1, 0)
    assert grid.shape == (3, 10 * 6 - 1, 10 * 5 - 1) and Path("p/seed0.png").exists()
    for index in range(100):
        top, left = index // 10 * 6, index % 10 * 5
        assert np.array_equal(grid[:, top : top + 5, left : left + 4], first[index])
    assert (grid[:, 5::6] == 128).all() and (grid[:, :, 4::5] == 128).all()
    assert call(capsys, "sample", "bits", "-n", 12, "--seed", 2, "--grid", "--out", "few")[0] == 0
    few = np.asarray(Image.open("few/seed2.png"))
    assert few.shape == (2 * 9 - 1, 10 * 9 - 1) and (few[9:, 18:] == 128).all()
    assert np.array_equal(few[9:, 9:17], decoded("few/seed2", 12)[11, 0])
    assert save_pictures(run_of("bits"), "few", 12, 2, grid=True) == 0  # it is made of the files


def test_a_full_disk_is_one_line(capsys, work):
    with mock.patch.object(Image.Image, "save", side_effect=OSError(28, "No space left on device")):
        assert "no space left to write p/seed0" in refused(capsys, "sample", "bits", "--out", "p", "-q")
    assert not list(Path("p").rglob("*.png"))
    assert call(capsys, "sample", "bits", "--out", "p", "-q")[0] == 0

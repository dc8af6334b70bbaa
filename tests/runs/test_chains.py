"""`sample --start limiting`: chains x -> z -> x, in parts or at once, in files and as pictures, and what they are not."""

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
from seedbed.cli.estimators import WAY
from seedbed.cli.main import main
from seedbed.core.errors import SeedbedError
from seedbed.evaluate import chain
from seedbed.evaluate.chain import Way
from seedbed.objectives.chain import step_of
from seedbed.runs.chains import sampled
from seedbed.runs.pictures import save_pictures

TINY = {"steps": 3, "eval_every": 3, "batch_size": 8, "hidden": (4,), "threads": 1, "quiet": True}
LIMITING = ("--start", "limiting", "-q")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Chains of bits, a model without an encoder, a likelihood without a mode."""
    out = tmp_path_factory.mktemp("trained")
    seedbed.run("symmetric-vae", data="digits-binary", seeds=3, out=out / "runs", name="bits", bits=(2, 3), **TINY)
    np.save(out / "levels.npy", np.random.default_rng(0).integers(0, 7, (60, 1, 4, 6)))
    levels = f"array:{out / 'levels.npy'},levels=7"
    seedbed.run("vae", data=levels, seeds=1, out=out / "runs", name="levels", latents=2, **TINY)
    points: dict[str, Any] = {"data": "8gaussians", "out": out / "runs", "train_size": 50, "eval_size": 50, **TINY}
    seedbed.run("vae", seeds=2, name="real", latents=2, **points)
    seedbed.run("flow", seeds=1, name="flow", couplings=2, **points)
    bits: dict[str, Any] = {"data": "digits-binary", "out": out / "runs"} | {k: v for k, v in TINY.items() if k != "hidden"}
    seedbed.run("image-flow", seeds=1, name="still", couplings=(0, 1, 1), width=4, depth=1, growth=2, **bits)
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


def wrote(capsys, *arguments: object) -> str:
    code, out, err = call(capsys, "sample", *arguments)
    assert (code, err) == (0, ""), err
    return out.splitlines()[-1]


def refused(capsys, *arguments: object) -> str:
    code, out, err = call(capsys, "sample", *arguments)
    assert (code, out) == (2, "") and len(err.strip().splitlines()) == 1 and err.startswith("seedbed: "), err
    return err


def arrays(path: Path | str) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def pictures(folder: Path | str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*.png")}


def greys(path: Path | str) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_file_says_all_of_its_chains(capsys, work):
    line = wrote(capsys, "bits", *LIMITING, "--chain", 12, "-n", 14, "--out", "c.npz")
    assert line == "wrote c.npz: x [3, 14, 1, 8, 8], seeds [0, 1, 2], chains of 12 steps from uniform noise"
    file = arrays("c.npz")
    assert set(np.unique(file["x"])) == {0, 1} and file["steps"].tolist() == [1, 3, 10, 12]
    assert file["along"].shape == (3, 4, 10, 1, 8, 8) and np.array_equal(file["along"][:, -1], file["x"][:, :10])
    said = {key: file[key].item() for key in ("start", "shown", "chain", "chain_from", "run", "domain")}
    assert said == {
        "start": "limiting",
        "shown": "draw",
        "chain": 12,
        "chain_from": "coins",
        "run": run_of("bits").manifest.hash,
        "domain": "binary",
    }
    from_draws = wrote(capsys, "bits", *LIMITING, "--chain", 1, "--chain-from", "draws", "--seed", 2, "--out", "d.npz")
    assert from_draws.endswith("seeds [2], chains of 1 step from draws of a random code")
    wrote(capsys, "bits", "-n", 5, "--out", "codes.npz")
    codes = arrays("codes.npz")
    assert np.array_equal(codes["x"], run_of("bits").sample(5).numpy()) and codes["start"].item() == "random-code"
    assert codes["chain"].item() == 0 and "along" not in codes


def test_a_chain_is_the_steps_one_by_one(work):
    """The states are those of the steps as they are written, each drawn at its own address."""
    run = run_of("bits")
    file = sampled(run, 64, 1, Way("limiting", 3, "draws"))
    group, stack = next(run.stacks())
    x = run.sample(64)
    for step in (1, 2, 3):
        noise = chain.EvalNoise(stack.streams, "chain", step)
        with torch.no_grad():
            x = stack.call(lambda model, x, ctx: step_of(model, x, ctx).draw(ctx.noise).value, x, noise=noise)
        if step in (1, 3):
            assert np.array_equal(file["along"][0, step // 2], x[group.index(1), :10].numpy())
    assert np.array_equal(file["x"][0], x[group.index(1)].numpy())


@pytest.mark.parametrize(("name", "begins"), [("bits", "coins"), ("bits", "draws"), ("real", "coins")])
def test_in_parts_as_at_once(capsys, work, name, begins):
    flags = (*LIMITING, "-n", 70)
    wrote(capsys, name, *flags, "--chain-from", begins, "--chain", 5, "--out", "whole.npz")
    wrote(capsys, name, *flags, "--chain-from", begins, "--chain", 2, "--out", "c.npz")
    line = wrote(capsys, name, *flags, "--chain-from", "c.npz", "--chain", 5, "--out", "c.npz")
    assert line.endswith(f"chains of 5 steps from {'uniform noise' if begins == 'coins' else 'draws of a random code'}")
    assert same(arrays("c.npz"), arrays("whole.npz"))


def test_chains_whose_means_are_shown_go_on_too(capsys, work):
    flags = (*LIMITING, "-n", 12, "--chain")
    wrote(capsys, "bits", *flags, 11, "--out", "draws.npz")
    wrote(capsys, "bits", *flags, 4, "--shown", "mean", "--out", "means.npz")
    assert not set(np.unique(arrays("means.npz")["x"])) <= {0, 1}
    wrote(capsys, "bits", *flags, 11, "--chain-from", "means.npz", "--out", "on.npz")
    assert same(arrays("on.npz"), arrays("draws.npz"))
    wrote(capsys, "bits", *flags, 11, "--chain-from", "means.npz", "--shown", "mode", "--out", "modes.npz")
    modes, draws = arrays("modes.npz"), arrays("draws.npz")
    assert np.array_equal(modes["chains"], draws["x"]) and np.array_equal(modes["along"], draws["along"])
    means = sampled(run_of("bits"), 12, way=Way("limiting", 11, shown="mean"))["x"]
    assert np.array_equal(modes["x"], means > 0.5)
    line = wrote(capsys, "bits", *flags, 11, "-n", 3, "--seed", 1, "--chain-from", "means.npz")
    assert "x [1, 3, 1, 8, 8], seeds [1]" in line
    few = arrays(run_of("bits").path / "samples.npz")
    assert np.array_equal(few["x"][0], draws["x"][1, :3]) and np.array_equal(few["along"][0], draws["along"][1, :, :3])


def test_no_part_or_count_changes_a_chain(work):
    run, way, told = run_of("bits"), Way("limiting", 4), []
    whole = sampled(run, 200, way=way, progress=lambda *done: told.append(done))
    assert told == [(600, 600)]
    told.clear()
    parts = sampled(run, 200, way=way, memory_gib=1e-9, progress=lambda *done: told.append(done))
    assert told == [(192, 600), (384, 600), (576, 600), (600, 600)] and same(parts, whole)
    for count in (1, 63, 65):
        assert np.array_equal(sampled(run, count, way=way)["x"], whole["x"][:, :count])
    assert np.array_equal(sampled(run, 65, 2, way)["x"][0], whole["x"][2, :65])


def test_the_pictures_are_the_chains(capsys, work):
    flags = ("bits", *LIMITING, "--chain", 12, "-n")
    line = wrote(capsys, *flags, 70, "--grid", "--out", "p")
    assert line == "wrote 70 pictures of each of 3 seeds to p, chains of 12 steps from uniform noise"
    file = sampled(run_of("bits"), 70, way=Way("limiting", 12))
    for seed in range(3):
        for index in range(70):
            assert np.array_equal(greys(f"p/seed{seed}/{index:06}.png"), 255 * file["x"][seed, index, 0])
        moving = greys(f"p/seed{seed}-chain.png")
        assert moving.shape == (4 * 9 - 1, 10 * 9 - 1)
        for mark in range(4):
            for index in range(10):
                tile = moving[mark * 9 : mark * 9 + 8, index * 9 : index * 9 + 8]
                assert np.array_equal(tile, 255 * file["along"][seed, mark, index, 0])
    for count in (5, 37, 70):
        wrote(capsys, *flags, count, "--grid", "--out", "grown")
    assert pictures("grown") == pictures("p")
    Path("p/seed1/000066.png").unlink()
    assert wrote(capsys, *flags, 70, "--out", "p").endswith("uniform noise; 209 of them were there before")
    assert pictures("grown") == pictures("p")
    with mock.patch.object(chain, "AT_ONCE", 64):
        save_pictures(run_of("bits"), "parts", 70, grid=True, way=Way("limiting", 12))
    assert pictures("parts") == pictures("p")


def test_pictures_of_another_way_are_others(capsys, work):
    wrote(capsys, "bits", "-n", 3, "--out", "codes")
    note = json.loads(Path("codes/seedbed.json").read_text())
    assert note["of"] == "draws" and not {"start", "chain", "chain_from"} & set(note)  # as it was before there were chains
    wrote(capsys, "bits", *LIMITING, "--chain", 3, "-n", 3, "--out", "p")
    for flags, says in (
        ((), 'start is "limiting" there'),
        ((*LIMITING, "--chain", 4), "chain is 3 there, and 4 of"),
        ((*LIMITING, "--chain", 3, "--chain-from", "draws"), 'chain_from is "coins" there, and "draws"'),
        ((*LIMITING, "--chain", 3, "--shown", "mode"), 'of is "draws" there, and "modes"'),
    ):
        assert says in refused(capsys, "bits", "--out", "p", *flags)
    assert "holds other pictures" in refused(capsys, "bits", *LIMITING, "--out", "codes")


def test_flags_that_make_no_chain(capsys, work):
    for flags, says in (
        (("--chain", 3), "--chain is of chains; say --start limiting too, or leave --chain out"),
        (("--start", "random-code", "--chain-from", "draws"), "--chain-from is of chains; say --start limiting"),
        ((*LIMITING, "--chain", 0), "chain must be at least 1, got 0"),
        ((*LIMITING, "--chain", 1_000_001), "chain must be at most 1000000"),
        ((*LIMITING, "--chain", 1.5), "'1.5' is not a valid integer"),
        ((*LIMITING, "--chain-from", "noise"), "--chain-from must be coins, draws or a FILE.npz of chains, got 'noise'"),
        ((*LIMITING, "--chain-from", "c.npz", "--out", "p"), "--chain-from FILE.npz goes on with chains into another"),
        (("--shown", "median"), "'median' is not one of"),
        (("--grid",), "--grid is of pictures"),
    ):
        assert says in refused(capsys, "bits", *flags)
    assert [option.name for option in WAY] == ["start", "chain", "chain_from", "shown"]


@pytest.mark.parametrize("out", ["x.npz", "p"])
def test_what_a_model_does_not_have(capsys, work, out):
    for begins in ("coins", "draws"):  # bits from signs of real numbers: x -> z -> x is x again, however often
        says = refused(capsys, "still", *LIMITING, "--chain-from", begins, "--out", out)
        assert "each z of ImageFlow is of one x alone, so a chain x -> z -> x stands still; leave start out" in says
    if out == "x.npz":
        assert "flow has no encoder for a chain x -> z -> x" in refused(capsys, "flow", *LIMITING, "--out", out)
        assert "draws x without a p(x | z), so no mean of it" in refused(capsys, "flow", "--shown", "mean", "--out", out)
    assert not Path(out).exists()


def test_chains_of_anything_else_are_not_continued(capsys, work):
    wrote(capsys, "bits", *LIMITING, "--chain", 3, "-n", 4, "--out", "c.npz")
    good = arrays("c.npz")
    goes_on = (*LIMITING, "-n", 4, "--chain", 5, "--chain-from")

    def changed(**arrays: Any) -> str:
        np.savez("odd.npz", **{key: value for key, value in {**good, **arrays}.items() if value is not None})
        return refused(capsys, "bits", *goes_on, "odd.npz")

    assert "odd.npz holds chains of another run (x there, " in changed(run="x")
    assert "examples of shape [1, 8], and this run's [1, 8, 8]" in changed(x=good["x"][..., 0], along=good["along"][..., 0])
    assert "holds chains of other values than binary" in changed(x=good["x"] / 2)
    assert "holds chains of other values than binary" in changed(along=good["along"] + 1)
    assert "holds chains of seed 0 from before it trained on" in changed(weights=np.array(["x", "y", "z"]))
    assert "holds chains of seeds [0, 1, 7], and none of seed 2" in changed(seeds=[0, 1, 7])
    no_file = "odd.npz is no file of chains ("
    assert f"{no_file}its draws are of random codes)" in changed(start="random-code")
    assert f"{no_file}it has no along)" in changed(along=None)
    assert f"{no_file}it has no x, seeds and start)" in changed(x=None)
    assert f"{no_file}its steps must be [1, 3]" in changed(steps=[1, 2])
    assert f"{no_file}x [2, 4, 1, 8, 8] and along" in changed(x=good["x"][:2])
    assert f"{no_file}its chain is 3 from nowhere)" in changed(chain_from="nowhere")
    assert f"{no_file}its chain is 3.0 from coins)" in changed(chain=3.0)
    assert no_file in changed(x=np.array([None, "a"], dtype=object))
    for steps in (0, -3, 10**12):
        assert f"{no_file}its chain must be of 1 to 1000000 steps, got {steps})" in changed(chain=steps)
    assert f"{no_file}its run must be one word or number, got [2])" in changed(run=["x", "y"])
    assert f"{no_file}its draws are of random codes)" in changed(start=["limiting"])
    assert f"{no_file}it has no chains)" in changed(shown="mode")
    assert f"{no_file}its shown is 'median', and must be draw, mean, mode)" in changed(shown="median", chains=good["x"])
    Path("odd.npz").write_bytes(Path("c.npz").read_bytes()[:200])
    assert f"{no_file}it is no whole .npz file)" in refused(capsys, "bits", *goes_on, "odd.npz")
    Path("odd.npz").write_text("no arrays")
    assert f"{no_file}it is no whole .npz file)" in refused(capsys, "bits", *goes_on, "odd.npz")
    with open("odd.npz", "wb") as one_array:
        np.save(one_array, good["x"])
    assert f"{no_file}it is no whole .npz file)" in refused(capsys, "bits", *goes_on, "odd.npz")
    Path("folder.npz").mkdir()
    assert "folder.npz is no file of chains (it is no whole .npz file)" in refused(capsys, "bits", *goes_on, "folder.npz")
    assert "none.npz is no file of chains (there is none)" in refused(capsys, "bits", *goes_on, "none.npz")
    assert "holds 4 chains of each seed, and 5 are asked for" in refused(capsys, "bits", *goes_on, "c.npz", "-n", 5)
    assert "have gone 3 steps already; --chain 3 must be more" in refused(capsys, "bits", *goes_on, "c.npz", "--chain", 3)
    assert "holds chains of another run" in refused(capsys, "levels", *goes_on, "c.npz")
    with pytest.raises(SeedbedError, match="unknown start"):
        Way("nowhere")


@pytest.mark.parametrize("kind", ["<i8", "<u2", ">f4", "<f2", np.longdouble])
def test_numbers_of_any_kind_go_on_alike(capsys, work, kind):
    """Bits are bits, whoever wrote the file and on which machine."""
    flags = ("bits", *LIMITING, "-n", 4, "--chain")
    wrote(capsys, *flags, 5, "--out", "whole.npz")
    wrote(capsys, *flags, 2, "--out", "c.npz")
    begun = arrays("c.npz")
    np.savez("c.npz", **begun | {name: begun[name].astype(kind) for name in ("x", "along")})
    wrote(capsys, *flags, 5, "--chain-from", "c.npz", "--out", "c.npz")
    assert same(arrays("c.npz"), arrays("whole.npz"))


def test_what_python_gives_for_a_run_a_way_or_a_file(work):
    run, way, odd = run_of("bits"), Way("limiting", 3), Path("p")
    given: Any
    for given in (None, "bits", 3):
        with pytest.raises(SeedbedError, match="expected a Run, got"):
            sampled(given, 3)
        with pytest.raises(SeedbedError, match="expected a Run, got"):
            save_pictures(given, odd, 3)
        with pytest.raises(SeedbedError, match="way must be a Way"):
            sampled(run, 3, way=given)
        with pytest.raises(SeedbedError, match="way must be a Way"):
            save_pictures(run, odd, 3, way=given)
    for given in (5, {"x": 1}, ""):
        with pytest.raises(SeedbedError, match="file of chains must be a path"):
            sampled(run, 3, way=way, begun=given)
    with pytest.raises(SeedbedError, match='say way=Way\\("limiting", steps\\), or leave begun out'):
        sampled(run, 3, begun="c.npz")
    assert not odd.exists()

"""What stored arrays look like on the page: images in colour, texts, and arrays that are no pictures."""

import base64
import io
import re
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from seedbed.core.errors import SeedbedError
from seedbed.report.document import compose
from seedbed.report.figures import draw_figures, house_style, rows_figure, run_tiles, samples_figure
from seedbed.report.html import render
from seedbed.report.pictures import as_pixels, chosen_seeds, data_strips, run_strips
from seedbed.report.pixels import as_image
from seedbed.report.plates import pictures_plates
from seedbed.report.rows import rows_of
from seedbed.report.stored import StoredRun
from seedbed.report.texts import LETTERS, LINES, MORE, UNKNOWN, excerpt, spelled

RED, GREEN, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 0), (255, 255, 255)


def rgb(pixels):
    assert pixels is not None
    return np.asarray(as_image(pixels).convert("RGB"))


def plain(*colours, side=8):
    """An image of one colour each, ``[n, 3, side, side]``, in bits."""
    return (np.array(colours) // 255)[:, :, None, None].repeat(side, 2).repeat(side, 3)


def scenes(n, side=32, seed=0):
    """Soft colours, ``[n, 3, side, side]`` from 0 to 1."""
    phase = 2 * np.pi * np.random.default_rng(seed).random((n, 3, 1, 1))
    y, x = np.mgrid[:side, :side] * np.pi / side
    return 0.5 + 0.25 * np.sin(x + phase) + 0.25 * np.cos(y - 2 * phase)


# ------------------------------------------------------------------------------------------------------------------- colour


@pytest.mark.parametrize("scale", [np.uint8(1), np.uint8(255), np.float16(1), np.float64(3)])
def test_colours_stay_where_and_as_they_are(scale):
    x = (plain(RED, GREEN, BLACK, WHITE) * scale).astype(scale.dtype)
    shown = rgb(as_pixels(x, {"x": x}, key="x"))[::8, ::8]  # eight times as large
    cells = shown.reshape(2, 9, 2, 9, 3).swapaxes(1, 2)
    for place, colour in enumerate((RED, GREEN, BLACK, WHITE)):
        cell = cells[place // 2, place % 2]
        assert (cell[:8, :8] == colour).all() and (cell[8:] == 255).all() and (cell[:, 8:] == 255).all()
    grid = rgb(as_pixels(x[[[0, 1, 2]]], {"x": x}, side=9 * 3 * 5, key="grid"))  # 1 x 3, five times as large, on a square
    assert grid.shape == (135, 135, 3) and (grid[45:] == 255).all()
    row = grid[:45].reshape(45, 3, 45, 3)[:40, :, :40]
    assert all((row[:, place] == colour).all() for place, colour in enumerate((RED, GREEN, BLACK)))


def test_a_picture_in_colour_is_near_and_small():
    x = scenes(36)
    pixels = as_pixels(x, {"x": x}, key="x")
    assert pixels is not None and len(pixels[1]) <= 64 and pixels[1][0] == WHITE
    shown = rgb(pixels).reshape(6, 33, 6, 33, 3).swapaxes(1, 2)[:, :, :32, :32].reshape(36, 32, 32, 3)
    error = shown / 255 - np.moveaxis(x, 1, -1)
    lattice = (np.floor(4 * x.clip(0, 0.999)) + 0.5) / 4  # 64 colours that know nothing of the picture
    assert (error**2).mean() < 0.95 * ((lattice - x) ** 2).mean()
    large = as_pixels(scenes(36, 64), {"x": scenes(1, 64)}, key="x")
    assert rgb(large).shape == (3 * 65, 3 * 65, 3)  # fewer of them


def test_one_channel_is_ink_and_three_are_light():
    one, three = np.ones((4, 1, 8, 8)), np.ones((4, 3, 8, 8))
    assert (rgb(as_pixels(one, {"x": one}, key="x"))[:8, :8] == 0).all()
    assert (rgb(as_pixels(three, {"x": three}, key="x"))[:8, :8] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_whole_numbers_are_shown_on_the_scale_of_the_data(channels):
    bright = np.full((4, channels, 8, 8), 255, np.uint8)
    dark = bright // 5
    shown = rgb(as_pixels(dark, {"x": bright}, key="x"))[0, 0]
    assert shown.tolist() == [51 if channels == 3 else 255 - 51] * 3
    # Means from 0 to 1 beside them are already on theirs.
    mean = (dark / 255).astype(np.float16)
    assert rgb(as_pixels(mean, {"x": bright}, key="mean"))[0, 0].tolist() == shown.tolist()
    assert rgb(as_pixels(bright, {"x": 0 * bright}, key="x"))[0, 0].tolist() == [255 if channels == 3 else 0] * 3


def test_a_picture_of_what_is_not_finite_is_dark():
    x = scenes(4, 8)
    x[0], x[1], x[2] = np.nan, np.inf, -np.inf
    shown = rgb(as_pixels(x, {"x": x}, key="x"))[::8, ::8]
    assert (shown[:8, :8] == 0).all() and (shown[:8, 9:17] == 0).all() and shown[9:17, 9:17].std() > 10


def colour_run(root, write, **what):
    folder = write(root, "vae", 90.0, metric="neg_elbo_nats", arrays=False, **what)
    seeds = folder.manifest().seeds
    n = len(seeds)
    draws = np.rint(255 * scenes(n * 16, 8)).astype(np.uint8).reshape(n, 16, 3, 8, 8)
    folder.save_arrays("samples", seeds, {"x": draws, "mean": (draws / 255).astype(np.float16)})
    folder.save_arrays("traversals", seeds, {"grid": draws.reshape(n, 4, 4, 3, 8, 8) / 255})
    folder.save_arrays("canvas", seeds, {"mean": draws.reshape(n, 4, 4, 3, 8, 8) / 255})
    folder.save_reference({"x": draws[0]})
    return folder


def test_a_run_in_colour_shows_in_colour_everywhere(tmp_path, write):
    folder = colour_run(tmp_path / "runs", write, seeds=2)
    run = StoredRun.read(folder.path)
    page = render(compose([run]))
    found = [
        Image.open(io.BytesIO(base64.b64decode(one))) for one in re.findall(r'src="data:image/[a-z]+;base64,([^"]+)"', page)
    ]
    assert len(found) == 1 + 2 + 2 + 1 + 2  # data, samples, means, traversals, the canvas still and moving
    assert all(np.asarray(one.convert("RGB")).std(-1).max() > 20 for one in found)
    tiles = run_tiles(run, chosen_seeds(run, "neg_elbo_nats"))
    assert {kind for kind, _ in tiles} == {"samples", "samples, mean", "traversals"} and ("samples", "data") in tiles
    assert all(tile.std(-1).max() > 20 for tile in tiles.values())
    assert {p.name for p in draw_figures(folder)} == {"samples.png", "curves.png", "canvas.png", "canvas.gif"}


# ------------------------------------------------------------------------------------------------- what is not a picture

BITS, REALS = np.arange(6400).reshape(64, 100) % 2, np.linspace(0, 1, 6400).reshape(64, 100)
UNKNOWN_ARRAYS = {
    "tokens of a square number": ("tokens", BITS, {"tokens": BITS}),
    "tokens under another key": ("x", BITS, {"tokens": BITS}),
    "whole numbers beside nothing": ("x", BITS, {"labels": BITS[0]}),
    "a table": ("x", REALS, {"x": REALS}),
    "a table's means": ("mean", REALS, {"x": REALS}),
    "an unknown key of images": ("scores", BITS.reshape(64, 1, 10, 10), {"x": BITS.reshape(64, 1, 10, 10)}),
    "an unknown key of points": ("scores", REALS[:, :2], {"x": REALS[:, :2]}),
    "square beside points": ("x", BITS.reshape(64, 1, 10, 10), {"x": REALS[:, :2]}),
    "a grid beside points": ("grid", REALS.reshape(8, 8, 1, 10, 10), {"x": REALS[:, :2]}),
    "a grid beside tokens": ("grid", REALS.reshape(8, 8, 1, 10, 10), {"tokens": BITS}),
    "means of another size": ("mean", REALS.reshape(64, 1, 10, 10)[..., :9, :9], {"x": BITS.reshape(64, 1, 10, 10)}),
    "a grid of another size": ("grid", REALS.reshape(8, 8, 1, 5, 20), {"x": BITS.reshape(64, 1, 10, 10)}),
    "two channels": ("x", REALS.reshape(32, 2, 10, 10), {"x": REALS.reshape(32, 2, 10, 10)}),
    "none at all": ("x", BITS.reshape(64, 1, 10, 10)[:0], {"x": BITS.reshape(64, 1, 10, 10)}),
    "one number each": ("mean", REALS[:, 0], {"x": BITS}),
    "codes of three axes": ("z", REALS[:, :3], {"x": BITS}),
}


@pytest.mark.parametrize("name", UNKNOWN_ARRAYS)
def test_what_is_not_known_is_not_a_picture(name):
    key, array, reference = UNKNOWN_ARRAYS[name]
    assert as_pixels(array, reference, key=key) is None


@pytest.mark.parametrize("name", [name for name, (key, _, _) in UNKNOWN_ARRAYS.items() if key != "tokens"])
def test_a_run_passes_over_what_it_does_not_know(name, tmp_path, write):
    key, array, reference = UNKNOWN_ARRAYS[name]
    folder = write(tmp_path, "vae", 90.0, metric="neg_elbo_nats", arrays=False, seeds=2)
    folder.save_arrays("samples", [0, 1], {key: np.stack([array] * 2)})
    folder.save_reference(reference)
    run = StoredRun.read(folder.path)
    assert run_strips(run, "rings", "neg_elbo_nats") == [] or key == "z"
    assert run_tiles(run, {0: "seed 0"}) == {}


def strips_of(folder):
    strips = run_strips(StoredRun.read(folder.path), "digits", "neg_elbo_nats")
    return [(strip.kind, [picture.uri for picture in strip.pictures]) for strip in strips]


@pytest.mark.parametrize("sides", [(10, 10), (6, 20)])
def test_pictures_of_older_runs_are_those_of_today(sides, tmp_path, write):
    """Grey ones had no channel, square ones of whole numbers no sides; a run that was continued has some of either kind."""
    g = np.random.default_rng(0)
    grey = lambda array: array[..., 0, :, :]
    flat = (lambda array: array.reshape(*array.shape[:-3], -1)) if sides[0] == sides[1] else grey
    stored = {
        ("samples", "x"): g.integers(0, 2, (4, 16, 1, *sides), np.uint8),
        ("samples", "mean"): g.random((4, 16, 1, *sides)),
        ("reconstructions", "mean"): g.random((4, 16, 1, *sides)),
        ("canvas", "mean"): g.random((4, 3, 2, 1, *sides)),
    }
    grid, x = g.random((4, 8, 8, 1, *sides)), g.integers(0, 2, (16, 1, *sides), np.uint8)
    found = []
    for how in ("new", "old", "mixed"):
        folder = write(tmp_path / how, "vae", 90.0, metric="neg_elbo_nats", arrays=False, seeds=4)
        manifest = folder.manifest()
        data = manifest.data | ({"shape": [1, *sides]} if how == "new" else {})
        rows = folder.rows()
        replace(manifest, data=data, groups=[[0, 1], [2, 3]]).write(folder.path)
        for seeds in ([0, 1], [2, 3]):
            folder.table(seeds).append([row for row in rows if row.seed in seeds])
            old = how == "old" or (how == "mixed" and seeds == [0, 1])
            lay = flat if old else lambda array: array
            for name in ("samples", "reconstructions", "canvas"):
                arrays = {key: lay(array[seeds]) for (of, key), array in stored.items() if of == name}
                folder.save_arrays(name, seeds, arrays)
            folder.save_arrays("traversals", seeds, {"grid": grey(grid[seeds]) if old else grid[seeds]})
        folder.save_reference({"x": x if how == "new" else flat(x)})
        found.append(strips_of(folder))
        assert StoredRun.read(folder.path).arrays("samples")["mean"].shape == (4, 16, 1, *sides)
    assert found[0] == found[1] == found[2] and len(found[0]) == 5


def test_vectors_of_today_are_no_pictures_whatever_their_length(tmp_path, write):
    folder = write(tmp_path, "vae", 90.0, metric="neg_elbo_nats", arrays=False, seeds=2)
    manifest = folder.manifest()
    replace(manifest, data=manifest.data | {"shape": [100]}).write(folder.path)
    folder.save_arrays("samples", [0, 1], {"x": np.stack([BITS] * 2)})
    folder.save_reference({"x": BITS})
    assert run_strips(StoredRun.read(folder.path), "rings", "neg_elbo_nats") == []


def test_latents_that_were_not_walked_are_not_spoken_of(tmp_path, write):
    folder = write(tmp_path / "runs", "bits", 90.0, metric="neg_elbo_nats", arrays=False)
    seeds, g = folder.manifest().seeds, np.random.default_rng(0)
    folder.save_arrays("samples", seeds, {"x": g.integers(0, 2, (len(seeds), 16, 100))})
    folder.save_reference({"x": g.integers(0, 2, (16, 100))})
    strips = run_strips(StoredRun.read(folder.path), "rings", "neg_elbo_nats")
    assert [strip.kind for strip in strips] == ["samples"]
    page = render(compose([StoredRun.read(folder.path)]))
    assert not re.search(
        "latents|traversals|interpolations|Densities", page.split('id="pictures"')[1].split("</section>")[0]
    )


@pytest.mark.parametrize("chains", [True, False])
def test_pictures_stand_in_rows(chains, tmp_path, write):
    folder = write(tmp_path / "runs", "bits", 90.0, metric="neg_elbo_nats", arrays=False, seeds=2)
    rows = [replace(row, metric="encoder_loss_nats") for row in folder.rows() if row.split == "valid"]
    folder.table([0, 1]).append(rows)
    manifest = folder.manifest()
    replace(manifest, data=manifest.data | {"shape": [1, 8, 8]}).write(folder.path)
    # Each row is of one grey of its own, darker where the seed is 1: data 1, then 0.2, 0.4 and 0.6.
    grey = lambda value, n: np.stack([np.full((n, 1, 8, 8), value), np.full((n, 1, 8, 8), value + 0.2)])
    folder.save_arrays("reconstructions", [0, 1], {"mean": grey(0.2, 16)})
    folder.save_arrays("samples", [0, 1], {"x": np.ones((2, 16, 1, 8, 8), np.uint8), "mean": grey(0.4, 16)})
    if chains:
        folder.save_arrays("chain", [0, 1], {"x": np.ones((2, 10, 1, 8, 8), np.uint8), "mean": grey(0.6, 10)})
    folder.save_reference({"x": np.full((16, 1, 8, 8), 7, np.uint8)})  # levels up to 7
    run = StoredRun.read(folder.path)
    names = ("data", "reconstruction", "random code", "persistent chain")[: 3 + chains]
    for seed in (0, 1):
        found = rows_of(run, seed)
        assert found is not None and found.names == names
        shown = rgb(found.pixels)[::3, ::3, 0]  # three times as large
        assert shown.shape == (9 * len(names), 90)
        cells = shown.reshape(len(names), 9, 10, 9).swapaxes(1, 2)
        assert (cells[..., 8, :] == 255).all() and (cells[..., 8] == 255).all()
        assert (cells[..., :8, :8] == cells[:, :1, :1, :1].reshape(-1, 1, 1, 1)).all()
        darkness = 1 - cells[:, 0, 0, 0] / 255
        assert darkness == pytest.approx([1.0, *(value + 0.2 * seed for value in (0.2, 0.4, 0.6)[: 2 + chains])])
    strips = run_strips(run, "digits", "neg_elbo_nats")
    assert [strip.kind for strip in strips] == ["samples", "samples, mean", "reconstructions, mean", strips[-1].kind]
    assert strips[-1].says == f"{' / '.join(names)}, from the top" and len(strips[-1].pictures) == 2
    assert strips[-1].says in render(compose([run]))
    with house_style():
        figure = rows_figure(run)
    assert figure is not None and [text.get_text() for text in figure.axes[0].texts] == list(names)
    plates = pictures_plates(compose([run]).families)
    assert len(plates["rows"].axes) == 1 and not any(name.startswith("chain") for name in plates)
    assert "rows.png" in [path.name for path in draw_figures(folder)]


def test_models_without_an_encoder_that_plays_have_no_rows(tmp_path, write):
    folder = write(tmp_path, "vae", 90.0, metric="neg_elbo_nats", arrays=False, seeds=2)
    folder.save_arrays("reconstructions", [0, 1], {"mean": np.ones((2, 16, 1, 8, 8))})
    folder.save_reference({"x": np.ones((16, 1, 8, 8), np.uint8)})
    run = StoredRun.read(folder.path)
    assert rows_of(run, 0) is None and rows_figure(run) is None


# ------------------------------------------------------------------------------------------------------------------- texts

EVIL = "<img src=x onerror=alert(1)>&amp;</samp><script>"
LETTERS_OF = sorted({*"\nthe cat sat.", *EVIL})


def test_tokens_are_spelled():
    letters, words = np.array(["a", "b", " ", "\n"]), np.array(["a", "dog", "<unk>"])
    assert spelled(np.array([[0, 2, 1, 3], [1, 1, 0, 0]]), letters) == ["a b\n", "bbaa"]
    assert spelled(np.array([[0, 1, 2]], np.uint8), words) == ["a dog <unk>"]
    assert spelled(np.array([[10, -1]]), None) == ["10 -1"]
    assert spelled(np.array([[0, 4, -2]]), letters) == [f"a{UNKNOWN}{UNKNOWN}"]  # not the last letter
    assert spelled(np.array([[1, 3]]), words) == [f"dog {UNKNOWN}"]
    broken = np.array(["\0", "\x1b", "\r", "\t", "\ud800", "\u00e9", "\x7f"])
    text = spelled(np.arange(7)[None], broken)[0]
    assert text == f"{UNKNOWN}\u241b\u240d\t{UNKNOWN}\u00e9{UNKNOWN}" and text.encode()


def test_an_excerpt_says_that_there_is_more():
    assert excerpt("a\nb") == "a\nb" and excerpt("x" * LETTERS) == "x" * LETTERS
    assert excerpt("x" * (LETTERS + 1)) == "x" * LETTERS + MORE
    numbers = " ".join(["123456"] * 200)
    assert numbers.startswith(excerpt(numbers).removesuffix(MORE) + " ") and len(excerpt(numbers)) > LETTERS - 10
    lines = "\n".join("abcdefghijklm")
    assert excerpt(lines) == "\n".join("abcdefghijklm"[:LINES]) + MORE


def token_run(root, write, *, vocabulary=LETTERS_OF, **what):
    """Samples say which seed's they are; the data's say so."""
    folder = write(root, "gru", 1.5, metric="nll_nats", arrays=False, **what)
    seeds = folder.manifest().seeds
    code = {letter: index for index, letter in enumerate(vocabulary)}
    write_in = lambda text: [code[letter] for letter in text.ljust(100, ".")]
    lines = np.array([[write_in("s" * seed + "\n" + EVIL)] + [write_in("the cat")] * 63 for seed in seeds])
    folder.save_arrays("samples", seeds, {"tokens": lines})
    folder.save_reference({"tokens": np.array([write_in("cat\nsat " + EVIL)] * 5), "vocabulary": np.array(vocabulary)})
    return folder


def test_token_sequences_are_text_and_never_a_picture(tmp_path, write):
    folder = token_run(tmp_path / "runs", write, lost=(4,))
    run = StoredRun.read(folder.path)
    (strip,) = run_strips(run, "rings", "nll_nats")
    chosen = chosen_seeds(run, "nll_nats")
    assert strip.pictures == [] and [p.note for p in strip.passages] == list(chosen.values()) and len(chosen) == 4
    for seed, found in zip(chosen, strip.passages, strict=True):
        assert [text.rstrip(".") for text in found.samples] == ["s" * seed + "\n" + EVIL, "the cat", "the cat"]
    (beside,) = data_strips(run, "rings")
    assert [p.samples[0].rstrip(".") for p in beside.passages] == ["cat\nsat " + EVIL] * 4
    page = render(compose([run]))
    assert "<img" not in page and "onerror=alert(1)&gt;&amp;amp;&lt;/samp&gt;&lt;script&gt;" in page
    assert len(re.findall('<samp dir="auto">', page)) == 4 + 4 * 3 and "held-out examples" in page
    assert samples_figure(run) is None and pictures_plates(compose([run]).families) == {}


def test_tokens_without_a_vocabulary_are_numbers(tmp_path, write):
    folder = token_run(tmp_path / "runs", write)
    tokens = folder.reference()["tokens"]
    folder.save_reference({"tokens": tokens})
    (beside,) = data_strips(StoredRun.read(folder.path), "rings")
    assert beside.passages[0].samples[0].startswith(" ".join(map(str, tokens[0, :20])))
    folder.save_arrays("samples", range(6), {"tokens": np.zeros((6, 64, 100))})  # real ones are none
    assert run_strips(StoredRun.read(folder.path), "rings", "nll_nats") == []


# ----------------------------------------------------------------------------------------------------------------- sampling


class Drawn:
    """A run whose draws are given."""

    seeds = path = None  # no properties, as those of a run

    def __init__(self, path, draws):
        self.path, self.draws, self.seeds = path, draws, list(range(len(draws)))
        self.manifest = SimpleNamespace(data={"domain": "real"}, hash="0", experiment="gru")

    def sample(self, count, seed=None):
        return self.draws[:, :count] if seed is None else self.draws[seed, :count]


@pytest.fixture
def drawn(tmp_path, write, monkeypatch):
    torch = pytest.importorskip("torch")
    import_module("seedbed.runs.warm_start")  # first imported below, it would keep what stands for `load` here for good
    kind = type("Drawn", (Drawn, import_module("seedbed.runs.load").Run), {})
    folder = token_run(tmp_path / "runs", write)

    def run(array):
        draws = torch.as_tensor(array)
        monkeypatch.setattr("seedbed.runs.load.load", lambda path, experiment: kind(folder.path, draws))
        return folder

    return run


def test_draws_of_tokens_are_saved_whole_and_the_first_is_printed(drawn, call):
    stored = drawn(np.zeros((6, 1, 1), int)).arrays("samples")["tokens"].astype(np.int64)
    folder = drawn(stored)
    code, out, _ = call("sample", folder.path, "-n", "5", "--out", "draws.npz")
    assert code == 0 and f"the first of seed 0:\n\n{EVIL}." in out
    with np.load("draws.npz") as file:
        assert (
            file["x"].dtype == np.int64
            and np.array_equal(file["x"], stored[:, :5])
            and file["seeds"].tolist() == [*range(6)]
        )
    _, out, _ = call("sample", folder.path, "-n", "5", "--seed", "3", "--out", "draws.npz")
    assert "the first of seed 3:\nsss\n" in out
    with np.load("draws.npz") as file:
        assert np.array_equal(file["x"], stored[3:4, :5]) and file["seeds"].tolist() == [3]


@pytest.mark.parametrize("real", [np.zeros((6, 4, 2), np.float32), np.zeros((6, 4, 1, 8, 8), np.uint8)])
def test_draws_that_are_no_tokens_are_not_printed(real, drawn, call):
    folder = drawn(real)
    code, out, _ = call("sample", folder.path, "-n", "4", "--out", "draws.npz")
    assert code == 0 and len(out.splitlines()) == 1
    with np.load("draws.npz") as file:
        assert file["x"].dtype == real.dtype and file["x"].shape == real.shape


def test_a_damaged_vocabulary_is_one_line(drawn, call):
    folder = drawn(np.zeros((6, 4, 10), np.int64))
    (folder.path / "artefacts" / "reference.npz").write_bytes(b"torn")
    code, _, err = call("sample", folder.path, "-n", "4", "--out", "draws.npz")
    assert code == 2 and "are damaged" in err and "Traceback" not in err
    with pytest.raises(SeedbedError, match="are damaged"):
        StoredRun.read(folder.path).arrays("reference")

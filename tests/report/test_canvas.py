"""A canvas over time: the strip, the animation and the boxes, against the filters and canvases they are made from."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.core.domain import BINARY
from seedbed.core.noise import Streams
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.pictures.images import image_artefacts, image_reference
from seedbed.models.draw import DRAW, filterbank
from seedbed.report.canvas import BOX, IMAGE_SIDE, Strokes, corners, frames, moving_gif, stored_painting, strip, tiles
from seedbed.report.document import compose
from seedbed.report.figures import draw_figures
from seedbed.report.html import render
from seedbed.report.pictures import best_seed, run_strips
from seedbed.report.stored import StoredRun

SIDE, STROKES, IMAGES = 8, 3, 2
TIMES = IMAGE_SIDE // SIDE


def painting(column=3.0, row=4.0, stride=1.5, scale=0.01, filters=3) -> Strokes:
    """A dark canvas without ink, and the same window everywhere."""
    window = np.broadcast_to(np.array([column, row, stride, scale, 1.0]), (STROKES, IMAGES, 5))
    return Strokes(np.zeros((STROKES, IMAGES, 1, SIDE, SIDE)), window, filters)


def boxed(tile: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(tile == BOX)
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_a_box_has_its_corners_at_the_outermost_filters():
    window = np.array([[3.0, 4.0, 1.5, 0.1, 1.0], [3.5, 2.5, 1.0, 0.2, 2.0]])
    for filters in (1, 2, 3, 4):
        # Narrow filters wholly inside the image: a filter's mean pixel is its centre.
        x, y, stride, scale = (torch.as_tensor(window[:, i]) for i in range(4))
        pixels = torch.arange(8 * 100, dtype=torch.float64) / 100
        columns, rows = (filterbank(100 * at, 100 * stride, 100 * scale, filters, 800) @ pixels for at in (x, y))
        truth = torch.stack([columns[:, 0], rows[:, 0], columns[:, -1], rows[:, -1]], -1)
        assert np.allclose(corners(window, filters), truth.numpy(), atol=1e-3), filters
    # Drawn: the middle of pixel a is at (a + 1/2) dots of TIMES.
    drawn = boxed(tiles(painting())[0, 0])
    truth = (np.array([1.5, 2.5, 4.5, 5.5]) + 0.5) * TIMES - 0.5
    assert np.abs(np.array(drawn) - truth).max() <= 0.5


def test_a_box_is_as_thick_as_its_scale_and_stays_on_its_image():
    for scale, thick in ((0.0, 1), (0.3, 3), (0.6, 6), (50.0, TIMES)):
        tile = tiles(painting(scale=scale))[0, 0]
        assert (tile[round(4.5 * TIMES)] == BOX).sum() == 2 * thick, scale
    assert not (tiles(painting(column=1e9, row=-1e9)) == BOX).any() and not (tiles(painting(column=np.nan)) == BOX).any()
    around = painting(column=3.5, row=3.5, stride=1e6, scale=1e6)
    assert not (tiles(around) == BOX).any()
    half = tiles(painting(column=7.0))[0, 0] == BOX  # its right side lies beyond
    assert half[:, round(6.0 * TIMES)].sum() > TIMES and not half[:, -1].all()
    assert not (tiles(Strokes(painting().means)) == BOX).any()


def test_the_strip_and_the_animation_hold_every_stroke():
    means = np.random.default_rng(0).random((STROKES, IMAGES, 1, SIDE, SIDE))
    shown, _ = strip(Strokes(means))
    grey = np.rint(means * 15)
    for stroke in range(STROKES):
        for image in range(IMAGES):
            corner = 15 + image * (SIDE * TIMES + 3), stroke * (SIDE * TIMES + 3)
            found = shown[corner[0] :, corner[1] :][: SIDE * TIMES : TIMES, : SIDE * TIMES : TIMES]
            assert np.array_equal(found, grey[stroke, image, 0])
    for canvas in (means, np.zeros_like(means), np.full_like(means, np.nan)):  # one that never changes, one that diverged
        moving = Image.open(io.BytesIO(moving_gif(Strokes(canvas))))
        assert moving.format == "GIF" and moving.n_frames == STROKES
        for index, (pixels, palette) in enumerate(frames(Strokes(canvas))):
            moving.seek(index)
            assert np.array_equal(np.asarray(moving.convert("RGB")), np.array(palette)[pixels])
            assert moving.info["duration"] == (2000 if index == STROKES - 1 else 250)
    many, _ = strip(Strokes(np.zeros((64, 1, 1, SIDE, SIDE))))
    assert many.shape[1] == 12 * (SIDE * TIMES + 3) - 3


@pytest.mark.parametrize("attention", [True, False])
def test_a_run_shows_its_canvas(attention, tmp_path, write):
    streams = [Streams(0), Streams(1)]
    windows = {"read": 2, "write": 3} if attention else {}
    models = []
    for one in streams:
        with one.scoped("init"):
            models.append(DRAW((1, SIDE, SIDE), 2, STROKES, 8, **windows))
    noise = torch.rand(3, 40, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).round()
    splits = dict(zip(("train", "valid", "test"), noise, strict=True))
    data = Dataset(name="noise", domain=BINARY, protocol="noise", splits=splits)
    folder = write(tmp_path, "draw", seeds=2, metric="neg_elbo_nats", arrays=False)
    for name, arrays in image_artefacts(data)(Stack.of(models, streams)).items():
        folder.save_arrays(name, [0, 1], arrays)
    folder.save_reference(image_reference(data))
    canvas, windows = folder.arrays("canvas")["mean"], folder.arrays("windows")
    assert canvas.shape == (2, STROKES, 6, 1, SIDE, SIDE)
    # The same noise: the last canvas is the mean that the samples were drawn from, and another before.
    means = folder.arrays("samples")["mean"][:, :6]
    assert np.array_equal(canvas[:, -1], means) and not np.array_equal(canvas[:, 0], means)
    run = StoredRun.read(folder.path)
    best = best_seed(run, "neg_elbo_nats")
    assert best is not None
    found = stored_painting(run, best)
    assert found is not None and found.means.shape == (STROKES, 6, 1, 8, 8)
    if not attention:
        assert windows == {} and found.windows is None
    else:
        assert windows["read"].shape == windows["write"].shape == (2, STROKES, 6, 5)
        assert windows["filters"].tolist() == [[2, 3]] * 2 and found.filters == 3
        assert found.windows is not None and np.array_equal(found.windows, windows["write"][best])
    paths = {p.name: p for p in draw_figures(folder)}
    with Image.open(paths["canvas.gif"]) as moving, Image.open(paths["canvas.png"]) as still:
        assert moving.n_frames == STROKES and still.size[0] > 2 * IMAGE_SIDE
    last = run_strips(run, "digits", "neg_elbo_nats")[-1]
    assert last.says == f"its canvas at its best (seed {best})" and [p.moves for p in last.pictures] == [False, True]
    assert ("Boxes" in last.pictures[0].note) == attention
    page = render(compose([run]))
    (gif,) = re.findall(r'<details><summary>[^<]*</summary><img src="data:image/gif;base64,([^"]+)"', page)
    assert base64.b64decode(gif) == paths["canvas.gif"].read_bytes()


def test_a_canvas_in_colour_keeps_its_colours_and_its_boxes():
    light = np.random.default_rng(0).integers(0, 2, (STROKES, IMAGES, 3, 1, 1)).astype(float)
    plain = Strokes(light.repeat(SIDE, 3).repeat(SIDE, 4))
    shown, palette = strip(plain)
    assert len(palette) <= 64
    for stroke in range(STROKES):
        for image in range(IMAGES):
            corner = 15 + image * (SIDE * TIMES + 3), stroke * (SIDE * TIMES + 3)
            found = np.array(palette)[shown[corner[0] :, corner[1] :][: SIDE * TIMES, : SIDE * TIMES]]
            assert (found == 255 * light[stroke, image, :, 0, 0]).all()
    boxed_too = Strokes(plain.means, painting().windows, 3)
    assert np.array_equal(tiles(boxed_too) == BOX, tiles(painting()) == BOX)  # boxes lie where they do on grey
    moving = Image.open(io.BytesIO(moving_gif(boxed_too)))
    for index, (pixels, colours) in enumerate(frames(boxed_too)):
        moving.seek(index)
        assert colours[BOX] == (214, 39, 40) and np.array_equal(np.asarray(moving.convert("RGB")), np.array(colours)[pixels])


def test_a_canvas_has_the_shape_of_the_data_or_none(tmp_path, write):
    folder = write(tmp_path, "draw", seeds=2, arrays=False)
    means = np.random.default_rng(0).random((2, STROKES, IMAGES, 1, 6, 20))
    folder.save_arrays("canvas", [0, 1], {"mean": means})
    for shape, whole in (((1, 6, 20), True), ((6, 20), True), ((3, 6, 20), False), ((1, 6, 21), False), ((120,), False)):
        folder.save_reference({"x": np.zeros((4, *shape), np.uint8)})
        found = stored_painting(StoredRun.read(folder.path), 1)
        assert (found is not None) == whole, shape
        assert found is None or np.array_equal(found.means, means[1])

"""The page and the files beside it, on made-up runs."""

import base64
import csv
import hashlib
import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from seedbed.core.errors import SeedbedError
from seedbed.report import figures
from seedbed.report.charts import curves_chart
from seedbed.report.convergence_table import threshold_of
from seedbed.report.curves import Scale, curves, value_scale
from seedbed.report.document import compose
from seedbed.report.figures import curves_figure, draw_figures
from seedbed.report.files import write_report
from seedbed.report.html import render
from seedbed.report.pictures import as_pixels, chosen_seeds, run_strips
from seedbed.report.pixels import as_image
from seedbed.report.stored import StoredRun
from seedbed.report.svg import svg
from seedbed.report.tables import Table
from seedbed.report.variance import found_arms
from seedbed.report.words import CROSS, NONE
from seedbed.store.locks import Busy
from seedbed.store.table import Row

EVIL = "<img src=x onerror=alert(1)>\"'&</script><b>$x_{$"


class Page(HTMLParser):
    """What a page is made of: tags in balance, attributes, visible text."""

    VOID = ("meta", "link", "input", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if "style" not in self.open and "script" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag, key):
        return [attrs[key] for name, attrs in self.tags if name == tag and key in attrs]


def read(root):
    return [StoredRun.read(path.parent) for path in sorted(root.rglob("run.json"))]


def page_of(root, **options):
    text = render(compose(read(root), **options))
    return text, Page(text)


# ------------------------------------------------------------------------------------------------------------------- content


def test_a_study_in_one_page(study):
    text, page = page_of(study)
    assert "spline-flow is best on rings" in page.text and "spline-flow beats flow on rings: 6 of 6 seeds" in page.text
    assert "flow diverged at 1 (seed 2)" in page.text and f"{CROSS} 300" in page.text
    assert "Unfinished" not in page.text
    for part in ("verdicts", "numbers", "curves", "convergence", "pictures", "seeds", "settings", "reproduce"):
        assert f'id="{part}"' in text
    assert "seedbed run toy/rings/flow -n 6" in page.text and "sha256" in page.text and "2.13.0" in page.text
    for word in ("min", "max", "last", "first", "exceeds", "steps to", "seconds to", "area", "plateau", "collapsed"):
        assert word in page.text
    assert len(page.all("svg", "data-axis")) == 4  # two data sets, on steps and on time
    assert text.count('class="seed') == 2 * 2 * 4 * 6
    assert len(page.all("img", "src")) == 2 * (2 + 4 * 2 * 3) + 2  # data, three seeds of each model, the diverged one


def test_every_picture_is_described(study):
    _, page = page_of(study)
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    charts = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("class") != "plot"]  # that lies within one
    assert charts and all(attrs.get("aria-label") for attrs in charts)
    assert page.all("html", "lang") == ["en"] and page.all("meta", "name") == ["viewport"]


def test_a_page_loads_nothing(study):
    text, page = page_of(study)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    assert all(src.startswith("data:image/png;base64,") for src in page.all("img", "src"))
    assert all(href.startswith(("#", "data:")) for href in page.all("a", "href") + page.all("link", "href"))
    assert page.all("script", "src") == []
    policy = next(v for v in page.all("meta", "content") if "default-src" in v)
    script = re.search(r"<script>(.*)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"'sha256-{digest}'" in policy


def test_links_lead_somewhere(study, tmp_path):
    report = compose(read(study))
    path = tmp_path / "out" / "page.html"
    written = write_report(report, path)
    page = Page(path.read_text(encoding="utf-8"))
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = page.all("a", "href")
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    files = {(path.parent / link).resolve() for link in links if not link.startswith("#")}
    assert files == {p.resolve() for p in written[1:]} and all(p.stat().st_size for p in files)
    assert {p.parent.name for p in files} == {"page-figures", "page-tables"}
    labels = [attrs["for"] for tag, attrs in page.tags if tag == "label"] + page.all("table", "aria-describedby")
    assert set(labels) <= ids and len(ids) == len([1 for _, attrs in page.tags if "id" in attrs])


def test_names_cannot_become_markup(tmp_path, write):
    write(tmp_path, "vae", 0.3, experiment=f"toy/rings/{EVIL}", config={"note": EVIL})
    write(tmp_path, "flow", 0.1, protocol=f"{EVIL}", experiment=f"toy/{EVIL}/x")
    text, page = page_of(tmp_path)
    write_report(compose(read(tmp_path)), tmp_path / "page.html")  # figures and tables take such names as well
    assert EVIL in page.text
    assert "<img src=x" not in text and "<b>" not in text
    assert [tag for tag, attrs in page.tags if any(key.startswith("on") for key in attrs)] == []
    assert text.count("</script>") == 1


def test_unfinished_runs_say_so(tmp_path, write):
    write(tmp_path, "vae", 0.3)
    write(tmp_path, "flow", 0.1, upto=0.4)
    text, page = page_of(tmp_path)
    assert "Unfinished: 1 of 2 runs is done." in page.text and "No test number yet: flow." in page.text
    assert "0 of 6 done" in page.text and "40 % done" in page.text
    assert 'http-equiv="refresh"' not in text
    assert 'http-equiv="refresh" content="30"' in render(compose(read(tmp_path)), refresh=30.0)


@pytest.mark.parametrize("upto", [0.0, 0.05, 0.3])
def test_a_run_with_hardly_a_row_has_a_page(tmp_path, write, upto):
    write(tmp_path, "flow", 0.1, upto=upto)
    report = compose(read(tmp_path))
    paths = write_report(report, tmp_path / "page.html")
    page = Page(paths[0].read_text(encoding="utf-8"))
    assert "No run on rings has a test number yet." in page.text and "Unfinished" in page.text
    assert ("min" in page.text) == (upto > 0)


def test_a_run_that_lost_every_seed(tmp_path, write):
    write(tmp_path, "vae", 0.3, lost=(0, 1), worse=(2, 3, 4, 5))
    write(tmp_path, "flow", 0.1)
    _, page = page_of(tmp_path)
    assert "6 (4 worse than baseline)" in page.text and "flow beats vae on rings: 6 of 6 seeds, no finite pair" in page.text


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds(tmp_path, write, seeds):
    write(tmp_path, "vae", 0.3, seeds=seeds)
    write(tmp_path, "flow", 0.1, seeds=seeds)
    _, page = page_of(tmp_path)
    assert "too few shared seeds for a verdict on vae" in page.text and ("[one seed]" in page.text) == (seeds == 1)


def test_a_metric_that_is_better_when_higher(tmp_path, write):
    write(tmp_path, "vae", 0.3, metric="coverage")
    write(tmp_path, "flow", 0.1, metric="coverage")
    report = compose(read(tmp_path))
    assert report.families[0].ranked[0].label == "vae"
    table = {row["quantity"]: row for row in report.tables["convergence"].raw if row["model"] == "vae"}
    assert table["min"]["mean"] < table["max"]["mean"] and table["last"]["mean"] == pytest.approx(0.3, rel=0.1)
    assert table["min"]["low"] <= table["min"]["mean"] <= table["min"]["high"]


def test_arms_of_a_variance_study_are_answered_in_a_sentence(tmp_path, write):
    for vary, spread in (("init", 0.03), ("order", 0.01), ("noise", 0.01), ("all", 0.04)):
        write(tmp_path, f"vae-{vary}", 0.3, config={"vary": vary}, spread=spread, seeds=10)
    report = compose(read(tmp_path))
    assert len(report.sentences) == 1 and report.sentences[0].startswith("For vae on rings, initialisation makes ")
    assert {row["source"] for row in report.tables["variance"].raw} == {"init", "order", "noise", "together"}
    assert "across" not in report.tables  # arms are no data sets


def test_each_arm_of_a_variance_study_has_the_share_of_its_own_seeds(tmp_path, write):
    spreads = {"init": 0.05, "order": 0.01, "noise": 0.02, "data": 0.03, "all": 0.04}
    runs = {
        v: StoredRun.read(write(tmp_path, f"vae-{v}", 0.3, config={"vary": v}, spread=s).path) for v, s in spreads.items()
    }
    variance = {vary: run.kept("gap_nats").var() for vary, run in runs.items()}
    whole = sum(variance[source] for source in ("init", "order", "noise", "data"))
    (arms,) = found_arms(list(runs.values()))
    assert {s: x.mean for s, x in arms.shares.shares.items()} == pytest.approx(
        {source: variance[source] / whole for source in ("init", "order", "noise", "data")}
    )
    assert arms.shares.together.mean == pytest.approx(variance["all"] / whole)


# -------------------------------------------------------------------------------------------------------------------- tables


TABLE = Table(
    "t", "A 100 % cost_of & more", ["data", "model", "x"], [["d", "a_b", "1"], ["d", "<c>|", NONE]], words=2, strong=[0]
)


def test_latex_is_balanced_and_escaped():
    text = TABLE.latex()
    assert text.count("\\begin{") == text.count("\\end{") == 2
    assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
    lines = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in lines] == [2, 2, 2]
    assert r"100 \% cost\_of \& more" in text and r"\textless{}c\textgreater{}\textbar{} & --" in text
    assert r"d & \textbf{a\_b}" not in text and r"\textbf{d} & \textbf{a\_b} & \textbf{1}" in text
    assert not re.search(r"(?<!\\)[%#]", text.split("\n", 1)[1])


def test_markdown_keeps_its_columns():
    lines = TABLE.markdown().splitlines()[2:]
    assert lines[1] == "| --- | --- | --: |"
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [4] * 4 and lines[3].startswith("|  | \\<c>\\| |")


def test_csv_holds_full_numbers(study, tmp_path):
    report = compose(read(study))
    for table in report.tables.values():
        rows = list(csv.DictReader(table.csv().splitlines()))
        assert len(rows) == len(table.raw) and all(None not in row and None not in row.values() for row in rows)
    mean = next(r["mean"] for r in csv.DictReader(report.tables["summary"].csv().splitlines()))
    assert len(mean) > 10


def test_a_column_that_says_nothing_goes():
    same = Table("t", "", ["data", "metric", "x"], [["d", "m", "1"], ["e", "", "2"]], words=2)
    assert same.without_constant("metric").head == ["data", "x"] and same.without_constant("x") is same


# ------------------------------------------------------------------------------------------------------- curves and pictures


def test_the_threshold_is_where_the_slowest_has_all_but_arrived(tmp_path, write):
    slow, fast = (curves(StoredRun.read(write(tmp_path, name, level).path)) for name, level in (("vae", 0.3), ("flow", 0.1)))
    assert slow is not None and fast is not None
    _, middle, _ = slow.band
    assert threshold_of([slow, fast]) == pytest.approx(middle[-1] + 0.05 * (middle[:5].mean() - middle[-1]))
    assert threshold_of([fast]) < threshold_of([slow, fast])


def test_curves_are_thinned_but_keep_their_ends(tmp_path, write):
    one = curves(StoredRun.read(write(tmp_path, "vae", points=500).path))
    assert one is not None and len(one.steps) == 500
    thin = one.thinned()
    assert len(thin.steps) == 150 and thin.steps[0] == one.steps[0] and thin.steps[-1] == one.steps[-1]


def test_a_band_ends_where_fewer_than_half_of_the_seeds_are_left(tmp_path, write):
    one = curves(StoredRun.read(write(tmp_path, "vae", lost=(0, 1, 2, 3)).path))
    assert one is not None
    assert one.x["step"][-1] == 300 and one.seed(5, "step")[0][-1] == 1000


def test_a_band_holds_the_middle_four_fifths_of_the_seeds(tmp_path, write):
    folder = write(tmp_path, "vae", seeds=21)
    values = np.array([[r.value for r in folder.rows() if r.seed == seed and r.split == "valid"] for seed in range(21)])
    one, ordered = curves(StoredRun.read(folder.path)), np.sort(values, axis=0)
    assert one is not None
    for edge, rank in zip(one.band, (2, 10, 18), strict=True):  # of 21, so that no quantile falls between two
        assert np.allclose(edge, ordered[rank])


def test_seconds_are_those_of_groups_and_not_of_seeds(tmp_path, write):
    folder = write(tmp_path, "vae", seeds=6)
    assert StoredRun.read(folder.path).seconds == 11.0  # six stacked seeds share one clock
    manifest, rows = folder.manifest(), folder.rows()
    replace(manifest, groups=[[0, 1], [2, 3, 4, 5]]).write(folder.path)
    for group in ([0, 1], [2, 3, 4, 5]):
        folder.table(group).append(replace(r, wall_s=r.wall_s * (1 + group[0])) for r in rows if r.seed in group)
    assert StoredRun.read(folder.path).seconds == 11.0 + 33.0


def test_an_axis_is_logarithmic_only_where_zero_means_something(tmp_path, write):
    gap = [curves(StoredRun.read(write(tmp_path, n, v).path)) for n, v in (("a", 0.01), ("b", 0.3))]
    nll = [
        curves(StoredRun.read(write(tmp_path / "nll", n, v, metric="nll_nats").path)) for n, v in (("a", 0.01), ("b", 0.3))
    ]
    assert value_scale([c for c in gap if c]).log and not value_scale([c for c in nll if c]).log


@pytest.mark.parametrize("scale", [Scale(0.02, 0.9, True), Scale(-0.3, 12.0, False), Scale(2.81, 2.83, False)])
def test_ticks_are_few_round_and_inside(scale):
    ticks = scale.ticks()
    assert 3 <= len(ticks) <= 8 and all(scale.low <= t <= scale.high for t in ticks)
    assert all(len(f"{abs(t):.6g}".replace(".", "").strip("0")) <= 4 for t in ticks)


def test_chosen_seeds_are_best_median_worst_and_one_that_was_lost(tmp_path, write):
    run = StoredRun.read(write(tmp_path, "vae", lost=(4,)).path)
    notes = chosen_seeds(run, "gap_nats")
    ranked = run.kept("gap_nats").sort_values().index.tolist()
    assert list(notes) == [ranked[0], ranked[2], ranked[4], 4]
    assert list(notes.values())[3] == "diverged (seed 4)"


def test_pictures_have_y_upward_and_ink_on_paper():
    grid = np.full((24, 24), -50.0)
    grid[20:, :6] = 0.0  # rows are y: above, at the left
    reference = {"log_p": grid, "extent": np.array([-4.5, 4.5])}
    spot = np.array([[-4.0, 4.0], [-3.9, 4.1]])
    for array in (grid, spot):
        shades = np.asarray(as_image(as_pixels(array, reference)).convert("L"))
        dark, size = shades < 255, len(shades)
        assert dark[: size // 4, : size // 4].any() and not dark[size // 4 :].any() and not dark[:, size // 4 :].any()
        assert shades.max() == 255
    own = {"x": spot, "extent": np.array([[-10.0, 90.0], [0.0, 5.0]])}  # axes of their own scales
    shades = np.asarray(as_image(as_pixels(spot, own)).convert("L"))
    rows, columns = np.nonzero(shades < 255)
    assert (rows < len(shades) // 4).all() and (columns < len(shades) // 8).all() and len(rows)
    alone = as_pixels(grid, own, key="log_q")  # without a truth beside it
    assert alone is not None and (alone[0] > 0).sum() == 24
    image = np.zeros((1, 1, 10, 10))
    image[0, 0, :5] = 1.0
    shades = np.asarray(as_image(as_pixels(image, {})).convert("L"))
    assert shades.min() == 0 and shades[: len(shades) // 3, : len(shades) // 3].max() == 0 and shades[-1].min() == 255


def test_curves_fall_where_losses_fall(tmp_path, write):
    one = curves(StoredRun.read(write(tmp_path, "vae").path))
    assert one is not None
    path = re.search(r'class="mid" d="([^"]*)"', svg(curves_chart([one], "step", {one.label: 0}, "rings")))
    assert path is not None
    # A start, then moves; y counts from the top.
    x, y = np.array(re.findall(r"-?\d+", path[1]), int).reshape(-1, 2).cumsum(0).T
    assert len(x) == len(one.band[1]) and (np.diff(x) > 0).all()
    assert (np.diff(y) * np.diff(one.band[1]) <= 0).all() and y[-1] > y[0] + 500


def test_what_can_be_pictured():
    g = np.random.default_rng(0)
    assert as_pixels(g.normal(size=(50, 2)), {}) is not None
    for images in (g.random((64, 1, 28, 28)), g.random((9, 3, 8, 8)), g.random((5, 1, 28, 20))):
        pixels = as_pixels(images, {})
        assert pixels is not None and pixels[0].shape[0] == pixels[0].shape[1]
    pixels, grey = as_pixels(np.eye(3)[:, :2, None, None, None].repeat(4, 3).repeat(4, 4), {}, key="grid")
    assert pixels.shape == (150, 150) and len(grey) == 16  # 3 x 2 images of 4 x 4, on a square
    tile = pixels.reshape(3, 50, 3, 50)[:, :40, :, :40]
    assert (tile == 15 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])[:, None, :, None]).all()
    assert as_pixels(g.random((64, 17)), {}) is None and as_pixels(g.random(10), {}) is None
    broken = as_pixels(np.full((20, 2), np.nan), {})
    assert broken is not None and broken[0].max() == 0


def test_a_map_of_latents_has_its_classes_where_they_are():
    corner = np.array([(-1, -1), (1, 1)], float).repeat(40, 0) + 0.15 * np.random.default_rng(0).normal(size=(80, 2))
    plain, _ = as_pixels(corner, {}, key="z")
    assert set(np.unique(plain)) == {0, 1}
    labelled, colours = as_pixels(corner, {"labels": np.arange(2).repeat(40)}, key="z")
    size = len(labelled)
    low, high = labelled[size // 2 :, : size // 2], labelled[: size // 2, size // 2 :]  # y points upward
    assert 1 in low and 2 not in low and 2 in high and 1 not in high
    assert set(np.unique(labelled)) == {0, 1, 2, len(colours) - 1}
    assert len(colours) - 1 in low and len(colours) - 1 in high and not labelled[: size // 2, : size // 2].any()
    assert set(np.unique(as_pixels(corner, {"labels": np.arange(7)}, key="z")[0])) == {0, 1}  # of other points
    assert as_pixels(np.full((5, 2), np.nan), {}, key="z") is not None


def image_run(root, write, name, level, **what):
    """A run of 10 x 10 images with everything that a latent-variable model stores."""
    folder = write(root, name, level, metric="neg_elbo_nats", arrays=False, **what)
    seeds, g = folder.manifest().seeds, np.random.default_rng(0)
    n = len(seeds)
    folder.save_arrays("samples", seeds, {"x": g.integers(0, 2, (n, 64, 100)), "mean": g.random((n, 64, 100))})
    folder.save_arrays("reconstructions", seeds, {"mean": g.random((n, 64, 100))})
    folder.save_arrays("traversals", seeds, {"grid": g.random((n, 5, 8, 10, 10))})
    folder.save_arrays("interpolations", seeds, {"grid": g.random((n, 8, 8, 10, 10))})
    folder.save_arrays("latents", seeds, {"z": g.normal(size=(n, 50, 2))})
    folder.save_reference({"x": g.integers(0, 2, (64, 100)), "labels": g.integers(0, 3, 50)})
    return folder


def test_pictures_of_images_say_what_they_are(tmp_path, write):
    folder = image_run(tmp_path / "runs", write, "vae", 90.0, lost=(4,))
    run = StoredRun.read(folder.path)
    best = int(run.kept("neg_elbo_nats").idxmin())
    strips = run_strips(run, "rings", "neg_elbo_nats")
    assert [strip.says for strip in strips[:3]] == [
        "samples: draws x ~ p(x)",
        "the same samples' means E[x | z]",
        "reconstructions: means E[x | z], z ~ q(z | x)",
    ]
    assert [len(strip.pictures) for strip in strips] == [4, 4, 4, 3]
    assert strips[3].says == f"its latents at its best (seed {best})"
    assert [p.note.split(":")[0] for p in strips[3].pictures] == ["traversals", "interpolations", "latent map"]
    assert all(f"seed {best}" in p.alt for p in strips[3].pictures)
    text, page = page_of(tmp_path / "runs")
    assert "inputs" in page.text and "draws x ~ p(x)" in page.text and len(page.all("img", "src")) == 1 + 15
    assert len(text) < 250_000
    written = write_report(compose(read(tmp_path / "runs")), tmp_path / "page.html")
    common = {"curves-steps", "curves-time", "intervals", "convergence"}
    plates = {p.stem for p in written if p.parent.name == "page-figures"} - common
    assert plates == {"samples", "samples-mean", "reconstructions-mean", "traversals", "interpolations", "latents"}


def test_the_bound_against_k(tmp_path, write):
    row = lambda k, seed, value, n=100: Row(seed, 1000, "test", f"neg_iw{k}_nats", value, "nats", n, 0.0, 1.0)
    folder = write(tmp_path / "runs", "vae", 90.0, metric="neg_elbo_nats", lost=(4,))
    whole = [row(k, seed, 100 - np.log(k) + seed) for k in (1, 5, 50) for seed in range(5)]
    folder.evaluation("nll-test-k50").append(whole)
    folder.evaluation("nll-test-k9-n10").append([row(k, seed, 7.0, 10) for k in (1, 5, 9) for seed in range(6)])
    write(tmp_path / "runs", "flow", 80.0, metric="neg_elbo_nats")
    run = StoredRun.read(folder.path)
    # Few examples do not mix with many; seed 4 is lost and seed 5 was not measured.
    assert list(run.ladder) == [1, 5, 50] and all(list(values.index) == [0, 1, 2, 3] for values in run.ladder.values())
    assert run.ladder[5].loc[2] == pytest.approx(102 - np.log(5))
    text, page = page_of(tmp_path / "runs")
    svg = re.search(r'<svg[^>]*class="bounds".*?</svg>', text, re.S).group(0)
    assert svg.count('class="seed"') == 4 and svg.count('class="mid"') == 1 and 'data-run="flow"' not in svg
    assert "101.5 at k = 1, 99.89 at k = 5, 97.59 at k = 50" in svg and "The bound against k" in page.text
    line = [int(v) for v in re.findall(r"-?\d+", re.search(r'class="mid" d="([^"]*)"', svg).group(1))]
    assert line[0] == 0 and line[2] > 0 and line[3] > 0 and line[5] > 0  # to the right and down
    assert "The bound against k" not in page_of(write(tmp_path / "other", "vae").path)[1].text


def test_figures_of_a_run(tmp_path, write):
    folder = write(tmp_path, "vae", lost=(1,))
    paths = draw_figures(folder)
    assert [p.name for p in paths] == ["samples.png", "curves.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") and p.stat().st_size > 4000 for p in paths)
    assert draw_figures(write(tmp_path, "later", upto=0.0)) == []


def test_figures_are_drawn_while_nobody_moves_the_run(tmp_path, write, monkeypatch):
    folder = write(tmp_path, "vae")

    def moved(run):
        with pytest.raises(Busy, match="drawing the figures"):
            folder.move_aside()

    monkeypatch.setattr(figures, "KINDS", {"none": moved})
    assert draw_figures(folder) == []
    folder.move_aside()
    with pytest.raises(SeedbedError, match="no run folder"):
        draw_figures(folder)
    assert not folder.path.exists()  # nothing is left where a run was


def test_curves_of_many_metrics_stand_in_rows(tmp_path, write):
    folder = write(tmp_path, "draw", seeds=2)
    rows = [row for row in folder.rows() if row.split == "valid"]
    folder.table([0, 1]).append([replace(row, metric=f"kl_z{n}_nats") for n in range(1, 6) for row in rows])
    figure = curves_figure(StoredRun.read(folder.path))
    assert figure is not None and [axis.get_subplotspec().rowspan.start for axis in figure.axes] == [0] * 4 + [1] * 2


def test_figures_for_a_paper_are_the_same_each_time(study, tmp_path):
    report = compose(read(study))
    first = write_report(report, tmp_path / "a" / "page.html")
    second = write_report(report, tmp_path / "b" / "page.html")
    figures = [(p, q) for p, q in zip(first, second, strict=True) if p.parent.name == "page-figures"]
    assert {p.name for p, _ in figures} == {
        f"{name}.{kind}"
        for name in ("curves-steps", "curves-time", "intervals", "convergence", "profiles", "density", "samples")
        for kind in ("svg", "pdf")
    }
    assert all(p.read_bytes() == q.read_bytes() for p, q in figures)


# ---------------------------------------------------------------------------------------------------------------------- size


@pytest.mark.slow
@pytest.mark.parametrize(("sets", "models"), [(8, 5), (40, 1), (1, 40)])
def test_forty_runs_of_ten_seeds_are_a_small_page_soon(tmp_path, write, sets, models):
    for i in range(sets):
        for j in range(models):
            write(
                tmp_path / "runs", f"m{j}", 0.1 + 0.02 * j, data=f"d{i}", seeds=10, points=200, lost=(3,) if j == 1 else ()
            )
    started = time.process_time()
    page = write_report(compose(read(tmp_path / "runs")), tmp_path / "page.html")[0]
    assert time.process_time() - started < 20  # of this process: other work on the machine does not count
    assert page.stat().st_size < 5e6


# -------------------------------------------------------------------------------------------------------------- command line


def test_report_from_the_shell(study, call, tmp_path):
    code, out, _ = call("report", "toy", "-d", "rings", "--threshold", "0.2", "--out-file", "rings.html")
    assert code == 0 and "wrote rings.html" in out
    text = (tmp_path / "rings.html").read_text(encoding="utf-8")
    assert "seedbed report toy -d rings --threshold 0.2 --out-file rings.html" in text and "moons" not in text
    assert {p.name for p in tmp_path.iterdir()} == {"runs", "rings.html", "rings-figures", "rings-tables"}


def test_report_refuses(study, refused):
    assert "ends in .html" in refused("report", "toy", "--out-file", "page.pdf")
    assert "did you mean 'gap_nats'" in refused("report", "toy", "--metric", "gap_nat")
    assert "`seedbed run mnist` would create one" in refused("report", "mnist")


def test_follow_writes_until_every_run_is_finished(tmp_path, write, call, monkeypatch):
    write(tmp_path / "runs", "vae", 0.3)
    half = write(tmp_path / "runs", "flow", 0.1, upto=0.5)
    waits, pages = [], []

    def later(seconds):
        waits.append(seconds)
        pages.append((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert not (tmp_path / "report-figures").exists()
        half.table(range(6)).path.unlink()
        write(tmp_path / "runs", "flow", 0.1)

    monkeypatch.setattr("seedbed.cli.report.time.sleep", later)
    code, out, err = call("report", "runs", "--follow", "--every", "5")
    assert code == 0 and len(waits) == 1 and 0 <= waits[0] <= 5
    assert "1 of 2 runs finished" in err and out.count("wrote report.html") == 2
    assert 'http-equiv="refresh" content="5"' in pages[0]
    last = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "refresh" not in Page(last).all("meta", "http-equiv") and (tmp_path / "report-figures").exists()

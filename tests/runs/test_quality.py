"""`evaluate` of pictures: of runs, and between sets by name; in a network of one's own, and in the shipped ones."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import seedbed
from seedbed.cli.main import main
from seedbed.core.domain import BINARY, REAL, Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.data import load
from seedbed.data.source import InMemory
from seedbed.evaluate.features.known import SHIPPED, Features, own, shipped, suited
from seedbed.evaluate.features.net import PictureNet
from seedbed.evaluate.quality.frechet import Moments, frechet
from seedbed.evaluate.quality.measures import recognised
from seedbed.evaluate.quality.sight import Sight, of_source, scaled, seen
from seedbed.report.document import compose
from seedbed.report.html import render
from seedbed.report.stored import StoredRun

NET = """
import torch

def net(x):
    "The means of 4 x 4 places: 4 features of an 8 x 8 picture."
    return torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), 4).flatten(1)

def broken(x):
    return net(x) / 0

class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(64 * 3).view(64, 3) / 192)

    def forward(self, x):
        return x.flatten(1) @ self.weight

linear = Linear()
number = 3
"""
VAE = {"steps": 6, "eval_every": 3, "batch_size": 16, "hidden": (8, 4), "latents": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("pictured")
    seedbed.run("digits/digits-binary/vae", seeds=2, out=out / "runs", name="images", threads=1, **VAE)
    return out


@pytest.fixture
def work(trained, tmp_path, monkeypatch):
    """A folder of one's own with a run, a network, and two folders of pictures."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    pixels = load("digits-binary").splits["test"][:]
    for name, some in (("first", pixels[:120]), ("second", pixels[120:240])):
        Path(name).mkdir()
        for i, picture in enumerate(some):
            Image.fromarray((255 * picture[0]).byte().numpy()).save(f"{name}/{i:03}.png")
    return tmp_path


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def refused(capsys, *arguments):
    code, _, err = call(capsys, *arguments)
    assert code == 2 and len(err.strip().splitlines()) == 1, err
    return err


def place():
    return next(Path("runs").rglob("run.json")).parent


def numbers(out):
    """``{metric: [value, error]}`` of a table of two sets."""
    lines = [line.split() for line in out.splitlines()[2:] if "@" in line and "pictures of each" not in line]
    return {line[0].partition("@")[0]: line[1:] for line in lines}


# ------------------------------------------------------------------------------------------------------------------ of runs


def test_draws_of_a_run_against_its_split(capsys, work):
    ask = "evaluate", "images", "--metric", "fid,kid,prdc", "--features", "net.py:net", "--threads", 1, "-q"
    code, out, err = call(capsys, *ask)
    assert code == 0, err
    tag = next(line for line in out.split() if line.startswith("fid@")).partition("@")[2]
    assert tag.startswith("net.net-") and len(tag.rpartition("-")[2]) == 8
    run, stored = seedbed.load(place()), StoredRun.read(place())
    (group,) = run.manifest.groups
    data = load("digits-binary")
    count = len(data.splits["test"])
    net = own("net.net", lambda x: torch.nn.functional.avg_pool2d(x, 4).flatten(1), (1, 8, 8))
    held = seen(of_source(data.splits["test"], BINARY, count), net)
    for row, seed in enumerate(group):
        drawn = run.sample(count)[row]
        direct = frechet(Moments.of(net(drawn).features.float()), Moments.of(held.features))
        assert stored.final(f"fid@{tag}")[seed] == pytest.approx(direct, rel=1e-6)
    precision = [row for row in stored.rows if row.metric == f"precision@{tag}"]
    assert {row.n for row in precision} == {count} and all(0 <= row.value <= 1 and row.se >= 0 for row in precision)
    assert stored.declared(f"coverage@{tag}").better == "higher" and stored.declared(f"fid@{tag}").better == "lower"
    assert max(stored.by_size) == count and len(stored.by_size) > 5 and "fid_at" not in out
    assert stored.by_size[count].tolist() == pytest.approx(stored.final(f"fid@{tag}").tolist(), rel=1e-9)
    assert "The Frechet distance against n" in render(compose([stored]))
    code, out, _ = call(capsys, "compare", "images", "--metric", "fid", "--against", 0.1)
    assert code == 0 and f"by fid@{tag}" in out
    # On their way chains were looked at, of which the last look is the distance itself.
    code, out, err = call(capsys, *ask, "--start", "limiting", "--chain", 4)
    stored = StoredRun.read(place())
    assert code == 0 and "fid_after" not in out and list(stored.by_step) == [1, 3, 4], err
    assert stored.by_step[4].tolist() == pytest.approx(stored.final(f"fid@{tag}:limiting4").tolist(), rel=1e-9)
    assert "The Frechet distance along the chain" in render(compose([stored]))
    # What is there is not measured again, and another network's numbers stand beside it.
    before = {path: path.read_bytes() for path in (place() / "evaluations").iterdir()}
    call(capsys, *ask)
    assert all(path.read_bytes() == content for path, content in before.items())
    Path("net.py").write_text(NET.replace("avg_pool2d(x.mean", "avg_pool2d(2 * x.mean"))
    code, out, _ = call(capsys, *ask)
    assert code == 0 and tag not in out
    assert "in several ways; choose fid@net.net-" in refused(capsys, "compare", "images", "--metric", "fid")
    note = json.loads(next(path for path in before if path.suffix == ".json" and "fid" in path.name).read_text())
    assert tag in json.dumps(note)


def test_memory_changes_no_number(work):
    from seedbed.runs.evaluate import Request, evaluate

    values = []
    for gib in (4.0, 1e-4):
        request = Request(estimator="kid", options={"features": "net.py:net"}, memory_gib=gib)
        values.append([row.value for row in evaluate(seedbed.load(place()), request, again=True)])
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_copies_are_told(work):
    """Draws that are training pictures in all pixels."""
    from seedbed.core.stack import Stack
    from seedbed.evaluate.estimator import Limits
    from seedbed.evaluate.quality.measures import measured

    data = load("digits-binary")
    pixels = (data.splits["train"][:] > 0.5).float()  # the likeliest bits of pictures that are drawn anew each time

    class Repeats(torch.nn.Module):
        domain = BINARY

        def __init__(self, share):
            super().__init__()
            self.share = torch.nn.Parameter(torch.tensor(share))

        def sample(self, count, ctx):
            u = ctx.noise.uniform((), batch=count)
            flipped = ctx.noise.uniform((1, 8, 8), batch=count) < 0.3
            kept = pixels[:count]
            return torch.where((u < self.share)[:, None, None, None], kept, (kept + flipped) % 2)

    net = own("pixels", lambda x: x.flatten(1), (1, 8, 8))
    stack = Stack.of([Repeats(1.0), Repeats(0.0)], [Streams(0), Streams(1)])
    found = measured("copies", stack, data, "test", Limits(), net, 200)
    copied, ratio = (found[f"{name}@{net.tag}"][0] for name in ("copied_share", "nearest_ratio"))
    assert copied.mean(1).tolist() == [1.0, 0.0] and ratio[0] < 0.5 < 0.9 < ratio[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("images", "--metric", "fid"), "no network of Seedbed's sees pictures [1, 8, 8]"),
        (
            ("images", "--metric", "fid", "--features", "mnist"),
            "mnist takes pictures [1, 28, 28], those of digits",
        ),
        (("images", "--metric", "kid", "--features", "net.py:broken"), "are not finite for"),
        (("images", "--metric", "kid", "--features", "net.py:number"), "unknown network of net.py 'number'"),
        (("images", "--metric", "kid", "--features", "net.py:Linear"), "must be a module or a function"),
        (("images", "--metric", "kid", "--features", "inseption"), "unknown features 'inseption'"),
        (("images", "--metric", "recognised", "--features", "net.py:net"), "no classifier's"),
        (("images", "--metric", "fid", "--features", "inception"), "Inception's weights are nowhere"),
        (("images", "--metric", "fid", "--features", "net.py:net", "-n", "3"), None),
        (("images", "--metric", "fid", "--features", "net.py:net", "--pictures", "4"), "takes more than 4 pictures, got 4"),
        (("images", "--metric", "kid,nonsense"), "unknown estimator 'nonsense'"),
        (("first", "second", "--metric", "nll"), "unknown metric of two sets of pictures 'nll'"),
        (("first", "second", "--metric", "kid", "--record"), "--record is for runs"),
        (("first", "nowhere", "--metric", "kid"), "nowhere"),
        (("first", "array:x.npy", "--metric", "kid"), "x.npy"),
        (("images", "digits-binary:tests", "--metric", "kid"), "has no split 'tests'"),
    ],
)
def test_what_cannot_be_asked_is_refused(capsys, work, monkeypatch, arguments, says):
    monkeypatch.delenv("SEEDBED_INCEPTION", raising=False)
    err = refused(capsys, "evaluate", *arguments)
    assert says is None or says in err, err


# ------------------------------------------------------------------------------------------------------------------- of sets


def test_two_folders_an_array_a_split_and_a_run(capsys, work):
    own_net = "--features", "net.py:net", "--metric", "fid,kid,prdc"
    code, out, err = call(capsys, "evaluate", "first", "second", *own_net)
    assert code == 0, err
    found = numbers(out)
    assert set(found) >= {"fid", "fid_infinity", "kid", "precision", "recall", "density", "coverage"}
    assert "120 pictures of each, first against second, in the features net.net-" in out
    pixels = load("digits-binary").splits["test"][:240].numpy()
    np.save("all.npy", pixels[:120].astype(np.float32))
    same = numbers(call(capsys, "evaluate", "all.npy", "second", *own_net)[1])
    assert float(same["fid"][0]) == pytest.approx(float(found["fid"][0]), rel=1e-3)
    alone = numbers(call(capsys, "evaluate", "first", "first", *own_net)[1])
    assert abs(float(alone["fid"][0])) < 1e-6 and float(alone["precision"][0]) > 0.9
    code, out, _ = call(capsys, "evaluate", "images", "digits-binary:test", *own_net)
    assert code == 0 and "digits/digits-binary/vae against digits-binary:test" in out
    assert all("[" in line for line in out.splitlines() if line.startswith(("fid@", "kid@")))  # an interval over two seeds
    assert call(capsys, "evaluate", "digits-binary:test", "images", *own_net)[1] == out
    seedbed_draws = call(capsys, "sample", "images", "-n", 270, "--out", "draws.npz")
    assert seedbed_draws[0] == 0
    again = numbers(call(capsys, "evaluate", "draws.npz", "digits-binary:test", *own_net)[1])
    assert again["fid"] == numbers(out)["fid"]
    assert "both draws of models" in refused(capsys, "evaluate", "draws.npz", "images", *own_net, "--metric", "kid")


def test_unlike_pictures_are_refused(capsys, work):
    Path("mixed").mkdir()
    for i in range(8):
        Image.fromarray(np.zeros((8, 8 + i % 2), np.uint8)).save(f"mixed/{i}.png")
    assert "images differ in size" in refused(capsys, "evaluate", "mixed", "first", "--metric", "kid")
    Path("large").mkdir()
    for i in range(8):
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(f"large/{i}.png")
    err = refused(capsys, "evaluate", "large", "first", "--metric", "kid")
    assert "pictures of large are [3, 9, 9], those of first [1, 8, 8]" in err and "size=8,colour=grey" in err
    np.save("signed.npy", -3 - np.random.default_rng(0).random((20, 1, 8, 8), np.float32))
    err = refused(capsys, "evaluate", "signed.npy", "first", "--metric", "kid", "--features", "net.py:net")
    assert "must lie in [0, 1], got -4 to -3" in err


def test_one_run_by_three_roads_is_one_number(capsys, work):
    """Drawn at once, from an array file, and from picture files: of each seed, with one interval over both."""
    ask = "digits-binary:test", "--metric", "fid,kid", "--features", "net.py:net", "--pictures", 200
    assert call(capsys, "sample", "images", "-n", 200, "--out", "x.npz", "-q")[0] == 0
    assert call(capsys, "sample", "images", "-n", 200, "--out", "files", "--grid", "-q")[0] == 0
    found = [numbers(call(capsys, "evaluate", place, *ask)[1]) for place in ("images", "x.npz", "files")]
    assert found[0] == found[1]
    # Files come in an order of their own, with which parts of a set differ, and the whole does not.
    assert all(found[0][name][:3] == found[2][name][:3] for name in ("fid", "kid"))
    assert "both draws of models" in refused(capsys, "evaluate", "files", "images", *ask[1:])
    assert "two sets at a time, got 1" in refused(capsys, "evaluate", "first", *ask[1:])
    assert "at least 2" in refused(capsys, "evaluate", "first", "second", *ask[1:-1], -5)
    assert "draws its training images anew" in refused(capsys, "evaluate", "first", "digits-binary:train", *ask[1:])
    assert "kid has no option 'samples'" in refused(capsys, "evaluate", "images", "--metric", "kid", "--samples", 7)
    with np.load("x.npz") as x:  # of 256 levels, none above 100
        np.savez("old.npz", x=np.where(x["x"] > 0, 100, 0).astype(np.uint8), seeds=x["seeds"])
    assert float(numbers(call(capsys, "evaluate", "old.npz", *ask)[1])["fid"][0]) != float(found[0]["fid"][0])
    Path("first/run").mkdir()
    Path("first/run/run.json").write_text("{}")
    assert "holds pictures, and a run in" in refused(capsys, "evaluate", "first", "second", *ask[1:])


def test_pixels_are_numbers_from_0_to_1():
    assert scaled(torch.tensor([0.0, 1.0]), BINARY).tolist() == [0, 1]
    assert scaled(torch.tensor([0, 128, 255]), Domain("levels", 256)).tolist() == pytest.approx([0, 128 / 255, 1])
    assert scaled(torch.tensor([0.2, 1.01, -0.01, 0.9]), REAL).tolist() == pytest.approx([0.2, 1, 0, 0.9])
    with pytest.raises(SeedbedError, match="must lie in"):
        scaled(torch.tensor([3.0, 4.0]), REAL)


def test_pictures_of_a_sorted_split_are_taken_from_all_of_it():
    x = InMemory(torch.linspace(0, 1, 200)[:, None, None, None])
    some = torch.cat(list(of_source(x, REAL, 100))).flatten()
    assert len(some.unique()) == 100 and abs(float(some.mean()) - 0.5) < 4 * (1 / 12 / 100) ** 0.5 and some[:10].std() > 0.1
    assert torch.equal(torch.cat(list(of_source(x, REAL, 200))).flatten()[:100], some)


def test_balance_and_share_are_those_of_the_pictures_that_are_recognised():
    sure, unsure, none = (lambda k: [9.0 * (i == k) for i in range(4)]), [0.0] * 4, [0.0, 0, 0, 9]
    logits = torch.tensor([sure(0), sure(0), sure(1), sure(1), sure(2), unsure, none, none])
    sight = Sight(torch.zeros(8, 2), logits, torch.tensor([2.0] * 8))
    found = {key.name: value for key, value in recognised(sight, Sight(sight.features, logits, sight.slope / 2)).items()}
    assert float(found["recognised_share"].mean()) == 5 / 8
    shares = np.array([2, 2, 1]) / 5
    assert float(found["class_balance"]) == pytest.approx(-(shares * np.log(shares)).sum() / np.log(3))
    assert float(found["smallest_class_share"]) == pytest.approx(0.2) and found["sharpness"].tolist() == [2.0] * 8
    nothing = recognised(Sight(sight.features[:2], torch.tensor([none, none]), sight.slope[:2]), sight)
    assert [float(value.mean()) for value in nothing.values()][:3] == [0, 0, 0]


# ------------------------------------------------------------------------------------------------------------- the networks


def test_the_shipped_networks():
    for name, shape in SHIPPED.items():
        found = shipped(name)
        assert found.shape == shape and len(found.classes) == 10 and 0.5 < (found.accuracy or 0) < 1
        x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
        see = found(x)
        assert see.features.shape == (3, 64) and see.logits.shape == (3, 11)
        assert found.tag == f"{name}-{found.digest}" and os.path.getsize(_file(name)) < 2_000_000
        assert torch.equal(found(x).features, see.features)
    assert suited((1, 28, 28), "fashion-mnist-dynamic").name == "fashion" and suited((1, 28, 28), "omniglot").name == "mnist"


def _file(name):
    from importlib import resources

    return resources.files("seedbed.evaluate.features") / f"{name}.safetensors"


def test_a_module_of_ones_own_is_known_by_its_weights():
    net = PictureNet(1, 2)
    shape = (1, 8, 8)
    one, other = own("a", net, shape), own("a", lambda x: net(x), shape)
    with torch.no_grad():
        next(net.parameters()).add_(1)
    assert one.tag == other.tag != own("a", net, shape).tag
    for wrong, says in ((lambda x: x, "must be"), (lambda x: x[:1, 0, 0], "must be"), (lambda x: 3, "must be")):
        with pytest.raises(SeedbedError, match=says):
            own("a", wrong, shape)
    with pytest.raises(SeedbedError, match="features 'a' does not run: RuntimeError: no"):
        own("a", _raises, shape)
    norm = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(64))
    assert own("a", norm, shape)(torch.zeros(2, 1, 8, 8)).features.shape == (2, 64)  # a module is put to rest
    for coupled in (lambda x: norm.train()(x), lambda x: torch.nn.functional.dropout(x.flatten(1) + 1)):
        with pytest.raises(SeedbedError, match="depend on chance or on the other pictures"):
            own("a", coupled, shape)


def _raises(x):
    raise RuntimeError("no")


def test_inception_says_what_it_lacks(monkeypatch, tmp_path):
    from seedbed.evaluate.features import known

    monkeypatch.setenv(known.WEIGHTS, str(tmp_path / "none.pth"))
    with pytest.raises(SeedbedError, match=r"not at .*none\.pth; put weights-inception"):
        known.inception()
    (tmp_path / "w.pth").write_bytes(b"weights")
    monkeypatch.setenv(known.WEIGHTS, str(tmp_path / "w.pth"))

    def missing(name):
        raise ImportError(f"no {name}")

    monkeypatch.setattr(known, "import_module", missing)
    with pytest.raises(SeedbedError, match=r"pip install 'seedbed\[inception\]'"):
        known.inception()

    class Stub:
        """Small features in its place: what it is given is bytes in three channels."""

        def __init__(self, name, wanted, feature_extractor_weights_path):
            assert wanted == ["2048"] and feature_extractor_weights_path == str(tmp_path / "w.pth")

        def __call__(self, x):
            assert x.dtype == torch.uint8 and x.shape[1] == 3
            return (x.float().mean((2, 3)),)

    monkeypatch.setattr(known, "import_module", lambda name: type("module", (), {"FeatureExtractorInceptionV3": Stub}))
    found: Features = known.inception()
    assert found.name == "inception" and found(torch.ones(2, 1, 8, 8)).features.tolist() == [[255.0] * 3] * 2


def test_digits_are_recognised_and_noise_and_untrained_generators_are_not():
    """Without the class *none of these* a classifier is sure of nearly all of both."""
    if "SEEDBED_DATA" not in os.environ:
        pytest.skip("needs MNIST")
    net = shipped("mnist")
    data = load("mnist")
    digits = seen(of_source(data.splits["test"], data.domain, 1000), net)
    g = torch.Generator().manual_seed(0)
    noise = seen([torch.rand(500, 1, 28, 28, generator=g)], net)
    decoder = torch.nn.Linear(16, 784)
    with torch.no_grad():
        decoder.weight.normal_(0, 0.2, generator=g)
        decoder.bias.zero_()
        untrained = seen([torch.sigmoid(decoder(torch.randn(500, 16, generator=g))).view(-1, 1, 28, 28)], net)
    share = lambda sight: float(next(iter(recognised(sight, digits).values())).mean())
    assert share(digits) > 0.88 and share(noise) < 0.01 and share(untrained) < 0.01

    # Ten classes and no other: a linear classifier, which is sure of anything that is far from its borders.
    x = torch.cat(list(of_source(data.splits["train"], data.domain, 3000))).flatten(1)
    order = torch.randperm(50_000, generator=Streams(0).generator("eval", "order of pictures", 50_000))[:3000]
    linear = torch.zeros(785, 10, requires_grad=True)
    padded = lambda pictures: torch.nn.functional.pad(pictures.flatten(1), (0, 1), value=1.0)
    optimiser = torch.optim.Adam([linear], 0.02)
    for _ in range(150):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(padded(x) @ linear, data.labels["train"][order]).backward()
        optimiser.step()
    sure = lambda pictures: float(((padded(pictures) @ linear.detach()).softmax(1).max(1).values > 0.9).float().mean())
    assert sure(torch.rand(500, 784, generator=g)) > 0.5

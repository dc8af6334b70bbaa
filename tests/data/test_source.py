"""Sources against the tensor that they stand for, and training on a file against training in memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import seedbed
import seedbed.data as registry
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.data import entry, load, names, register
from seedbed.data import source as sources
from seedbed.data.files import FILES, check
from seedbed.data.source import InMemory, Mapped, Rows, Source
from seedbed.distributions.likelihood import BERNOULLI
from seedbed.evaluate.baseline import factorised_bernoulli
from seedbed.evaluate.density import DensityMeasure, elbo_loss, nll
from seedbed.models.flow import CouplingFlow
from seedbed.models.vae import VAE
from seedbed.objectives.bounds import elbo_kl
from seedbed.objectives.likelihood import log_likelihood
from seedbed.train.batches import Redrawn, Shuffled, batches_of
from seedbed.train.game import Game, Player
from seedbed.train.learner import Learner
from seedbed.train.optim import Adam
from seedbed.train.task import Task

X = torch.randn(50, 3, 4, generator=torch.Generator().manual_seed(0))
ROWS = torch.tensor([[4, 0, 4], [49, 7, 1]])


@pytest.fixture(params=["memory", "file", "rows of a file", "bytes"])
def held(request, tmp_path) -> tuple[Source, torch.Tensor]:
    """A source, and its examples."""
    np.save(tmp_path / "x.npy", X.double().numpy())
    if request.param == "memory":
        return InMemory(X), X
    if request.param == "bytes":
        return InMemory((X > 0).byte(), torch.float32), (X > 0).float()
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    mapped = Mapped(tmp_path / "x.npy")
    return (mapped, X) if request.param == "file" else (Rows(mapped, order), X[order])


def test_a_source_gathers_as_a_tensor_does(held):
    source, x = held
    assert (len(source), source.shape, source.dtype, source.device.type) == (50, (3, 4), torch.float32, "cpu")
    assert torch.equal(source.gather(ROWS), x[ROWS]) and torch.equal(source[ROWS], x[ROWS])
    assert source.gather(ROWS[:0]).shape == (0, 3, 3, 4)
    for at in (slice(None), slice(3, 9), slice(None, None, 7), slice(40, 99), slice(5, 5), slice(-3, None)):
        assert torch.equal(source[at], x[at]), at
    assert torch.equal(source[6], x[6]) and torch.equal(source[-1], x[-1]) and len(list(source)) == 50
    with pytest.raises(IndexError):
        source[50]
    assert torch.equal(source.map(lambda v: 2 * v)[:], 2 * x) and torch.equal(source.to(torch.device("cpu"))[:], x)


def test_pieces_are_all_of_it_in_order(held, monkeypatch):
    monkeypatch.setattr(sources, "PIECE", 7 * 12 * 4)
    source, x = held
    pieces = list(source.pieces())
    assert [len(piece) for piece in pieces] == [7] * 7 + [1] and torch.equal(torch.cat(pieces), x)
    assert source.moments() == pytest.approx((float(x.double().mean()), float(x.double().std())), rel=1e-12)


def test_a_checksum_is_of_the_bytes_in_memory_or_of_the_file(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, X.numpy())
    assert bytes(InMemory(X).digest()) == X.numpy().tobytes()
    before, some = Mapped(path).digest(), Rows(Mapped(path), torch.tensor([1, 2])).digest()
    assert len(before) == 32 and some != Rows(Mapped(path), torch.tensor([2, 1])).digest() != before
    np.save(path, X.numpy() + np.eye(3, 4, dtype=np.float32) * 1e-3)
    assert Mapped(path).digest() != before


def test_files_that_cannot_be_streamed(tmp_path):
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", train=X.numpy())
    for name, says in (
        ("none.npy", "no such file"),
        ("pickle.npy", "without pickle"),
        ("two.npz", "save its array as .npy"),
    ):
        with pytest.raises(SeedbedError, match=says):
            load(f"array:{tmp_path / name},stream=yes")
    np.save(tmp_path / "grey.npy", GREY)
    with pytest.raises(SeedbedError, match="binarise=epoch keeps all draws of a pass in memory"):
        load(f"array:{tmp_path / 'grey.npy'},stream=yes,binarise=epoch")
    with pytest.raises(SeedbedError, match="stream"):
        load(f"array:{tmp_path / 'grey.npy'},stream=maybe")


GREY = np.random.default_rng(0).integers(0, 256, (400, 5, 4), dtype=np.uint8)
STORED = {
    "points": (np.random.default_rng(1).normal(size=(400, 2)), ""),
    "levels": (GREY, ""),
    "shares": ((GREY / 255).astype(np.float32), ""),
    "channels last": (np.stack([GREY] * 3, -1), ""),
    "bits": (GREY // 128, ""),
    "dynamic": (GREY, ",binarise=dynamic"),
    "threshold": (GREY, ",binarise=threshold"),
}


@pytest.mark.parametrize("name", STORED)
def test_a_streamed_file_is_the_data_set_that_it_is_in_memory(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PIECE", 1000)
    array, options = STORED[name]
    np.save(tmp_path / "x.npy", array)
    whole, streamed = (load(f"array:{tmp_path / 'x.npy'}{options}{more}", seed=3) for more in ("", ",stream=yes"))
    assert (streamed.domain, streamed.shape, streamed.protocol) == (whole.domain, whole.shape, whole.protocol)
    assert (streamed.view, streamed.refresh) == (whole.view, whole.refresh)
    for split in ("train", "valid", "test"):
        assert torch.equal(streamed.splits[split][:], whole.splits[split][:]), split
    assert not isinstance(streamed.splits["train"], InMemory)


class Watched(Source):
    """Another source that refuses more than some examples at once."""

    def __init__(self, source: Source, most: int) -> None:
        self.source, self.most, self.gathered = source, most, 0

    shape = property(lambda self: self.source.shape)
    dtype = property(lambda self: self.source.dtype)
    device = property(lambda self: self.source.device)

    def __len__(self):
        return len(self.source)

    def gather(self, rows):
        assert rows.numel() <= self.most, f"{rows.numel()} examples at once"
        self.gathered += rows.numel()
        return self.source.gather(rows)

    def map(self, function):
        return Watched(self.source.map(function), self.most)

    def to(self, device):
        return Watched(self.source.to(device), self.most)

    def digest(self):
        return self.source.digest()


def trained(data, build, utility, losses, select):
    """Weights after some updates of two seeds, and what they measure."""
    batches, view = batches_of(data, 16)
    task = Task(
        build=build,
        game=Game((Player(utility=utility, optimizer=Adam(lr=1e-2)),)),
        data=data,
        batches=batches,
        view=view,
        steps=8,
        eval_every=8,
        measure=DensityMeasure(data, losses, select),
        select=select,
    )
    learner = Learner(task, [Streams(0), Streams(1)], torch.device("cpu"))
    for _ in range(8):
        learner.advance()
    return dict(learner.stack().params), {name: value for name, (value, _) in task.measure(learner.stack(), "test").items()}


@pytest.mark.parametrize("name", ["points", "dynamic"])
def test_training_on_a_file_is_training_in_memory_a_batch_at_a_time(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PIECE", 1000)
    array, options = STORED[name]
    np.save(tmp_path / "x.npy", array)
    whole, streamed = (load(f"array:{tmp_path / 'x.npy'}{options}{more}") for more in ("", ",stream=yes"))
    # More than any batch of both seeds, less than half of what there is to train on.
    train = Watched(streamed.splits["train"], 150)
    streamed = replace(streamed, splits={**streamed.splits, "train": train})
    if name == "points":
        how = (lambda: CouplingFlow(2, "spline", 2, (8,)), log_likelihood, nll, "nll_nats")
    else:
        for ours, theirs in zip(factorised_bernoulli(streamed), factorised_bernoulli(whole), strict=True):
            assert bool(torch.as_tensor(ours == theirs).all())
        how = (lambda: VAE((1, 5, 4), 2, (8,), BERNOULLI), elbo_kl, elbo_loss, "neg_elbo_nats")
    before = train.gathered
    found, expected = trained(streamed, *how), trained(whole, *how)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    # Two seeds' batches of eight updates, and of the look that is taken before.
    assert 2 * 16 * 8 <= train.gathered - before <= 2 * 16 * 12


def test_a_run_on_a_streamed_file_has_the_numbers_of_one_in_memory(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    settings = {"steps": 6, "eval_every": 3, "batch_size": 16, "hidden": (8,), "latents": 2}
    values = []
    for more in ("", ",stream=yes"):
        name = f"array:{tmp_path / 'x.npy'},binarise=dynamic{more}"
        run = seedbed.run("mnist/mnist-dynamic/vae", 2, data=name, out=tmp_path / f"runs{len(more)}", **settings)
        table = run.table.query("not metric.str.startswith('ms')")
        values.append(table[["seed", "step", "split", "metric", "value"]].values.tolist())
        kept = run.folder.manifest().data
        assert kept["checksum"] == load(name).checksum() and kept["shape"] == [1, 5, 4]
    assert values[0] == values[1]


def test_batches_of_a_source_are_those_of_its_tensor():
    probabilities = torch.rand(70, 3, generator=torch.Generator().manual_seed(0))
    view = lambda batch, noise: noise.bernoulli(batch)
    streams = [Streams(0), Streams(1)]
    rows = Rows(InMemory(probabilities), torch.arange(70))
    assert torch.equal(Redrawn(rows, 32, view)(streams, 3), Redrawn(probabilities, 32, view)(streams, 3))
    assert torch.equal(Shuffled(rows, 8)(streams, 7), Shuffled(probabilities, 8)(streams, 7))


# ------------------------------------------------------------------------------------------------------------------ entries

SIZES = {"train_size": 60, "valid_size": 20, "eval_size": 20}
WITHOUT_FILES = [name for name in names() if entry(name).shape == (2,) or name.startswith("digits")]


def declared_is_loaded(name):
    found = entry(name)
    data = load(name, **(SIZES if found.shape == (2,) else {}))
    assert (found.domain, found.shape, found.examples) == (data.domain, data.shape, data.epoch_size)


@pytest.mark.parametrize("name", WITHOUT_FILES)
def test_what_is_declared_is_what_is_loaded(name):
    declared_is_loaded(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in names() if name not in WITHOUT_FILES])
def test_what_is_declared_is_what_is_in_the_files(name):
    if name in FILES and check(name):
        pytest.skip(f"set SEEDBED_DATA to a folder with the files of {name}")
    declared_is_loaded(name)


def test_data_of_one_s_own_have_no_entry(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", set())
    monkeypatch.setattr(registry, "DATA", dict(registry.DATA))
    register("mine", TensorDataset(X))
    assert entry("mine") is None and entry("array:x.npy") is None and entry("folder:pics") is None
    with pytest.raises(SeedbedError, match="data set"):
        entry("mnsit")

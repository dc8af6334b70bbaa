"""Batches are a function of (seed, number)."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from seedbed.core.capabilities import HasDataInit
from seedbed.core.domain import BINARY
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import BLOCK, STREAMS, EvalNoise, Streams
from seedbed.core.terms import Terms
from seedbed.data.dataset import Dataset
from seedbed.train.batches import Batches, Contiguous, Redrawn, Shuffled, batches_of
from seedbed.train.game import Game, Player
from seedbed.train.learner import Learner
from seedbed.train.optim import SGD

SEEDS = tuple(Streams(s) for s in range(3))


def test_each_pass_is_a_permutation_without_the_rest():
    data = torch.arange(23)
    batches = Shuffled(data, 5)  # 4 whole batches a pass; 3 examples wait for another pass
    orders = []
    for index in range(3):
        drawn = torch.cat([batches(SEEDS, 4 * index + i) for i in range(4)], 1)
        assert drawn.shape == (3, 20)
        for row in drawn:
            assert len(row.unique()) == 20
        orders += [tuple(row.tolist()) for row in drawn]
    assert len(set(orders)) == 9  # no two seeds and no two passes share an order
    assert set(torch.tensor(orders).flatten().tolist()) == set(range(23))


def test_a_whole_pass_where_batches_fit():
    drawn = torch.cat([Shuffled(torch.arange(20), 5)(SEEDS[:1], i) for i in range(4)], 1)
    assert drawn[0].sort().values.tolist() == list(range(20))
    assert drawn[0].tolist() != list(range(20))


def test_a_batch_is_a_function_of_its_number():
    data = torch.randn(17, 2, generator=torch.Generator().manual_seed(0))
    forward = [Shuffled(data, 4)(SEEDS, n) for n in range(9)]
    batches = Shuffled(data, 4)
    for n in (8, 0, 3, 3, 7):
        assert torch.equal(batches(SEEDS, n), forward[n])
        for row, streams in enumerate(SEEDS):
            assert torch.equal(batches([streams], n)[0], forward[n][row])


def test_the_order_stream_decides_alone():
    data = torch.arange(10)
    varied = [Streams(seed, varied=frozenset({"order"})) for seed in (0, 1)]
    held = [Streams(seed, varied=frozenset({"noise", "init", "data"})) for seed in (0, 1)]
    assert not torch.equal(*(Shuffled(data, 10)([s], 0) for s in varied))
    assert torch.equal(*(Shuffled(data, 10)([s], 0) for s in held))


def test_every_seed_with_examples_of_its_own():
    data = torch.arange(30).view(3, 10, 1)
    drawn = torch.cat([Shuffled(data, 5, per_seed=True)(SEEDS, n) for n in range(2)], 1)
    shared = torch.cat([Shuffled(torch.arange(10).view(10, 1), 5)(SEEDS, n) for n in range(2)], 1)
    assert torch.equal(drawn, shared + 10 * torch.arange(3).view(3, 1, 1))  # own examples in the seed's own order


def test_a_view_drawn_once_a_pass():
    """Numbered examples: what one looks like is a function of (seed, pass, example)."""
    data = torch.stack((torch.arange(200.0), torch.full((200,), 0.5)), 1)

    def view(x, noise):
        return torch.stack((x[:, 0], noise.bernoulli(x)[:, 1]), 1)

    batches = Redrawn(data, 50, view)
    seen = {}
    for number in range(8):
        batch = batches(SEEDS, number)
        assert torch.equal(batch[..., 0], Shuffled(data, 50)(SEEDS, number)[..., 0])
        for row, streams in enumerate(SEEDS):
            alone = Redrawn(data, 50, view)([streams], number)[0]
            assert torch.equal(batch[row], alone)
            looks = seen.setdefault((row, number // 4), torch.full((200,), -1.0))
            looks[batch[row, :, 0].long()] = batch[row, :, 1]
    patterns = torch.stack(list(seen.values()))
    assert set(patterns.unique().tolist()) == {0.0, 1.0}
    assert len(patterns.unique(dim=0)) == 6  # three seeds, two passes
    assert (patterns.mean(1) - 0.5).abs().max() < 4.4 * 0.5 / 200**0.5


def test_a_tree_of_data_is_drawn_in_one_order():
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    label = torch.arange(20)
    batch = Shuffled({"x": x, "more": (label,)}, 5)(SEEDS, 6)
    assert batch["x"].shape == (3, 5, 2)
    assert torch.equal(batch["x"], x[batch["more"][0]])
    assert torch.equal(batch["x"], Shuffled(x, 5)(SEEDS, 6))
    own = {"x": torch.stack([x, 2 * x, 3 * x]), "label": label.expand(3, 20)}
    batch = Shuffled(own, 5, per_seed=True)(SEEDS, 6)
    assert torch.equal(batch["x"], x[batch["label"]] * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1))
    with pytest.raises(SeedbedError, match=r"as many examples of everything in the training data, got \[20, 19\]"):
        Shuffled((x, label[1:]), 5)


def test_a_view_of_a_tree_keeps_what_it_does_not_draw():
    data = {"x": torch.full((200, 1), 0.5), "label": torch.arange(300, 500)}
    view = lambda batch, noise: {"x": noise.bernoulli(batch["x"]), "label": batch["label"]}
    batch = Redrawn(data, 50, view)(SEEDS, 5)
    alone = Redrawn(data["x"], 50, lambda x, noise: noise.bernoulli(x))(SEEDS, 5)
    assert torch.equal(batch["x"], alone) and set(alone.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(batch["label"], Shuffled(data["label"], 50)(SEEDS, 5))


# --- what a seed is shown is its order stream's ---------------------------------------------------------------------


def one_varied(stream):
    return [Streams(seed, varied=frozenset({stream})) for seed in (0, 1)]


def bits(x, noise):
    return noise.bernoulli(x)


class Whole(Batches):
    """The same examples in the same order every time: whatever seeds are shown differently, the view does."""

    def __init__(self, data):
        self.data = data

    def __call__(self, streams, number):
        return self.data.expand(len(streams), *self.data.shape)


class Mirror(nn.Module, HasDataInit):
    """Adds up the batches it is shown: it starts at the first, and SGD at a rate of 1 adds the mean of each."""

    def __init__(self, features):
        super().__init__()
        self.total = nn.Parameter(torch.zeros(features))

    def data_init(self, x, ctx):
        self.total.copy_(x.mean(0))


def shown(task, streams, steps=3):
    """Means of the batches that each seed is shown, ``[seeds, 1 + steps, features]``: before the first step, and in each."""
    learner = Learner(task, streams, torch.device("cpu"))
    totals = [learner.params["model"]]
    for _ in range(steps):
        learner.advance()
        totals.append(learner.params["model"])
    return torch.stack(totals, 1).diff(dim=1, prepend=torch.zeros_like(totals[0])[:, None])


@pytest.fixture
def mirrored(workloads):
    """A task of 40 examples with even chances in 7 values, viewed as bits."""
    player = Player(utility=lambda model, batch, *_: Terms((batch * model.total).sum(1)), optimizer=SGD(lr=1.0))
    task = workloads["vae"](precision="fp64")
    return replace(task, build=lambda: Mirror(7), game=Game((player,)), batches=Whole(torch.full((40, 7), 0.5)), view=bits)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_view_per_batch_is_drawn_from_the_order_stream_alone(mirrored, stream):
    one, other = shown(mirrored, one_varied(stream))
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b) == (stream != "order")
    rows = torch.cat([one, other]) if stream == "order" else one
    assert len(rows.unique(dim=0)) == len(rows)  # each batch is viewed anew
    counts = 40 * rows
    assert torch.allclose(counts, counts.round(), atol=1e-9) and ((rows - 0.5).abs() < 4.5 * 0.5 / 40**0.5).all()


@pytest.mark.parametrize("stream", STREAMS)
def test_a_view_per_pass_is_drawn_from_the_order_stream_alone(stream):
    probs = torch.full((40, 7), 0.5)
    a, b = ([Redrawn(probs, 20, bits)([s], n) for n in range(4)] for s in one_varied(stream))
    held = [Redrawn(probs, 20, bits)([Streams(0)], n) for n in range(4)]
    for n in range(4):
        assert torch.equal(a[n], held[n])
        assert torch.equal(a[n], b[n]) == (stream != "order")


@pytest.mark.parametrize("refresh", ["batch", "epoch"])
def test_a_data_set_is_viewed_per_batch_or_per_pass_as_it_says(mirrored, refresh):
    """Per pass an example looks the same whenever it is met; per batch it looks different with every batch."""
    probs = torch.full((8, 30), 0.5)
    splits = dict.fromkeys(("train", "valid", "test"), probs)
    data = Dataset(name="even", domain=BINARY, protocol="", splits=splits, view=bits, refresh=refresh)
    batches, view = batches_of(data, 8)
    task = replace(mirrored, build=lambda: Mirror(30), batches=batches, view=view)
    assert isinstance(batches, Redrawn) == (refresh == "epoch") and (view is None) == (refresh == "epoch")
    first, again, *later = shown(task, [Streams(0)])[0]
    assert torch.equal(first, again) == (refresh == "epoch")  # the first batch, before and in the first step
    assert not any(torch.equal(again, batch) for batch in later)


def test_more_than_there_is():
    with pytest.raises(SeedbedError, match="batch size 11 is larger than the 10 training examples"):
        Shuffled(torch.arange(10), 11)
    with pytest.raises(SeedbedError, match="10 tokens do not fill 3 streams of 4"):
        Contiguous(torch.arange(10), streams=3, length=4)


@pytest.mark.parametrize("tokens", [37, 40, 36 + 3 * 4])
def test_windows_overlap_by_one_and_cover(tokens):
    streams, length = 3, 4
    batches = Contiguous(torch.arange(tokens), streams, length)
    windows = [batches(SEEDS[:2], n) for n in range(batches.windows)]
    assert batches.windows == (tokens - 1) // streams // length
    per_stream = (tokens - 1) // streams
    for stream in range(streams):
        first = stream * per_stream
        for n, window in enumerate(windows):
            assert window.shape == (2, streams, length + 1)
            expected = range(first + n * length, first + (n + 1) * length + 1)
            assert window[0, stream].tolist() == window[1, stream].tolist() == list(expected)
    # Each token but a stream's first is predicted exactly once; what is left out is less than a window per stream.
    targets = torch.cat([w[0, :, 1:].flatten() for w in windows])
    assert len(targets.unique()) == len(targets) == streams * batches.windows * length
    assert tokens - 1 - len(targets) < streams * length + streams
    assert torch.equal(batches(SEEDS[:2], batches.windows), windows[0])  # then it starts again
    assert torch.equal(batches(SEEDS[:2], 2 * batches.windows + 1), windows[1])
    assert [n for n in range(3 * batches.windows) if batches.begins(n)] == [i * batches.windows for i in range(3)]


def test_tokens_stay_integers_up_to_the_model(workloads, learner):
    task = workloads["char-gru"](precision="fp64")
    one = learner(task, [0, 1])
    batch = one.batch(one.task.game.players[0], 0)
    assert batch.dtype == torch.int64
    assert torch.equal(batch[1], batch[0])
    assert torch.equal(batch[0, 0], task.data.splits["train"][:10])


def test_a_view_of_many_examples_does_not_depend_on_where_it_is_cut():
    count = 64 * BLOCK + 70
    data = torch.stack((torch.arange(float(count)), torch.full((count,), 0.5)), 1)

    def view(x, noise):
        return torch.stack((x[:, 0], noise.bernoulli(x)[:, 1]), 1)

    for index in (0, 1):
        shown = Redrawn(data, count, view, keep=torch.float32)(SEEDS[:1], index)[0]
        whole = EvalNoise(SEEDS[:1], "view", index, stream="order").bernoulli(data)[:, 1]
        assert torch.equal(shown[shown[:, 0].argsort(), 1], whole)

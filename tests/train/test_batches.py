"""Batches are a function of (seed, number)."""

import pytest
import torch

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Streams
from seedbed.train.batches import Contiguous, Redrawn, Shuffled

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


def test_tokens_stay_integers_up_to_the_model(workloads, learner):
    task = workloads["char-gru"](precision="fp64")
    batch = learner(task, [0, 1])._batch(0)
    assert batch.dtype == torch.int64
    assert torch.equal(batch[1], batch[0])
    assert torch.equal(batch[0, 0], task.data.splits["train"][:10])

"""Two players that teach each other come to the law of the data, from random starts, seed by seed."""

import itertools

import numpy as np
import pytest
import torch

import seedbed
from seedbed.core.context import Context
from seedbed.experiments import Examples, Experiment, OfBits, SymmetricVAE, Training

EVERY_X = torch.tensor(list(itertools.product((0.0, 1.0), repeat=4)))
EVERY_Z = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))[:, None]
LEARNT, TRIVIAL = 0.02, 0.01  # nats


def examples(n=20_000):
    """Of a chain of one bit over two over four, whose posterior nets of a few units can express."""
    g = torch.Generator().manual_seed(0)
    flip = lambda logits: (torch.rand(logits.shape, generator=g) < torch.sigmoid(logits)).float()
    z1 = flip(torch.zeros(n, 1))
    z2 = flip(z1 @ torch.tensor([[2.0, -2.0]]) + torch.tensor([-1.0, 1.0]))
    out = torch.tensor([[2.5, -2.0, 1.5, 2.0], [-2.0, 2.5, 2.0, -1.5]])
    return flip(z2 @ out + torch.tensor([-0.5, 0.2, -1.0, 0.3]))


def told(model, shares):
    """``KL(pi(x) q(z | x) || p(x, z))`` and the mutual information of x and z under ``pi q``, by enumeration, in nats."""
    z = {"z1": EVERY_Z[..., :1], "z2": EVERY_Z[..., 1:]}
    with torch.no_grad():
        log_p = model.joint(EVERY_X, z, Context.of(0)).double()
        log_q = model.log_posterior(EVERY_X, {name: v.expand(-1, 16, -1) for name, v in z.items()}, Context.of(0)).double()
    weights = shares * log_q.exp()
    gap = (weights * (shares.log() + log_q - log_p)).sum()
    return float(gap), float((weights * (log_q - weights.sum(1, keepdim=True).log())).sum())


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["ladder", "reverse"])
def test_from_random_starts_they_meet_at_the_data(encoder, tmp_path, monkeypatch):
    """A seed that does not has learned nothing, and is told by its mutual information: the trivial equilibrium."""
    monkeypatch.chdir(tmp_path)
    x = examples()
    np.save("x.npy", x.numpy().astype(np.uint8))
    training = Training(steps=2000, batch_size=256, lr=1e-2, ema=0.99, eval_every=1000)
    model = SymmetricVAE(bits=(1, 2), encoder=encoder, hidden=(16,))
    run = seedbed.run(
        Experiment(Examples("array:x.npy"), model, OfBits(), training), seeds=10, out="runs", name="x", threads=1
    )
    shares = torch.bincount((x @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long(), minlength=16).double() / len(x)
    found = [told(model, shares) for model in run.models]
    assert sum(gap <= LEARNT for gap, _ in found) >= 9, found
    assert all(information > 0.3 if gap <= LEARNT else information < TRIVIAL for gap, information in found), found

"""Symmetric learning of bits against the sum over every setting of them."""

import itertools
import math

import pytest
import torch
from torch import nn

from seedbed.core.capabilities import LatentVariable
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.distributions.likelihood import BERNOULLI, GAUSSIAN
from seedbed.distributions.numeric import soft_clamp
from seedbed.models.symmetric import SymmetricVAE
from seedbed.objectives.equilibrium import decoder_utility, encoder_utility, labelled_utility

EVERY_X = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)
EVERY_Z = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)[:, None]
Z = {"z1": EVERY_Z[..., :1], "z2": EVERY_Z[..., 1:]}
each_encoder = pytest.mark.parametrize("encoder", ["ladder", "reverse"])


def small(encoder, seed=0, hidden=(4,)):
    """One bit over two over three, in double precision, with weights that matter."""
    model = SymmetricVAE(3, (1, 2), encoder, hidden).double()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return model


def log_joint(model):
    """log p(x, z) of every setting, ``[settings of z, settings of x]``."""
    return model.joint(EVERY_X, Z, Context.of(0))


def log_q(model):
    return model.log_posterior(EVERY_X, {name: z.expand(-1, 8, -1) for name, z in Z.items()}, Context.of(0))


def owned(model, who):
    return {name: p for name, p in model.named_parameters() if name.startswith(who)}


def gradient(value, model, who):
    parameters = owned(model, who)
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True, retain_graph=True)
    parts = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters.values(), found, strict=True)]
    return torch.cat([part.flatten() for part in parts])


@each_encoder
def test_both_halves_are_normalised_and_the_factors_are_those_of_the_paper(encoder):
    model = small(encoder)
    assert float(log_joint(model).detach().exp().sum()) == pytest.approx(1)
    assert log_q(model).detach().exp().sum(0).tolist() == pytest.approx([1] * 8)
    coin = lambda value, logits: (value * logits - nn.functional.softplus(logits)).sum(-1)
    p_up = model.decoder.steps[0](Z["z1"])
    h = model.encoder.seen(EVERY_X)
    if encoder == "ladder":
        a2 = model.encoder.head(h)
        a1 = model.encoder.steps[0](h) + model.encoder.skips[0](a2)
        expected = coin(Z["z1"], a1) + coin(Z["z2"], p_up + a2)
    else:
        expected = coin(Z["z2"], model.encoder.head(h)) + coin(Z["z1"], model.encoder.steps[0](Z["z2"]))
    assert torch.allclose(log_q(model), expected)
    spelled = math.log(0.5) + coin(Z["z2"], p_up) + coin(EVERY_X, model.decoder.out(Z["z2"]))
    assert torch.allclose(log_joint(model), spelled)


@each_encoder
def test_gradients_of_the_players_are_those_of_their_utilities(encoder):
    """Averaged over draws they are sums over every setting, with the other player's law held fixed: 8 fixed directions."""
    model, n, repeats = small(encoder), 4000, 10
    data = torch.tensor([0.3, 0.05, 0.05, 0.1, 0.2, 0.1, 0.1, 0.1], dtype=torch.float64)
    rows = torch.multinomial(data, n, replacement=True, generator=torch.Generator().manual_seed(1))
    weights = (data * log_q(model).exp()).detach()
    exact_p = gradient((weights * log_joint(model)).sum(), model, "decoder")
    exact_q = gradient((log_joint(model).exp().detach() * log_q(model)).sum(), model, "encoder")
    for who, exact, utility in (("decoder", exact_p, decoder_utility), ("encoder", exact_q, encoder_utility)):
        directions = torch.randn(8, len(exact), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        found = []
        for repeat in range(repeats):
            counts = torch.bincount(rows, minlength=8) / n
            x = EVERY_X[rows]
            terms = utility(model, x, _double(Context.of(repeat)))
            estimate = gradient(terms.value.mean(), model, who)
            if who == "decoder":  # of these data, so that only the encoder's draws are by chance
                truth = gradient(((counts.double() * log_q(model).exp()).detach() * log_joint(model)).sum(), model, who)
                estimate = estimate + exact - truth
            found.append(directions @ estimate)
        found = torch.stack(found)
        error = found.std(0) / repeats**0.5
        assert ((found.mean(0) - directions @ exact).abs() < 5.5 * error).all()


def _double(ctx):
    ctx.noise.dtype = torch.float64
    return ctx


@each_encoder
def test_utilities_move_their_own_half_alone_though_a_ladder_shares_its_nets(encoder):
    model = small(encoder)
    assert gradient(decoder_utility(model, EVERY_X, _double(Context.of(0))).value.sum(), model, "encoder").abs().max() == 0
    shared = gradient(encoder_utility(model, EVERY_X, _double(Context.of(0))).value.sum(), model, "decoder.steps")
    assert (shared.abs().max() > 0) == (encoder == "ladder")  # who owns the decoder gets no say here: the game decides
    assert (
        gradient(encoder_utility(model, EVERY_X, _double(Context.of(0))).value.sum(), model, "decoder.out").abs().max() == 0
    )


def teacher(encoder):
    """A decoder whose posterior lies in the encoder's family, and that encoder.

    One bit over one over three. In ``reverse``, z1 is told by z2 alone, as in any such chain, and q(z2 | x) is logistic and
    affine in x: its features are set to the exact log-odds. ``ladder`` is the same chain, read downward.
    """
    model = SymmetricVAE(3, (1, 1), encoder, (1,)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.decoder.steps[0].skip.weight.fill_(1.2)
        out = model.decoder.out.layers  # through one hidden unit tanh(z): affine in a bit
        out[0].weight.fill_(1.0)
        out[1].weight.copy_(torch.tensor([[1.5], [-1.0], [0.7]]) / math.tanh(1.0))
        out[1].bias.copy_(torch.tensor([-0.5, 0.2, 0.1]))
    return model


class Exact(nn.Module):
    """In place of a trunk: the log-odds log p(x | z2 = 1) - log p(x | z2 = 0), which is affine in x."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = [decoder]

    def forward(self, x):
        one, none = (self.decoder[0].observed(torch.full((1, 1), v, dtype=x.dtype)).logits for v in (1.0, 0.0))
        softplus = nn.functional.softplus
        return (x * (one - none) - softplus(one) + softplus(none)).sum(-1, keepdim=True)


@each_encoder
def test_at_an_exact_pair_neither_player_can_gain(encoder, monkeypatch):
    """q(z | x) = p(z | x) and data from p: both gradients vanish, by the sum over every setting."""
    model = teacher(encoder)
    ratio = Exact(model.decoder)
    monkeypatch.setattr(type(model.encoder), "seen", lambda self, x: ratio(x))
    one = torch.tensor(1.2, dtype=torch.float64)
    with torch.no_grad():
        if encoder == "reverse":
            # p(z2 = 1) = (1 / 2 + sigmoid(1.2)) / 2, and p(z1 | z2) by Bayes.
            p2 = (0.5 + one.sigmoid()) / 2
            model.encoder.head.weight.fill_(1.0)
            model.encoder.head.bias.copy_(torch.logit(p2)[None])
            given = [torch.log(one.sigmoid() / 0.5), torch.log((1 - one.sigmoid()) / 0.5)]  # log-odds of z1 at z2 = 1, 0
            model.encoder.steps[0].skip.weight.copy_((given[0] - given[1]).view(1, 1))
            model.encoder.steps[0].net.layers[-1].bias.copy_(given[1][None])
        else:
            model.encoder.head.weight.fill_(1.0)  # q(z2 | z1, x): the prior's logits plus the evidence
    every = {"z1": EVERY_Z[:4, :, 1:2], "z2": EVERY_Z[:4, :, 2:]}
    joint = model.joint(EVERY_X, every, Context.of(0))
    posterior = (joint - joint.logsumexp(0)).detach()
    if encoder == "ladder":
        # q(z1 | x) is a function of x that no small trunk is: its logits are set one x at a time.
        top = torch.stack([posterior[every["z1"][:, 0, 0] == v].logsumexp(0) for v in (1.0, 0.0)])
        monkeypatch.setattr(
            type(model), "corrections", lambda self, x: [(top[0] - top[1])[:, None], self.encoder.head(ratio(x))]
        )
    q = model.log_posterior(EVERY_X, {name: z.expand(-1, 8, -1) for name, z in every.items()}, Context.of(0))
    assert torch.allclose(q, posterior, atol=1e-12)
    weights = joint.exp().detach()
    for value, who in ((weights * joint, "decoder"), (weights * q, "encoder")):
        assert gradient(value.sum(), model, who).abs().max() <= 1e-6
    moved = gradient((weights.flip(1) * joint).sum(), model, "decoder")
    assert moved.abs().max() > 1e-2  # with other data it would move


def test_the_trivial_pair_is_an_equilibrium_too():
    """A decoder that ignores z and an encoder that says its prior: neither can gain, and nothing was learned."""
    model = small("ladder")
    with torch.no_grad():
        for parameter in (*owned(model, "encoder").values(), *model.decoder.out.parameters()):
            parameter.zero_()
        marginal = torch.tensor([0.7, -0.3, 0.1], dtype=torch.float64)
        model.decoder.out.layers[-1].bias.copy_(marginal)
    joint, q = log_joint(model), log_q(model)
    data = joint.exp().sum(0).detach()  # pi is what p makes of x: independent pixels
    weights = (data * q.exp()).detach()
    assert gradient((weights * joint).sum(), model, "decoder").abs().max() < 1e-12
    assert gradient((joint.exp().detach() * q).sum(), model, "encoder").abs().max() < 1e-12


def test_labelled_pairs_teach_both():
    model = small("reverse")
    z = {name: value[3].expand(8, -1) for name, value in Z.items()}
    terms = labelled_utility(model, (EVERY_X, z), Context.of(0))
    assert torch.allclose(terms.value, log_joint(model)[3] + log_q(model)[3])


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_source_networks_have_its_numbers_of_weights():
    ladder = SymmetricVAE((1, 28, 28), (30, 100), "ladder", (600, 600), network="conv")
    assert (count(ladder.decoder.steps), count(ladder.decoder.out), count(ladder.encoder)) == (442_300, 375_457, 2_202_386)
    reverse = SymmetricVAE((1, 28, 28), (30, 100), "reverse", (600, 600), network="conv")
    assert count(reverse.encoder.trunk) + count(reverse.encoder.head) == 1_460_156
    assert count(reverse.encoder.steps) == 802_830 and count(reverse.decoder) == 442_300 + 375_457
    fashion = SymmetricVAE((1, 28, 28), (30, 100), "ladder", (1000, 1000), GAUSSIAN, "conv")
    assert count(fashion.encoder) == 4_354_786
    x = ladder.sample(2, Context.of(0))
    assert x.shape == (2, 1, 28, 28) and set(x.unique().tolist()) <= {0.0, 1.0}
    drawn = fashion.sample(2, Context.of(0))
    assert fashion.domain == REAL and drawn.shape == (2, 1, 28, 28) and len(drawn.unique()) > 1000
    for model, some in ((ladder, x), (reverse, x), (fashion, drawn)):
        assert isinstance(model, LatentVariable) and torch.isfinite(model.proposal(some, Context.of(0)).log_w).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"bits": ()}, "layers of a bit or more"),
        ({"bits": (3, 0)}, "layers of a bit or more"),
        ({"hidden": ()}, "hidden"),
        ({"encoder": "sideways"}, "unknown factorisation of the encoder 'sideways'"),
        ({"network": "resnet"}, "unknown network 'resnet'"),
        ({"network": "conv"}, r"grey images \[1, 28, 28\], got \[3\]; use mlp"),
    ],
)
def test_what_it_cannot_be_is_refused(settings, says):
    with pytest.raises(SeedbedError, match=says):
        SymmetricVAE(3, **{"bits": (1, 2), "hidden": (4,), "likelihood": BERNOULLI, **settings})


def test_of_real_numbers_the_decoder_starts_at_the_training_datas_mean_and_scale():
    mean, raw = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.5, -2.0, 0.0])
    model = SymmetricVAE(3, (1, 2), "reverse", (4,), GAUSSIAN, output_bias=torch.cat([mean, raw]))
    assert torch.equal(model.decoder.out.layers[-1].bias, mean)
    scale = soft_clamp(raw).exp()
    assert model.decoder.log_scale.exp().item() == pytest.approx(float(scale.square().mean().sqrt()))
    assert SymmetricVAE(3, (1, 2), "reverse", (4,), GAUSSIAN).decoder.log_scale.item() == 0

"""DRAW against the paper's formulas spelled out, enumeration, and itself one example at a time."""

import math

import pytest
import torch
from passes import at, log_posterior, whole_pass
from torch import Tensor
from torch.nn import functional as F

from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import EvalNoise, Streams
from seedbed.models.draw import DRAW, Attention, filterbank
from seedbed.objectives.bounds import elbo, elbo_kl, iwae

Z = 4.5  # standard errors: about 20 comparisons in this file
SIDES = (4, 6)
SHAPE = (1, *SIDES)
VARIANTS = {
    "whole": {},
    "attention": {"read": 2, "write": 3},
    "reads": {"read": 3},
    "writes": {"write": 2},
    "draw2": {"error_image": False},
    "draw3": {"overwrite": True},
    "draw4": {"error_image": False, "overwrite": True},
    "draw4-attention": {"error_image": False, "overwrite": True, "read": 2, "write": 2},
}
each_variant = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def built(steps: int = 3, **options) -> DRAW:
    """Every parameter moved: starts are zero, and a window in the middle hides its mistakes."""
    with Streams(5).scoped("init"):
        model = DRAW(SHAPE, 2, steps, 5, **options).double()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.3 * torch.randn_like(p))
    return model


def images(count: int = 5) -> Tensor:
    return (draw(count, math.prod(SHAPE)) > 0).double().view(count, *SHAPE)


def test_filters_are_the_paper_s():
    places = [[2.3, -40.0, 900.0], [1.7, 0.1, 0.9], [0.8, 0.03, 3.0]]
    centre, stride, scale = torch.tensor(places, dtype=torch.float64).unbind(0)
    bank = filterbank(centre, stride, scale, 3, 7)
    assert bank.shape == (3, 3, 7)
    # Also outside the image, where every exponential is zero in floating point.
    assert torch.allclose(bank.sum(-1), torch.ones(3, 3).double(), atol=1e-14)
    for i in range(1, 4):
        mu = 2.3 + (i - 3 / 2 - 0.5) * 1.7
        weights = [math.exp(-((a - mu) ** 2) / (2 * 0.8**2)) for a in range(7)]
        assert bank[0, i - 1].tolist() == pytest.approx([w / sum(weights) for w in weights], abs=1e-14)
    assert bank[1, 0].argmax() == 0 and bank[2, 0].argmax() == 6


def test_the_window_is_where_the_paper_puts_it():
    """Its pixels count from one, ours from zero."""
    attention = Attention(3, 4, SIDES).double()
    h = draw(5, 3)
    raw = F.linear(h, attention.place.weight, attention.place.bias)
    box = attention(h).box
    assert torch.allclose(box[:, 0] + 1, (6 + 1) / 2 * (raw[:, 0] + 1))
    assert torch.allclose(box[:, 1] + 1, (4 + 1) / 2 * (raw[:, 1] + 1))
    logs = 7 * torch.tanh(raw[:, 2:] / 7)
    assert torch.allclose(box[:, 2], (6 - 1) / (4 - 1) * logs[:, 1].exp())
    assert torch.allclose(box[:, 3], logs[:, 0].exp().sqrt())
    assert torch.allclose(box[:, 4], logs[:, 2].exp())


def test_reading_and_writing_spelled_out():
    attention, h = Attention(3, 2, SIDES).double(), draw(5, 3)
    x, error, patch = draw(5, 24), draw(7, 24)[:5], draw(5, 4)
    window = attention(h)
    read, written = attention.read((x, error), h), attention.write(patch, h)
    assert read.shape == (5, 8) and written.shape == (5, 24)
    for b in range(5):
        rows, columns, gain = window.rows[b], window.columns[b], window.gain[b]
        glimpses = [gain * (rows @ image[b].view(SIDES) @ columns.T) for image in (x, error)]
        # Row by row of the window, both images' rows after each other.
        assert torch.allclose(read[b].view(2, 2, 2), torch.stack(glimpses, 1), atol=1e-12)
        assert torch.allclose(written[b].view(SIDES), rows.T @ patch[b].view(2, 2) @ columns / gain, atol=1e-12)


def test_a_window_over_every_pixel_reads_and_writes_the_image():
    """Stride 1 and narrow filters: a delta per pixel, if the window is in the middle and nowhere else."""
    attention = Attention(2, 5, (5, 5)).double()
    with torch.no_grad():
        attention.place.weight.zero_()
        attention.place.bias.copy_(torch.tensor([0.0, 0.0, -5.0, 0.0, 0.0]))
    x, h = draw(3, 25), draw(3, 2)
    assert torch.allclose(attention.read((x,), h), x, atol=1e-8)
    assert torch.allclose(attention.write(x, h), x, atol=1e-8)


def test_gradients_of_the_window():
    attention, h, x = Attention(2, 2, (3, 4)).double(), draw(2, 2).requires_grad_(), draw(2, 12).requires_grad_()
    place = [p.detach().requires_grad_() for p in attention.place.parameters()]

    def both(h, x, weight, bias):
        own = {"place.weight": weight, "place.bias": bias}
        read = torch.func.functional_call(_Read(attention), {f"attention.{k}": v for k, v in own.items()}, (x, h))
        return read

    assert torch.autograd.gradcheck(both, (h, x, *place))


class _Read(torch.nn.Module):
    """Read, and write what was read elsewhere."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.attention.write(self.attention.read((x,), h), h.flip(1))


@pytest.mark.parametrize("options", [VARIANTS["attention"], VARIANTS["draw3"]], ids=["attention", "draw3"])
def test_gradients_of_the_bound(options):
    """Through time, to every parameter: finite differences of the ELBO along a random direction."""
    model, x = built(2, **options), images(2)
    params = dict(model.named_parameters())
    value = elbo_kl(model, x, at()).value.sum()
    grads = torch.autograd.grad(value, list(params.values()))
    for name, p, g in zip(params, params.values(), grads, strict=True):
        direction, ends, step = draw(*p.shape), [], 1e-5
        with torch.no_grad():
            for sign in (1, -1):
                p.add_(sign * step * direction)
                ends.append(float(elbo_kl(model, x, at()).value.sum()))
                p.sub_(sign * step * direction)
        slope = (ends[0] - ends[1]) / (2 * step)
        assert slope == pytest.approx(float((g * direction).sum()), abs=1e-6, rel=1e-5), name


@each_variant
def test_a_batch_is_its_examples_one_by_one(options):
    """The first source places every window where that of the batch's first example belongs."""
    model, x = built(**options), images()
    z = model.proposal(x, at()).z
    for utility in (DRAW.joint, log_posterior):
        whole = utility(model, x, z, at())
        for b in range(len(x)):
            alone = utility(model, x[b : b + 1], {name: value[b : b + 1] for name, value in z.items()}, at())
            assert torch.allclose(alone[0], whole[b], atol=1e-12)
    params = list(model.parameters())
    whole = torch.autograd.grad(elbo_at(model, x, z).sum(), params)
    parts = [
        torch.autograd.grad(elbo_at(model, x[b : b + 1], {k: v[b : b + 1] for k, v in z.items()}).sum(), params)
        for b in range(len(x))
    ]
    for name, total, *each in zip(dict(model.named_parameters()), whole, *parts, strict=True):
        assert torch.allclose(total, sum(each), atol=1e-10), name


def elbo_at(model: DRAW, x: Tensor, z: dict[str, Tensor]) -> Tensor:
    z = {name: value.detach() for name, value in z.items()}
    return model.joint(x, z, at()) - log_posterior(model, x, z, at())


@each_variant
def test_the_recurrence_spelled_out(options):
    """The paper's equations 3 to 8 with plain matrices, at the latents that the model drew."""
    model, x = built(**options), images()
    z, layers, likelihood = whole_pass(model, x, at())
    own, x = dict(model.named_parameters()), x.flatten(1)

    def affine(name: str, value: Tensor) -> Tensor:
        return F.linear(value, own[f"{name}.weight"], own.get(f"{name}.bias"))

    def lstm(name: str, value: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = affine(f"{name}.gates", torch.cat([value, h], 1)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    h_enc, c_enc = (v.expand(5, 5) for v in own["encoder_start"])
    h_dec, c_dec = (v.expand(5, 5) for v in own["decoder_start"])
    start = canvas = own["canvas"].expand(5, 24)
    for layer in layers:
        seen = (x, x - canvas.sigmoid()) if model.error_image else (x,)
        if model.reader is not None:
            glimpse = model.reader.read(seen, h_dec)
            h_enc, c_enc = lstm("encoder", torch.cat([glimpse, h_dec], 1), h_enc, c_enc)
        else:
            # One matrix of [x, error, h_dec, h_enc], as the paper has it.
            whole = torch.cat([own["see.weight"], own["encoder.gates.weight"]], 1)
            gates = F.linear(torch.cat([*seen, h_dec, h_enc], 1), whole, own["encoder.gates.bias"])
            i, f, g, o = gates.chunk(4, 1)
            c_enc = f.sigmoid() * c_enc + i.sigmoid() * g.tanh()
            h_enc = o.sigmoid() * c_enc.tanh()
        mean, log_scale = affine("head", h_enc).chunk(2, 1)
        assert torch.allclose(layer.posterior.mean, mean, atol=1e-12)
        assert torch.allclose(layer.posterior.log_scale, 7 * torch.tanh(log_scale / 7), atol=1e-12)
        h_dec, c_dec = lstm("decoder", z[layer.name], h_dec, c_dec)
        stroke = affine("brush", h_dec)
        stroke = stroke if model.writer is None else model.writer.write(stroke, h_dec)
        canvas = (start if model.overwrite else canvas) + stroke
    assert torch.allclose(likelihood.logits, canvas.view(5, *SHAPE), atol=1e-12)


def test_one_step_without_attention_is_a_vae():
    """With known cell states: an encoder of x and of the constant first error, a decoder of z."""
    model, shaped = built(1), images()
    own, x = dict(model.named_parameters()), shaped.flatten(1)
    error = x - own["canvas"].sigmoid()
    starts = torch.cat([own["decoder_start"][0], own["encoder_start"][0]]).expand(5, 10)
    gates = F.linear(torch.cat([error, starts], 1), own["encoder.gates.weight"], own["encoder.gates.bias"])
    i, f, g, o = (gates + x @ own["see.weight"].T).chunk(4, 1)
    h = o.sigmoid() * (f.sigmoid() * own["encoder_start"][1] + i.sigmoid() * g.tanh()).tanh()
    mean, raw = F.linear(h, own["head.weight"], own["head.bias"]).chunk(2, 1)
    scale = (7 * torch.tanh(raw / 7)).exp()
    z = mean + scale * at().noise.normal((2,), batch=5)
    gates = F.linear(
        torch.cat([z, own["decoder_start"][0].expand(5, 5)], 1), own["decoder.gates.weight"], own["decoder.gates.bias"]
    )
    i, f, g, o = gates.chunk(4, 1)
    h = o.sigmoid() * (f.sigmoid() * own["decoder_start"][1] + i.sigmoid() * g.tanh()).tanh()
    logits = own["canvas"] + F.linear(h, own["brush.weight"], own["brush.bias"])
    likelihood = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    kl = (0.5 * (mean**2 + scale**2 - 1) - scale.log()).sum(1)
    assert torch.allclose(elbo_kl(model, shaped, at()).value, likelihood - kl, atol=1e-10)


@each_variant
def test_sampling_is_an_ancestral_pass_with_a_fresh_latent_in_every_step(options):
    model = built(**options)
    z, likelihood = model.generate(4000, at())
    assert list(z) == ["z1", "z2", "z3"] and all(value.shape == (4000, 2) for value in z.values())
    # The prior, and independent between steps: the source sends one draw through all of them.
    together = torch.cat(list(z.values()), 1)
    covariance = together.T @ together / 4000
    error = torch.where(torch.eye(6) > 0, 2**0.5, 1.0) / 4000**0.5
    assert bool(((covariance - torch.eye(6)).abs() < Z * error).all())
    # What is drawn is what the joint says of those latents.
    x = likelihood.draw(at(1).noise).value
    prior = sum(torch.distributions.Normal(0, 1).log_prob(value).sum(1) for value in z.values())
    assert torch.allclose(model.joint(x, z, at()), prior + likelihood.log_prob(x), atol=1e-10)


def test_bounds_in_their_order():
    """ELBO <= L_5 <= log p(x), the last by a million draws of the prior."""
    model, x = built(2, read=2, write=2), images(2).repeat(2000, 1, 1, 1)
    bounds = [utility(model, x, at(i)).value.view(2000, 2) for i, utility in enumerate((elbo, elbo_kl, iwae(5)))]
    log_p = torch.stack(
        [model.generate(50_000, at(9, i))[1].log_prob(images(2)[:, None]).detach() for i in range(4)], 1
    ).flatten(1)
    p = log_p.exp()
    truth, error = p.mean(1).log(), p.std(1) / p.shape[1] ** 0.5 / p.mean(1)
    mean = [b.mean(0).detach() for b in bounds]
    spread = [b.std(0).detach() / 2000**0.5 for b in bounds]
    assert bool(((mean[0] - mean[1]).abs() < Z * (spread[0] ** 2 + spread[1] ** 2).sqrt()).all())
    assert bool((mean[2] - mean[1] > Z * (spread[1] ** 2 + spread[2] ** 2).sqrt()).all())
    assert bool((truth - mean[2] > -Z * (spread[2] ** 2 + error**2).sqrt()).all())
    # And an unbiased estimate of p(x) from the weights.
    w = iwae(4000)(model, images(2), at(7)).value.detach()
    assert torch.allclose(w, truth, atol=0.1)


def test_the_painting_shows_how_the_image_came_about():
    model, x = built(read=2, write=3), images()
    proposal = model.proposal(x, at(), 2)
    z = proposal.z
    painting = model.paint(z, at())
    assert painting.means.shape == (3, 2, 5, *SHAPE) and painting.read.shape == painting.write.shape == (3, 2, 5, 5)
    assert torch.allclose(painting.means[-1], proposal.likelihood.mean, atol=1e-12)
    first = model.reader(model.decoder_start[0]).box
    assert torch.allclose(painting.read[0], first.expand(2, 5, 5), atol=1e-12)
    # The step's stroke comes out of the window that is shown.
    h = model.decoder(z["z1"], model.decoder_start.unbind(0))[0]
    assert torch.allclose(painting.write[0], model.writer(h).box, atol=1e-12)
    draws = Context(EvalNoise([Streams(3)], "samples", dtype=torch.float64))
    whole = built().paint(built().generate(3, draws)[0], at())
    assert whole.read is None and whole.write is None and whole.means.shape == (3, 3, *SHAPE)


def test_the_canvas_starts_where_it_is_told():
    logits = draw(*SHAPE)
    model = DRAW(SHAPE, 2, 1, 4, output_bias=logits)
    assert torch.equal(model.canvas, logits.flatten())


def test_other_images_are_refused():
    with pytest.raises(SeedbedError, match=r"expects grey images \[1, height, width\], got examples \[24\]"):
        DRAW((24,))
    with pytest.raises(SeedbedError, match=r"got examples \[3, 4, 6\]"):
        DRAW((3, *SIDES))
    with pytest.raises(SeedbedError, match="at least 1 step, got 0"):
        DRAW(SHAPE, steps=0)


def test_the_sources_size():
    """3,262,304 there; here without the layer that follows the canvas and without second biases, but with learned starts."""
    model = DRAW((1, 28, 28), 32, 10, 256)
    theirs = 3_262_304 - (784 * 784 + 784) - 2 * 1024
    assert sum(p.numel() for p in model.parameters()) == theirs + 784 + 4 * 256

"""Planted mistakes are found, each by the check that names it and no other; the same models without them pass."""

import math
from functools import cache

import pytest
import torch
from certificate.planted import EIGHT, OTHERS, Coins, Gaussian, PlainVAE, plain_loss
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from seedbed.certificate.certify import NAMES, certify
from seedbed.certificate.check import Certificate, Check, NotApplicableError
from seedbed.certificate.evidence import at_most
from seedbed.certificate.sums import Grid, bridge, integrates_to_one
from seedbed.core.capabilities import LatentVariable, Layer
from seedbed.core.domain import REAL
from seedbed.core.errors import SeedbedError
from seedbed.distributions.normal import DiagonalNormal, StandardNormal

CASES = {**EIGHT, **OTHERS}
slow = [pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]


@cache
def without(name: str) -> Certificate:
    """Of the model without the mistake; several cases share one."""
    case = CASES[name]
    domain = "binary" if case.check == "domain" else case.domain
    return certify(case.right, domain=domain, shape=case.shape, **case.instead)


def shared(name: str) -> str:
    """The first case of the same model without a mistake."""
    what = lambda case: (case.right, case.shape, case.instead)
    return next(other for other in CASES if what(CASES[other]) == what(CASES[name]))


@pytest.mark.parametrize("name", [*EIGHT, *slow])
def test_a_planted_mistake_fails_the_check_that_names_it_and_no_other(name):
    case = CASES[name]
    found = certify(case.wrong, domain=case.domain, shape=case.shape, **case.given)
    assert [check.name for check in found.failed] == [case.check], f"\n{found}"


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in CASES])
def test_the_same_without_it_passes(name):
    found = without(shared(name))
    assert found.passed and found[CASES[name].check].status == "passed", f"\n{found}"


def test_every_check_has_a_mistake_that_it_finds():
    assert {case.check for case in CASES.values()} == set(NAMES)


def gaussian(size: int) -> tuple[Tensor, DiagonalNormal]:
    """Draws ``[4000, 2, size]`` of two Gaussians, and their law."""
    generator = torch.Generator().manual_seed(0)
    mean, log_scale = torch.randn(2, 2, size, generator=generator, dtype=torch.float64)
    epsilon = torch.randn(4000, 2, size, generator=generator, dtype=torch.float64)
    return mean + log_scale.exp() * epsilon, DiagonalNormal(mean, log_scale)


@pytest.mark.parametrize("size", [1, 2, 30])
def test_a_bridge_tells_a_constant(size):
    """An integral of 1.2 is told in any number of dimensions, and one of 1 is not."""
    draws, law = gaussian(size)
    assert bridge(law.log_prob, draws, REAL, "p").passed
    found = bridge(lambda x: law.log_prob(x) + math.log(1.2), draws, REAL, "p")
    assert not found.passed and found.z > 3


def test_a_bridge_says_where_it_can_say_nothing():
    """Of two narrow modes in ten dimensions no Gaussian is near."""
    draws, law = gaussian(10)
    far = torch.where(torch.arange(len(draws))[:, None, None] % 2 == 0, draws, draws + 1e6)
    with pytest.raises(NotApplicableError, match="no simple density"):
        bridge(lambda x: torch.logaddexp(law.log_prob(x), law.log_prob(x - 1e6)) - math.log(2), far, REAL, "p")


@pytest.mark.parametrize("size", [1, 2])
def test_a_grid_integrates_what_is_known(size):
    draws, law = gaussian(size)
    grid = Grid.around(draws)
    total, slack = grid.log_integral(law.log_prob(grid.points))
    assert total.abs().max() < 1e-9 and slack.max() < 1e-9


def test_a_grid_knows_when_it_is_too_coarse():
    draws, law = gaussian(1)
    comb = lambda x: law.log_prob(x) + (400 * x[..., 0]).cos()
    assert integrates_to_one(comb, draws, "p") is None


def test_it_is_the_same_every_time_whatever_torch_draws_meanwhile():
    first = certify(Coins, domain="binary", shape=3)
    torch.manual_seed(5)
    torch.randn(3)
    state = torch.get_rng_state()
    again = certify(Coins, domain="binary", shape=3)
    assert first == again and torch.equal(state, torch.get_rng_state())


def test_a_module_is_looked_at_as_it_is_and_left_alone():
    model = Gaussian()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = certify(model, shape=2)
    assert found.passed
    assert all(torch.equal(value, before[key]) and value.dtype == torch.float32 for key, value in model.state_dict().items())


def test_it_is_told_in_a_notebook_without_markup_of_others():
    found = Certificate("<b>x</b>", ("a & b",), (Check("draws", "FAILED", "1 < 2", 2.0, 1.0, 4.0),))
    page = found._repr_html_()
    assert "<b>x</b>" not in page and "&lt;b&gt;x" in page and "1 &lt; 2" in page
    assert "2.0e+00 of 1.0e+00 (z = 4.0)" in str(found) and "1 FAILED (draws)" in str(found)
    assert found["draws"].status == "FAILED" and not found.passed


def test_of_data_of_ones_own():
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    assert certify(Gaussian, x, only=("normalised", "draws", "domain")).passed


@pytest.mark.parametrize(("name", "check"), [("spline-flow", "inverse"), ("vae", "gradients")])
def test_a_model_of_a_table_is_looked_at_in_its_units(name, check):
    """Shown columns of thousands as they are, a spline is at its ends, and a network dead."""
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    table = x * torch.tensor([1e2, 2e4, 1e-3]) + torch.tensor([5e2, -3e5, 0.1])
    assert certify(name, table, only=(check,)).passed


class Wide(nn.Module, LatentVariable):
    """x = sum of 16 latents and noise, inferred by the prior: no sum, no grid, and far from tight with 256 samples."""

    domain = REAL

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6, 16))

    def layers(self, x, ctx):
        z = yield Layer(
            "z", StandardNormal(16), None if x is None else DiagonalNormal(x.new_zeros(len(x), 16), 0.0 * x[:, :1])
        )
        mean = z @ self.weight.T
        return DiagonalNormal(mean, torch.full_like(mean, -1.0))


def evidence_of_wide(model, x, ctx):
    cov = model.weight @ model.weight.T + math.exp(-2.0) * torch.eye(6, dtype=x.dtype)
    return MultivariateNormal(torch.zeros(6, dtype=x.dtype), cov).log_prob(x)


def test_a_bound_that_is_tighter_than_any_of_ours_is_no_mistake():
    """Where log p(x) is known by no sum and no grid, a bound of 256 samples says nothing of one that is log p(x) itself."""
    assert certify(Wide, shape=6, bound=evidence_of_wide, only=("bounds",)).passed


def test_the_errors_of_both_means_are_within_the_tolerance():
    """z sqrt(4 / 100 + 3^2) of a mean of 100 draws with variance 4 against a limit that is known to 3."""
    values = 2 * torch.tensor([[-1.0], [1.0]], dtype=torch.float64).repeat(50, 1) * (99 / 100) ** 0.5
    found = at_most(values + 1, torch.zeros(1), torch.full((1,), 3.0), torch.zeros(()), "")
    assert found.figure == pytest.approx(1) and found.tolerance == pytest.approx(found.z * (0.04 + 9) ** 0.5, rel=1e-4)


def per_batch(module, x):
    return module(x)[0].square().mean()


@pytest.mark.parametrize(
    ("model", "given", "says"),
    [
        (
            PlainVAE,
            {"shape": 3, "loss": per_batch},
            r"the loss must return one value per example, \[7\], not their mean, got \[\]",
        ),
        (
            PlainVAE,
            {"shape": 4, "loss": plain_loss("sum", "sum")},
            r"mat1 and mat2.*\(line \d+ of .*planted.py",
        ),
        (Gaussian, {}, "say what it is a model of"),
        (Gaussian, {"shape": 2, "only": ("norm",)}, "unknown check 'norm'; did you mean 'normalised'"),
        (Gaussian, {"shape": 2, "domain": "levels"}, "levels:NUMBER"),
        (Gaussian, {"shape": 2, "domain": "gray"}, "unknown domain 'gray'"),
        (Gaussian, {"shape": 2, "k": 3}, "k is of a bound of your own"),
        (lambda: nn.Linear(2, 2), {"shape": 2}, "neither latent variables nor a density"),
        (lambda: 3, {"shape": 2}, "makes an nn.Module, got int"),
    ],
)
def test_bad_input_is_refused_in_one_line(model, given, says):
    with pytest.raises(SeedbedError, match=says) as refused:
        certify(model, **given)
    assert "\n" not in str(refused.value)

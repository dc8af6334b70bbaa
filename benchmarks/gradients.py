"""How far gradients through bits are from the sum over every setting: those that should not be, and those that are.

Two layers of bits, two over three over four pixels, small enough that every setting can be summed. Each way's gradient is
averaged over many draws and compared along eight fixed directions; ``largest_z`` is the largest distance there in standard
errors, ``limit`` what chance leaves below it 99 times in 100 (Bonferroni over the eight). ``bias`` is the length of what is
left of the whole gradient when the noise of the average is taken off, over the length of the exact one.

    python benchmarks/gradients.py [--record]
"""

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import torch
from pairs import commit
from scipy import stats
from torch import Tensor

from seedbed.core.context import Context
from seedbed.core.noise import Streams
from seedbed.core.terms import Terms
from seedbed.models.symmetric import SymmetricVAE
from seedbed.objectives.bits import elbo_of_bits
from seedbed.objectives.equilibrium import decoder_utility, encoder_utility

PIXELS, BITS, HIDDEN = 4, (2, 3), (4,)
REPEATS, COPIES = 40, 500  # averages, and draws of each example in one
DIRECTIONS = 8
WAYS = {"zgr": "biased", "st": "biased", "reinforce_loo": "unbiased"}
SEEDS = (0, 1, 2)


def generator(*address: int | str) -> torch.Generator:
    return Streams(0).generator("eval", "gradients", *address)


def model_of(encoder: str, seed: int) -> SymmetricVAE:
    """With weights that matter, as a trained one's do."""
    model = SymmetricVAE(PIXELS, BITS, encoder, HIDDEN).double()
    g = generator(encoder, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return model


def gradient(model: SymmetricVAE, value: Tensor, owner: str = "") -> Tensor:
    named = {name: p for name, p in model.named_parameters() if name.startswith(owner)}
    found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(found, named.values(), strict=True)]
    )


def context(number: int) -> Context:
    ctx = Context.of(number, "gradients")
    ctx.noise.dtype = torch.float64
    return ctx


def compared(
    model: SymmetricVAE, utility: Callable[..., Terms], x: Tensor, exact: Tensor, kind: str, owner: str = ""
) -> dict[str, object]:
    """A row of the table: the utility's gradient over many draws beside the exact one."""
    found = [gradient(model, utility(model, x, context(n)).value.mean(), owner) for n in range(REPEATS)]
    estimates = torch.stack(found)
    mean, error = estimates.mean(0), estimates.std(0) / REPEATS**0.5
    directions = torch.randn(len(exact), DIRECTIONS, generator=generator("directions"), dtype=torch.float64)
    along = (estimates - exact) @ directions
    z = along.mean(0) / (along.std(0) / REPEATS**0.5)
    left = ((mean - exact).square().sum() - error.square().sum()).clamp(min=0).sqrt()
    limit = stats.t.ppf(1 - 0.005 / DIRECTIONS, REPEATS - 1)
    return {
        "kind": kind,
        "bias": round(float(left / exact.norm()), 4),
        "error": round(float(error.norm() / exact.norm()), 4),
        "largest_z": round(float(z.abs().max()), 2),
        "limit": round(float(limit), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write results/bits/gradients.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=PIXELS)), dtype=torch.float64)
    settings = torch.tensor(list(itertools.product((0.0, 1.0), repeat=sum(BITS))), dtype=torch.float64)[:, None]
    z = dict(zip(("z1", "z2"), settings.split(BITS, -1), strict=True))
    wide = {name: value.expand(-1, len(every), -1) for name, value in z.items()}
    many = every.repeat(COPIES, 1)
    rows = []
    for encoder, seed in itertools.product(("ladder", "reverse"), SEEDS):
        model = model_of(encoder, seed)

        truth = gradient(model, elbo_of_bits("enumerate")(model, every, context(0)).value.mean())
        joint, log_q = model.joint(every, wide, context(0)), model.log_posterior(every, wide, context(0))
        of_decoder = gradient(model, (log_q.exp().detach() * joint).sum(0).mean(), "decoder")
        of_encoder = gradient(model, (joint.exp().detach() * model.log_posterior(every, wide, context(0))).sum(), "encoder")
        found = {way: compared(model, elbo_of_bits(way), many, truth, kind) for way, kind in WAYS.items()}
        for who, utility, exact in (("decoder", decoder_utility, of_decoder), ("encoder", encoder_utility, of_encoder)):
            found[f"symmetric, {who}"] = compared(model, utility, many, exact, "unbiased", who)
        rows += [{"encoder": encoder, "model": seed, "way": way, **row} for way, row in found.items()]
        print(*rows[-len(found) :], sep="\n", flush=True)
    assert all((row["largest_z"] < row["limit"]) == (row["kind"] == "unbiased") for row in rows), "not as declared"
    if options.record:
        command = "python benchmarks/gradients.py --record"
        path = Path("results/bits/gradients.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps({"commit": commit(), "command": command, "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )
        print(f"wrote {path}")


if __name__ == "__main__":
    main()

"""The likelihood of somebody else's latent-variable model, given as two functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seedbed.core.errors import SeedbedError
from seedbed.core.noise import BLOCK, Streams
from seedbed.evaluate.likelihood import FEW, LADDER, Progress, check_request, ladder_of, with_units


@dataclass(frozen=True)
class Foreign:
    """p(x, z) and q(z | x) of a model that Seedbed does not know, in any framework that speaks ``torch.Tensor``.

    The functions are called without gradients and as they are: put modules into evaluation mode and on the device of ``x``
    before.

    Args:
        joint: ``(x [batch, *example], z [samples, batch, *latent]) -> log p(x, z)``, ``[samples, batch]`` in nats.
        posterior: ``x -> q(z | x)``: a ``torch.distributions.Distribution`` with batch shape ``[batch]`` (or anything with
            its ``sample`` and ``log_prob``), or a function ``samples -> (z, log q(z | x))`` of the same shapes as above.
    """

    joint: Callable[[Tensor, Tensor], Tensor]
    posterior: Callable[[Tensor], Any]

    def log_weights(self, x: Tensor, samples: int) -> Tensor:
        """log p(x, z_k) - log q(z_k | x), z_k ~ q, from torch's global generator, ``[samples, batch]`` in fp64.

        Raises:
            SeedbedError: if one of the functions returns another shape.
        """
        shape, of = (samples, len(x)), f"{samples} samples of {len(x)} examples"
        z, log_q = _drawn(self.posterior(x), samples)
        if z.shape[:2] != shape:
            raise SeedbedError(f"posterior: expected z [{samples}, {len(x)}, *latent] for {of}, got {list(z.shape)}")
        _check("posterior: expected log q(z | x)", log_q, shape, of)
        log_p = self.joint(x, z)
        _check("joint: expected log p(x, z)", log_p, shape, of)
        return log_p.double() - log_q.double()


def foreign_likelihood(
    model: Foreign,
    x: Tensor,
    address: str,
    samples: int = 5000,
    *,
    ladder: Sequence[int] = LADDER,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, tuple[Tensor, str]]:
    """``importance_sampling`` for a foreign model: the same estimator, metrics and ladder from one pass, one row of values.

    The model meets at most 64 examples x 25 samples at once. Draws come from torch's global generator, seeded for each such
    piece by ``seed``, address and place (and restored after), so a value is the same whatever else is evaluated; the last
    block is filled up with its last example.

    Args:
        model: the two functions.
        x: ``[n, *example]``, as they expect it.
        address: names the draws, e.g. the split.
        samples: K.
        ladder: the k of the bounds; those below ``samples`` are taken, and ``samples`` itself.
        seed: of the draws.
        progress: called after every block of examples.

    Returns:
        ``{metric: ([1, n], unit)}``; ``ess_min`` is ``[1, 1]``.

    Raises:
        SeedbedError: for a shape other than what was asked for; it says both.

    Burda et al. 2016 (arXiv 1509.00519), eqs. 8 and 9.
    """
    rungs = check_request(x, samples, ladder)
    streams, parts = Streams(seed), []
    for first in range(0, len(x), BLOCK):
        block = x[first : first + BLOCK]
        whole = torch.cat([block, block[-1:].expand(BLOCK - len(block), *block.shape[1:])])
        pieces = []
        with torch.no_grad(), torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            for start in range(0, samples, FEW):
                torch.manual_seed(streams.key("eval", "foreign", address, first // BLOCK, start // FEW))
                pieces.append(model.log_weights(whole, FEW)[: samples - start, : len(block)])
        parts.append(ladder_of(torch.cat(pieces)[None], rungs))
        if progress is not None:
            progress(first + len(block), len(x))
    return with_units(parts)


def _drawn(q: Any, samples: int) -> tuple[Tensor, Tensor]:
    if hasattr(q, "sample") and hasattr(q, "log_prob"):
        z = q.sample((samples,))
        return z, q.log_prob(z)
    out = q(samples) if callable(q) else q
    if isinstance(out, tuple) and len(out) == 2 and all(isinstance(part, Tensor) for part in out):
        return out
    raise SeedbedError(
        "posterior: expected a distribution with sample and log_prob, or a function samples -> (z, log q); "
        f"got {type(q).__name__}" + (f" that returns {type(out).__name__}" if callable(q) else "")
    )


def _check(what: str, got: Any, shape: tuple[int, int], of: str) -> None:
    if isinstance(got, Tensor) and got.shape == shape:
        return
    if not isinstance(got, Tensor):
        raise SeedbedError(f"{what} as a tensor {list(shape)} for {of}, got {type(got).__name__}")
    # What most often goes wrong: a factorised distribution whose log-probabilities nobody summed.
    hint = "; sum over the axes of one example (torch.distributions.Independent does)" if got.shape[:2] == shape else ""
    raise SeedbedError(f"{what} {list(shape)} for {of}, got {list(got.shape)}{hint}")

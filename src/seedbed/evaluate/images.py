"""Pictures of image models, and the loss of the simplest model of binary images."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from seedbed.core.capabilities import LatentVariable
from seedbed.core.noise import EvalNoise, Noise
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.distributions.bernoulli import Bernoulli

SHOWN = 64  # images of each kind


def shown(data: Dataset) -> Tensor:
    """Held-out images to look at, ``[64, *example]``: a stride, since a test file may be sorted by class."""
    test = data.splits["test"]
    return test[:: max(1, len(test) // SHOWN)][:SHOWN]


def image_artefacts(data: Dataset) -> Callable[[Stack], Mapping[str, Mapping[str, np.ndarray]]]:
    """Arrays for pictures: draws x ~ p(x) and the means that they were drawn from, and means p(x | z) at z ~ q(z | x).

    Args:
        data: binary images, of which ``shown(data)`` are reconstructed.
    """

    def draw(model: LatentVariable, count: int, noise: Noise) -> dict[str, Tensor]:
        _, likelihood = model.generate(count, noise)
        return {"x": likelihood.rsample(noise), "mean": _mean(likelihood)}

    def reconstruct(model: LatentVariable, x: Tensor, noise: Noise) -> Tensor:
        return _mean(model.posterior(x, noise)[2])

    def make(stack: Stack) -> Mapping[str, Mapping[str, np.ndarray]]:
        def noise(address: str) -> EvalNoise:
            return EvalNoise(stack.streams, address, device=stack.device, dtype=stack.dtype)

        x = shown(data).to(stack.device, stack.dtype)
        with torch.no_grad():
            samples = stack.call(draw, noise=noise("samples"), shared=(SHOWN,))
            means = stack.call(reconstruct, noise=noise("reconstructions"), shared=(x,))
        return {
            "samples": {"x": samples["x"].byte().cpu().numpy(), "mean": _half(samples["mean"])},
            "reconstructions": {"mean": _half(means)},
        }

    return make


def image_reference(data: Dataset) -> Mapping[str, np.ndarray]:
    """The images that reconstructions stand beside."""
    return {"x": shown(data).byte().cpu().numpy()}


def factorised_bernoulli(data: Dataset) -> tuple[Tensor, float]:
    """Logits of the training means, each counted with half a 0 and half a 1 more, and their validation loss in nats.

    The loss is that of the best model whose pixels are independent, so a model worth training is below it.
    """
    train, count = data.splits["train"], len(data.splits["train"])
    logits = torch.logit((train.sum(0, dtype=torch.float64) + 0.5) / (count + 1))
    # The loss is linear in x, so its mean is the loss of the mean.
    return logits.float(), -float(Bernoulli(logits).log_prob(data.splits["valid"].mean(0, dtype=torch.float64)))


def _mean(likelihood: object) -> Tensor:
    assert isinstance(likelihood, Bernoulli), "pictures are made of binary images"
    return likelihood.mean


def _half(values: Tensor) -> np.ndarray:
    return values.half().cpu().numpy()

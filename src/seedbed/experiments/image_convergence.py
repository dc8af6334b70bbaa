"""Studies `mnist-convergence` and `omniglot-convergence`: VAE, ladder VAE, DRAW and a flow over seeds, on binary images.

After the first source (generative-convergence). Its sizes and epochs are the budget `full`; its defects (variances of at
least 1, prior samples sent down the ladder, a layer behind DRAW's canvas, raw exponentials in the flow) are not repeated.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from seedbed.experiments.base import Experiment, Rule, option
from seedbed.experiments.images import Activation, BinaryImages
from seedbed.experiments.iwae import BoundVAE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from seedbed.core.context import Context
    from seedbed.core.noise import Streams
    from seedbed.data.dataset import Dataset
    from seedbed.train.task import Task

# The source's 500 epochs in batches of 128, the KL weight rising over the first 100.
_SOURCE = {"epochs": 500, "batch_size": 128, "lr": 1e-3, "warm_up": 0.2, "optimizer": "adam", "precision": "fp32"}


@dataclass(frozen=True, kw_only=True)
class SoapVAE(BoundVAE):
    """An image VAE in Soap's hands, which comes as far as Adam in a fraction of the updates."""

    optimizer: Rule = option("soap", "rule of the update")
    precision: Literal["fp32", "bf16", "fp64"] = option("bf16", "of matrix products and convolutions")
    lr: float = option(4e-3, "step size", least=0.0)


@dataclass(frozen=True, kw_only=True)
class ConvergenceVAE(SoapVAE):
    """VAE with one stochastic layer and MLPs."""

    steps: int = option(80_000, "updates in all (schedules and warm-ups are tied to it)", least=1)
    norm: bool = option(False, "normalise each hidden layer (layer norm)")
    prior: Literal["standard", "normal", "vamp"] = option(
        "standard", "of z: N(0, I), a Gaussian that is learnt, or the posterior at inputs that are learnt (vamp)"
    )
    pseudo_inputs: int = option(500, "inputs that a vamp prior learns", least=1)
    budgets: ClassVar = {"full": {**_SOURCE, "hidden": (512, 256, 128, 64), "latents": 64, "activation": "relu"}}
    ms_per_step = 65.0

    def model(self, data: "Dataset", output_bias: "Tensor | None") -> "nn.Module":
        """With the prior that is asked for."""
        from seedbed.distributions.likelihood import BERNOULLI
        from seedbed.models.vae import VAE

        return VAE(
            data.features,
            self.latents,
            self.hidden,
            BERNOULLI,
            self.activation,
            output_bias,
            self.prior,
            self.pseudo_inputs,
            self.norm,
        )

    @property
    def hours(self) -> float:
        """Estimated hours of ten seeds on two cores: a vamp prior encodes its inputs beside the images."""
        inputs = self.pseudo_inputs if self.prior == "vamp" else 0
        return self.steps * (self.ms_per_step * self.batch_size / 128 + 0.32 * inputs) / 3.6e6


@dataclass(frozen=True, kw_only=True)
class ConvergenceLVAE(SoapVAE):
    """Ladder VAE with two layers of units between each two latents (Soenderby et al. 2016)."""

    steps: int = option(30_000, "updates in all (schedules and warm-ups are tied to it)", least=1)
    hidden: tuple[int, ...] = option((256, 256, 128), "width at each level, from the data upward", least=1)
    latents: tuple[int, ...] = option((64, 32, 16), "size of each latent, from the data upward", least=1)
    activation: Activation = option("leaky_relu", "of all networks")
    norm: bool = option(True, "normalise each hidden layer (layer norm, in place of the paper's batch norm)")
    warm_up: float = option(0.2, "fraction of the run over which the KL weight rises to 1; 0 for none", least=0.0, most=1.0)
    budgets: ClassVar = {"full": {**_SOURCE, "hidden": (512, 256, 256), "latents": (64, 64, 64)}}
    ms_per_step = 190.0

    @property
    def hours(self) -> float:
        """Estimated hours of ten seeds on two cores."""
        return self.steps * self.ms_per_step * self.batch_size / 128 / 3.6e6

    def model(self, data: "Dataset", output_bias: "Tensor | None") -> "nn.Module":
        """As many stochastic layers as there are sizes."""
        from seedbed.distributions.likelihood import BERNOULLI
        from seedbed.models.lvae import LadderVAE

        return LadderVAE(data.features, self.latents, self.hidden, BERNOULLI, self.activation, self.norm, output_bias)


@dataclass(frozen=True, kw_only=True)
class DeepLVAE(ConvergenceLVAE):
    """The ladder VAE's paper: five stochastic layers, the KL weight rising over 200 of 2000 epochs of batches of 256."""

    hidden: tuple[int, ...] = option((512, 256, 128, 64, 32), "width at each level, from the data upward", least=1)
    latents: tuple[int, ...] = option((64, 32, 16, 8, 4), "size of each latent, from the data upward", least=1)
    budgets: ClassVar = {"full": {**_SOURCE, "epochs": 2000, "batch_size": 256, "warm_up": 0.1}}
    ms_per_step = 260.0


@dataclass(frozen=True, kw_only=True)
class ConvergenceDRAW(SoapVAE):
    """DRAW: a canvas written in steps, each with a latent of its own; of whole images, or through windows."""

    steps: int = option(6_000, "updates in all (schedules and warm-ups are tied to it)", least=1)
    lr: float = option(3e-3, "step size", least=0.0)
    clip: float = option(50.0, "largest gradient norm of a seed; 0 for no clipping", least=0.0)
    hidden: int = option(256, "size of each LSTM", least=1)
    latents: int = option(32, "size of each step's latent", least=1)
    strokes: int = option(10, "steps of drawing", least=1)
    read: int = option(0, "filters along each axis of the window that is read; 0 to read the whole image", least=0)
    write: int = option(0, "filters along each axis of the window that is written; 0 to write the whole canvas", least=0)
    error_image: bool = option(True, "whether the encoder sees the error beside the image")
    overwrite: bool = option(False, "write each step over the start, not over the step before")
    eval_every: int = option(1000, "steps between validations", least=1)
    budgets: ClassVar = {"full": {**_SOURCE, "clip": 0.0}}
    ms_per_step = 700.0

    @property
    def hours(self) -> float:
        """Estimated hours of ten seeds on two cores; fp32 takes about a half more than bf16."""
        slower = 1.0 if self.precision == "bf16" else 1.5
        return self.steps * self.ms_per_step * slower * self.strokes / 10 * self.batch_size / 128 / 3.6e6

    def model(self, data: "Dataset", output_bias: "Tensor | None") -> "nn.Module":
        """`activation` has no say here."""
        from seedbed.models.draw import DRAW

        _, height, width = data.picture(type(self).__name__)
        return DRAW(
            data.features,
            self.latents,
            self.strokes,
            self.hidden,
            self.read,
            self.write,
            self.error_image,
            self.overwrite,
            output_bias,
            (height, width),
        )


@dataclass(frozen=True, kw_only=True)
class AttentiveDRAW(ConvergenceDRAW):
    """DRAW with both windows; the paper's 64 steps, 2 x 2 read and 5 x 5 written, are the budget `full`."""

    read: int = option(5, "filters along each axis of the window that is read; 0 to read the whole image", least=0)
    write: int = option(5, "filters along each axis of the window that is written; 0 to write the whole canvas", least=0)
    budgets: ClassVar = {"full": {**_SOURCE, "clip": 0.0, "strokes": 64, "read": 2, "latents": 100}}
    ms_per_step = 650.0


@dataclass(frozen=True, kw_only=True)
class ConvergenceFlow(BinaryImages):
    """Multi-scale flow of dequantised bits, augmented by a channel, with bounded scales.

    The small preset has no step at full resolution, where a convolution costs most.
    """

    steps: int = option(2_500, "updates in all (schedules are tied to it)", least=1)
    batch_size: int = option(64, "examples per update", least=1)
    clip: float = option(200.0, "largest gradient norm of a seed; 0 for no clipping", least=0.0)
    eval_every: int = option(500, "steps between validations", least=1)
    couplings: tuple[int, ...] = option(
        (0, 4, 4), "[ActNorm, 1x1 convolution, coupling] of each scale, from fine to coarse", least=0
    )
    augment: int = option(1, "channels that are added to the image's one", least=0)
    width: int = option(32, "channels of each coupling's net", least=1)
    depth: int = option(3, "its densely connected layers", least=0)
    growth: int = option(16, "channels that each of these adds", least=1)
    variational: bool = option(True, "learn how bits are dequantised; else uniformly, which bounds them less tightly")
    # The source's size. Its 40 epochs, at 1e-4, ended with nine of ten seeds diverged; ours are as many as the others'.
    budgets: ClassVar = {
        "full": {
            "epochs": 500,
            "batch_size": 128,
            "lr": 1e-3,
            "couplings": (4, 4, 4),
            "width": 64,
            "depth": 8,
            "growth": 16,
        }
    }
    ms_per_step = 1200.0

    @property
    def hours(self) -> float:
        """Estimated hours of ten seeds on two cores, by the products of the couplings' nets."""
        return self.steps * self.ms_per_step * self._work() / ConvergenceFlow()._work() / 3.6e6

    def _work(self) -> int:
        channels, pixels, total = 1 + self.augment, 784, 0
        widths = [self.width + i * self.growth for i in range(self.depth)]
        dense = sum(n * n + 9 * n * self.growth for n in widths) + 3 * self.width * (self.width + self.depth * self.growth)
        for scale, count in enumerate(self.couplings):
            if scale:  # squeezed, and half of it done where there was a step
                channels, pixels = channels * (2 if self.couplings[scale - 1] else 4), pixels // 4
            total += count * pixels * (dense + self.width * channels * 3 // 2)
        return (total + 196 * dense * self.variational) * self.batch_size

    def task(self, streams: "list[Streams]") -> "Task":
        """Maximise the bound at one draw of the dequantised image."""
        from seedbed.evaluate.images import sample_artefacts
        from seedbed.models.image_flow import ImageFlow
        from seedbed.objectives.bounds import elbo

        def build(data: "Dataset", logits: "Tensor") -> ImageFlow:
            # Halved between scales, and once for the net that dequantises.
            halvings = max(len(self.couplings) - 1, int(self.variational))
            _, height, width = data.picture(type(self).__name__, multiple=2**halvings)
            sizes = (self.width, self.depth, self.growth)
            return ImageFlow(data.features, self.augment, self.couplings, *sizes, self.variational, (height, width))

        def losses(model: ImageFlow, x: "Tensor", ctx: "Context") -> "Mapping[str, Tensor]":
            return {"neg_elbo_nats": -elbo(model, x, ctx).value}

        return self.maximise(build, elbo, losses, "neg_elbo_nats", sample_artefacts)


def _models(data: str) -> dict[str, Experiment]:
    return {
        "vae": ConvergenceVAE(data=data),
        "vae-normal-prior": ConvergenceVAE(data=data, prior="normal"),
        "vae-vamp-prior": ConvergenceVAE(data=data, prior="vamp", steps=35_000),
        "lvae": ConvergenceLVAE(data=data),
        "lvae-5layer": DeepLVAE(data=data),
        "draw": ConvergenceDRAW(data=data),
        "draw-attention": AttentiveDRAW(data=data),
        "draw2": ConvergenceDRAW(data=data, error_image=False),
        "draw3": ConvergenceDRAW(data=data, overwrite=True),
        "draw4": ConvergenceDRAW(data=data, error_image=False, overwrite=True),
        "flow": ConvergenceFlow(data=data),
        "flow-uniform": ConvergenceFlow(data=data, variational=False),
    }


FAMILIES = ("vae", "lvae", "draw", "flow")
DOC = "VAE, ladder VAE, DRAW and a flow on binarised MNIST, over seeds"
OMNIGLOT_DOC = "the same on Omniglot at 28 x 28, with half the steps (`full`: as many epochs)"
MNIST: dict[str, Experiment] = {f"mnist-convergence/mnist-dynamic/{name}": e for name, e in _models("mnist-dynamic").items()}
# Fewer than half the images, on which the source's DRAW overfits: best and last validation are apart.
OMNIGLOT: dict[str, Experiment] = {
    f"omniglot-convergence/omniglot-dynamic/{name}": replace(e, steps=e.steps // 2)
    for name, e in _models("omniglot-dynamic").items()
}
GRID = tuple(f"mnist-convergence/mnist-dynamic/{name}" for name in FAMILIES)
OMNIGLOT_GRID = tuple(f"omniglot-convergence/omniglot-dynamic/{name}" for name in FAMILIES)
# The source's last validation losses, means of ten seeds after 500 epochs (the flow: 40, of which nine seeds diverged); it
# never looked at the test images. Its Omniglot has grey pixels under a Bernoulli likelihood, and another split.
PUBLISHED = {
    (f"mnist-convergence/mnist-dynamic/{name}", "neg_elbo_nats"): nats
    for name, nats in {
        "vae": 125.07,
        "lvae": 126.11,
        "draw": 86.52,
        "draw2": 86.20,
        "draw3": 85.99,
        "draw4": 85.79,
        "flow": 176.5,
    }.items()
}
OMNIGLOT_PUBLISHED = {
    (f"omniglot-convergence/omniglot-dynamic/{name}", "neg_elbo_nats"): nats
    for name, nats in {"draw": 117.42, "draw2": 117.62, "draw3": 114.96, "draw4": 115.28}.items()
}

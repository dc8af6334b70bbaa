"""Studies `mnist-convergence` and `omniglot-convergence`: VAE, ladder VAE and DRAW over seeds, on binary images.

After the first source (generative-convergence). Its sizes and steps are the budget `full`; its defects (variances of at
least 1, prior samples sent down the ladder, a layer behind DRAW's canvas) are not repeated here.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from seedbed.experiments.base import Experiment, option
from seedbed.experiments.iwae import BoundVAE

if TYPE_CHECKING:
    from torch import Tensor, nn

# The source's 500 epochs of 50,000 images in batches of 128, the KL weight rising over the first 100.
_SOURCE = {"steps": 195_000, "batch_size": 128, "lr": 1e-3, "warm_up": 0.2}


@dataclass(frozen=True, kw_only=True)
class ConvergenceVAE(BoundVAE):
    """VAE with one stochastic layer and MLPs."""

    steps: int = option(70_000, "updates in all (schedules and warm-ups are tied to it)", least=1)
    lr: float = option(2e-3, "step size", least=0.0)
    hidden: tuple[int, ...] = option((512, 512), "widths of the encoder, mirrored by the decoder")
    latents: int = option(64, "size of z", least=1)
    activation: Literal["tanh", "relu", "silu", "elu", "leaky_relu"] = option("leaky_relu", "of both networks")
    warm_up: float = option(0.1, "fraction of the run over which the KL weight rises to 1; 0 for none", least=0.0)
    budgets: ClassVar = {"full": {**_SOURCE, "hidden": (512, 256, 128, 64), "activation": "relu"}}
    ms_per_step = 110.0


@dataclass(frozen=True, kw_only=True)
class ConvergenceLVAE(BoundVAE):
    """Ladder VAE with two layers of units between each two latents (Soenderby et al. 2016)."""

    steps: int = option(45_000, "updates in all (schedules and warm-ups are tied to it)", least=1)
    lr: float = option(2e-3, "step size", least=0.0)
    hidden: tuple[int, ...] = option((512, 256, 128), "width at each level, from the data upward")
    latents: tuple[int, ...] = option((64, 32, 16), "size of each latent, from the data upward")
    activation: Literal["tanh", "relu", "silu", "elu", "leaky_relu"] = option("leaky_relu", "of all networks")
    norm: bool = option(True, "normalise each hidden layer (layer norm, in place of the paper's batch norm)")
    warm_up: float = option(0.2, "fraction of the run over which the KL weight rises to 1; 0 for none", least=0.0)
    budgets: ClassVar = {"full": {**_SOURCE, "hidden": (512, 256, 256), "latents": (64, 64, 64)}}
    ms_per_step = 175.0

    def model(self, features: int, output_bias: "Tensor | None") -> "nn.Module":
        """As many stochastic layers as there are sizes."""
        from seedbed.distributions.likelihood import BERNOULLI
        from seedbed.models.lvae import LadderVAE

        return LadderVAE(features, self.latents, self.hidden, BERNOULLI, self.activation, self.norm, output_bias)


@dataclass(frozen=True, kw_only=True)
class DeepLVAE(ConvergenceLVAE):
    """The ladder VAE's paper: five stochastic layers, the KL weight rising over 200 of 2000 epochs of batches of 256."""

    hidden: tuple[int, ...] = option((512, 256, 128, 64, 64), "width at each level, from the data upward")
    latents: tuple[int, ...] = option((64, 32, 16, 8, 4), "size of each latent, from the data upward")
    budgets: ClassVar = {"full": {"steps": 390_000, "batch_size": 256, "lr": 1e-3, "warm_up": 0.1}}
    ms_per_step = 190.0


@dataclass(frozen=True, kw_only=True)
class ConvergenceDRAW(BoundVAE):
    """DRAW: a canvas written in steps, each with a latent of its own; of whole images, or through windows."""

    steps: int = option(16_000, "updates in all (schedules and warm-ups are tied to it)", least=1)
    precision: Literal["fp32", "bf16", "fp64"] = option("bf16", "of matrix products and convolutions")
    lr: float = option(2e-3, "step size", least=0.0)
    clip: float = option(50.0, "largest gradient norm of a seed; 0 for no clipping", least=0.0)
    hidden: int = option(256, "size of each LSTM", least=1)
    latents: int = option(32, "size of each step's latent", least=1)
    strokes: int = option(10, "steps of drawing", least=1)
    read: int = option(0, "filters along each axis of the window that is read; 0 to read the whole image", least=0)
    write: int = option(0, "filters along each axis of the window that is written; 0 to write the whole canvas", least=0)
    error_image: bool = option(True, "whether the encoder sees the error beside the image")
    overwrite: bool = option(False, "write each step over the start, not over the step before")
    budgets: ClassVar = {"full": {**_SOURCE, "clip": 0.0, "precision": "fp32"}}
    ms_per_step = 600.0

    def model(self, features: int, output_bias: "Tensor | None") -> "nn.Module":
        """`activation` has no say here."""
        from seedbed.models.draw import DRAW

        return DRAW(
            features,
            self.latents,
            self.strokes,
            self.hidden,
            self.read,
            self.write,
            self.error_image,
            self.overwrite,
            output_bias,
        )


@dataclass(frozen=True, kw_only=True)
class AttentiveDRAW(ConvergenceDRAW):
    """DRAW with both windows; the paper's 64 steps, 2 x 2 read and 5 x 5 written, are the budget `full`."""

    read: int = option(5, "filters along each axis of the window that is read; 0 to read the whole image", least=0)
    write: int = option(5, "filters along each axis of the window that is written; 0 to write the whole canvas", least=0)
    budgets: ClassVar = {"full": {**_SOURCE, "clip": 0.0, "precision": "fp32", "strokes": 64, "read": 2, "latents": 100}}
    ms_per_step = 500.0


def _models(data: str) -> dict[str, Experiment]:
    return {
        "vae": ConvergenceVAE(data=data),
        "lvae": ConvergenceLVAE(data=data),
        "lvae-5layer": DeepLVAE(data=data),
        "draw": ConvergenceDRAW(data=data),
        "draw-attention": AttentiveDRAW(data=data),
        "draw2": ConvergenceDRAW(data=data, error_image=False),
        "draw3": ConvergenceDRAW(data=data, overwrite=True),
        "draw4": ConvergenceDRAW(data=data, error_image=False, overwrite=True),
    }


DOC = "VAE, ladder VAE and DRAW on binarised MNIST, over seeds"
MNIST: dict[str, Experiment] = {f"mnist-convergence/mnist-dynamic/{name}": e for name, e in _models("mnist-dynamic").items()}
GRID = tuple(f"mnist-convergence/mnist-dynamic/{name}" for name in ("vae", "lvae", "draw"))
# The source's validation losses after 500 epochs, means of ten seeds (it never looked at the test images).
PUBLISHED = {
    (f"mnist-convergence/mnist-dynamic/{name}", "neg_elbo_nats"): nats
    for name, nats in {"vae": 125.07, "lvae": 126.11, "draw": 86.52, "draw2": 86.20, "draw3": 85.99, "draw4": 85.79}.items()
}

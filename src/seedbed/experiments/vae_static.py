"""Study `vae-static`: the fifth source's VAE of Larochelle's binarised MNIST, for its 20 epochs and to convergence."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from seedbed.experiments.base import Experiment, option
from seedbed.experiments.images import Activation
from seedbed.experiments.iwae import BoundVAE

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seedbed.data.dataset import Dataset

EPOCH = 50_000 // 64  # updates


@dataclass(frozen=True, kw_only=True)
class StaticVAE(BoundVAE):
    """784-300-300-100 with ELUs, its logits 5 below zero at first, in batches of 64: the source's, but for the step size."""

    data: str = option("mnist-static", "binary images")
    steps: int = option(20 * EPOCH, "updates in all (schedules are tied to it)", least=1)
    batch_size: int = option(64, "examples per update", least=1)
    lr: float = option(1e-3, "step size", least=0.0)
    hidden: tuple[int, ...] = option((300, 300), "widths of the encoder, mirrored by the decoder", least=1)
    latents: int = option(100, "size of z", least=1)
    activation: Activation = option("elu", "of both networks")
    output_bias: Literal["data", "dark", "none"] = option(
        "dark", "where the decoder's logits start: at the training means, at -5 (dark), or as torch draws them (none)"
    )
    eval_every: int = option(EPOCH, "steps between validations", least=1)
    # The source's own: a constant step size, and the weights as they end.
    budgets: ClassVar = {"full": {"lr": 3e-4, "schedule": "constant", "ema": 0.0}}
    ms_per_step = 45.0


@dataclass(frozen=True, kw_only=True)
class ConvergedVAE(StaticVAE):
    """The same net until the validation loss has not improved for a while; the best weights are kept."""

    steps: int = option(120 * EPOCH, "updates at most (schedules are tied to it)", least=1)
    precision: Literal["fp32", "bf16", "fp64"] = option("bf16", "of matrix products and convolutions")
    patience: int = option(15, "validations without improvement before a seed stops; 0 for never", least=0)
    budgets: ClassVar = {}


@dataclass(frozen=True, kw_only=True)
class ConvStaticVAE(StaticVAE):
    """The source's convolutional exercise: three convolutions down, four up with bilinear enlargements between."""

    ms_per_step = 450.0

    def model(self, data: "Dataset", output_bias: "Tensor | None") -> "nn.Module":
        """`hidden` and `activation` have no say here."""
        from seedbed.distributions.likelihood import BERNOULLI
        from seedbed.models.conv_vae import ConvVAE

        data.picture(type(self).__name__, side=28)
        return ConvVAE(data.features, self.latents, BERNOULLI, output_bias)


DOC = "the VAE of Larochelle's static MNIST: 20 epochs as published, to convergence, and with convolutions"
EXPERIMENTS: dict[str, Experiment] = {
    "vae-static/mnist-static/mlp-20epochs": StaticVAE(),
    "vae-static/mnist-static/mlp-converged": ConvergedVAE(),
    "vae-static/mnist-static/conv-20epochs": ConvStaticVAE(),
}
# The source's -log p(x) is of 200 samples.
PUBLISHED: dict[tuple[str, str], float] = {
    ("vae-static/mnist-static/mlp-20epochs", "neg_elbo_nats"): 101.15,
    ("vae-static/mnist-static/mlp-20epochs", "neg_iw200_nats"): 95.50,
}

"""The Wasserstein GAN (Arjovsky et al. 2017, arXiv 1701.07875; Gulrajani et al. 2017, arXiv 1704.00028), by MLPs."""

from collections.abc import Sequence

from torch import Tensor, nn

from seedbed.core.capabilities import HasSample
from seedbed.core.context import Context
from seedbed.core.domain import REAL
from seedbed.core.shapes import Shape
from seedbed.distributions.normal import StandardNormal
from seedbed.nets.mlp import MLP, Activation


class WGAN(nn.Module, HasSample):
    """Two maps: ``generator`` from noise z ~ N(0, I) to an example, ``critic`` from an example to one number.

    Args:
        shape: of an example.
        latents: size of z.
        hidden: widths of both networks.
        activation: of both networks.
    """

    domain = REAL

    def __init__(
        self, shape: Shape, latents: int = 2, hidden: Sequence[int] = (128, 128, 128), activation: Activation = "relu"
    ) -> None:
        super().__init__()
        self.prior = StandardNormal(latents)
        self.generator = MLP(latents, hidden, shape, activation)
        self.critic = MLP(shape, hidden, 1, activation)

    def sample(self, count: int, ctx: Context) -> Tensor:
        """``count`` examples g(z), ``[count, *shape]``."""
        return self.generator(self.prior.draw(ctx.noise, batch=count).value)

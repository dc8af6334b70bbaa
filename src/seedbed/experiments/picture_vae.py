"""The declaration of VAEs of pictures with convolutions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from seedbed.core.domain import Domain
from seedbed.experiments.fields import AtLeast, option
from seedbed.experiments.model import OUTPUT_BIAS, Activation, ObservedModel, OutputBias
from seedbed.experiments.objectives import Elbo
from seedbed.experiments.training import Training

if TYPE_CHECKING:
    from torch import nn

    from seedbed.data.dataset import Dataset

HALVED = {"a": 8, "b": 4}


@dataclass(frozen=True, kw_only=True)
class PictureVAE(ObservedModel):
    """One or two stochastic layers of pictures: convolutions next to the data, latents as vectors or maps (vae-mdl)."""

    latents: int = option(20, "size of the latent next to the data; of a map its channels", least=1)
    latents_above: int = option(0, "size of a second latent above it; 0 for one stochastic layer", least=0)
    hidden_above: tuple[int, ...] = option(
        (100, 100), "widths of the networks between the two latents", least=1, when={"latents_above": AtLeast(1)}
    )
    convolutions: Literal["a", "b"] = option(
        "a", "the source's net: a halves pictures three times; b twice, with gated blocks between"
    )
    latent_maps: Literal["none", "1x1", "coarse"] = option(
        "none", "latents as vectors, as the same with two axes of one, or as maps of the coarsest images' size"
    )
    decoder_end: Literal["stride-1", "stride-2", "patches"] = option(
        "stride-1",
        "the decoder's last layer: a convolution; a transposed one of 4x4 in steps of two, whose 2x2 patches show; or one "
        "of 2x2, each patch of which is made of one hidden pixel",
    )
    activation: Activation = option("relu", "of all networks")
    output_bias: OutputBias = option("data", OUTPUT_BIAS)
    starts_only: ClassVar = True
    pictures_only: ClassVar = True
    objective: ClassVar = Elbo(k=5)
    training: ClassVar = Training(steps=20_000, batch_size=32, lr=1e-3, ema=0.999, eval_every=1000)

    def misfit(self, domain: Domain, shape: tuple[int, ...]) -> str:
        """Sides that can be halved often enough."""
        if why := super().misfit(domain, shape):
            return why
        multiple = HALVED[self.convolutions]
        fits = all(side % multiple == 0 for side in shape[1:])
        return "" if fits else f"with net {self.convolutions} takes pictures with sides that are multiples of {multiple}"

    def build(self, data: "Dataset") -> "nn.Module":
        """With as many layers as there are latents, and the likelihood that is asked for."""
        from seedbed.models import picture_vae

        likelihood, bias = self.observation(data, self.output_bias)
        latents = (self.latents, self.latents_above) if self.latents_above else (self.latents,)
        nets = self.convolutions, self.latent_maps, self.hidden_above, self.activation, self.decoder_end
        return picture_vae.PictureVAE(data.shape, likelihood, latents, *nets, bias)

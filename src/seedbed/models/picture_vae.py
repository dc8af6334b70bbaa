"""VAEs of pictures with convolutions, of one stochastic layer or more, of vectors or maps (after the fourth source)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from seedbed.core.errors import SeedbedError
from seedbed.core.shapes import Shape, axes_of
from seedbed.distributions.likelihood import Likelihood
from seedbed.models.iwae import BottomUp
from seedbed.models.observed import Observed, per_channel
from seedbed.nets.mlp import MLP, Activation
from seedbed.nets.pictures import Decoder, Encoder, End, Maps, NetName, coarsest, code_shape, doubled, hidden_maps


class PictureVAE(BottomUp):
    """p(zL) ... p(z1 | z2) p(x | z1) of pictures, with q(z | x) = q(z1 | x) q(z2 | z1) ... q(zL | zL-1).

    Convolutions lie between x and z1, MLPs between two vectors, 3x3 convolutions between two maps. Of vae-mdl's models 02,
    03 and 05 are ``PictureVAE(shape, likelihood, (20,))`` with their likelihoods, 04 has net b and 50 latents, 06 is
    ``PictureVAE(shape, likelihood, (20, 20), activation="gelu")``.

    Args:
        shape: of a picture, ``[channels, height, width]``, whose sides net a halves three times and net b twice.
        likelihood: the family of p(x | z1).
        latents: size of each z_l, from the data upward; of maps their channels.
        net: ``a`` or ``b``, see ``nets.pictures``.
        maps: what z_l is: a vector, the same as a map of one pixel, or a map as wide as the coarsest images.
        hidden_above: widths, or channels, of the networks between z_l and z_l+1; mirrored downward.
        activation: of all networks.
        end: of the decoder, see ``nets.pictures.up``.
        output_bias: where the decoder's output starts, ``[*likelihood.outputs(shape)]``; pixels share it.

    Raises:
        SeedbedError: for examples that are no pictures, or of sides that do not fit.
    """

    def __init__(
        self,
        shape: Shape,
        likelihood: Likelihood,
        latents: Sequence[int] = (20,),
        net: NetName = "a",
        maps: Maps = "none",
        hidden_above: Sequence[int] = (100, 100),
        activation: Activation = "relu",
        end: End = "stride-1",
        output_bias: Tensor | None = None,
    ) -> None:
        axes = axes_of(shape)
        if len(axes) != 3 or not latents:
            raise SeedbedError(
                f"PictureVAE expects [channels, height, width] and a size of each latent; got {list(axes)}, {list(latents)}"
            )
        codes = [code_shape(d, maps, coarsest(net, axes[1:])) for d in latents]
        super().__init__(shape, codes, likelihood)
        widths = tuple(hidden_above)

        def between(start: tuple[int, ...], widths: tuple[int, ...], end: tuple[int, ...]) -> nn.Module:
            if maps == "coarse":
                return hidden_maps(start[0], widths, end[0], activation)
            return MLP(start, widths, end, activation)

        above = list(pairwise(codes))
        first = Encoder(net, axes, codes[0], activation)
        self.encoders = nn.ModuleList([first, *(between(low, widths, doubled(high)) for low, high in above)])
        last = Decoder(net, codes[0], likelihood.outputs(shape), activation, end)
        self.decoders = nn.ModuleList([last, *(between(high, widths[::-1], doubled(low)) for low, high in above)])
        self.observed = Observed(likelihood)
        if output_bias is not None:
            bias = last.last.bias
            assert bias is not None
            with torch.no_grad():
                bias.copy_(per_channel(output_bias, likelihood.domain))

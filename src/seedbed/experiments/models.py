"""The models that an experiment can declare: sizes and choices, which data each takes, and what it is usually trained on."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from seedbed.core.domain import BINARY, Domain
from seedbed.experiments.fields import AtLeast, option
from seedbed.experiments.model import OUTPUT_BIAS, Activation, Model, ObservedModel, OutputBias, output_start
from seedbed.experiments.objectives import Adversarial, Elbo, Likelihood, OfBits, SampledElbo
from seedbed.experiments.picture_vae import PictureVAE
from seedbed.experiments.posteriors import FlowVAE, HamiltonianVAE
from seedbed.experiments.training import Training

if TYPE_CHECKING:
    from torch import nn

    from seedbed.data.dataset import Dataset

Factorisation = Literal["ladder", "reverse"]
Prior = Literal["standard", "normal", "vamp"]


@dataclass(frozen=True, kw_only=True)
class VAE(ObservedModel):
    """Variational autoencoder with MLPs: a Gaussian likelihood of learned scale for real data, Bernoulli for bits, logistic
    for levels.
    """

    hidden: tuple[int, ...] = option((200, 200), "widths of the encoder, mirrored by the decoder", least=1)
    latents: int = option(50, "size of z", least=1)
    activation: Activation = option("tanh", "of all networks")
    norm: bool = option(False, "normalise each hidden layer (layer norm)")
    prior: Prior = option(
        "standard", "of z: N(0, I), a Gaussian that is learnt, or the posterior at inputs that are learnt (vamp)"
    )
    pseudo_inputs: int = option(500, "inputs that a vamp prior learns", least=1, when={"prior": ("vamp",)})
    output_bias: OutputBias = option("data", OUTPUT_BIAS)
    starts_only: ClassVar = True

    def build(self, data: "Dataset") -> "nn.Module":
        """With the likelihood and the prior that are asked for."""
        from seedbed.models import vae

        likelihood, bias = self.observation(data, self.output_bias)
        nets = self.hidden, likelihood, self.activation, bias
        return vae.VAE(data.shape, self.latents, *nets, self.prior, self.pseudo_inputs, self.norm)


@dataclass(frozen=True, kw_only=True)
class LadderVAE(Model):
    """Ladder VAE: one shared top-down branch, posterior by precision-weighted merge (Soenderby et al. 2016)."""

    hidden: tuple[int, ...] = option((64, 64), "width at each level, from the data upward", least=1)
    latents: tuple[int, ...] = option((16, 8), "size of each latent, from the data upward", least=1)
    activation: Activation = option("leaky_relu", "of all networks")
    norm: bool = option(True, "normalise each hidden layer (layer norm, in place of the paper's batch norm)")
    output_bias: OutputBias = option("data", OUTPUT_BIAS)
    starts_only: ClassVar = True
    objective: ClassVar = Elbo(warm_up=0.2)

    def build(self, data: "Dataset") -> "nn.Module":
        """As many stochastic layers as there are sizes."""
        from seedbed.distributions.likelihood import likelihood_of
        from seedbed.models import lvae

        return lvae.LadderVAE(
            data.shape,
            self.latents,
            self.hidden,
            likelihood_of(data.domain),
            self.activation,
            self.norm,
            output_start(data, self.output_bias),
        )


@dataclass(frozen=True, kw_only=True)
class BottomUpVAE(ObservedModel):
    """One or two stochastic layers with MLPs between, each latent inferred from what is below it (Burda et al. 2016)."""

    hidden: tuple[int, ...] = option((200, 200), "widths of the encoder, mirrored by the decoder", least=1)
    latents: int = option(50, "size of the latent next to the data", least=1)
    activation: Activation = option("tanh", "of all networks")
    latents_above: int = option(0, "size of a second latent above it; 0 for one stochastic layer", least=0)
    hidden_above: tuple[int, ...] = option(
        (100, 100), "widths of the networks between the two latents", least=1, when={"latents_above": AtLeast(1)}
    )
    output_bias: OutputBias = option("data", OUTPUT_BIAS)
    starts_only: ClassVar = True
    objective: ClassVar = Elbo(k=5)

    def build(self, data: "Dataset") -> "nn.Module":
        """The paper's model with as many layers as there are latents."""
        from seedbed.models import iwae, vae

        likelihood, bias = self.observation(data, self.output_bias)
        if not self.latents_above:
            return vae.VAE(data.shape, self.latents, self.hidden, likelihood, self.activation, bias)
        sizes = (self.latents, self.latents_above), (self.hidden, self.hidden_above)
        return iwae.BottomUpVAE(data.shape, *sizes, likelihood, self.activation, bias)


@dataclass(frozen=True, kw_only=True)
class ConvVAE(ObservedModel):
    """VAE of 28 x 28 images: three convolutions down, four up with bilinear enlargements between."""

    latents: int = option(100, "size of z", least=1)
    output_bias: OutputBias = option("data", OUTPUT_BIAS)
    starts_only: ClassVar = True
    pictures_only: ClassVar = True

    def misfit(self, domain: Domain, shape: tuple[int, ...]) -> str:
        """Grey ones of one size."""
        return super().misfit(domain, shape) or ("" if shape == (1, 28, 28) else "takes grey pictures of 28 x 28")

    def build(self, data: "Dataset") -> "nn.Module":
        """With the likelihood that is asked for."""
        from seedbed.models import conv_vae

        return conv_vae.ConvVAE(data.shape, self.latents, *self.observation(data, self.output_bias))


@dataclass(frozen=True, kw_only=True)
class SymmetricVAE(Model):
    """Hierarchy of bits whose encoder corrects the decoder's logits (ladder), or runs the other way (Flach et al. 2024)."""

    bits: tuple[int, ...] = option((30, 100), "of each layer, from the top down", least=1)
    encoder: Factorisation = option("ladder", "how q(z | x) is factorised: along the decoder, or against it")
    hidden: tuple[int, ...] = option((300, 300), "widths of the nets between layers", least=1)
    encoder_hidden: tuple[int, ...] = option((), "widths of the encoder's, if not these", least=1)
    trunk: Literal["mlp", "conv"] = option("mlp", "of what meets x: MLPs, or the source's convolutions of 28 x 28")
    activation: Activation = option("tanh", "of the nets that meet x; with convolutions of the decoder's alone")
    output_bias: OutputBias = option("data", OUTPUT_BIAS, when={"trunk": ("mlp",)})
    chains: int = option(
        10, "examples that go x -> z -> x with every update, to be looked at; 0 for none", least=0, most=1000
    )
    starts_only: ClassVar = True
    takes: ClassVar = ("binary", "real")
    objective: ClassVar = OfBits()
    training: ClassVar = Training(steps=20_000, batch_size=128, lr=2e-3, ema=0.99, eval_every=1000)

    def judged_on(self, domain: Domain) -> bool:
        """Not of real numbers: their baseline has a scale for each, and this model one for all."""
        return domain == BINARY

    def build(self, data: "Dataset") -> "nn.Module":
        """With the likelihood that scores the data."""
        from seedbed.distributions.likelihood import likelihood_of
        from seedbed.models import symmetric

        bias = output_start(data, self.output_bias) if self.trunk == "mlp" else None
        nets = likelihood_of(data.domain), self.trunk, self.activation, bias, self.chains, self.encoder_hidden
        return symmetric.SymmetricVAE(data.shape, self.bits, self.encoder, self.hidden, *nets)


@dataclass(frozen=True, kw_only=True)
class DRAW(Model):
    """A canvas written in steps, each with a latent of its own; of whole images, or through windows (Gregor et al. 2015)."""

    hidden: int = option(256, "size of each LSTM", least=1)
    latents: int = option(32, "size of each step's latent", least=1)
    strokes: int = option(10, "steps of drawing", least=1, most=10_000)
    read: int = option(0, "filters along each axis of the window that is read; 0 to read the whole image", least=0)
    write: int = option(0, "filters along each axis of the window that is written; 0 to write the whole canvas", least=0)
    error_image: bool = option(True, "whether the encoder sees the error beside the image")
    overwrite: bool = option(False, "write each step over the start, not over the step before", when={"strokes": AtLeast(2)})
    output_bias: OutputBias = option("data", OUTPUT_BIAS)
    starts_only: ClassVar = True
    takes: ClassVar = ("binary",)
    pictures_only: ClassVar = True
    training: ClassVar = Training(steps=6_000, batch_size=128, lr=1e-3, ema=0.999, eval_every=1000, clip=50.0)

    def misfit(self, domain: Domain, shape: tuple[int, ...]) -> str:
        """Grey ones."""
        return super().misfit(domain, shape) or ("" if shape[0] == 1 else "takes grey pictures")

    def build(self, data: "Dataset") -> "nn.Module":
        """Of any height and width."""
        from seedbed.models import draw

        bias = output_start(data, self.output_bias)
        choices = (self.read, self.write, self.error_image, self.overwrite)
        return draw.DRAW(data.shape, self.latents, self.strokes, self.hidden, *choices, bias)


@dataclass(frozen=True, kw_only=True)
class ImageFlow(Model):
    """Multi-scale flow of dequantised bits, augmented by a channel, with bounded scales."""

    couplings: tuple[int, ...] = option(
        (0, 4, 4), "[ActNorm, 1x1 convolution, coupling] of each scale, from fine to coarse", least=0
    )
    augment: int = option(1, "channels that are added to the image's one", least=0)
    width: int = option(32, "channels of each coupling's net", least=1)
    depth: int = option(3, "its densely connected layers", least=0, most=1_000)
    growth: int = option(16, "channels that each of these adds", least=1, when={"depth": AtLeast(1)})
    variational: bool = option(True, "learn how bits are dequantised; else uniformly, which bounds them less tightly")
    takes: ClassVar = ("binary",)
    pictures_only: ClassVar = True
    codes: ClassVar = False
    objective: ClassVar = SampledElbo()
    training: ClassVar = Training(steps=2_500, batch_size=64, lr=2e-3, ema=0.999, eval_every=500, clip=200.0)

    @property
    def multiple(self) -> int:
        """What the sides of a picture must be multiples of: halved between scales, and once for the net that dequantises."""
        return 2 ** max(len(self.couplings) - 1, int(self.variational))

    def misfit(self, domain: Domain, shape: tuple[int, ...]) -> str:
        """Grey ones that can be halved."""
        if why := super().misfit(domain, shape):
            return why
        fits = shape[0] == 1 and all(side % self.multiple == 0 for side in shape[1:])
        return "" if fits else f"takes grey pictures with sides that are multiples of {self.multiple}"

    def build(self, data: "Dataset") -> "nn.Module":
        """Of any height and width that can be halved often enough."""
        from seedbed.models import image_flow

        sizes = (self.width, self.depth, self.growth)
        return image_flow.ImageFlow(data.shape, self.augment, self.couplings, *sizes, self.variational)


@dataclass(frozen=True, kw_only=True)
class CouplingFlow(Model):
    """Coupling flow, exact density: affine couplings of bounded scale, or rational-quadratic splines."""

    coupling: Literal["affine", "spline"] = option("affine", "the coupling's one-dimensional map")
    couplings: int = option(8, "couplings in a row", least=1, most=10_000)
    hidden: tuple[int, ...] = option((64, 64), "widths of each coupling's network", least=1)
    bins: int = option(8, "bins of a spline", least=2, when={"coupling": ("spline",)})
    mix: bool = option(False, "learn a change of axes after each coupling")
    takes: ClassVar = ("real",)
    codes: ClassVar = False
    objective: ClassVar = Likelihood()
    training: ClassVar = Training(steps=12_000, lr=5e-3, clip=5.0, ema=0.999)

    @property
    def exact(self) -> bool:
        """It is."""
        return True

    def misfit(self, domain: Domain, shape: tuple[int, ...]) -> str:
        """At least two numbers: one half is bent given the other."""
        return super().misfit(domain, shape) or ("" if shape != (1,) else "takes at least two numbers per example")

    def build(self, data: "Dataset") -> "nn.Module":
        """A chain of couplings."""
        from seedbed.models import flow

        return flow.CouplingFlow(data.shape, self.coupling, self.couplings, self.hidden, bins=self.bins, mix=self.mix)


@dataclass(frozen=True, kw_only=True)
class Gaussian(Model):
    """The Gaussian with a full covariance, exact: what any other density of real numbers should beat."""

    takes: ClassVar = ("real",)
    codes: ClassVar = False
    starts_only: ClassVar = True
    objective: ClassVar = Likelihood()
    training: ClassVar = Training(steps=4_000, lr=1e-2, ema=0.99)

    @property
    def exact(self) -> bool:
        """It is."""
        return True

    def training_on(self, data: str) -> Training:
        """Its step size anywhere: it has one optimum, and nothing to overfit with."""
        return replace(super().training_on(data), lr=self.training.lr)

    def build(self, data: "Dataset") -> "nn.Module":
        """Of any shape."""
        from seedbed.models import gaussian

        return gaussian.Gaussian(data.shape)


@dataclass(frozen=True, kw_only=True)
class WGAN(Model):
    """Wasserstein GAN with gradient penalty: a generator and a critic, two MLPs."""

    hidden: tuple[int, ...] = option((128, 128, 128), "widths of generator and critic", least=1)
    latents: int = option(2, "size of z", least=1)
    takes: ClassVar = ("real",)
    codes: ClassVar = False
    objective: ClassVar = Adversarial()
    training: ClassVar = Training(steps=20_000, lr=5e-4, ema=0.999, betas=(0.5, 0.9))

    def misfit(self, domain: Domain, shape: tuple[int, ...]) -> str:
        """Vectors, of which the distance of draws to data means something."""
        return super().misfit(domain, shape) or ("" if len(shape) == 1 else "takes vectors")

    def build(self, data: "Dataset") -> "nn.Module":
        """Both networks."""
        from seedbed.models import wgan

        return wgan.WGAN(data.shape, self.latents, self.hidden)


# By the names that they are run by: `seedbed run MODEL -d DATA`.
MODELS: dict[str, Model] = {
    "vae": VAE(),
    "lvae": LadderVAE(),
    "bottom-up-vae": BottomUpVAE(),
    "conv-vae": ConvVAE(),
    "picture-vae": PictureVAE(),
    "symmetric-vae": SymmetricVAE(),
    "draw": DRAW(),
    "draw-attention": DRAW(read=5, write=5),
    "image-flow": ImageFlow(),
    "gaussian": Gaussian(),
    "flow": CouplingFlow(),
    "spline-flow": CouplingFlow(coupling="spline"),
    "wgan-gp": WGAN(),
    "hvae": HamiltonianVAE(),
    "flow-vae": FlowVAE(),
}

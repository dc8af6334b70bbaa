"""The models that an experiment can declare whose posterior goes on from an encoder's Gaussian: by leapfrogs, by flows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from seedbed.core.domain import Domain
from seedbed.experiments.fields import AtLeast, option
from seedbed.experiments.model import OUTPUT_BIAS, Activation, Model, OutputBias, output_start

if TYPE_CHECKING:
    from torch import nn

    from seedbed.data.dataset import Dataset

PosteriorFlow = Literal["planar", "iaf", "full"]
Tempering = Literal["none", "fixed", "free"]
Nets = Literal["mlp", "conv", "conv-norm"]
WALKS = {"leapfrogs": AtLeast(1)}
MLPS = {"nets": ("mlp",)}


@dataclass(frozen=True, kw_only=True)
class HamiltonianVAE(Model):
    """VAE whose posterior goes on by leapfrogs of the model's own energy, with momenta that cool (Caterini et al. 2018)."""

    nets: Nets = option(
        "mlp", "MLPs, the paper's convolutions of 28 x 28, or those of h-vae, which are normalised within each example"
    )
    hidden: tuple[int, ...] = option((200, 200), "widths of the encoder, mirrored by the decoder", least=1, when=MLPS)
    latents: int = option(64, "size of z", least=1)
    activation: Activation = option("tanh", "of all networks; a leapfrog differentiates them twice", when=MLPS)
    norm: bool = option(False, "normalise each hidden layer (layer norm)", when=MLPS)
    leapfrogs: int = option(5, "leapfrog steps; 0 for the VAE", least=0, most=1_000)
    start: Literal["learned", "prior"] = option("learned", "where they start: from the encoder's Gaussian, or from p(z)")
    tempering: Tempering = option(
        "free", "a factor of the momentum for each step, one temperature that falls quadratically, or 1", when=WALKS
    )
    temperature: float = option(
        2.0, "of the first momentum, to start from; above 1", least=1.0, when={**WALKS, "tempering": ("fixed", "free")}
    )
    step_size: float = option(0.05, "of a leapfrog, to start from", least=1e-6, when=WALKS)
    step_size_most: float = option(0.5, "which it stays below", least=1e-6, when=WALKS)
    steps_vary: Literal["shared", "unit", "layer"] = option(
        "layer", "one step size for all, for each unit of z, or for each unit in each step", when=WALKS
    )
    output_bias: OutputBias = option("data", OUTPUT_BIAS)
    starts_only: ClassVar = True

    def misfit(self, domain: Domain, shape: tuple[int, ...]) -> str:
        """With convolutions grey pictures of one size."""
        fits = self.nets == "mlp" or shape == (1, 28, 28)
        return super().misfit(domain, shape) or ("" if fits else "takes grey pictures of 28 x 28")

    def build(self, data: "Dataset") -> "nn.Module":
        """With the likelihood that scores the data."""
        from seedbed.distributions.likelihood import likelihood_of
        from seedbed.models import hamiltonian, tempered

        sizes = self.step_size, self.step_size_most, self.steps_vary
        leapfrog = tempered.TemperedLeapfrog(self.latents, self.leapfrogs, self.tempering, self.temperature, *sizes)
        likelihood, bias = likelihood_of(data.domain), output_start(data, self.output_bias)
        if self.nets != "mlp":
            of_convolutions = hamiltonian.HamiltonianVAE.of_convolutions
            return of_convolutions(data.shape, leapfrog, likelihood, bias, self.nets == "conv-norm", self.start)
        nets = self.hidden, likelihood, self.activation, bias, self.norm
        return hamiltonian.HamiltonianVAE.of_mlps(data.shape, leapfrog, *nets, self.start)


@dataclass(frozen=True, kw_only=True)
class FlowVAE(Model):
    """VAE whose posterior is bent by planar or inverse autoregressive flows, or has a full covariance."""

    hidden: tuple[int, ...] = option((200, 200), "widths of the encoder, mirrored by the decoder", least=1)
    latents: int = option(50, "size of z", least=1)
    activation: Activation = option("tanh", "of all networks")
    norm: bool = option(False, "normalise each hidden layer (layer norm)")
    posterior_flow: PosteriorFlow = option("iaf", "planar maps, inverse autoregressive ones, or a full covariance")
    flows: int = option(4, "maps in a row; 0 for the VAE", least=0, most=10_000, when={"posterior_flow": ("iaf", "planar")})
    tied: bool = option(
        False, "apply one map again and again", when={"posterior_flow": ("iaf", "planar"), "flows": AtLeast(2)}
    )
    amortised: bool = option(True, "let the encoder have a say in planar maps", when={"posterior_flow": ("planar",)})
    masked_hidden: tuple[int, ...] = option(
        (200,), "widths of the net of each autoregressive map", least=1, when={"posterior_flow": ("iaf",)}
    )
    context: int = option(64, "numbers by which the encoder tells these of x", least=1, when={"posterior_flow": ("iaf",)})
    output_bias: OutputBias = option("data", OUTPUT_BIAS)
    starts_only: ClassVar = True

    def build(self, data: "Dataset") -> "nn.Module":
        """With the likelihood that scores the data."""
        from seedbed.distributions.likelihood import likelihood_of
        from seedbed.models import posterior_flows

        return posterior_flows.FlowVAE(
            data.shape,
            self.latents,
            self.hidden,
            likelihood_of(data.domain),
            self.activation,
            output_start(data, self.output_bias),
            self.norm,
            self.posterior_flow,
            self.flows,
            self.tied,
            self.amortised,
            self.masked_hidden,
            self.context,
        )

"""The models that an experiment can declare whose posterior goes on from an encoder's Gaussian: by leapfrogs, by flows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from seedbed.experiments.fields import AtLeast, option
from seedbed.experiments.model import OUTPUT_BIAS, Activation, Model, OutputBias, output_start

if TYPE_CHECKING:
    from torch import nn

    from seedbed.data.dataset import Dataset

PosteriorFlow = Literal["planar", "iaf", "full"]
Tempering = Literal["none", "fixed", "free"]
WALKS = {"leapfrogs": AtLeast(1)}


@dataclass(frozen=True, kw_only=True)
class HamiltonianVAE(Model):
    """VAE whose posterior goes on by leapfrogs of the model's own energy, with momenta that cool (Caterini et al. 2018)."""

    hidden: tuple[int, ...] = option((200, 200), "widths of the encoder, mirrored by the decoder", least=1)
    latents: int = option(64, "size of z", least=1)
    activation: Activation = option("softplus", "of all networks; a leapfrog differentiates them twice")
    norm: bool = option(False, "normalise each hidden layer (layer norm)")
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

    def build(self, data: "Dataset") -> "nn.Module":
        """With the likelihood that scores the data."""
        from seedbed.distributions.likelihood import likelihood_of
        from seedbed.models import hamiltonian

        sizes = self.step_size, self.step_size_most, self.steps_vary
        leapfrog = hamiltonian.TemperedLeapfrog(self.latents, self.leapfrogs, self.tempering, self.temperature, *sizes)
        nets = self.hidden, likelihood_of(data.domain), self.activation, output_start(data, self.output_bias), self.norm
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

"""What an experiment maximises, who plays, and what it is measured by."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from seedbed.core.errors import SeedbedError
from seedbed.experiments.fields import Part, option
from seedbed.experiments.training import Training

if TYPE_CHECKING:
    from torch import Tensor

    from seedbed.core.context import Context
    from seedbed.data.dataset import Dataset
    from seedbed.objectives.bounds import Bound, WarmUp
    from seedbed.train.game import Game
    from seedbed.train.task import Measure

VALIDATED = 5  # samples of the bound that models with k > 1 are judged by: those of the largest k would take gigabytes


Learning = Literal["symmetric", "zgr", "st", "reinforce_loo", "enumerate"]


@runtime_checkable
class Trained(Protocol):
    """What an objective asks of the model that it trains."""

    @property
    def exact(self) -> bool:
        """Whether it knows log p(x) itself."""
        ...

    # Whether its latents mean something to the eye.
    codes: ClassVar[bool]


@dataclass(frozen=True, kw_only=True)
class Objective(Part):
    """The game that is played and the losses that it is judged by."""

    # Whether `select` is a loss in nats, so that the data's trivial baseline can be compared with it.
    in_nats: ClassVar[bool] = True

    @abstractmethod
    def game(self, training: Training, model: Trained) -> "Game":
        """The players, with the settings of the training and their own.

        Raises:
            SeedbedError: for settings that do not go together.
        """

    @abstractmethod
    def select(self, model: Trained) -> str:
        """The validation metric that a run is judged and stopped by."""

    @abstractmethod
    def measure(self, data: "Dataset", model: Trained) -> "Measure":
        """What is measured of a stack on a split."""


def _need_latents(objective: Objective, model: Trained) -> None:
    if model.exact:
        raise SeedbedError(f"{objective.title} is of models with latents, and this one knows log p(x); choose Likelihood")


@dataclass(frozen=True, kw_only=True)
class Elbo(Objective):
    """The evidence lower bound with closed-form KL, or with more samples the importance-weighted bound."""

    warm_up: float = option(
        0.0,
        "fraction of the run over which the KL weight rises to 1; 0 for none",
        least=0.0,
        most=1.0,
    )
    k: int = option(1, "importance samples per example; 1 is the ELBO", least=1, most=1_000_000)
    gradient: Literal["standard", "dreg", "stl"] = option("standard", "estimator of the bound's gradient")
    beta: float = option(1.0, "weight of the KL", least=0.0)
    free_bits: float = option(0.0, "nats of each layer's KL that cost nothing", least=0.0)

    def game(self, training: Training, model: Trained) -> "Game":
        """One player."""
        from seedbed.train.game import Game

        _need_latents(self, model)
        return Game((training.player(self.utility(training.steps)),))

    def select(self, model: Trained) -> str:
        """The bound, for k > 1 of five samples."""
        return "neg_elbo_nats" if self.k == 1 else f"neg_iw{VALIDATED}_nats"

    def measure(self, data: "Dataset", model: Trained) -> "Measure":
        """The ELBO with its KL, and for k > 1 the bound of five samples."""
        from seedbed.evaluate.density import DensityMeasure, elbo_loss
        from seedbed.objectives.bounds import iwae

        tight = iwae(VALIDATED)

        def losses(model: Any, x: "Tensor", ctx: "Context") -> "Mapping[str, Tensor]":
            return {f"neg_iw{VALIDATED}_nats": -tight(model, x, ctx).value, **elbo_loss(model, x, ctx)}

        return DensityMeasure(data, elbo_loss if self.k == 1 else losses, self.select(model))

    def utility(self, steps: int) -> "Bound | WarmUp":
        """The bound, with what is done to its KL.

        Args:
            steps: updates of the whole run.

        Raises:
            SeedbedError: if the KL shall be weighed where the bound has none.
        """
        from seedbed.objectives.bounds import beta, elbo_kl, free_bits, iwae, warm_up

        if self.k == 1 and self.gradient == "standard":
            utility = elbo_kl
        elif self.warm_up or self.free_bits or self.beta != 1.0:
            raise SeedbedError(
                f"warm up, beta and free bits weigh the KL of the ELBO; got k={self.k}, gradient={self.gradient}, "
                "whose bound has none: use --k 1 --gradient standard, or leave them out"
            )
        else:
            utility = iwae(self.k, self.gradient)
        if self.free_bits:
            utility = free_bits(utility, self.free_bits)
        if self.beta != 1.0:
            utility = beta(utility, self.beta)
        return warm_up(utility, int(self.warm_up * steps)) if self.warm_up else utility


@dataclass(frozen=True, kw_only=True)
class SampledElbo(Objective):
    """The evidence lower bound at one draw, its KL sampled: for posteriors whose KL has no closed form."""

    def game(self, training: Training, model: Trained) -> "Game":
        """One player."""
        from seedbed.objectives.bounds import elbo
        from seedbed.train.game import Game

        _need_latents(self, model)
        return Game((training.player(elbo),))

    def select(self, model: Trained) -> str:
        """The bound."""
        return "neg_elbo_nats"

    def measure(self, data: "Dataset", model: Trained) -> "Measure":
        """The bound, and its KL where the latents mean something."""
        from seedbed.evaluate.density import DensityMeasure, elbo_sample_loss
        from seedbed.objectives.bounds import elbo

        def losses(model: Any, x: "Tensor", ctx: "Context") -> "Mapping[str, Tensor]":
            return {"neg_elbo_nats": -elbo(model, x, ctx).value}

        return DensityMeasure(data, elbo_sample_loss if model.codes else losses, self.select(model))


@dataclass(frozen=True, kw_only=True)
class OfBits(Objective):
    """What a hierarchy of bits learns by: two players that teach each other, or the ELBO with a way through bits."""

    learning: Learning = option(
        "symmetric",
        "decoder and encoder each from the other's samples; or both by the ELBO, its gradient going through bits by zgr, "
        "straight-through (st), REINFORCE with leave-one-out, or the sum over all settings",
    )
    samples: int = option(4, "draws of each example", least=2, most=10_000, when={"learning": ("reinforce_loo",)})
    encoder_lr: float = option(
        0.0, "step size of the encoder; 0 for the decoder's", least=0.0, when={"learning": ("symmetric",)}
    )
    corruption: float = option(
        0.0,
        "noise on training examples: share of bits that flip, or standard deviation of what is added",
        least=0.0,
        most=1.0,
    )

    def game(self, training: Training, model: Trained) -> "Game":
        """The decoder first, then the encoder that is taught by its update; or one player."""
        from seedbed.objectives.bits import elbo_of_bits
        from seedbed.objectives.bounds import elbo_kl
        from seedbed.objectives.chain import corrupted, with_chain
        from seedbed.objectives.equilibrium import decoder_utility, encoder_utility
        from seedbed.train.game import Game

        _need_latents(self, model)
        symmetric = self.learning == "symmetric"
        utility = decoder_utility if symmetric else elbo_of_bits(self.learning, self.samples, elbo_kl)
        of_data = with_chain(corrupted(utility, self.corruption) if self.corruption else utility)
        if not symmetric:
            return Game((training.player(of_data),))
        decoder = training.player(of_data, name="decoder", owns=("decoder",))
        encoder = training.player(encoder_utility, lr=self.encoder_lr, name="encoder", owns=("encoder",), data=False)
        return Game((decoder, encoder))

    def select(self, model: Trained) -> str:
        """The bound, whichever way was taken: a common measure of both."""
        return "neg_elbo_nats"

    def measure(self, data: "Dataset", model: Trained) -> "Measure":
        """The bound with its KL, the encoder's loss, and what the bits tell of x."""
        from seedbed.evaluate.bits import BitsMeasure

        return BitsMeasure(data)


@dataclass(frozen=True, kw_only=True)
class SourceElbo(Objective):
    """The first source's: the bound at one draw, or of a flow log p(x), with its own warm-up and step size over the run."""

    warm_up: float = option(
        0.2,
        "fraction of the run over which the KL weight rises to 1 (its 100 of 500 epochs)",
        least=0.0,
        most=1.0,
        when={"network": ("vae", "lvae")},
    )

    def game(self, training: Training, model: Trained) -> "Game":
        """One player, whose step size falls over more updates than there are."""
        from seedbed.objectives.bounds import elbo, warm_up
        from seedbed.objectives.likelihood import log_likelihood
        from seedbed.train.game import Game
        from seedbed.train.schedules import fixed_horizon

        utility = warm_up(elbo, int(self.warm_up * training.steps)) if self.warm_up else elbo
        schedule = fixed_horizon(delay=150 * 500, horizon=1000 * 500)
        return Game((training.player(log_likelihood if model.exact else utility, schedule=schedule),))

    def select(self, model: Trained) -> str:
        """The bound, or the likelihood."""
        return "nll_nats" if model.exact else "neg_elbo_nats"

    def measure(self, data: "Dataset", model: Trained) -> "Measure":
        """The same."""
        from seedbed.evaluate.density import DensityMeasure, elbo_sample_loss, nll

        return DensityMeasure(data, nll if model.exact else elbo_sample_loss, self.select(model))


@dataclass(frozen=True, kw_only=True)
class Likelihood(Objective):
    """The exact log-likelihood."""

    def game(self, training: Training, model: Trained) -> "Game":
        """One player."""
        from seedbed.objectives.likelihood import log_likelihood
        from seedbed.train.game import Game

        return Game((training.player(log_likelihood),))

    def select(self, model: Trained) -> str:
        """The negative log-likelihood."""
        return "nll_nats"

    def measure(self, data: "Dataset", model: Trained) -> "Measure":
        """The same."""
        from seedbed.evaluate.density import DensityMeasure, nll

        return DensityMeasure(data, nll, self.select(model))


@dataclass(frozen=True, kw_only=True)
class Adversarial(Objective):
    """A critic that tells draws from data, with a penalty on its slope, and a generator that wants to please it.

    `steps` are the generator's; of `lr` the critic may have its own. The average of `ema` is the generator's.
    """

    penalty: float = option(0.1, "weight of the gradient penalty", least=0.0)
    critic_updates: int = option(5, "critic updates per generator update", least=1, most=100_000)
    critic_lr: float = option(0.0, "step size of the critic; 0 for the generator's", least=0.0)
    in_nats: ClassVar = False

    def game(self, training: Training, model: Trained) -> "Game":
        """The critic first, then the generator that sees its update."""
        from seedbed.objectives.adversarial import critic_utility, generator_utility
        from seedbed.train.game import Game

        critic = training.player(
            critic_utility(self.penalty),
            lr=self.critic_lr,
            name="critic",
            owns=("critic",),
            repeat=self.critic_updates,
            ema=0.0,
        )
        return Game((critic, training.player(generator_utility, name="generator", owns=("generator",), data=False)))

    def select(self, model: Trained) -> str:
        """The distance of draws to data."""
        return "sw_distance"

    def measure(self, data: "Dataset", model: Trained) -> "Measure":
        """The same."""
        from seedbed.evaluate.distances import SlicedWasserstein

        return SlicedWasserstein(data)

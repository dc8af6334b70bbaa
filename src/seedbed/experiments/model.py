"""What every declared model is: which data it takes, what it is usually trained by, and how it is built."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from seedbed.core.domain import BINARY, SCORES, Domain, Family, Kind
from seedbed.core.errors import SeedbedError
from seedbed.experiments.fields import Part, option
from seedbed.experiments.objectives import Elbo, Objective
from seedbed.experiments.training import Training

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seedbed.data.dataset import Dataset
    from seedbed.distributions.likelihood import Likelihood

Activation = Literal["relu", "tanh", "silu", "gelu", "elu", "leaky_relu", "softplus"]
OutputBias = Literal["data", "dark", "none"]
TABLE_STEPS, TABLE_LR = 4_000, 1e-3  # at most, on a table


@dataclass(frozen=True, kw_only=True)
class Model(Part):
    """A model, apart from the data that it is built for."""

    # What one component of an example may be, and how many axes an example may have; a picture has three.
    takes: ClassVar[tuple[Kind, ...]] = ("real", "binary", "levels")
    pictures_only: ClassVar[bool] = False
    # Whether its latents mean something to the eye: codes, reconstructions and walks between them.
    codes: ClassVar[bool] = True
    # One that cannot represent the trivial baseline is not judged by it.
    has_baseline: ClassVar[bool] = True
    # Whether `build` reads values of the data for no more than where parameters start: trained weights then need no data.
    starts_only: ClassVar[bool] = False
    # Whether it is shown real data standardised, and scores and draws them in their units; else they are shown as they are.
    in_units: ClassVar[bool] = True
    # What it is trained by where nothing else is said.
    objective: ClassVar[Objective] = Elbo()
    training: ClassVar[Training] = Training(steps=20_000, batch_size=128, lr=2e-3, ema=0.999, eval_every=1000)

    def judged_on(self, domain: Domain) -> bool:
        """Whether it can represent the trivial baseline of such data, and so must beat it."""
        return self.has_baseline

    def training_on(self, data: str) -> Training:
        """What it is usually trained by on a data set of that name.

        Of one's own data it is not known how few they are: the best validation counts, and ends a run that no more improves.
        A table is small to a network, and is learnt in thousands of updates, at a step size that does not race past it.
        """
        from seedbed.data import entry, is_own, is_table

        if is_table(data):
            known, usual = entry(data), self.training
            size = usual.batch_size if known is None else min(usual.batch_size, known.examples)
            limits = {"steps": min(usual.steps, TABLE_STEPS), "lr": min(usual.lr, TABLE_LR), "ema": min(usual.ema, 0.99)}
            return replace(usual, **limits, batch_size=size, eval_every=50, patience=10)
        return replace(self.training, eval_every=250, patience=10) if is_own(data) else self.training

    @abstractmethod
    def build(self, data: "Dataset") -> "nn.Module":
        """One seed's model for examples like these; its weights come from the scoped ``init`` stream.

        Raises:
            SeedbedError: for sizes that do not go together.
        """

    @property
    def exact(self) -> bool:
        """Whether it knows log p(x) itself, so that no bound stands for it."""
        return False

    def taken_as(self, data: "Dataset") -> str:
        """What a module of one's own was taken for, in one line; empty where there was nothing to tell."""
        return ""

    def misfit(self, domain: Domain, shape: tuple[int, ...]) -> str:
        """Why it cannot be a model of such examples, in words that follow its name; empty where it can."""
        if domain.kind not in self.takes:
            return f"takes {' or '.join(self.takes)} values"
        if self.pictures_only and len(shape) != 3:
            return "takes pictures, [channels, height, width]"
        return ""


@dataclass(frozen=True, kw_only=True)
class ObservedModel(Model):
    """A model that ends in an observation model p(x | z), which may be chosen."""

    likelihood: Family = option(
        "auto",
        "p(x | z): of levels logistic where nothing is said; a Gaussian scores them with uniform noise, a grey Bernoulli as "
        "if they were probabilities, no better than a uniform code",
        later=True,
    )
    mixtures: int = option(
        10, "components of a mixture", least=1, most=1_000, when={"likelihood": ("logistic-mixture",)}, later=True
    )
    scale: Literal["learned", "shared", "fixed"] = option(
        "learned",
        "of p(x | z): one of each number, by the decoder; one for all, learnt; or one that is given",
        when={"likelihood": ("gaussian", "logistic")},
        later=True,
    )
    fixed_scale: float = option(
        0.1,
        "the given one: levels lie on [-1, 1], real data of one's own have unit deviation",
        least=1e-7,
        most=1e3,
        when={"scale": ("fixed",)},
        later=True,
    )
    least_scale: float = option(
        0.0,
        "what a learned scale stays above, in the same units",
        least=0.0,
        most=1e3,
        when={"likelihood": ("gaussian", "logistic", "logistic-mixture"), "scale": ("learned", "shared")},
        later=True,
    )

    def judged_on(self, domain: Domain) -> bool:
        """Where p(x | z) has what the baseline has: the same family, or one with room for it, and any scale."""
        free = self.scale == "learned" and not self.least_scale
        bounds = self.likelihood in ("gaussian", "grey-bernoulli") and domain.kind == "levels"
        return super().judged_on(domain) and free and not bounds

    def misfit(self, domain: Domain, shape: tuple[int, ...]) -> str:
        """As every model, and of levels alone where the likelihood is."""
        if why := super().misfit(domain, shape):
            return why
        kinds = SCORES.get(self.likelihood, self.takes)
        if domain.kind not in kinds:
            return f"with likelihood {self.likelihood} takes {' or '.join(kinds)} values"
        if self.likelihood == "logistic-mixture" and len(shape) == 3 and shape[0] not in (1, 3):
            return "with likelihood logistic-mixture takes pictures of 1 or 3 channels"
        return ""

    def observation(self, data: "Dataset", start: OutputBias) -> "tuple[Likelihood, Tensor | None]":
        """The likelihood that scores the data, and where the decoder's output starts.

        Raises:
            SeedbedError: for a likelihood that does not score the data, or sizes that do not go together.
        """
        from seedbed.distributions.likelihood import likelihood_of
        from seedbed.distributions.scale import Scale
        from seedbed.evaluate.baseline import start_of

        scale = Scale(self.scale, self.least_scale, self.fixed_scale if self.scale == "fixed" else 1.0)
        likelihood = likelihood_of(data.domain, self.likelihood, mixtures=self.mixtures, scale=scale)
        if start == "data" and (self.likelihood, self.scale, self.least_scale) != ("auto", "learned", 0.0):
            raw, likelihood = start_of(data, likelihood)
            return likelihood, raw
        return likelihood, output_start(data, start)


def output_start(data: "Dataset", start: str) -> "Tensor | None":
    """Where a decoder's output starts: at the training data's moments, dark, or as torch draws it."""
    import torch

    from seedbed.evaluate.baseline import training_output

    if start == "none":
        return None
    if start == "dark" and data.domain != BINARY:
        raise SeedbedError(
            f"an output bias that is dark is one of bits, and {data.name} is {data.domain}; choose data or none"
        )
    return training_output(data) if start == "data" else torch.full_like(training_output(data), -5.0)


OUTPUT_BIAS = "where the decoder's output starts: at the training means, at -5 (dark), or as torch draws it (none)"

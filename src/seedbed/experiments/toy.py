"""Study `toy`: a VAE, a ladder VAE and two flows on two-dimensional densities whose entropy is known.

After the first source (generative-convergence), whose choices, bugs included, are the `-compat` variants.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from seedbed.experiments.base import Experiment, option

if TYPE_CHECKING:
    from torch import nn

    from seedbed.core.noise import Streams
    from seedbed.data.dataset import Dataset
    from seedbed.evaluate.estimate import Estimator
    from seedbed.train.game import Game
    from seedbed.train.schedules import Schedule
    from seedbed.train.task import Measure, Task

SETS = ("8gaussians", "swissroll", "circles", "rings", "moons", "pinwheel", "2spirals", "checkerboard", "line", "cos")


@dataclass(frozen=True, kw_only=True)
class Toy(Experiment):
    """What the toy experiments share."""

    data: str = option("8gaussians", "toy set")
    train_size: int = option(1_024_000, "training points", least=1)
    eval_size: int = option(100_000, "test points", least=1)
    valid_size: int = option(10_000, "validation points", least=1)
    ema: float = option(0.999, "decay of the weight average that is evaluated; 0 for none", least=0.0, most=1.0)

    # A compat model cannot represent the best single Gaussian, so it declares no trivial baseline.
    has_baseline: ClassVar[bool] = True

    @property
    def epoch_examples(self) -> int:
        """Points that count as one epoch."""
        return 51_200

    def dataset(self, seed: int | None = None) -> "Dataset":
        """The points of the experiment's data seed, or of another."""
        from seedbed.data.toy import toy_dataset

        return toy_dataset(
            self.data, self.data_seed if seed is None else seed, self.train_size, self.eval_size, self.valid_size
        )

    def maximise(
        self,
        streams: "list[Streams]",
        build: "Callable[[], nn.Module]",
        utility: Any,
        estimator: "Estimator",
        select: str,
        schedule: "Schedule | None" = None,
    ) -> "Task":
        """A game of one on the toy set, measured by ``estimator`` and its gap to the known floor."""
        from seedbed.evaluate.density import DensityMeasure
        from seedbed.train.game import Game, Player
        from seedbed.train.optim import OPTIMIZERS
        from seedbed.train.schedules import SCHEDULES

        player = Player(
            utility=utility,
            optimizer=OPTIMIZERS[self.optimizer](lr=self.lr),
            schedule=schedule or SCHEDULES[self.schedule](),
            clip=self.clip or None,
            ema=self.ema,
        )
        data = self.dataset()
        return self.play(streams, data, build, Game((player,)), DensityMeasure(data, estimator, select), select)

    def play(
        self,
        streams: "list[Streams]",
        data: "Dataset",
        build: "Callable[[], nn.Module]",
        game: "Game",
        measure: "Measure",
        select: str,
    ) -> "Task":
        """Any game on the toy set."""
        import torch

        from seedbed.data.toy import TOY
        from seedbed.evaluate.density import toy_artefacts, toy_reference
        from seedbed.train.batches import Shuffled
        from seedbed.train.task import Task

        points, per_seed = data.splits["train"], self.vary in ("data", "all")
        if per_seed:
            points = torch.stack([self.dataset(self.data_seed + 1 + stream.seed).splits["train"] for stream in streams])
        return Task(
            build=build,
            game=game,
            data=data,
            batches=Shuffled(points, self.batch_size, per_seed),
            steps=self.steps,
            eval_every=self.eval_every,
            measure=measure,
            select=select,
            baseline=TOY[self.data].gaussian_nll if self.has_baseline else None,
            patience=self.patience,
            precision=self.precision,
            artefacts=toy_artefacts(),
            reference=lambda: toy_reference(data),
        )


@dataclass(frozen=True, kw_only=True)
class ToyVAE(Toy):
    """VAE with a Gaussian likelihood of learned scale; the KL weight rises over the first part of the run."""

    steps: int = option(32_000, "updates in all (schedules and warm-ups are tied to it)", least=1)
    lr: float = option(4e-3, "step size", least=0.0)
    hidden: tuple[int, ...] = option((64, 64, 64), "widths of the encoder, mirrored by the decoder", least=1)
    latents: int = option(4, "size of z", least=1)
    activation: Literal["relu", "tanh", "silu"] = option("relu", "of all networks")
    warm_up: float = option(0.08, "fraction of the run over which the KL weight rises to 1; 0 for none", least=0.0, most=1.0)
    budgets: ClassVar = {"demo": {"steps": 8_000}}
    ms_per_step = 3.0

    def task(self, streams: "list[Streams]") -> "Task":
        """Maximise the ELBO with analytic KL."""
        from seedbed.evaluate.density import elbo_loss
        from seedbed.models.vae import VAE
        from seedbed.objectives.bounds import elbo_kl, warm_up

        utility = warm_up(elbo_kl, int(self.warm_up * self.steps)) if self.warm_up else elbo_kl
        return self.maximise(
            streams,
            lambda: VAE(2, self.latents, self.hidden, activation=self.activation),
            utility,
            elbo_loss,
            "neg_elbo_nats",
        )


@dataclass(frozen=True, kw_only=True)
class ToyLVAE(Toy):
    """Ladder VAE: one shared top-down branch, posterior by precision-weighted merge."""

    steps: int = option(40_000, "updates in all (schedules and warm-ups are tied to it)", least=1)
    lr: float = option(4e-3, "step size", least=0.0)
    hidden: tuple[int, ...] = option((64, 64), "width at each level, from the data upward", least=1)
    latents: tuple[int, ...] = option((4, 4), "size of each latent, from the data upward", least=1)
    activation: Literal["relu", "tanh", "silu"] = option("relu", "of all networks")
    warm_up: float = option(0.5, "fraction of the run over which the KL weight rises to 1; 0 for none", least=0.0, most=1.0)
    budgets: ClassVar = {"demo": {"steps": 4_000}}
    ms_per_step = 5.0

    def task(self, streams: "list[Streams]") -> "Task":
        """Maximise the ELBO with analytic KL per layer."""
        from seedbed.evaluate.density import elbo_loss
        from seedbed.models.lvae import LadderVAE
        from seedbed.objectives.bounds import elbo_kl, warm_up

        utility = warm_up(elbo_kl, int(self.warm_up * self.steps)) if self.warm_up else elbo_kl
        return self.maximise(
            streams,
            lambda: LadderVAE(2, self.latents, self.hidden, activation=self.activation),
            utility,
            elbo_loss,
            "neg_elbo_nats",
        )


@dataclass(frozen=True, kw_only=True)
class ToyFlow(Toy):
    """Coupling flow, exact density: affine couplings of bounded scale, or rational-quadratic splines."""

    steps: int = option(12_000, "updates in all (schedules and warm-ups are tied to it)", least=1)
    lr: float = option(5e-3, "step size", least=0.0)
    clip: float = option(5.0, "largest gradient norm of a seed; 0 for no clipping", least=0.0)
    coupling: Literal["affine", "spline"] = option("affine", "the coupling's one-dimensional map")
    couplings: int = option(8, "couplings in a row", least=1)
    hidden: tuple[int, ...] = option((64, 64), "widths of each coupling's network", least=1)
    bins: int = option(8, "bins of a spline", least=2)
    mix: bool = option(False, "learn a change of axes after each coupling")
    budgets: ClassVar = {"demo": {"steps": 2_000}}
    ms_per_step = 15.0

    def task(self, streams: "list[Streams]") -> "Task":
        """Maximise the exact log-likelihood."""
        from seedbed.evaluate.density import nll
        from seedbed.models.flow import CouplingFlow
        from seedbed.objectives.likelihood import log_likelihood

        def build() -> CouplingFlow:
            return CouplingFlow(2, self.coupling, self.couplings, self.hidden, bins=self.bins, mix=self.mix)

        return self.maximise(streams, build, log_likelihood, nll, "nll_nats")


@dataclass(frozen=True, kw_only=True)
class ToyWGAN(Toy):
    """Wasserstein GAN with gradient penalty: a critic with five updates to the generator's one."""

    steps: int = option(20_000, "generator updates in all", least=1)
    lr: float = option(5e-4, "step size of both players", least=0.0)
    hidden: tuple[int, ...] = option((128, 128, 128), "widths of generator and critic", least=1)
    latents: int = option(2, "size of z", least=1)
    penalty: float = option(0.1, "weight of the gradient penalty", least=0.0)
    critic_updates: int = option(5, "critic updates per generator update", least=1)
    has_baseline = False
    metric = "sw_distance"
    ms_per_step = 60.0

    def task(self, streams: "list[Streams]") -> "Task":
        """Two players: the critic first, then the generator that sees its update."""
        from seedbed.evaluate.distances import SlicedWasserstein
        from seedbed.models.wgan import WGAN
        from seedbed.objectives.adversarial import critic_utility, generator_utility
        from seedbed.train.game import Game, Player
        from seedbed.train.optim import Adam
        from seedbed.train.schedules import SCHEDULES

        rule, schedule = Adam(lr=self.lr, beta1=0.5, beta2=0.9), SCHEDULES[self.schedule]()
        critic = Player(
            name="critic",
            owns=("critic",),
            utility=critic_utility(self.penalty),
            repeat=self.critic_updates,
            optimizer=rule,
            schedule=schedule,
        )
        generator = Player(
            name="generator",
            owns=("generator",),
            utility=generator_utility,
            optimizer=rule,
            schedule=schedule,
            ema=self.ema,
        )
        data = self.dataset()
        build = lambda: WGAN(2, self.latents, self.hidden)
        return self.play(streams, data, build, Game((critic, generator)), SlicedWasserstein(data), "sw_distance")


@dataclass(frozen=True, kw_only=True)
class Compat(Toy):
    """The first source's nets, loss, warm-up and optimiser, its bugs included.

    Clipping is declared there but never takes effect, so there is none here. Its numbers are reached with far fewer and
    smaller steps than its own; `--budget full` has those.
    """

    steps: int = option(2_500, "updates in all (the source's 500 epochs are 250,000)", least=1)
    batch_size: int = option(512, "examples per update (the source's is 4096)", least=1)
    ema: float = option(0.0, "decay of the weight average that is evaluated; 0 for none", least=0.0, most=1.0)
    eval_every: int = option(500, "steps between validations; one epoch of the source", least=1)
    network: Literal["vae", "lvae", "flow"] = option("vae", "which of the source's models")
    warm_up: float = option(
        0.2, "fraction of the run over which the KL weight rises to 1 (its 100 of 500 epochs)", least=0.0, most=1.0
    )
    has_baseline = False
    budgets: ClassVar = {"full": {"steps": 250_000, "batch_size": 4096}}
    ms_per_step = 40.0

    def task(self, streams: "list[Streams]") -> "Task":
        """The source's model under the source's loss."""
        from seedbed.evaluate.density import elbo_sample_loss, nll
        from seedbed.models import compat
        from seedbed.objectives.bounds import elbo, warm_up
        from seedbed.objectives.likelihood import log_likelihood
        from seedbed.train.schedules import fixed_horizon

        schedule = fixed_horizon(delay=150 * 500, horizon=1000 * 500)
        if self.network == "flow":
            return self.maximise(streams, compat.ToyFlow, log_likelihood, nll, "nll_nats", schedule)
        build = {"vae": compat.ToyVAE, "lvae": compat.ToyLVAE}[self.network]
        utility = warm_up(elbo, int(self.warm_up * self.steps)) if self.warm_up else elbo
        return self.maximise(streams, build, utility, elbo_sample_loss, "neg_elbo_nats", schedule)


def _variants(data: str) -> dict[str, Experiment]:
    spline = ToyFlow(data=data, coupling="spline")
    if data == "rings":  # four thin circles suit no axis: this set alone needs a change of axes, and longer
        spline = replace(spline, bins=16, mix=True, steps=16_000)
    vae, lvae = ToyVAE(data=data), ToyLVAE(data=data)
    if data == "8gaussians":  # a shorter warm-up leaves one or two seeds of ten in a half-collapsed optimum here
        vae = replace(vae, warm_up=0.5)
    # Eight separate modes: their borders in z sharpen slowly, and the gap falls by a fifth from 32,000 updates to 64,000.
    longer = {"steps": 64_000, "eval_every": 2000} if data == "8gaussians" else {}
    return {
        "vae": replace(vae, **longer),
        "lvae": replace(lvae, **longer),
        "flow": ToyFlow(data=data),
        "spline-flow": spline,
        "vae-no-warmup": replace(vae, warm_up=0.0, steps=5_000),
        "lvae-no-warmup": replace(lvae, warm_up=0.0, steps=5_000),
        "wgan-gp": ToyWGAN(data=data),
        "vae-compat": Compat(data=data, network="vae"),
        "lvae-compat": Compat(data=data, network="lvae"),
        "flow-compat": Compat(data=data, network="flow"),
    }


DOC = "VAE, ladder VAE and flows on 2-D densities whose entropy is known"
EXPERIMENTS: dict[str, Experiment] = {f"toy/{data}/{model}": e for data in SETS for model, e in _variants(data).items()}
GRID = tuple(f"toy/{data}/{model}" for data in SETS[:8] for model in ("vae", "lvae", "flow", "spline-flow"))
ELSEWHERE = {"draw": "DRAW writes images and takes no 2-D points; it takes binary images such as mnist-dynamic"}
# The first source's best validation losses, mean of its finite runs (8gaussians and checkerboard are all it ran).
PUBLISHED = {
    ("toy/8gaussians/vae-compat", "neg_elbo_nats"): 5.817,
    ("toy/8gaussians/lvae-compat", "neg_elbo_nats"): 5.822,
    ("toy/8gaussians/flow-compat", "nll_nats"): 2.911,
    ("toy/8gaussians/flow-compat", "gap_nats"): 0.079,
    ("toy/checkerboard/vae-compat", "neg_elbo_nats"): 6.910,
    ("toy/checkerboard/lvae-compat", "neg_elbo_nats"): 6.918,
    ("toy/checkerboard/flow-compat", "nll_nats"): 3.580,
    ("toy/checkerboard/flow-compat", "gap_nats"): 0.114,
}

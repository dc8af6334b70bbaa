"""How an experiment is trained: steps, batches, optimiser, averages, precision."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from seedbed.experiments.fields import Part, option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seedbed.core.noise import Streams
    from seedbed.train.game import Player

Rule = Literal["adam", "adamw", "soap", "adamax", "rmsprop", "sgd"]
Precision = Literal["fp32", "bf16", "fp64"]
Varied = Literal["model", "init", "order", "noise", "data", "all"]
MOMENTS = ("adam", "adamw", "soap", "adamax")  # rules that average the gradient and its square


@dataclass(frozen=True, kw_only=True)
class Training(Part):
    """Settings of the loop and of every player; of a game, the objective has fields for what a player has of its own."""

    steps: int = option(10_000, "updates in all (schedules and warm-ups are tied to it)", least=1)
    batch_size: int = option(256, "examples per update", least=1)
    lr: float = option(1e-3, "step size", least=0.0)
    optimizer: Rule = option("adam", "rule of the update")
    betas: tuple[float, ...] = option(
        (),
        "decays of its averages of the gradient and of its square, e.g. 0.5,0.9; the rule's own by default",
        least=0.0,
        when={"optimizer": MOMENTS},
    )
    schedule: Literal["constant", "cosine", "linear"] = option("cosine", "step size over the run")
    clip: float = option(0.0, "largest gradient norm of a seed; 0 for no clipping", least=0.0)
    ema: float = option(0.0, "decay of the weight average that is evaluated; 0 for none", least=0.0, most=1.0)
    eval_every: int = option(500, "steps between validations", least=1)
    patience: int = option(0, "validations without improvement before a seed stops; 0 for never", least=0)
    precision: Precision = option("fp32", "of matrix products and convolutions")
    vary: Varied = option(
        "model", "what differs between seeds: all but the data (model), one source alone, or everything (all)"
    )
    warm_start: str = option(
        "", "run folder whose weights each seed starts from, instead of a fresh initialisation", later=True
    )

    def streams(self, seeds: "Sequence[int]") -> "list[Streams]":
        """The random streams of each seed: those that vary follow the seed, the others are held."""
        from seedbed.core.noise import STREAMS, Streams

        follow = {
            "model": frozenset(STREAMS) - {"data"},
            "all": frozenset(STREAMS),
            "noise": frozenset({"noise", "dropout", "dequantise"}),
        }
        varied = follow.get(self.vary, frozenset({self.vary}))
        return [Streams(seed, varied, 0) for seed in seeds]

    @property
    def data_vary(self) -> bool:
        """Whether every seed has training data of its own."""
        return self.vary in ("data", "all")

    def player(self, utility: Any, *, lr: float = 0.0, **settings: Any) -> "Player":
        """A player with this rule, schedule and clipping.

        Args:
            utility: what it maximises.
            lr: its own step size; 0 for the common one.
            settings: whatever else a ``Player`` takes, in the place of what is declared.

        Raises:
            SeedbedError: for ``betas`` that are not two.
        """
        from seedbed.core.errors import SeedbedError
        from seedbed.train.game import Player
        from seedbed.train.optim import OPTIMIZERS
        from seedbed.train.schedules import SCHEDULES

        if len(self.betas) not in (0, 2):
            raise SeedbedError(f"betas are two numbers, e.g. 0.5,0.9, got {','.join(map(str, self.betas))}")
        moments = dict(zip(("beta1", "beta2"), self.betas, strict=False)) if self.optimizer in MOMENTS else {}
        common = {
            "optimizer": OPTIMIZERS[self.optimizer](lr=lr or self.lr, **moments),
            "schedule": SCHEDULES[self.schedule](),
            "clip": self.clip or None,
            "ema": self.ema,
        }
        return Player(utility=utility, **{**common, **settings})

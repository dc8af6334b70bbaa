"""The first source's models, as an experiment can declare them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from seedbed.core.domain import Domain
from seedbed.experiments.fields import option
from seedbed.experiments.model import Model
from seedbed.experiments.objectives import SourceElbo
from seedbed.experiments.training import Training

if TYPE_CHECKING:
    from torch import nn

    from seedbed.data.dataset import Dataset

Network = Literal["vae", "lvae", "flow"]


@dataclass(frozen=True, kw_only=True)
class Compat(Model):
    """The first source's nets, loss, warm-up and optimiser, its bugs included.

    Clipping is declared there but never takes effect, so there is none here. Its numbers are reached with far fewer and
    smaller steps than its own; `--budget full` has those.
    """

    network: Network = option("vae", "which of the source's models")
    takes: ClassVar = ("real",)
    has_baseline: ClassVar = False
    objective: ClassVar = SourceElbo()
    training: ClassVar = Training(steps=2_500, batch_size=512)

    @property
    def exact(self) -> bool:
        """The flow is."""
        return self.network == "flow"

    def misfit(self, domain: Domain, shape: tuple[int, ...]) -> str:
        """What the source had."""
        return super().misfit(domain, shape) or ("" if shape == (2,) else "takes points of the plane")

    def build(self, data: "Dataset") -> "nn.Module":
        """The source's sizes."""
        from seedbed.models import compat

        return {"vae": compat.CompatVAE, "lvae": compat.CompatLVAE, "flow": compat.CompatFlow}[self.network]()

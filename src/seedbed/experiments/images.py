"""Studies `mnist` and `digits`: latent-variable models of binary images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from seedbed.core.errors import SeedbedError
from seedbed.experiments.base import Experiment, option

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seedbed.core.noise import Streams
    from seedbed.data.dataset import Dataset
    from seedbed.evaluate.estimate import Estimator
    from seedbed.evaluate.images import Artefacts
    from seedbed.train.task import Task

Activation = Literal["tanh", "relu", "silu", "elu", "leaky_relu"]

SETS = ("mnist-dynamic", "mnist-static", "mnist-epoch", "mnist-threshold")
# Training images of the sets that have not 50,000, by the first part of their names.
EXAMPLES = {"digits": 1257, "omniglot": 22_000, "caltech101": 4_100}


@dataclass(frozen=True, kw_only=True)
class BinaryImages(Experiment):
    """A model of binary images that one player trains."""

    data: str = option("mnist-dynamic", "binary images")
    batch_size: int = option(128, "examples per update", least=1)
    lr: float = option(2e-3, "step size", least=0.0)
    ema: float = option(0.999, "decay of the weight average that is evaluated; 0 for none", least=0.0, most=1.0)
    eval_every: int = option(2000, "steps between validations", least=1)

    @property
    def epoch_examples(self) -> int:
        """Training images."""
        return EXAMPLES.get(self.data.split("-")[0], 50_000)

    def maximise(
        self,
        build: "Callable[[Dataset, Tensor], nn.Module]",
        utility: Any,
        estimator: "Estimator",
        select: str,
        artefacts: "Callable[[Dataset], Artefacts] | None" = None,
    ) -> "Task":
        """A game of one on the images.

        Args:
            build: a model, from the images and the logits of their training means.
            utility: what it maximises.
            estimator: losses per held-out image.
            select: the one of them that a run is judged by.
            artefacts: of the data set, makes what makes arrays for pictures; ``image_artefacts`` by default.

        Raises:
            SeedbedError: if the data shall vary.
        """
        from seedbed.core.domain import BINARY
        from seedbed.data import load
        from seedbed.evaluate.density import DensityMeasure
        from seedbed.evaluate.images import factorised_bernoulli, image_artefacts, image_reference
        from seedbed.train.batches import batches_of
        from seedbed.train.game import Game, Player
        from seedbed.train.optim import OPTIMIZERS
        from seedbed.train.schedules import SCHEDULES
        from seedbed.train.task import Task

        if self.vary in ("data", "all"):
            raise SeedbedError(f"{self.data} has the same images for every seed; vary init, order, noise or model")
        data = load(self.data, seed=self.data_seed)
        BINARY.check(data.domain, f"{type(self).__name__} on {data.name}")
        logits, baseline = factorised_bernoulli(data)
        batches, view = batches_of(data, self.batch_size)
        player = Player(
            utility=utility,
            optimizer=OPTIMIZERS[self.optimizer](lr=self.lr),
            schedule=SCHEDULES[self.schedule](),
            clip=self.clip or None,
            ema=self.ema,
        )
        return Task(
            build=lambda: build(data, logits),
            game=Game((player,)),
            data=data,
            batches=batches,
            view=view,
            steps=self.steps,
            eval_every=self.eval_every,
            measure=DensityMeasure(data, estimator, select),
            select=select,
            baseline=baseline,
            patience=self.patience,
            precision=self.precision,
            artefacts=(artefacts or image_artefacts)(data),
            reference=lambda: image_reference(data),
        )


@dataclass(frozen=True, kw_only=True)
class ImageVAE(BinaryImages):
    """VAE with MLPs and Bernoulli pixels, the shape of the IWAE paper's one-layer model (Burda et al. 2016)."""

    steps: int = option(100_000, "updates in all (schedules are tied to it)", least=1)
    hidden: tuple[int, ...] = option((200, 200), "widths of the encoder, mirrored by the decoder", least=1)
    latents: int = option(50, "size of z", least=1)
    activation: Activation = option("tanh", "of both networks")
    # The paper's 3280 epochs in batches of 20; its step size falls by steps, ours by a cosine.
    budgets: ClassVar = {"full": {"steps": 8_200_000, "batch_size": 20, "precision": "fp32"}}
    ms_per_step = 36.0

    def task(self, streams: "list[Streams]") -> "Task":
        """Maximise the ELBO with analytic KL; the decoder starts at the training means."""
        from seedbed.distributions.likelihood import BERNOULLI
        from seedbed.evaluate.density import elbo_loss
        from seedbed.models.vae import VAE
        from seedbed.objectives.bounds import elbo_kl

        def build(data: "Dataset", logits: "Tensor") -> VAE:
            return VAE(data.features, self.latents, self.hidden, BERNOULLI, self.activation, logits)

        return self.maximise(build, elbo_kl, elbo_loss, "neg_elbo_nats")


@dataclass(frozen=True, kw_only=True)
class DigitsVAE(ImageVAE):
    """The same model, smaller, on the 8x8 digits that need no file."""

    data: str = option("digits-binary", "binary images")
    steps: int = option(6_000, "updates in all (schedules are tied to it)", least=1)
    batch_size: int = option(64, "examples per update", least=1)
    lr: float = option(2e-3, "step size", least=0.0)
    hidden: tuple[int, ...] = option((64, 64), "widths of the encoder, mirrored by the decoder", least=1)
    latents: int = option(8, "size of z", least=1)
    eval_every: int = option(250, "steps between validations", least=1)
    budgets: ClassVar = {}
    ms_per_step = 5.0


DOC = "latent-variable models of binarised MNIST"
DIGITS_DOC = "the same on scikit-learn's 8x8 digits, which need no file"
MNIST: dict[str, Experiment] = {f"mnist/{data}/vae": ImageVAE(data=data, precision="bf16") for data in SETS}
DIGITS: dict[str, Experiment] = {"digits/digits-binary/vae": DigitsVAE()}

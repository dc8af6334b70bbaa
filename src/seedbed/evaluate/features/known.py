"""Networks that pictures are compared in: shipped classifiers, Inception from its weights, or anybody's own."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.core.noise import Streams
from seedbed.evaluate.features.net import PictureNet, Seen

SHIPPED = {"mnist": (1, 28, 28), "fashion": (1, 28, 28), "cifar10": (3, 32, 32)}  # by the shape of a picture
PROBED = 8  # fixed pictures that a network of one's own is known by
INCEPTION, WEIGHTS = "inception", "SEEDBED_INCEPTION"  # and the variable that says where its weights are


@dataclass(frozen=True, eq=False)
class Features:
    """A network that sees pictures.

    Args:
        name: how it is asked for.
        digest: first hexadecimal digits of the SHA-256 of its weights, or of what it makes of a few fixed pictures, so
            that numbers of two networks do not mix.
        see: ``[n, channels, height, width]`` in [0, 1] to ``[n, d]`` and, of a classifier, logits whose last class is *none
            of these*.
        shape: of the pictures that it takes; ``None`` for any.
        classes: their names, without the last; empty of what is no such classifier.
        accuracy: on the test split of its data.
    """

    name: str
    digest: str
    see: Callable[[Tensor], Seen | Tensor]
    shape: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()
    accuracy: float | None = None

    @property
    def tag(self) -> str:
        """What stands behind the ``@`` of a metric that was measured in it."""
        return f"{self.name}-{self.digest}"

    @property
    def words(self) -> str:
        """The same for a reader, with its accuracy."""
        return f"{self.tag} (accuracy {self.accuracy:.3f})" if self.accuracy is not None else self.tag

    def check(self, shape: Sequence[int], whose: str) -> None:
        """Refuse pictures of another size.

        Raises:
            SeedbedError: naming both sizes.
        """
        if self.shape is not None and tuple(shape) != self.shape:
            fits = [name for name, known in SHIPPED.items() if known == tuple(shape)]
            hint = f"take --features {' or '.join(fits)}" if fits else "bring your own, --features my_net.py:net"
            raise SeedbedError(f"{self.name} takes pictures {list(self.shape)}, those of {whose} are {list(shape)}; {hint}")

    def __call__(self, pictures: Float[Tensor, "n channels height width"]) -> Seen:
        """Features and logits, without gradients; of what gives features alone no logits, ``[n, 0]``.

        Raises:
            SeedbedError: for features that are not finite or not ``[n, d]``, or a network that fails.
        """
        with torch.no_grad(), told(f"features {self.name!r}"):
            found = self.see(pictures)
        seen = found if isinstance(found, Seen) else Seen(found, pictures.new_empty(len(pictures), 0))
        for what, value, least in (("features", seen.features, 1), ("logits", seen.logits, 0)):
            fits = isinstance(value, Tensor) and value.ndim == 2 and value.is_floating_point()
            if not fits or len(value) != len(pictures) or value.shape[1] < least or value.shape[1] == (what == "logits"):
                got = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise SeedbedError(f"{what} of {self.name!r} must be [{len(pictures)}, d] of so many pictures, got {got}")
        if not torch.isfinite(seen.logits).all():
            raise SeedbedError(f"logits of {self.name!r} are not finite; mend the network")
        if not torch.isfinite(seen.features).all():
            bad = int((~torch.isfinite(seen.features).all(1)).sum())
            raise SeedbedError(
                f"features {self.name!r} are not finite for {bad} of {len(pictures)} pictures; mend the network"
            )
        return seen


@cache
def shipped(name: str) -> Features:
    """One of Seedbed's own classifiers, see ``benchmarks/features.py``.

    Raises:
        SeedbedError: for any other name.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    if name not in SHIPPED:
        raise unknown("features", name, (*SHIPPED, INCEPTION))
    with resources.as_file(resources.files("seedbed.evaluate.features") / f"{name}.safetensors") as path:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        weights = load_file(path)
        with safe_open(path, "pt") as file:
            meta = file.metadata()
    shape, classes = tuple(map(int, meta["shape"].split(","))), tuple(meta["classes"].split(","))
    net = PictureNet(shape[0], len(classes))
    net.load_state_dict(weights)
    net.requires_grad_(False)
    return Features(name, digest, net, shape, classes, float(meta["accuracy"]))


def suited(shape: Sequence[int], data: str = "") -> Features:
    """The shipped classifier of pictures of this shape: that of Fashion-MNIST where the data are called so.

    Raises:
        SeedbedError: if there is none.
    """
    fits = [name for name, known in SHIPPED.items() if known == tuple(shape)]
    if not fits:
        raise SeedbedError(
            f"no network of Seedbed's sees pictures {list(shape)}; bring your own, --features my_net.py:net, or have them "
            f"made {' or '.join(str(list(known)) for known in dict.fromkeys(SHIPPED.values()))}"
        )
    return shipped("fashion" if "fashion" in data and "fashion" in fits else fits[0])


def own(name: str, network: Any, shape: Sequence[int]) -> Features:
    """Anybody's network: a module or a function of pictures in [0, 1] that gives ``[n, d]``.

    It is known by what it makes of a few fixed pictures, so that other weights are other features wherever they are kept.

    Args:
        name: of it.
        network: which is called with ``[n, channels, height, width]``.
        shape: of a picture.

    Raises:
        SeedbedError: for what cannot be called, or features of one picture that depend on chance or on the others.
    """
    if not callable(network) or isinstance(network, type):
        raise SeedbedError(f"{name} must be a module or a function of pictures, got {type(network).__name__}")
    if isinstance(network, nn.Module):
        network.eval()
    see: Any = network  # what it returns is looked at with every call
    known = Features(name, "", see, tuple(shape))
    probe = torch.rand(PROBED, *shape, generator=Streams(0).generator("eval", "pictures that features are known by"))
    once, again, alone = known(probe).features, known(probe).features, known(probe[: PROBED // 2]).features
    near = 1e-3 * once.abs().mean() + 1e-12
    if any((found - once[: len(found)]).abs().max() > near for found in (again, alone)):
        raise SeedbedError(f"features {name!r} of a picture depend on chance or on the other pictures; call its .eval()")
    scale = once.abs().max().clamp(min=1e-12)
    digest = hashlib.sha256((1e4 * once / scale).round().to(torch.int64).numpy().tobytes() + f"{float(scale):.4g}".encode())
    return Features(name, digest.hexdigest()[:8], see, tuple(shape))


def inception() -> Features:
    """The 2048 features of Inception v3 that published distances are measured in, from weights on this disk.

    Raises:
        SeedbedError: without the package or the weights, saying where they go.
    """
    path = os.environ.get(WEIGHTS, "")
    if not path or not Path(path).is_file():
        raise SeedbedError(
            f"Inception's weights are {'not at ' + path if path else 'nowhere'}; put weights-inception-2015-12-05-6726825d."
            f"pth of torch-fidelity's releases on this disk and its path in {WEIGHTS}, or leave --features out"
        )
    try:
        network = import_module("torch_fidelity.feature_extractor_inceptionv3").FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:
        raise SeedbedError(
            f"Inception takes torch-fidelity, which cannot be imported ({error}): pip install 'seedbed[inception]', or "
            "leave --features out for Seedbed's own"
        ) from error
    with told(f"Inception from {path}"):
        net = network(INCEPTION, ["2048"], feature_extractor_weights_path=path)

    def see(pictures: Tensor) -> Tensor:
        return net((255 * pictures.expand(-1, 3, -1, -1)).round().to(torch.uint8))[0]

    return Features(INCEPTION, hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8], see)

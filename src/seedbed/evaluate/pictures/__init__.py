"""Arrays that the pictures of a report are drawn from: what is made of a model at its end, and what it stands beside."""

from collections.abc import Callable, Mapping

import numpy as np

from seedbed.core.capabilities import HasSample, LatentVariable
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.pictures.images import Artefacts, image_artefacts, image_reference, sample_artefacts
from seedbed.evaluate.pictures.points import point_artefacts, point_reference

__all__ = ["Artefacts", "Reference", "artefacts_of"]

Reference = Callable[[], Mapping[str, np.ndarray]]


def artefacts_of(data: Dataset, codes: bool) -> tuple[Artefacts | None, Reference | None]:
    """What is pictured of a model of these data: pictures, points of the plane, or nothing.

    Args:
        data: what it is a model of.
        codes: whether its latents mean something to the eye.
    """
    if len(data.shape) == 3:

        def make(stack: Stack) -> Mapping[str, Mapping[str, np.ndarray]]:
            if codes and isinstance(stack.module, LatentVariable):
                return image_artefacts(data)(stack)
            return sample_artefacts(data)(stack) if isinstance(stack.module, HasSample) else {}

        return make, lambda: image_reference(data)
    if data.shape == (2,) and data.domain.kind == "real":
        return point_artefacts(data), lambda: point_reference(data)
    return None, None

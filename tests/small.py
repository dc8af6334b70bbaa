"""Sizes of every registered model that train in a moment."""

from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "vae": {"hidden": (4,), "latents": 2},
    "lvae": {"hidden": (4, 4), "latents": (2, 2)},
    "symmetric-vae": {"bits": (2, 3), "hidden": (4,)},
    "bottom-up-vae": {"hidden": (4,), "latents": 2, "k": 2},
    "conv-vae": {"latents": 2},
    "picture-vae": {"latents": 2, "k": 2},
    "draw": {"hidden": 4, "latents": 2, "strokes": 2},
    "draw-attention": {"hidden": 4, "latents": 2, "strokes": 2, "read": 2, "write": 2},
    "image-flow": {"couplings": (0, 1, 1), "width": 4, "depth": 1, "growth": 2},
    "gaussian": {},
    "flow": {"hidden": (4,), "couplings": 2},
    "spline-flow": {"hidden": (4,), "couplings": 2, "bins": 4},
    "wgan-gp": {"hidden": (4,)},
    "hvae": {"hidden": (4,), "latents": 2, "leapfrogs": 2},
    "flow-vae": {"hidden": (4,), "latents": 2, "flows": 2, "masked_hidden": (4,), "context": 2},
}

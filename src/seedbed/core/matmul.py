"""Which of torch's two CPU libraries multiplies fp32 matrices.

MKL, the default, runs kernels half as wide as the processor on machines that are not Intel's. oneDNN does not, but torch
calls it only where rounding fp32 to bf16 on the way is allowed. It uses that on processors with bf16 tiles (AMX) and nowhere
else, so it is allowed where a try shows that it makes no difference.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch


@contextmanager
def full_width_products() -> Iterator[None]:
    """Let oneDNN make the fp32 matrix products inside, on a CPU where it makes them in fp32: the same up to rounding."""
    if not _exact():
        yield
        return
    setting = _setting()
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before


def _setting() -> Any:
    """The switch, from torch 2.9 on; ``None`` before."""
    setting = getattr(torch.backends.mkldnn, "matmul", None)
    return setting if hasattr(setting, "fp32_precision") and torch.backends.mkldnn.is_available() else None


@cache
def _exact() -> bool:
    """Whether products that are allowed to round to bf16 do not: bf16 keeps 8 bits, so it would err by 1e-3."""
    setting = _setting()
    if setting is None:
        return False
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        return all(_error(*shape) < 1e-5 for shape in ((2, 64, 64, 64), (1, 128, 784, 200), (1, 2000, 40, 32)))
    finally:
        setting.fp32_precision = before


def _error(stack: int, rows: int, inner: int, columns: int) -> float:
    """Largest relative error of a batched and of a plain product of numbers that need more bits than bf16 has."""
    a = 1 + torch.arange(stack * rows * inner).remainder(1009).float().div(1009).view(stack, rows, inner)
    b = 1 + torch.arange(stack * columns * inner).remainder(997).float().div(997).view(stack, columns, inner)
    truth = a.double() @ b.double().mT
    found = torch.stack([torch.bmm(a, b.mT), torch.stack([p @ q.mT for p, q in zip(a, b, strict=True)])])
    return float((found.double() / truth - 1).abs().max())

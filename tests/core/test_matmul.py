"""Products by another library are the same matmul."""

import pytest
import torch

from seedbed.core import matmul
from seedbed.core.matmul import full_width_products


@pytest.mark.parametrize("shape", [(3, 5, 7), (64, 64, 64), (128, 784, 200), (5120, 20, 512), (200, 128, 784)])
def test_products_keep_the_precision_of_fp32(shape):
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(0)
    a, w = torch.randn(rows, inner, generator=generator), torch.randn(columns, inner, generator=generator)
    truth = a.double() @ w.double().mT
    with full_width_products():
        plain, batched = a @ w.mT, torch.bmm(a[None], w[None].mT)[0]
    for found in (plain, batched):
        # The rounding of a sum of n such terms; bf16 would be off by 3e-3 sqrt(n).
        assert (found - truth).abs().max() < 1e-5 * inner**0.5


def test_the_setting_of_the_process_comes_back():
    setting = matmul._setting()
    if setting is None:
        pytest.skip("this torch has no switch")
    before = setting.fp32_precision
    with full_width_products(), full_width_products():
        pass
    with pytest.raises(ValueError, match="inside"), full_width_products():
        raise ValueError("inside")
    assert setting.fp32_precision == before


def test_where_products_would_be_rounded_to_bf16_nothing_changes(monkeypatch):
    setting = matmul._setting()
    if setting is None:
        pytest.skip("this torch has no switch")
    monkeypatch.setattr(matmul, "_error", lambda *shape: 1e-3)
    matmul._exact.cache_clear()
    before = setting.fp32_precision
    try:
        with full_width_products():
            assert setting.fp32_precision == before
    finally:
        matmul._exact.cache_clear()

"""Values per example, in chunks that cannot change a number."""

import torch

from seedbed.evaluate.estimate import per_example


def draws(model, x, ctx):
    z, u = ctx.noise.normal((2,), batch=len(x)), ctx.noise.uniform((), batch=len(x))
    return {"z": z.sum(1), "u": u, "x": x.sum(1)}


def test_a_chunk_changes_no_draw(stack, binary):
    many = stack("vae", 2)
    whole = per_example(many, draws, binary, "test", chunk=len(binary))
    assert len(whole["z"].unique()) == 2 * len(binary)  # no seed and no example shares a draw
    assert torch.equal(whole["x"], binary.sum(1).expand(2, -1))
    for chunk in (0, 1, 17, 64, 100):
        for name, values in per_example(many, draws, binary, "test", chunk=chunk).items():
            assert torch.equal(values, whole[name]), (chunk, name)
    assert not torch.isin(per_example(many, draws, binary, "valid")["z"], whole["z"]).any()

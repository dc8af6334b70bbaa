"""All times of an LSTM of a stack of seeds as one operation, whose gradient is written out.

Autograd would make a product for the weight's gradient at every time, and twice as many small operations around it; here
that product is one for all times.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class _Times(Function):
    """c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c') at each time, with the gates in torch's order."""

    @staticmethod
    def forward(
        given: Float[Tensor, "seeds time batch four_hidden"],
        h: Float[Tensor, "seeds batch hidden"],
        c: Float[Tensor, "seeds batch hidden"],
        weight: Float[Tensor, "seeds four_hidden hidden"],
    ) -> tuple[Tensor, ...]:
        """h and c at all times, and the gates: sigmoid of all four and tanh of g."""
        size, turned = h.shape[-1], weight.mT
        hs, cs, opens, news = [], [], [], []
        for products in given.unbind(1):
            total = torch.baddbmm(products, h, turned)
            gates, new = torch.sigmoid(total), torch.tanh(total.narrow(-1, 2 * size, size))
            i, f, _, o = gates.split(size, -1)
            c = torch.addcmul(f * c, i, new)
            h = o * torch.tanh(c)
            hs.append(h)
            cs.append(c)
            opens.append(gates)
            news.append(new)
        return tuple(torch.stack(each, 1) for each in (hs, cs, opens, news))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the gradient is made of."""
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[1:], *output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """The stacks, of seeds; what all of them have in common, such as zeros to begin with, once for each."""
        stacks = [
            tensor.expand(info.batch_size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
            for tensor, axis in zip(tensors, in_dims, strict=True)
        ]
        return _Times.apply(*stacks), (0, 0, 0, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, ...]:
        """By what h and c at each time, the last of all, are worth, from the last time to the first."""
        h, c, weight, hs, cs, gates, new = ctx.saved_tensors
        i, f, _, o = gates.chunk(4, -1)
        before, bent = torch.cat([c[:, None], cs[:, :-1]], 1), torch.tanh(cs)
        # What a gate's sum adds to c (of i, f and g) or to h (of o), and c to h.
        slopes = gates * (1 - gates)
        d_i, d_f, _, d_o = slopes.chunk(4, -1)
        into = torch.cat([d_i * new, d_f * before, i * (1 - new.square()), d_o * bent], -1).unbind(1)
        through, kept = (o * (1 - bent.square())).unbind(1), f.unbind(1)
        of_h, of_c = (None if gradient is None else gradient.unbind(1) for gradient in gradients[:2])
        none, sums = torch.zeros_like(h), []
        dc = none
        for t in reversed(range(len(into))):
            dh = none if of_h is None else of_h[t]
            dh = torch.baddbmm(dh, sums[-1], weight) if sums else dh
            dc = torch.addcmul(dc if of_c is None else dc + of_c[t], dh, through[t])
            sums.append(torch.cat([dc, dc, dc, dh], -1) * into[t])
            dc = dc * kept[t]
        total = torch.stack(sums[::-1], 1)
        previous = torch.cat([h[:, None], hs[:, :-1]], 1)
        return total, torch.bmm(sums[-1], weight), dc, torch.bmm(total.flatten(1, 2).mT, previous.flatten(1, 2))


def lstm(
    given: Float[Tensor, "time batch four_hidden"],
    h: Float[Tensor, "batch hidden"],
    c: Float[Tensor, "batch hidden"],
    weight: Float[Tensor, "four_hidden hidden"],
) -> tuple[Float[Tensor, "time batch hidden"], Float[Tensor, "time batch hidden"]]:
    """h and c at all times, within a call that is mapped over seeds; differentiable once.

    Args:
        given: products with the input, and biases.
        h: at the start.
        c: at the start.
        weight: of the product with h.
    """
    tensors, kind = (given, h, c, weight), given.device.type
    if torch.is_autocast_enabled(kind):
        tensors = tuple(tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors)
    return _Times.apply(*tensors)[:2]

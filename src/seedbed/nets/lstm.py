"""A recurrent cell that knows about the stack of seeds."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seedbed.nets.linear import Linear

# (h, c). Within one call, leading axes of the same name broadcast.
CellState = tuple[Float[Tensor, "*#batch hidden"], Float[Tensor, "*#batch hidden"]]


def join(*parts: Float[Tensor, "*#batch _"]) -> Float[Tensor, "*batch _"]:
    """Concatenate over the last axis; the axes before it broadcast (a start without a batch, data without samples)."""
    batch = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*batch, part.shape[-1]) for part in parts], -1)


class LSTMCell(nn.Module):
    """One step of a long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    (i, f, g, o) = W [x, h] + b; c' = sigmoid(f) c + sigmoid(i) tanh(g); h' = sigmoid(o) tanh(c'). The order of the gates and
    the initialisation, uniform within 1 / sqrt(hidden), are those of ``torch.nn.LSTMCell``, whose two matrices are one here,
    and whose two biases are their sum.

    Args:
        features_in: size of the last axis of x.
        hidden: size of h and of c.
    """

    def __init__(self, features_in: int, hidden: int) -> None:
        super().__init__()
        self.gates = Linear(features_in + hidden, 4 * hidden)
        for parameter in self.gates.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)

    def forward(
        self, x: Float[Tensor, "*#batch features_in"], state: CellState, shift: Float[Tensor, "*#batch gates"] | None = None
    ) -> CellState:
        """``(h, c)`` after x, each ``[*batch, hidden]``.

        Args:
            x: ``[*batch, features_in]``.
            state: (h, c) before x; its leading axes broadcast with x's.
            shift: added to the gates, ``[*batch, 4 * hidden]``: what an input that never changes contributes, made once.
        """
        h, c = state
        gates = self.gates(join(x, h))
        i, f, g, o = (gates if shift is None else gates + shift).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

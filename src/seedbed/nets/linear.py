"""An affine map that knows about the stack of seeds."""

from jaxtyping import Float
from torch import Tensor, nn

from seedbed.core.products import linear


class Linear(nn.Linear):
    """``torch.nn.Linear`` (same parameters, same initialisation), fast under ``vmap`` over seeds."""

    def forward(self, input: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """``[*batch, in]`` to ``[*batch, out]``."""
        return linear(input, self.weight, self.bias)

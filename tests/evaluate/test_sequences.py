"""The exact likelihood of token sequences."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from seedbed.core.capabilities import Sequence
from seedbed.core.context import Context
from seedbed.core.domain import Domain
from seedbed.core.noise import Noise, Streams
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.evaluate.sequences import SequenceMeasure

TOKENS = torch.tensor([0, 2, 1, 1, 0, 2, 2, 1, 0, 0, 1])


class Counts(nn.Module, Sequence):
    """Logits that depend on every token before: its state is the sum of their rows."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(3, 3))

    def initial_state(self, streams: int) -> Mapping[str, Tensor]:
        return {"sum": self.table.new_zeros(streams, 3)}

    def logits(self, tokens: Tensor, state: Mapping[str, Tensor], ctx: Context) -> tuple[Tensor, Mapping[str, Tensor]]:
        sums = state["sum"][:, None] + self.table[tokens].cumsum(1)
        return sums, {"sum": sums[:, -1]}


@pytest.mark.parametrize("window", [1, 3, 10, 256])
@pytest.mark.parametrize(("precision", "dtype", "error"), [("fp64", torch.float64, 1e-14), ("fp32", torch.float32, 1e-5)])
def test_the_likelihood_is_that_of_one_pass_in_the_precision_of_the_stack(window, precision, dtype, error):
    torch.manual_seed(0)
    models = [Counts().to(dtype) for _ in range(2)]
    stack = Stack.of(models, [Streams(0), Streams(1)], precision)
    data = Dataset(name="tokens", domain=Domain("tokens", 3), protocol="", splits=dict.fromkeys(("train", "test"), TOKENS))
    values, unit = SequenceMeasure(data, window)(stack, "test")["nll_nats"]
    assert unit == "nats" and values.dtype == dtype
    for row, model in enumerate(models):
        logits = model.table.detach().double()[TOKENS[:-1]].cumsum(0)
        truth = logits.logsumexp(-1) - logits.gather(-1, TOKENS[1:, None]).squeeze(-1)
        assert torch.allclose(values[row].double(), truth, rtol=0, atol=error)


def test_a_token_of_no_probability_is_never_drawn():
    class Sure(Counts):
        def logits(self, tokens, state, ctx):
            return torch.tensor([-torch.inf, 0.0, -torch.inf]).expand(*tokens.shape, 3), state

    class Zero(Noise):
        def _fill(self, out, draw, streams):
            out.zero_()

    assert Sure().sample(4, Context(Zero([Streams(0)], "eval")), 5).tolist() == [[1] * 5] * 4

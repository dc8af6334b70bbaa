"""Torch's recurrent networks over a stack of seeds, and with draws of a call (see ``core.draws``).

Under ``vmap`` torch has none. A layer here is a loop over time around the products with the state; those with its input are
one product for all times.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from seedbed.core.draws import Draws, Served
from seedbed.core.drops import dropout
from seedbed.core.lstm import lstm
from seedbed.core.products import added, linear

# h, and c of an LSTM.
State = tuple[Float[Tensor, "*batch _"], ...]


class Cell(NamedTuple):
    """One step of a recurrent network.

    Args:
        step: ``(products with the input, the state, weight and bias of the product with h) -> the next state``.
        joint: whether both products enter as their sum alone, so that both biases belong to the input's.
        states: tensors that the state consists of: h, and c of an LSTM.
    """

    step: Callable[[Tensor, State, Tensor, Tensor | None], State]
    joint: bool = True
    states: int = 1


def _gru(given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    """h' = n + z (h - n), n = tanh(W x + r (U h)): Cho et al. 2014 (arXiv 1406.1078), with the gates in torch's order."""
    own = linear(state[0], weight, bias)
    size = given.shape[-1] // 3
    (both, n), (own_both, own_n) = (products.split([2 * size, size], -1) for products in (given, own))
    r, z = torch.sigmoid(both + own_both).chunk(2, -1)
    new = torch.tanh(torch.addcmul(n, r, own_n))
    return (new + z * (state[0] - new),)


def _lstm(given: Tensor, state: State, weight: Tensor, bias: Tensor | None) -> State:
    """c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c'): see ``nets.lstm``."""
    size = given.shape[-1] // 4
    inner, g, o = added(state[0], weight, given).split([2 * size, size, size], -1)
    i, f = torch.sigmoid(inner).chunk(2, -1)
    c = torch.addcmul(f * state[1], i, torch.tanh(g))
    return torch.sigmoid(o) * torch.tanh(c), c


def _plain(activation: Callable[[Tensor], Tensor]) -> Cell:
    return Cell(lambda given, state, weight, bias: (activation(added(state[0], weight, given)),))


GRU, LSTM, TANH, RELU = Cell(_gru, joint=False), Cell(_lstm, states=2), _plain(torch.tanh), _plain(torch.relu)


def _layer(
    cell: Cell,
    x: Float[Tensor, "time batch _"],
    state: State,
    weights: Sequence[Tensor],
    biased: bool,
    backward: bool,
    fused: bool,
) -> tuple[Float[Tensor, "time batch hidden"], State]:
    """All times of one layer in one direction; ``weights`` are torch's, the last of five (three without bias) projects h.

    ``fused`` says that an operation on all times at once will do, which is differentiable once.
    """
    bias, own = (weights[2], weights[3]) if biased else (None, None)
    if cell.joint and bias is not None and own is not None:
        bias, own = bias + own, None
    products = linear(x, weights[0], bias)
    if fused and cell is LSTM and len(weights) in (2, 4):  # no projection of h
        h, c = lstm(products.flip(0) if backward else products, state[0], state[1], weights[1])
        return h.flip(0) if backward else h, (h[-1], c[-1])
    times, out = products.unbind(0), []
    for given in reversed(times) if backward else times:
        state = cell.step(given, state, weights[1], own)
        if len(weights) in (3, 5):
            state = linear(state[0], weights[-1]), *state[1:]
        out.append(state[0])
    return torch.stack(out[::-1] if backward else out), state


def _network(function: Callable[..., Any], cell: Cell) -> Served:
    def served(draws: Draws, input: Tensor, hx: Any, params: Any, *options: Any) -> Any:
        if isinstance(params, Tensor) or isinstance(options[0], (list, tuple)):  # sequences of different lengths, packed
            return None if draws.mapped else draws.as_torch(function, input, hx, params, *options)
        biased, layers, p, training, both, batch_first = options
        drops = bool(training) and p > 0 and layers > 1
        if not draws.mapped and not drops:
            return None
        x, begun = input.transpose(0, 1) if batch_first else input, (hx,) if cell.states == 1 else tuple(hx)
        directions, each = 1 + both, len(params) // (layers * (1 + both))
        ended: list[State] = []
        for layer in range(layers):
            sides = []
            for direction in range(directions):
                index = layer * directions + direction
                start, weights = tuple(s[index] for s in begun), params[index * each : (index + 1) * each]
                out, end = _layer(cell, x, start, weights, biased, direction == 1, draws.outermost)
                sides.append(out)
                ended.append(end)
            x = torch.cat(sides, -1) if both else sides[0]
            if drops and layer < layers - 1:
                x = dropout(draws, x, p)
        return (x.transpose(0, 1) if batch_first else x, *(torch.stack(parts) for parts in zip(*ended, strict=True)))

    return served


def _one_step(cell: Cell) -> Served:
    def served(
        draws: Draws,
        input: Tensor,
        hx: Any,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor | None = None,
        b_hh: Tensor | None = None,
    ) -> Any:
        if not draws.mapped:
            return None
        if cell.joint and b_ih is not None and b_hh is not None:
            b_ih, b_hh = b_ih + b_hh, None
        state = cell.step(linear(input, w_ih, b_ih), (hx,) if cell.states == 1 else tuple(hx), w_hh, b_hh)
        return state[0] if cell.states == 1 else state

    return served


SERVED: dict[Callable[..., Any], Served] = {
    torch.gru: _network(torch.gru, GRU),
    torch.lstm: _network(torch.lstm, LSTM),
    torch.rnn_tanh: _network(torch.rnn_tanh, TANH),
    torch.rnn_relu: _network(torch.rnn_relu, RELU),
    torch.gru_cell: _one_step(GRU),
    torch.lstm_cell: _one_step(LSTM),
    torch.rnn_tanh_cell: _one_step(TANH),
    torch.rnn_relu_cell: _one_step(RELU),
}

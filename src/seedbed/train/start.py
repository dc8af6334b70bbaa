"""What a seed's model starts as: other weights than those it drew, and data that its likelihood can score."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from seedbed.core.capabilities import HasDataInit
from seedbed.core.context import Context, State
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError, told
from seedbed.core.noise import Noise, Streams
from seedbed.core.slots import Slots
from seedbed.train import holdings
from seedbed.train.task import Task


def built(task: Task, streams: Streams) -> nn.Module:
    """One seed's model, as it is before training.

    Raises:
        SeedbedError: if it cannot be made, or is none.
    """
    with told("`build`"), streams.scoped("init"):
        module = task.build()
    if not isinstance(module, nn.Module):
        raise SeedbedError(f"`build` must make an nn.Module, got {type(module).__name__}")
    if hasattr(module, "_orig_mod"):
        raise SeedbedError("`build` made a module of torch.compile, which hides what it holds; pass the module itself")
    return module


def modules_of(task: Task, streams: Sequence[Streams], device: torch.device, first: Sequence[Any] = ()) -> list[nn.Module]:
    """The model of every seed, as it is before training, on the CPU.

    Args:
        task: what to train.
        streams: the random streams of each seed.
        device: where batches are made.
        first: see ``first_batches``; made here, if a model wants to see its own and they are not given.

    Raises:
        SeedbedError: if one cannot be made, cannot be trained as one of a stack, or does not score the task's data.
    """
    modules: list[nn.Module] = []
    for row, stream in enumerate(streams):
        module = built(task, stream)
        holdings.check_parameters(module)
        if modules:
            holdings.check_alike(modules[0], module)
        module = module.to(dtype=task.dtype)
        if row == 0:
            check_domain(module, task)
        if isinstance(module, HasDataInit):
            noise = Noise([stream], "init", "data_init", dtype=task.dtype)
            first = first or first_batches(task, streams, device)
            initialise(module, task.seen(first[row], noise), noise)
        if task.start is not None:
            start_from(module, task.start[row])
        modules.append(module)
    return modules


def first_batches(task: Task, streams: Sequence[Streams], device: torch.device) -> list[Any]:
    """The first batch of every seed, on the CPU."""
    together = task.batch(streams, 0, device)
    return [tree_map(lambda t, row=row: t[row].cpu(), together) for row in range(len(streams))]


def start_from(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Overwrite the parameters of a module; its buffers must be those that the weights were trained with.

    Raises:
        SeedbedError: for weights of another model, with the first parameter that differs.
    """
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name in sorted(own.keys() ^ weights.keys()):
        where, lacks = ("this model", "the run to start from") if name in own else ("the run to start from", "this model")
        raise SeedbedError(f"cannot start from that run: {where} has a parameter {name}, {lacks} has none")
    for name, value in own.items():
        given = weights[name]
        if given.shape != value.shape:
            raise SeedbedError(
                f"cannot start from that run: parameter {name} is {list(value.shape)} here and {list(given.shape)} there"
            )
        if not isinstance(value, nn.Parameter) and not torch.equal(given.to(value), value):
            raise SeedbedError(f"cannot start from that run: {name}, which is not trained, differs; use the same seeds")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(weights[name])


def initialise(module: nn.Module, batch: Any, noise: Noise) -> None:
    """Let a model see its first batch: not in training, and without a gradient."""
    assert isinstance(module, HasDataInit), "asked of those that want to see it"
    ctx = Context(noise, state=State(dict(module.named_buffers())))
    with torch.no_grad(), Slots(module).lent({}, ctx):
        module.data_init(batch, ctx)


def check_domain(module: nn.Module, task: Task) -> None:
    """Refuse data that the model's likelihood cannot score, before anything is trained.

    Raises:
        SeedbedError: with the domain that it scores and that of the data.
    """
    domain = getattr(module, "domain", None)
    if isinstance(domain, Domain):
        domain.check(task.data.domain, f"{type(module).__name__} on {task.data.name}")

"""Whether training fits in memory: estimated from one model, before the seeds have theirs."""

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from seedbed.core.errors import SeedbedError
from seedbed.core.memory import GIB, available, check_memory
from seedbed.core.noise import Streams
from seedbed.train.start import built

if TYPE_CHECKING:
    from seedbed.train.task import Task

REMEDY = "make the model or its batches smaller, or train fewer seeds at once (--seeds, or --strategy sequential)"


def check_fits(task: "Task", seeds: int, device: str) -> None:
    """Refuse to train what cannot fit in memory: a lower bound of what it takes, so that nothing is refused that fits.

    Counted are, of every seed, weights (by module and in one row), gradient, what the optimiser remembers, moving averages,
    and a batch. One model is built for that, of which each tensor is compared with the memory there is before it is made.

    Args:
        task: of the group.
        seeds: that are trained as one stack.
        device: where.

    Raises:
        SeedbedError: with what it takes and what there is, in GiB.
    """
    try:
        with _Bounded(available()):
            module = built(task, Streams(0))
    except (RuntimeError, MemoryError, OverflowError) as error:
        if not isinstance(error, RuntimeError) or "overflow" in str(error) or "allocat" in str(error):
            raise SeedbedError(f"the model of one seed takes more memory than there is; {REMEDY}") from error
        raise
    shapes = [parameter.shape for parameter in module.parameters()]
    size = sum(shape.numel() for shape in shapes)
    rules = [player.optimizer.bind(shapes) for player in task.game.players]
    row = torch.empty(1, size, device="meta")
    remembered = max(sum(value.numel() for value in rule.init(row).values()) for rule in rules)
    averages = size * any(player.ema for player in task.game.players)
    states = sum(buffer.numel() for buffer in module.buffers())
    batch = getattr(task.batches, "batch_size", 1) * task.data.features
    numbers = 3 * size + remembered + averages + 2 * states + batch
    kind = device.split(" ")[0]
    check_memory(f"training {seeds} seed{'s' * (seeds > 1)} at once", seeds * numbers * task.dtype.itemsize, REMEDY, kind)


# A mode of dispatch would see every tensor, and imports torch's compiler, which takes longer than many a training.
_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.randint}


class _Bounded(TorchFunctionMode):
    """Refuses a tensor that is made from nothing, and would be larger than ``most`` bytes, before it is made."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _MAKERS:
            sizes = kwargs.get("size", args[0] if args and isinstance(args[0], list | tuple) else args)
            whole = isinstance(sizes, list | tuple) and all(isinstance(size, int) for size in sizes)
            need = (prod(sizes) if whole else 0) * (kwargs.get("dtype") or torch.get_default_dtype()).itemsize
            if need > self.left:
                free = f"{self.left / GIB:.3g} GiB are free"
                raise SeedbedError(f"the model of one seed takes at least {need / GIB:.3g} GiB, and {free}; {REMEDY}")
        return func(*args, **kwargs)

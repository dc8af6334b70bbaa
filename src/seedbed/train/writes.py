"""Which buffers a forward pass writes: those outlive a step, so they are state."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from seedbed.core.context import Context
from seedbed.core.noise import Streams
from seedbed.core.slots import Slots
from seedbed.core.stack import Stack
from seedbed.train.replay import same
from seedbed.train.task import Task
from seedbed.train.unseen import Unseen


def written_buffers(
    task: Task,
    module: nn.Module,
    streams: Streams,
    batch: Any,
    unseen: Mapping[str, Unseen],
    starts: Mapping[str, Sequence[Mapping[str, Tensor]]],
) -> list[str]:
    """The buffers of a seed's model that a utility of the game leaves otherwise than it found them, in training.

    Whatever a utility cannot do is nothing to this call; the look at the game says it (``looks.look_at``).

    Args:
        task: what is trained.
        module: one seed's model, as it is before training.
        streams: the seed's.
        batch: its first batch, on the device of the module.
        unseen: what players without data get.
        starts: what each player's utility carries from step to step, of every seed.
    """
    candidates = Slots(module).buffers
    if not candidates:
        return []
    settings = {name: list(values)[:1] for name, values in (task.settings or {}).items()}
    stack = Stack.of([module], [streams], task.precision, settings, candidates)
    found: dict[str, None] = {}
    for index, player in enumerate(task.game.players):
        own = {name: value[None].to(stack.device) for name, value in starts[player.name][0].items()}
        seen = stack.replace(stack.params, {**stack.state, **own})

        def value(model: nn.Module, ctx: Context, player: Any = player) -> Tensor:
            shown = task.seen(batch, ctx.noise) if player.data else unseen[player.name]
            return player.utility(model, shown, ctx).value.detach()

        try:
            _, after = seen.step(value, noise=seen.noise("noise", 0, index, 0))
        except Exception:
            continue
        found |= dict.fromkeys(name for name in candidates if not same(after[name].detach(), stack.state[name]))
    return list(found)

"""A stack of seeds in training: parameters, optimiser states, explicit state and fates, and one step of the game."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from seedbed.core.capabilities import HasDataInit
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError
from seedbed.core.noise import Noise, Streams
from seedbed.core.products import full_width_products
from seedbed.core.replay import Replay
from seedbed.core.stack import Stack
from seedbed.train.game import Player, initial_state
from seedbed.train.task import Task

# Fates of a seed. Anything but RUNNING is final: its parameters do not change any more.
RUNNING, DIVERGED, STOPPED, WORSE_THAN_BASELINE = 0, 1, 2, 3


@dataclass
class Tally:
    """Running sums of what the players' utilities returned since the last record."""

    count: int = 0
    names: tuple[str, ...] = ()
    sums: Tensor | None = None  # [names, seeds]

    def add(self, names: tuple[str, ...], means: Tensor) -> None:
        """Take in one update's parts, ``[names, seeds]``."""
        self.sums = means.double() if self.sums is None else self.sums + means
        self.names = names
        self.count += 1

    def means(self) -> dict[str, Tensor]:
        """Mean of each part over the updates taken in."""
        return {} if self.sums is None else dict(zip(self.names, (self.sums / self.count).unbind(), strict=True))


class Learner:
    """The seeds of one group, one step at a time. All of its numbers carry a leading seed axis.

    Args:
        task: what to train.
        streams: the random streams of each seed.
        device: where to train.
    """

    def __init__(self, task: Task, streams: Sequence[Streams], device: torch.device) -> None:
        self.task = task
        self.streams = tuple(streams)
        self.device = device
        self.dtype = torch.float64 if task.precision == "fp64" else torch.float32
        self.step = 0
        self.repeats = sum(player.repeat for player in task.game.players)

        modules = []
        first = self._batch(0)
        for row, stream in enumerate(self.streams):
            with stream.scoped("init"):
                module = task.build().to(dtype=self.dtype)
            if row == 0:
                check_domain(module, task)
            if isinstance(module, HasDataInit):
                with torch.no_grad():
                    module.data_init(self._seen(first[row].cpu(), Noise([stream], "init", "data_init", dtype=self.dtype)))
            if task.start is not None:
                start_from(module, task.start[row])
            modules.append(module)
        players = task.game.players
        starts = {p.name: [initial_state(p, m, b) for m, b in zip(modules, first, strict=True)] for p in players}
        stack = Stack.of([m.to(device) for m in modules], self.streams, task.precision)
        self.structure = stack
        self.owned = task.game.check(n for n, _ in stack.module.named_parameters())
        self.layout = {
            name: [(key, stack.params[key].shape[1:], stack.params[key][0].numel()) for key in keys]
            for name, keys in self.owned.items()
        }
        self.params = {
            name: torch.cat([stack.params[key].reshape(len(self.streams), -1) for key in keys], 1)
            for name, keys in self.owned.items()
        }
        mine = {key for keys in self.owned.values() for key in keys}
        self.fixed = {key: value for key, value in stack.params.items() if key not in mine}
        self.rules = {p.name: p.optimizer.bind(shape for _, shape, _ in self.layout[p.name]) for p in players}
        self.optimizers = {name: rule.init(self.params[name]) for name, rule in self.rules.items()}
        self.states: dict[str, Any] = {
            name: tree_map(lambda *leaves: torch.stack(leaves).to(device), *rows) for name, rows in starts.items()
        }
        self.average = {k: v.clone() for k, v in self.params.items()} if task.ema else {}
        self.status = torch.full((len(self.streams),), RUNNING, dtype=torch.int64)
        self.status_step = torch.zeros_like(self.status)
        self.tally: dict[str, Tally] = {p.name: Tally() for p in players}
        self.parts: dict[str, tuple[str, ...]] = {}
        self.replays = {p.name: Replay(partial(self._play, p), f"the utility of {p.name}") for p in players}

    # --- one step -------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Play one step of the game: every player in order, each with its repeats."""
        number = self.step * self.repeats
        pending = []
        for index, player in enumerate(self.task.game.players):
            for repeat in range(player.repeat):
                noise = Noise(self.streams, "noise", self.step, index, repeat, device=self.device, dtype=self.dtype)
                update = (player, *self._gradient(player, self._batch(number), noise))
                number += 1
                if self.task.game.simultaneous:
                    pending.append(update)
                else:
                    self._apply(*update)
        for update in pending:
            self._apply(*update)
        self.step += 1

    def _batch(self, number: int) -> Tensor:
        batch = self.task.batches(self.streams, number)
        return batch.to(self.device, self.dtype if batch.is_floating_point() else None)

    def _seen(self, batch: Tensor, noise: Noise) -> Tensor:
        # A random view of the data (binarisation) belongs to what a seed is shown, hence to its order stream.
        return batch if self.task.view is None else self.task.view(batch, noise.of("order"))

    def _gradient(self, player: Player, batch: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """The utility of each seed, ``[seeds]``, and the gradient of its negative in the player's parameters."""
        params = self.params | {"": self.fixed}
        with full_width_products():
            value, means, state, gradient = self.replays[player.name](noise, params, batch, self.states[player.name])
        self.states[player.name] = state
        self.tally[player.name].add(self.parts[player.name], means)
        return value, gradient

    def _play(
        self, player: Player, noise: Noise, params: Mapping[str, Any], batch: Tensor, state: Any
    ) -> tuple[Tensor, Tensor, Any, Tensor]:
        """Utility ``[seeds]``, means of all parts ``[parts, seeds]``, the new state, the gradient: a pure function."""
        flat = params[player.name].detach().requires_grad_()
        named = {k: v for name in self.owned if name != player.name for k, v in self._named(name, params[name]).items()}
        stack = self.structure.replace(params[""] | named | self._named(player.name, flat))
        values, parts, state = stack.call(partial(self._terms, player), batch, state, noise=noise)
        value = values.mean(1)
        gradient = torch.autograd.grad(value.sum().neg(), flat)[0]
        self.parts[player.name] = ("utility", *parts)
        return value.detach(), _means(value, parts), tree_map(torch.Tensor.detach, state), gradient

    def _terms(self, player: Player, model: nn.Module, x: Tensor, state: Any, noise: Noise) -> tuple[Tensor, Any, Any]:
        out = player.utility(model, self._seen(x, noise), noise, state)
        return out.value, out.parts, out.state

    def _apply(self, player: Player, value: Tensor, gradient: Tensor) -> None:
        name, seen = player.name, value
        if player.clip is not None:
            norm = torch.linalg.vector_norm(gradient, dim=1)
            gradient = gradient * (player.clip / (norm + 1e-6)).clamp(max=1.0)[:, None]
            seen = seen + norm  # clipped, an overflow would pass for a step of zero
        rate = player.optimizer.lr * player.schedule(self.step, self.task.steps)
        lr = torch.full((len(self.streams), 1), rate, device=self.device, dtype=self.dtype)
        with torch.no_grad():
            new, self.optimizers[name] = self.rules[name].update(self.params[name], gradient, self.optimizers[name], lr)
            # One sum sees it all: a gradient that is not finite leaves parameters that are not; neither may a finite one.
            finite = torch.isfinite(new.sum(1) + seen).cpu()
            if not bool(finite.all()):
                self.end(~finite, DIVERGED)
            self.params[name] = self._live(new, self.params[name])
            if self.average:
                # A warm start of the average: decay min(ema, (1 + t) / (10 + t)), as in common practice.
                decay = min(self.task.ema, (1 + self.step) / (10 + self.step))
                self.average[name] = self._live(self.average[name].lerp(new, 1 - decay), self.average[name])

    def _live(self, new: Tensor, old: Tensor) -> Tensor:
        """What is new for the seeds that are still running, what is old for those that ended.

        Shapes stay as they are when a seed ends: the others' arithmetic, to the last bit, cannot notice.
        """
        running = self.status == RUNNING
        return new if bool(running.all()) else torch.where(running.to(self.device)[:, None], new, old)

    def _named(self, player: str, flat: Tensor) -> dict[str, Tensor]:
        layout = self.layout[player]
        pieces = flat.split([size for _, _, size in layout], 1)
        return {key: piece.view(-1, *shape) for (key, shape, _), piece in zip(layout, pieces, strict=True)}

    # --- records and fates ----------------------------------------------------------------------------------------

    def averages(self) -> dict[str, dict[str, Tensor]]:
        """Mean of every part since the last call, ``{player: {part: [seeds]}}``."""
        out = {name: tally.means() for name, tally in self.tally.items() if tally.count}
        self.tally = {name: Tally() for name in self.tally}
        return out

    @property
    def steps(self) -> Tensor:
        """Steps that count for each seed, ``[seeds]``: an ended seed stands still while others go on."""
        return torch.where(self.status == RUNNING, self.step, self.status_step)

    def end(self, which: Tensor, fate: int) -> None:
        """Give the chosen seeds (a mask ``[seeds]``) their fate, if they are still running."""
        which = which & (self.status == RUNNING)
        self.status = torch.where(which, fate, self.status)
        self.status_step = torch.where(which, self.step, self.status_step)

    def set_params(self, flat: Mapping[str, Tensor], which: Tensor) -> None:
        """Replace parameters (and their average) of the chosen seeds."""
        live = which.to(self.device)[:, None]
        for name, value in flat.items():
            self.params[name] = torch.where(live, value, self.params[name])
            if self.average:
                self.average[name] = torch.where(live, value, self.average[name])

    @property
    def kept(self) -> dict[str, Tensor]:
        """The flat parameters that count: the moving average where there is one."""
        return self.average or self.params

    def stack(self) -> Stack:
        """The models that count, for evaluation."""
        named = {k: v for name, flat in self.kept.items() for k, v in self._named(name, flat).items()}
        return self.structure.replace(self.fixed | named)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def tree(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "params": self.params,
            "fixed": self.fixed,
            "optimizers": self.optimizers,
            "states": self.states,
            "average": self.average,
            "status": {"fate": self.status, "step": self.status_step},
            "tally": {name: t.sums for name, t in self.tally.items() if t.sums is not None},
        }

    def counts(self) -> dict[str, Any]:
        """How many updates each tally holds and of what, for the checkpoint's metadata."""
        return {name: [t.count, list(t.names)] for name, t in self.tally.items()}

    def restore(self, tree: Mapping[str, Any], step: int, counts: Mapping[str, Any]) -> None:
        """Continue from a checkpoint's tree."""
        tree = tree_map(lambda t: t.to(self.device), dict(tree))
        self.step = step
        self.params = dict(tree["params"])
        self.fixed = dict(tree.get("fixed", {}))
        self.optimizers = {name: dict(tree["optimizers"][name]) for name in self.optimizers}
        self.states = {name: tree.get("states", {}).get(name, {}) for name in self.states}
        self.average = dict(tree.get("average", {}))
        self.status = tree["status"]["fate"].cpu()
        self.status_step = tree["status"]["step"].cpu()
        sums = tree.get("tally", {})
        self.tally = {
            name: Tally(counts[name][0], tuple(counts[name][1]), sums[name]) if name in sums else Tally()
            for name in self.tally
        }


def _means(value: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
    """Each part's mean over the batch, ``[1 + parts, seeds]``, the utility first; parts are ``[seeds, ...]``."""
    rows = [value, *(part.flatten(1).mean(1) if part.ndim > 1 else part for part in parts.values())]
    return torch.stack([row.detach() for row in rows])


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


def check_domain(module: nn.Module, task: Task) -> None:
    """Refuse data that the model's likelihood cannot score, before anything is trained.

    Raises:
        SeedbedError: with the domain that it scores and that of the data.
    """
    domain = getattr(module, "domain", None)
    if isinstance(domain, Domain):
        domain.check(task.data.domain, f"{type(module).__name__} on {task.data.name}")

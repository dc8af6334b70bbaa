"""A stack of seeds in training: parameters, optimiser states, explicit state and fates, and one step of the game."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError
from seedbed.core.matmul import full_width_products
from seedbed.core.noise import Noise, Streams
from seedbed.core.stack import Stack, stacked
from seedbed.train.controllers import Controller
from seedbed.train.game import Player, initial_state, resetting
from seedbed.train.replay import Replay
from seedbed.train.start import first_batches, modules_of
from seedbed.train.tally import Tally, means_of
from seedbed.train.task import Task
from seedbed.train.unseen import Unseen
from seedbed.train.weights import LAYOUT, Shares, Weights, fitting, known, upgraded
from seedbed.train.writes import written_buffers

# Fates of a seed. Anything but RUNNING is final: its parameters do not change any more.
RUNNING, DIVERGED, STOPPED, WORSE_THAN_BASELINE = 0, 1, 2, 3


@dataclass(frozen=True)
class Update:
    """What one call of a player's utility gives: ``[seeds, ...]`` each."""

    value: Tensor
    means: Tensor  # of the parts, [parts, seeds]
    state: Mapping[str, Tensor]  # what the player may change of it
    gradient: Tensor


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
        self.dtype = task.dtype
        self.step = 0
        self.repeats = sum(player.repeat for player in task.game.players)

        players = task.game.players
        first = first_batches(task, self.streams, device)
        modules = modules_of(task, self.streams, device, first)
        self.unseen = {p.name: Unseen(p.name, len(tree_leaves(first[0])[0])) for p in players if not p.data}
        starts: dict[str, list[dict[str, Tensor]]] = {p.name: [] for p in players}
        for player in players:
            for module, batch, stream in zip(modules, first, self.streams, strict=True):
                with stream.scoped("init", "state", player.name):
                    starts[player.name].append(initial_state(player, module, self.unseen.get(player.name, batch)))
        modules = [module.to(device) for module in modules]
        shown = tree_map(lambda leaf: leaf.to(device), first[0])
        written = written_buffers(task, modules[0], self.streams[0], shown, self.unseen, starts)
        stack = Stack.of(modules, self.streams, task.precision, task.settings, written)
        self.structure = stack
        self.shares = Shares.of(task.game, stack)
        begun = Weights.begin(stack, self.shares)
        self.params, self.fixed = begun.params, begun.fixed
        self.average, self.average_state = begun.average, begun.average_state
        shapes = {name: [shape for _, shape, _ in entries] for name, entries in self.shares.entries.items()}
        self.rules = {p.name: p.optimizer.bind(shapes[p.name]) for p in players}
        self.optimizers = {name: rule.init(self.params[name]) for name, rule in self.rules.items()}
        # Of the modules, which all players see, and each player's own.
        own = {
            name: {k: v.to(device) for k, v in stacked(given, f"`initial_state` of player {name!r}").items()}
            for name, given in starts.items()
        }
        self.state: dict[str, Any] = {"modules": begun.state, "players": own}
        self.starts = {p.name: resetting(p, own[p.name]) for p in players}
        for name, entries in own.items():
            if both := sorted(entries.keys() & stack.state.keys()):
                raise SeedbedError(
                    f"state {both[0]!r} is the model's and that of player {name!r} too; call one of them otherwise"
                )
        self.controls = {p.name: p.schedule.init(len(streams)) for p in players if isinstance(p.schedule, Controller)}
        self.status = torch.full((len(self.streams),), RUNNING, dtype=torch.int64)
        self.status_step = torch.zeros_like(self.status)
        self.skips = {p.name: torch.zeros_like(self.status) for p in players if p.skip_above is not None}  # in a row
        self.tally: dict[str, Tally] = {p.name: Tally() for p in players}
        self.parts: dict[str, tuple[str, ...]] = {}
        self.replays = {p.name: Replay(partial(self.play, p), f"the utility of {p.name}") for p in players}

    # --- one step -------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Play one step of the game: every player in order, each with its repeats."""
        number = self.step * self.repeats
        before = (dict(self.params), dict(self.state["modules"])) if self.task.game.simultaneous else None
        for index, player in enumerate(self.task.game.players):
            for repeat in range(player.repeat):
                noise = Noise(self.streams, "noise", self.step, index, repeat, device=self.device, dtype=self.dtype)
                self._apply(player, self._update(player, number, noise, before), repeat == player.repeat - 1)
                number += 1
        self.step += 1

    def batch(self, player: Player, number: int) -> Any:
        """What every seed draws for a player's update, ``[seeds, batch, ...]`` per leaf; no leaves of one without data."""
        return self.task.batch(self.streams, number, self.device) if player.data else ()

    def shown(self, player: Player, batch: Any, noise: Noise) -> Any:
        """What a player's utility is shown of one seed's batch."""
        return self.task.seen(batch, noise) if player.data else self.unseen[player.name]

    def _update(self, player: Player, number: int, noise: Noise, before: tuple[dict[str, Any], ...] | None) -> Update:
        """The utility of each seed and the gradient of its negative in the player's parameters, on one batch.

        ``before`` is what the player sees of the others: parameters and modules' state; ``None`` for what they are by now.
        """
        if self.task.batches.begins(number):
            own, running = self.state["players"][player.name], self.status == RUNNING
            own |= {key: where(running, start, own[key]) for key, start in self.starts[player.name].items()}
        params, modules = self.params, self.state["modules"]
        if before is not None:
            params = before[0] | {player.name: params[player.name]}
            modules = before[1] | {key: modules[key] for key in self.shares.owned_state[player.name]}
        params, state = params | {"": self.fixed}, modules | self.state["players"][player.name]
        batch, settings = self.batch(player, number), dict(self.structure.settings)
        with full_width_products():
            played = self.replays[player.name](noise, params, batch, state, settings)
        return Update(*played)

    def play(
        self,
        player: Player,
        noise: Noise,
        params: Mapping[str, Any],
        batch: Any,
        state: Mapping[str, Tensor],
        settings: Mapping[str, Tensor],
    ) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
        """Utility ``[seeds]``, means of all parts ``[parts, seeds]``, the new state, the gradient: a pure function."""
        flat = params[player.name].detach().requires_grad_()
        others = {name: params[name] for name in self.shares.owned if name != player.name}
        lent = params[""] | self.shares.named({**others, player.name: flat})
        stack = replace(self.structure, params=lent, state=state, settings=settings)
        (values, parts), after = stack.step(partial(self._terms, player), batch, noise=noise)
        value = values.mean(1)
        if not value.requires_grad:
            raise SeedbedError(f"the utility of {player.name!r} depends on none of its parameters; let it own others")
        gradient = torch.autograd.grad(value.sum().neg(), flat)[0]
        self.parts[player.name] = ("utility", *parts)
        mine = [*self.shares.owned_state[player.name], *self.state["players"][player.name]]
        return value.detach(), means_of(value, parts), {key: after[key].detach() for key in mine}, gradient

    def _terms(self, player: Player, model: nn.Module, batch: Any, ctx: Context) -> tuple[Tensor, Mapping[str, Tensor]]:
        out = player.utility(model, self.shown(player, batch, ctx.noise), ctx)
        return out.value, out.parts

    def _apply(self, player: Player, update: Update, last: bool) -> None:
        """Change what the update changes; ``last`` says that it is the player's last one of the step."""
        name, gradient, seen = player.name, update.gradient, update.value
        norm = seen if player.clip is None and player.skip_above is None else torch.linalg.vector_norm(gradient, dim=1)
        skipped = self._skipped(player, update, norm)
        if player.clip is not None:
            gradient = gradient * (player.clip / (norm + 1e-6)).clamp(max=1.0)[:, None]
            seen = seen + norm  # clipped, an overflow would pass for a step of zero
        state, held, rows = self.optimizers[name], {}, torch.empty(0)
        with torch.no_grad():
            if skipped is not None:
                rows = skipped.nonzero()[:, 0].to(self.device)
                held = {key: value[rows] for key, value in state.items()}
            new, state = self.rules[name].update(self.params[name], gradient, state, self.rate(player))
            for key, value in held.items():
                state[key][rows] = value
            self.optimizers[name] = state
            # One sum sees it all: a gradient that is not finite leaves parameters that are not; neither may a finite one.
            finite = torch.isfinite(new.sum(1) + seen)
            own, modules = self.state["players"][name], self.state["modules"]
            written = {key: (own if key in own else modules, value) for key, value in update.state.items()}
            for key, (tree, value) in written.items():
                finite = finite & _no_less_finite(value, tree[key])
            finite = finite.cpu()
            finite = finite if skipped is None else finite | skipped
            if not bool(finite.all()):
                self.end(~finite, DIVERGED)
            live = self.status == RUNNING
            live = live if skipped is None else live & ~skipped
            self.params[name] = where(live, new, self.params[name])
            for key, (tree, value) in written.items():
                tree[key] = where(live, value, tree[key])
            if last and player.ema:
                self._follow(player, live)

    def _skipped(self, player: Player, update: Update, norm: Tensor) -> Tensor | None:
        """Record the update's parts, and find the seeds that it passes over; those with too many in a row end."""
        parts, means = self.parts[player.name], update.means
        if player.skip_above is None:
            self.tally[player.name].add(parts, means)
            return None
        # An infinite norm is above the bound, too; what is no number is left to the check of what is finite.
        over = (norm > player.skip_above) & torch.isfinite(update.value)
        self.tally[player.name].add((*parts, "skipped"), torch.cat([means, over.to(means)[None]]))
        skipped = over.cpu()
        self.skips[player.name] = torch.where(skipped, self.skips[player.name] + 1, 0)
        self.end(self.skips[player.name] > player.most_skips, DIVERGED)
        return skipped if bool(skipped.any()) else None

    def rate(self, player: Player) -> Tensor:
        """The step size of each seed, ``[seeds, 1]``."""
        lr, schedule = player.optimizer.lr, player.schedule
        if isinstance(schedule, Controller):
            factor = schedule.factor(self.controls[player.name], self.step, self.task.steps)
            return (lr * factor.double())[:, None].to(self.device, self.dtype)
        rate = lr * schedule(self.step, self.task.steps)
        return torch.full((len(self.streams), 1), rate, device=self.device, dtype=self.dtype)

    def _follow(self, player: Player, live: Tensor) -> None:
        """Let the moving average follow, where the update counts."""
        # A warm start of the average: decay min(ema, (1 + t) / (10 + t)), as in common practice.
        share = 1 - min(player.ema, (1 + self.step) / (10 + self.step))
        average = self.average[player.name]
        self.average[player.name] = where(live, average.lerp(self.params[player.name], share), average)
        for key in self.shares.owned_state[player.name] if player.ema_state else ():
            if key in self.average_state:
                average = self.average_state[key]
                self.average_state[key] = where(live, average.lerp(self.state["modules"][key], share), average)

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

    def see(self, value: Tensor) -> None:
        """Let the players' controllers see one validation, ``[seeds]``: those of the running seeds move."""
        running = self.status == RUNNING
        for player in self.task.game.players:
            if isinstance(player.schedule, Controller):
                old = self.controls[player.name]
                new = player.schedule.see(dict(old), value, self.step, self.task.steps)
                self.controls[player.name] = {key: where(running, new[key], old[key]) for key in old}

    def set_kept(self, flat: Mapping[str, Tensor], state: Mapping[str, Tensor], which: Tensor) -> None:
        """Replace parameters and the modules' state (and their averages) of the chosen seeds."""
        for target, given in (
            (self.params, flat),
            (self.average, flat),
            (self.state["modules"], state),
            (self.average_state, state),
        ):
            target |= {key: where(which, given[key], old) for key, old in target.items()}

    @property
    def weights(self) -> Weights:
        """All numbers but those that only training needs."""
        return Weights(self.params, self.fixed, self.state["modules"], self.average, self.average_state)

    def stack(self) -> Stack:
        """The models that count, for evaluation."""
        return self.weights.counting(self.structure, self.shares)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def tree(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "params": self.params,
            "fixed": self.fixed,
            "optimizers": self.optimizers,
            "state": self.state,
            "average": self.average,
            "average_state": self.average_state,
            "controls": self.controls,
            "skips": self.skips,
            "status": {"fate": self.status, "step": self.status_step},
            "tally": {name: t.sums for name, t in self.tally.items() if t.sums is not None},
        }

    def meta(self) -> dict[str, Any]:
        """For the checkpoint's metadata: its layout, and how many updates each tally holds and of what."""
        return {"layout": LAYOUT, "counts": {name: [t.count, list(t.names)] for name, t in self.tally.items()}}

    def restore(self, tree: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Continue from a checkpoint: its tree and its metadata.

        One of an earlier layout is good for what was trained, not for going on: see ``loop``.
        """
        tree = upgraded(tree, meta, self.device)
        self.step = meta["step"]
        taken = self.weights.taken(tree)
        self.params, self.fixed = taken.params, taken.fixed
        self.average, self.average_state = taken.average, taken.average_state
        own = tree.get("state", {}).get("players", {})
        players = {name: known(mine, own.get(name, {})) for name, mine in self.state["players"].items()}
        self.state = {"modules": taken.state, "players": players}
        self.optimizers = {
            name: fitting(f"the optimizer of {name}", mine, tree.get("optimizers", {}).get(name, {}))
            for name, mine in self.optimizers.items()
        }
        self.controls = {
            name: {key: value.cpu() for key, value in known(own, tree.get("controls", {}).get(name, {})).items()}
            for name, own in self.controls.items()
        }
        self.skips = {name: value.cpu() for name, value in known(self.skips, tree.get("skips", {})).items()}
        self.status = tree["status"]["fate"].cpu()
        self.status_step = tree["status"]["step"].cpu()
        sums, counts = tree.get("tally", {}), meta["counts"]
        self.tally = {
            name: Tally(counts[name][0], tuple(counts[name][1]), sums[name]) if name in sums else Tally()
            for name in self.tally
        }


def _no_less_finite(new: Tensor, old: Tensor) -> Tensor:
    """Whether of each seed all is finite that was, ``[seeds]``."""
    return (new.isfinite() | ~old.isfinite()).view(len(new), -1).all(1)


def where(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """What is new of the chosen seeds (a mask ``[seeds]`` on the CPU), what is old of the others.

    Shapes stay as they are when a seed ends: the others' arithmetic, to the last bit, cannot notice.
    """
    return new if bool(rows.all()) else torch.where(rows.to(new.device).view(-1, *[1] * (new.ndim - 1)), new, old)

"""One look at all of a game before it is trained: its players' utilities, the model's latents and its draws."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from seedbed.core.capabilities import HasSample, LatentVariable, Sequence
from seedbed.core.context import Context
from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.core.noise import Noise
from seedbed.core.numbers import number
from seedbed.core.proposal import Proposal
from seedbed.core.stack import Stack, named_tensors
from seedbed.data.dataset import Dataset
from seedbed.train import mapping
from seedbed.train.game import Player
from seedbed.train.learner import Learner
from seedbed.train.probe import check_utility


def look_at(learner: Learner, mapped: bool = False) -> None:
    """Call every player's utility as one seed, to refuse what cannot be trained; changes nothing, draws nothing.

    Args:
        learner: before its first step.
        mapped: whether a single seed, too, must be able to be one of a stack.

    Raises:
        SeedbedError: see ``check_utility``, and whatever the utilities themselves refuse.
        UnmappedError: if the seeds can be trained one after another, but not as one stack.
    """
    task, everyone = learner.task, learner.task.batch(learner.streams, 0, learner.device)
    batch = tree_map(_first, everyone)
    params = tree_map(_first, learner.fixed | learner.shares.named(learner.params))
    settings = tree_map(_first, dict(learner.structure.settings))
    looked = replace(
        learner.structure,
        params=params,
        streams=learner.streams[:1],
        state=tree_map(_first, learner.state["modules"]),
        settings=settings,
    )
    noise = Noise(learner.streams[:1], "noise", 0, 0, 0, device=learner.device, dtype=learner.dtype)
    check_model(looked, batch, noise, task.seen, task.data)
    for index, player in enumerate(task.game.players):
        state = tree_map(_first, learner.state["modules"] | learner.state["players"][player.name])
        stack = replace(learner.structure, params=params, streams=learner.streams[:1], state=state, settings=settings)
        noise = Noise(learner.streams[:1], "noise", 0, index, 0, device=learner.device, dtype=learner.dtype)
        given, seen = batch if player.data else (), partial(learner.shown, player)
        check_utility(player, stack, given, noise, seen, learner.shares.orphans, learner.shares.owned[player.name])
    _play_once(learner, everyone, mapped)
    for split in task.splits:
        if split not in task.data.splits:
            raise unknown(f"split of {task.data.name}", split, task.data.splits)


def _play_once(learner: Learner, batch: Any, mapped: bool) -> None:
    """One update of every player, of all seeds, that is thrown away: what one seed can do, a stack may not."""
    for player in learner.task.game.players:
        what = f"the schedule of {player.name!r}"
        with told(what):
            rates = learner.rate(player)
        for rate in rates.flatten().tolist():
            number(f"{what} times its step size", rate, 0)
    many = learner
    if mapped and len(learner.streams) == 1:  # seeds may join it: it is tried as two
        many, batch = _paired(learner), tree_map(_twice, batch)
    several = len(many.structure.streams) > 1
    for index, player in enumerate(learner.task.game.players):
        stack, given = _of_player(many, player), batch if player.data else ()
        address = "noise", 0, index, 0
        with mapping.mapped(stack.module) if several else told(f"an update of {player.name!r}"):
            many.play(player, stack.noise(*address), many.params | {"": many.fixed}, given, stack.state, stack.settings)
        if several and _evaluates(stack, player, many, given):
            with mapping.mapped(stack.module):
                _evaluated(stack, player, many, given)
    model = many.structure.module
    if several and isinstance(model, HasSample):
        stack = _of_player(many, learner.task.game.players[0])
        with mapping.mapped(model), torch.no_grad():
            stack.call(_sample, noise=stack.noise("noise", 0))


def _of_player(learner: Learner, player: Player) -> Stack:
    """The models of all seeds as they are, with the state that a player sees."""
    params = learner.fixed | learner.shares.named({name: value.detach() for name, value in learner.params.items()})
    return learner.structure.replace(params, learner.state["modules"] | learner.state["players"][player.name])


def _evaluated(stack: Stack, player: Player, learner: Learner, batch: Any) -> None:
    """A player's utility as evaluations call it: not in training."""

    def value(model: Any, batch: Any, ctx: Context) -> Tensor:
        return player.utility(model, learner.shown(player, batch, ctx.noise), ctx).value

    with torch.no_grad():
        stack.call(value, batch, noise=stack.noise("noise", 0))


def _evaluates(stack: Stack, player: Player, learner: Learner, batch: Any) -> bool:
    """Whether a player's utility runs outside of training, as it need not, for the first seed alone."""
    params, state, settings = (tree_map(_first, dict(tree)) for tree in (stack.params, stack.state, stack.settings))
    alone = replace(stack, params=params, streams=stack.streams[:1], state=state, settings=settings)
    try:
        _evaluated(alone, player, learner, tree_map(_first, batch))
    except Exception:
        return False
    return True


def _paired(learner: Learner) -> Learner:
    """The one seed of a learner twice; what it trains on stays as it was."""
    twin = copy.copy(learner)
    settings = tree_map(_twice, dict(learner.structure.settings))
    twin.structure = replace(learner.structure, streams=learner.streams * 2, settings=settings)
    twin.params, twin.fixed, twin.state = (tree_map(_twice, tree) for tree in (learner.params, learner.fixed, learner.state))
    return twin


def _twice(one: Tensor) -> Tensor:
    return torch.cat([one, one])


def _first(stack: Tensor) -> Tensor:
    return stack[:1].detach().clone()


def check_model(stack: Stack, batch: Any, noise: Noise, seen: Callable[[Any, Noise], Any], data: Dataset) -> None:
    """Look at a model's latents and draws, not in training.

    Args:
        stack: of one seed.
        batch: its first batch, ``[1, batch, ...]`` per leaf.
        noise: of one seed.
        seen: what is shown of a batch (a random view).
        data: whose examples the draws must look like.

    Raises:
        SeedbedError: for a posterior or a draw of other shapes than its contract says, or whatever the model raises.
    """
    model, name = stack.module, type(stack.module).__name__
    with torch.no_grad():
        if isinstance(model, LatentVariable) and isinstance(batch, Tensor):
            with told(f"the posterior of {name}"):
                stack.call(lambda m, x, ctx: _check_latents(m, seen(x, ctx.noise), ctx), batch, noise=noise)
        if isinstance(model, HasSample):
            with told(f"`sample` of {name}"):
                draws = stack.call(_sample, noise=noise)
            if not isinstance(model, Sequence) and draws[0].shape[1:] != data.shape:
                raise SeedbedError(
                    f"`sample` of {name} must draw examples {list(data.shape)} as the data are, got "
                    f"{list(draws[0].shape[1:])}"
                )


def _sample(model: Any, ctx: Context) -> Tensor:
    if isinstance(model, Sequence):
        state = named_tensors(model.initial_state(2), f"`initial_state` of {type(model).__name__}")
        given = model.logits(torch.full((2, 1), model.start, device=ctx.noise.device), state, ctx)
        if not isinstance(given, tuple) or len(given) != 2 or given[0].ndim != 3 or given[0].shape[:2] != (2, 1):
            raise SeedbedError(
                f"`logits` of {type(model).__name__} must give [batch, time, vocabulary] and the state after it"
            )
    draws = model.sample(2, ctx, length=1) if isinstance(model, Sequence) else model.sample(2, ctx)
    if not isinstance(draws, Tensor) or not draws.ndim or len(draws) != 2:
        got = list(draws.shape) if isinstance(draws, Tensor) else type(draws).__name__
        raise SeedbedError(f"`sample` of {type(model).__name__} must give as many draws as are asked for, 2, got {got}")
    return draws


def _check_latents(model: LatentVariable, x: Tensor, ctx: Context) -> Tensor:
    """A proposal, of one draw and of several, has the axes that it says; what is drawn without data looks like it."""
    name = type(model).__name__
    prior, _ = model.generate(len(x), ctx)
    for samples in (None, 3):
        given = model.proposal(x, ctx, samples)
        lead = [n for n in (samples, len(x)) if n is not None]
        if not isinstance(given, Proposal) or given.x.shape != x.shape:
            raise SeedbedError(f"`proposal` of {name} must give a Proposal of the same {len(x)} examples")
        if not given.layers or given.z.keys() != given.layers.keys() or given.z.keys() != prior.keys():
            raise SeedbedError(
                f"`proposal` of {name} must have the latents of `layers`, {sorted(prior)}; its z has {sorted(given.z)}, its "
                f"layers are {sorted(given.layers)}"
            )
        values: dict[str, Tensor | None] = {"log p(x | z)": given.log_likelihood}
        for key, layer in given.layers.items():
            drawn = [*lead, *prior[key].shape[1:]]
            if list(given.z[key].shape) != drawn:
                raise SeedbedError(
                    f"a draw of latent {key!r} of {name}, from q and from p alike, must be {drawn}, got "
                    f"{list(given.z[key].shape)} of q"
                )
            values |= {
                f"log_ratio of {key!r}": layer.log_ratio(),
                f"log_q of {key!r}": layer.log_q(),
                f"kl of {key!r}": layer.kl(),
            }
        if given.log_q_at is not None:
            values["log_q_at"] = given.log_q_at(given.z)
        for what, value in values.items():
            # A KL or a ratio that depends on nothing above it has no samples axis.
            if value is not None and list(value.shape) not in (lead, lead[1:] if samples else lead):
                raise SeedbedError(f"{what} of {name} must be one number per draw, {lead}, got {list(value.shape)}")
    return x.new_zeros(())

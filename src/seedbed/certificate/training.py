"""What training does with a model: stacks of seeds, gradients, half precision, and going on after an interruption."""

import copy
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from seedbed.certificate.check import Finding, NotApplicableError, worst
from seedbed.certificate.subject import EXACT, SEEDS, Probe, Subject, need, value_of
from seedbed.core.stack import Stack
from seedbed.data.dataset import Dataset
from seedbed.store import checkpoint
from seedbed.store.checkpoint import flatten
from seedbed.train.batches import Shuffled
from seedbed.train.game import Game, Player
from seedbed.train.learner import Learner
from seedbed.train.task import Task

COARSE = 0.1  # of the median: products rounded to 8 bits in another order
STEPS = 4


def stacked(subject: Subject) -> Finding:
    """Three seeds as one stack are each seed by itself, in value, parts and gradient."""
    stack, found = subject.together, []
    trained = {k for k, _ in subject.model.named_parameters()}
    params = {k: v.clone().requires_grad_(k in trained) for k, v in stack.params.items()}
    need(bool(subject.utilities), "nothing is said that it could be trained by")
    for name, utility in subject.utilities.items():
        lent = stack.replace(params)
        try:
            value, parts = lent.call(value_of(utility), subject.x, noise=stack.noise("noise", "certificate"))
        except RuntimeError as error:
            line = (str(error).strip().splitlines() or ["no message"])[0]
            raise NotApplicableError(f"{name} cannot be mapped over seeds, which train one after another: {line}") from error
        wanted = [k for k in params if k in trained]
        gradients = torch.autograd.grad(value.sum(), [params[k] for k in wanted], allow_unused=True)
        for row in range(len(SEEDS)):
            alone, own = subject.differentiable(row)
            expected, expected_parts = alone.call(value_of(utility), subject.x[row], row=row)
            found.append(Finding(_gap(value[row], expected), EXACT, f"{name} of 3 seeds at once is that of each alone"))
            for part, given in parts.items():
                words = f"part {part} of {name} of 3 seeds at once is that of each alone"
                found.append(Finding(_gap(given[row], expected_parts[part]), EXACT, words))
            reference = torch.autograd.grad(expected.sum(), [own[k] for k in wanted], allow_unused=True)
            # Rounding is relative to the largest gradient: a bias in front of a batch norm has an exact gradient of 0.
            scale = max(1.0, *(float(g.abs().max()) for g in reference if g is not None))
            for key, a, b in zip(wanted, gradients, reference, strict=True):
                zero = torch.zeros_like(own[key])
                gap = (zero if a is None else a[row]) - (zero if b is None else b)
                words = f"gradient of {name} in {key} of 3 seeds at once is that of each alone"
                found.append(Finding(float(gap.detach().abs().max()) / scale, EXACT, words))
    return worst(found)


def reached(subject: Subject) -> Finding:
    """A finite gradient reaches every parameter."""
    need(bool(subject.utilities), "nothing is said that it could be trained by")
    lent, params = subject.differentiable(0)
    seen: set[str] = set()
    for name, utility in subject.utilities.items():
        value = lent.call(value_of(utility), subject.x[0])[0]
        if not value.requires_grad:
            return Finding(1.0, 0.0, f"no gradient goes from {name} to any parameter")
        gradients = torch.autograd.grad(value.sum(), list(params.values()), allow_unused=True)
        for key, gradient in zip(params, gradients, strict=True):
            if gradient is not None and not bool(gradient.isfinite().all()):
                return Finding(1.0, 0.0, f"the gradient of {name} in {key} is not finite")
            if gradient is not None and bool((gradient != 0).any()):
                seen.add(key)
    trained = [name for name, _ in subject.model.named_parameters() if name in params]
    missing = [name for name in trained if name not in seen]
    words = (
        f"no gradient reaches {', '.join(missing[:4])}" if missing else f"a gradient reaches all {len(trained)} parameters"
    )
    return Finding(float(len(missing)), 0.0, words)


def half(subject: Subject) -> Finding:
    """Networks in bf16 give values in full precision, finite gradients, and what each seed gives alone in bf16."""
    need(bool(subject.utilities), "nothing is said that it could be trained by")
    modules, found = [_single(module) for module in subject.modules], []
    stack, x = Stack.of(modules, SEEDS, "bf16"), _float(subject.x)
    alone = [Stack.of([module], [seed], "bf16") for module, seed in zip(modules, SEEDS, strict=True)]
    trained = {k for k, _ in modules[0].named_parameters()}
    params = {k: v.clone().requires_grad_(k in trained) for k, v in stack.params.items()}
    for name, utility in subject.utilities.items():
        noise = lambda stack: stack.noise("noise", "certificate")
        try:
            (values, _), _ = stack.replace(params).step(value_of(utility), x, noise=noise(stack))
        except RuntimeError as error:
            line = (str(error).strip().splitlines() or ["no message"])[0]
            raise NotApplicableError(f"{name} cannot be mapped over seeds: {line}") from error
        if values.dtype != torch.float32:
            return Finding(1.0, 0.0, f"{name} is {values.dtype} under bf16; take log-probabilities in float32 (`full`)")
        wanted = [v for k, v in params.items() if k in trained]
        gradients = torch.autograd.grad(values.sum(), wanted, allow_unused=True)
        if not all(bool(t.isfinite().all()) for t in (values, *(g for g in gradients if g is not None))):
            return Finding(1.0, 0.0, f"{name} or its gradient is not finite under bf16")
        for row, one in enumerate(alone):
            single = one.step(value_of(utility), x[row : row + 1], noise=noise(one))[0][0][0]
            gap = float(((values[row] - single).abs().median() / single.abs().median().clamp(min=1e-12)).detach())
            found.append(Finding(gap, COARSE, f"{name} in bf16 is that of each seed alone"))
    return worst(found)


def resumed(subject: Subject) -> Finding:
    """A training that was interrupted goes on to the last bit as if it had not been."""
    need(bool(subject.utilities), "nothing is said that it could be trained by")
    task = task_of(subject)
    streams, cpu = SEEDS[:1], torch.device("cpu")
    whole, cut = Learner(task, streams, cpu), Learner(task, streams, cpu)
    for _ in range(STEPS):
        whole.advance()
    for _ in range(STEPS // 2):
        cut.advance()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), cut.step, cut.tree(), cut.meta())
        latest = checkpoint.latest(Path(folder))
    assert latest is not None, "it was just written"
    resumed = Learner(task, streams, cpu)
    resumed.restore(*latest)
    for _ in range(STEPS - STEPS // 2):
        resumed.advance()
    one, other = flatten(whole.tree()), flatten(resumed.tree())
    different = [key for key, value in one.items() if not torch.equal(value, other[key])]
    where = f"; {different[0]} is another" if different else ""
    return Finding(float(len(different)), 0.0, f"{STEPS} steps are {STEPS // 2} and {STEPS // 2}, bit for bit{where}")


def task_of(subject: Subject) -> Task:
    """A few steps of the model, on its examples: by its players, or where none are declared by the first utility."""
    x = _float(subject.x.flatten(0, 1))
    players: dict[tuple[str, ...], Player] = {}
    for name in subject.owners or [*subject.utilities][:1]:
        owns = subject.owners.get(name, ("",))
        players[owns] = Player(utility=subject.utilities[name], name=owns[0] or "model", owns=owns)
    data = Dataset(name="certificate", domain=subject.domain, protocol="", splits={"train": x, "valid": x, "test": x})
    return Task(
        build=subject.build,
        game=Game(tuple(players.values())),
        data=data,
        batches=Shuffled(x, min(8, len(x))),
        steps=STEPS,
        eval_every=STEPS,
        measure=lambda stack, split: {},
        select="loss",
    )


def _single(module: torch.nn.Module) -> torch.nn.Module:
    return copy.deepcopy(module).float()


def _float(x: Tensor) -> Tensor:
    return x.float() if x.is_floating_point() else x


def _gap(one: Tensor, other: Tensor) -> float:
    one, other = one.detach(), other.detach()
    return float((one - other).abs().max() / other.abs().max().clamp(min=1.0))


PROBES = (
    Probe("gradients", "a gradient reaches every parameter", reached),
    Probe("stack", "three seeds at once are each alone", stacked),
    Probe("bf16", "bf16 agrees within rounding", half, ("stack",)),
    Probe("resume", "resume bit for bit", resumed),
)

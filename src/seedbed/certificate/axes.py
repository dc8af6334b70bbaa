"""Examples, samples, draws: which axes there are, and what may not depend on what."""

from typing import Any

import torch
from torch import Tensor

from seedbed.certificate.check import Finding, worst
from seedbed.certificate.evidence import relative
from seedbed.certificate.subject import EXACT, Probe, Subject, need, proposal_of, value_of
from seedbed.core.capabilities import HasSample, Sequence
from seedbed.core.context import Context
from seedbed.objectives.adversarial import Adversarial


def apart(subject: Subject) -> Finding:
    """What one example is worth does not change with the others of its batch, in training as in evaluation."""
    x = subject.x[0]
    half = len(x) // 2
    other = x[[*range(half), *(row % max(half, 1) for row in range(len(x) - half))]]
    need(half >= 1 and bool((other != x).any()), "the examples are all the same")
    need(not subject.couples, "it says that its examples see each other (couples_examples)")
    found = []
    for name, utility in subject.utilities.items():
        for training in (False, True):
            if training and isinstance(subject.model, Adversarial) and subject.normalises:
                continue  # no bound of an example, and batch norm in a generator is meant
            values = [subject.call(value_of(utility), given, training=training)[0] for given in (x, other)]
            if values[0].shape != x.shape[:1]:
                return Finding(1.0, 0.0, f"{name} gives {list(values[0].shape)}, not one value per example, [{len(x)}]")
            when = "training" if training else "evaluation"
            words = f"{name} of an example does not depend on the rest of its batch in {when}"
            gap = relative(values[0][:half], values[1][:half])
            if gap > EXACT:
                words = f"{name} of an example changes with the rest of its batch in {when}: {_cause(subject, training)}"
            found.append(Finding(gap, EXACT, words))
    return worst(found)


def _cause(subject: Subject, training: bool) -> str:
    """What couples examples, and what to do about it."""
    if training and subject.normalises:
        return (
            "a batch norm takes its statistics from the batch, so what is trained is the bound of no single example; use "
            "nn.GroupNorm or nn.LayerNorm, or write couples_examples = True on the module if that is meant"
        )
    return "look for a mean over the batch"


def batches(subject: Subject) -> Finding:
    """An example is worth the same in a batch of any size."""
    need(not subject.couples, "it says that its examples see each other (couples_examples)")
    x, found = subject.x[0], []
    for name, utility in subject.utilities.items():
        if isinstance(subject.model, Sequence):
            continue  # its state has as many streams as the batch
        whole = subject.call(value_of(utility), x, address=(name,), first=0)[0]
        part = subject.call(value_of(utility), x[2:5], address=(name,), first=2)[0]
        found.append(Finding(relative(part, whole[2:5]), EXACT, f"{name} of 3 examples is that within a batch of {len(x)}"))
    need(bool(found), "it has no utility of single examples")
    return worst(found)


def samples(subject: Subject) -> Finding:
    """A samples axis leads, and what one sample is worth does not change with the others."""
    need(subject.latent, "it draws no samples of an example: it has no latent variables")
    need(not subject.couples, "it says that its examples see each other (couples_examples)")
    x = subject.x[0, :7]
    z = subject.latents(4)
    if odd := [f"{name} {list(value.shape)}" for name, value in z.items() if value.shape[:2] != (4, len(x))]:
        return Finding(1.0, 0.0, f"draws must be [samples, batch, *latent], [4, {len(x)}, ...], got {odd[0]}")
    joint = lambda model, x, z, ctx: model.joint(x, z, ctx)
    whole = subject.call(joint, x, z)
    if whole.shape != (4, len(x)):
        return Finding(1.0, 0.0, f"log p(x, z) of 4 samples must be [4, {len(x)}], got {list(whole.shape)}")
    alone = torch.stack([subject.call(joint, x, {k: v[i] for k, v in z.items()}) for i in range(4)])
    found = [Finding(relative(whole, alone), EXACT, "log p(x, z) of 4 samples is that of each alone")]
    shifted = {k: torch.cat([v[:1], v[1:].roll(1, 1)]) for k, v in z.items()}
    pair = [subject.call(joint, x, given, training=True)[0] for given in (z, shifted)]
    found.append(Finding(relative(*pair), EXACT, "log p(x, z) of a sample does not depend on the others in training"))
    if subject.scores_latents:
        log_q = lambda model, x, z, ctx: _log_q(model, x, z, ctx)
        whole = subject.call(log_q, x, z)
        alone = torch.stack([subject.call(log_q, x, {k: v[i] for k, v in z.items()}) for i in range(4)])
        found.append(Finding(relative(whole, alone), EXACT, "log q(z | x) of 4 samples is that of each alone"))
    return worst(found)


def _log_q(model: Any, x: Tensor, z: Any, ctx: Context) -> Tensor:
    log_q_at = proposal_of(model, x, ctx).log_q_at
    assert log_q_at is not None, "asked for by `samples`"
    return log_q_at(z)


def sampling(subject: Subject) -> Finding:
    """Draws look like the data, are finite, and do not depend on how many are made at once."""
    need(isinstance(subject.model, HasSample), "it draws no examples")
    sample = lambda count: lambda model, ctx: model.sample(count, ctx)
    whole = subject.call(sample(100), address=("sample",), first=0)
    if not isinstance(subject.model, Sequence):
        if whole.shape != (100, *subject.example):
            return Finding(
                1.0, 0.0, f"draws must be {list(subject.example)} as the examples are, got {list(whole.shape[1:])}"
            )
        levels = {"binary": 2}.get(subject.domain.kind, subject.domain.size or 0)
        strange = whole.frac().abs().gt(0) | (whole < 0) | (whole >= levels) if levels else ~whole.isfinite()
        if bool(strange.any()):
            return Finding(1.0, 0.0, f"draws must be {subject.domain} values (draws, not means), got {whole[strange][0]:g}")
    if subject.couples:
        return Finding(0.0, 0.0, "draws look like the data; they see each other, as the model says")
    part = subject.call(sample(30), address=("sample",), first=50)
    return Finding(relative(part.double(), whole[50:80].double()), EXACT, "30 draws are those within 100")


def windows(subject: Subject) -> Finding:
    """Tokens in two windows, the state carried from one to the other, are tokens in one."""
    need(isinstance(subject.model, Sequence) and subject.x.ndim == 3, "it is no model of sequences")
    tokens = subject.x[0]
    cut = tokens.shape[1] // 2

    def look(model: Any, tokens: Tensor, ctx: Context) -> Finding:
        whole, _ = model.logits(tokens, model.initial_state(len(tokens)), ctx)
        first, state = model.logits(tokens[:, :cut], model.initial_state(len(tokens)), ctx)
        rest, _ = model.logits(tokens[:, cut:], state, ctx)
        gap = relative(torch.cat([first, rest], 1), whole)
        return Finding(gap, EXACT, f"logits of {tokens.shape[1]} tokens are those of two windows with the state between")

    return subject.inside(look, tokens, address=("windows",))


PROBES = (
    Probe("examples", "examples do not see each other", apart),
    Probe("batch", "the batch axis leads, and its size changes nothing", batches, ("examples",)),
    Probe("samples", "the samples axis leads, and samples do not see each other", samples, ("examples", "latents")),
    Probe("windows", "a state carries all that matters from window to window", windows),
    Probe("sample", "draws look like the data, however many there are", sampling),
)

"""From what somebody has (a module, a class, a name) to what the checks look at."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn

from seedbed.certificate.claims import as_utility
from seedbed.certificate.subject import SEEDS, Claim, Subject, Utility, value_of
from seedbed.core.capabilities import HasDataInit, HasLogProb, HasSample, LatentVariable
from seedbed.core.capabilities import Sequence as TokenSequence
from seedbed.core.context import Context, State
from seedbed.core.domain import REAL, Domain, Kind
from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.core.noise import Noise, Streams
from seedbed.core.shapes import axes_of
from seedbed.core.slots import Slots
from seedbed.data.dataset import Dataset
from seedbed.data.own import as_dataset
from seedbed.experiments import find
from seedbed.experiments.adapters import adapted
from seedbed.experiments.check import check_fit
from seedbed.experiments.experiment import Experiment
from seedbed.experiments.own import OwnModel, made
from seedbed.objectives.adversarial import Adversarial, critic_utility, generator_utility
from seedbed.objectives.bits import elbo_of_bits
from seedbed.objectives.bounds import elbo, elbo_kl, iwae
from seedbed.objectives.likelihood import log_likelihood

BATCH = 7  # examples of each seed
MOVED = 0.3  # by how much a parameter is moved, in deviations of a normal draw; less where many are summed
WIDE = 16  # inputs of a layer from which on it is less
CAPABLE = (LatentVariable, HasLogProb, Adversarial, TokenSequence)

Given = str | nn.Module | Callable[..., Any] | Experiment


def examined(
    model: Given,
    data: Any,
    domain: str | Domain | None,
    shape: int | Sequence[int] | None,
    utilities: Mapping[str, Utility],
    raw: bool,
) -> Subject:
    """What the checks look at.

    Args:
        model: see ``certify``.
        data: see ``certify``.
        domain: see ``certify``.
        shape: see ``certify``.
        utilities: see ``certify``.
        raw: a module in no shape that can be told is looked at as it is: there is a loss of it.

    Raises:
        SeedbedError: see ``certify``.
    """
    experiment = find(model) if isinstance(model, str) else model if isinstance(model, Experiment) else None
    if experiment is None and isinstance(model, type) and not issubclass(model, CAPABLE[:2]) and not raw and not utilities:
        experiment = adapted(model)
    given = _data_of(model, experiment, data, domain, shape)
    build = _build_of(model, experiment, given, raw)
    played: dict[str, Utility] = {}
    owners: dict[str, tuple[str, ...]] = {}
    x = _examples(given, experiment)
    modules = [_module(build, row, x[row], moved=bool(row) or not isinstance(model, nn.Module)) for row in range(len(SEEDS))]
    if experiment is not None and not raw:
        for player in experiment.objective.game(experiment.training, experiment.model).players:
            name = "utility" if player.name == "model" else f"{player.name}'s utility"
            played[name], owners[name] = player.utility, player.owns
    chosen = dict(utilities) if utilities and experiment is None else {**played, **utilities}
    said = getattr(modules[0], "domain", None)
    if isinstance(said, Domain) and said != given.domain:  # the check `domain` says so; the others look at what it can score
        x = torch.stack([_synthetic(said, given.shape, BATCH, streams) for streams in SEEDS])
    subject = Subject(tuple(modules), x, given.domain, chosen, build, owners)
    with told(type(modules[0]).__name__):
        usual, of = _usual(subject)
    if not utilities:
        subject = replace(subject, utilities={**chosen, **usual}, owners={**of, **owners})
    if not subject.utilities and not raw:
        raise SeedbedError(
            f"{type(modules[0]).__name__} has neither latent variables nor a density, nor a critic; say what it is trained "
            "by: loss=(module, batch) -> [batch] in nats"
        )
    for name, utility in subject.utilities.items():
        with told(f"{name} of {type(modules[0]).__name__}"):
            subject.call(value_of(utility), subject.x[0])
    return subject


def with_claims(subject: Subject, bound: Claim | None, loss: Claim | None) -> Subject:
    """With somebody's own bound and loss among the utilities.

    Raises:
        SeedbedError: for one that does not run, or is not per example.
    """
    utilities = dict(subject.utilities)
    for name, claim in (("bound", bound), ("loss", loss)):
        if claim is not None:
            utilities[name] = as_utility(claim)
            with told(f"the {name} of {type(subject.model).__name__}"):
                subject.call(value_of(utilities[name]), subject.x[0])
    return replace(subject, utilities=utilities, bound=bound, loss=loss)


def capabilities(subject: Subject) -> tuple[str, ...]:
    """What a model can do, a line each."""
    model, found = subject.model, []
    if isinstance(model, LatentVariable):
        z = ", ".join(f"{name} {list(value.shape[1:])}" for name, value in subject.latents().items())
        kind = "bits among them" if subject.bits else "reparameterised"
        scored = "scores any z" if subject.scores_latents else "scores its own draws alone"
        found.append(f"latent variables {z}, {kind}; p(x | z) of {subject.domain}; a posterior that {scored}")
    if isinstance(model, HasLogProb):
        found.append(f"density log p(x) of {subject.domain}")
    if isinstance(model, Adversarial):
        found.append("generator and critic")
    if isinstance(model, TokenSequence):
        found.append("p(x_t | x_<t) of tokens, with a state")
    if isinstance(model, HasSample):
        found.append("draws examples")
    if subject.normalises:
        found.append("batch norm, which learns from the batch")
    if subject.utilities:
        found.append(f"trained by {', '.join(subject.utilities)}")
    return tuple(found)


def _data_of(
    model: Given,
    experiment: Experiment | None,
    data: Any,
    domain: str | Domain | None,
    shape: int | Sequence[int] | None,
) -> Dataset:
    """What it is a model of: as named, as declared, or drawn of a domain and a shape."""
    if data is not None:
        if domain is not None or shape is not None:
            raise SeedbedError("data have a domain and a shape; give data, or domain and shape, not both")
        found = as_dataset(data)
    elif shape is not None or domain is not None or experiment is None:
        said = getattr(model, "domain", None) if isinstance(model, nn.Module) else None
        of = domain_named(domain) if domain is not None else said if isinstance(said, Domain) else REAL
        known = getattr(model, "shape", None) if isinstance(model, nn.Module) else None
        wanted = known if shape is None else shape
        if wanted is None:
            raise SeedbedError(
                "say what it is a model of: data, or domain and shape, e.g. -d digits, --domain real --shape 2"
            )
        axes = axes_of(wanted)
        splits = {split: _synthetic(of, axes, 64, Streams(n)) for n, split in enumerate(("train", "valid", "test"))}
        found = Dataset(name=f"{of} values", domain=of, protocol="drawn for a certificate", splits=splits)
    elif not experiment.data.data:
        raise SeedbedError("say what it is a model of: -d DATA, or --domain real --shape 2")
    else:
        found = experiment.data.load()
    if experiment is not None:
        check_fit(experiment.model, found.name, found.domain, found.shape)
    return found


def domain_named(name: str | Domain) -> Domain:
    """A domain by its name: ``real``, ``binary``, ``levels:17``, ``tokens:50``.

    Raises:
        SeedbedError: for any other.
    """
    if isinstance(name, Domain):
        return name
    kind, _, size = name.partition(":")
    kinds: dict[str, Kind] = {known: known for known in get_args(Kind)}
    if kind not in kinds:
        raise unknown("domain", name, kinds)
    if (kind in ("levels", "tokens")) != size.isdecimal() or size in ("0", "1"):
        raise SeedbedError(f"a domain is real, binary, levels:NUMBER or tokens:NUMBER, of at least 2, got {name!r}")
    return Domain(kinds[kind], int(size) if size else None)


def _synthetic(domain: Domain, shape: tuple[int, ...], count: int, streams: Streams) -> Tensor:
    noise = Noise([streams], "data", "certificate")
    if domain == REAL:
        return noise.normal(shape, batch=count).double()
    levels = 2 if domain.size is None else domain.size
    drawn = (noise.uniform(shape, batch=count) * levels).long().clamp(max=levels - 1)
    return drawn if domain.kind == "tokens" else drawn.double()


def _examples(data: Dataset, experiment: Experiment | None) -> Tensor:
    """Of each seed a few examples, evenly spread over the training split, ``[seeds, batch, *example]``."""
    if data.shape == () and experiment is not None:
        windows, _ = experiment.data.batches(data, experiment.training, [*SEEDS])
        return windows(SEEDS, 0)[:, :BATCH]
    train = data.splits["train"]
    rows = torch.linspace(0, len(train) - 1, len(SEEDS) * BATCH).long()
    x = train.gather(rows)
    if data.view is not None:
        x = data.view(x, Noise(SEEDS[:1], "order", "certificate"))
    return (x.double() if x.is_floating_point() else x).unflatten(0, (len(SEEDS), BATCH))


def _build_of(model: Given, experiment: Experiment | None, data: Dataset, raw: bool) -> Callable[[], nn.Module]:
    if experiment is not None:
        part = experiment.model
        return lambda: part.module(data) if raw and isinstance(part, OwnModel) else experiment.build(data)
    if isinstance(model, nn.Module):
        return partial(copy.deepcopy, model)
    if isinstance(model, str | Experiment) or not callable(model):
        raise SeedbedError(f"certify takes a module, what makes one, or a name, got {type(model).__name__}")
    return partial(made, model, data)


def _module(build: Callable[[], nn.Module], row: int, x: Tensor, moved: bool) -> nn.Module:
    """One seed's model in float64; away from where it starts, if it is to be ``moved``."""
    streams = SEEDS[row]
    with told("the model"), streams.scoped("init"):
        module = build()
        if not isinstance(module, nn.Module):
            raise SeedbedError(f"certify takes what makes an nn.Module, got {type(module).__name__}")
        module = module.double().cpu()
    if moved:
        if isinstance(module, HasDataInit):
            ctx = Context(Noise([streams], "init", dtype=torch.float64), state=State(dict(module.named_buffers())))
            with told(f"`data_init` of {type(module).__name__}"), torch.no_grad(), Slots(module).lent({}, ctx):
                module.data_init(x, ctx)
        generator = torch.Generator().manual_seed(streams.seed)
        with torch.no_grad():
            for p in (p for p in module.parameters() if p.is_floating_point()):
                summed = p[0].numel() if p.ndim > 1 else 1
                size = MOVED * min(1.0, (WIDE / max(summed, 1)) ** 0.5)
                p.add_(size * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


def _usual(subject: Subject) -> tuple[dict[str, Utility], dict[str, tuple[str, ...]]]:
    """What models of such capabilities are trained by, and what each player owns."""
    model, found, owners = subject.model, dict[str, Utility](), dict[str, tuple[str, ...]]()
    if isinstance(model, LatentVariable):
        if subject.bits:
            found["elbo_of_bits"] = elbo_of_bits("zgr", utility=elbo_kl)
        else:
            found |= {"elbo": elbo, "elbo_kl": elbo_kl, "iw3": iwae(3)}
            if subject.scores_latents:
                found["iw3-dreg"] = iwae(3, "dreg")
    if isinstance(model, HasLogProb):
        found["log_likelihood"] = log_likelihood
    if isinstance(model, Adversarial) and not subject.utilities:
        found |= {"critic": critic_utility(), "generator": generator_utility}
        owners |= {"critic": ("critic",), "generator": ("generator",)}
    return found, owners

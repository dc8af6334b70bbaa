"""The certificate of a model: every check that its capabilities allow."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from seedbed.certificate import axes, bijections, claims, density, domains, latents, penalty, training
from seedbed.certificate.build import capabilities, examined, with_claims
from seedbed.certificate.check import Certificate, Check, NotApplicableError
from seedbed.certificate.subject import SEEDS, Claim, Probe, Subject, Utility
from seedbed.core.ambient import plain
from seedbed.core.domain import Domain
from seedbed.core.errors import SeedbedError, told, unknown
from seedbed.experiments.experiment import Experiment
from seedbed.objectives.own import Negative

PROBES: tuple[Probe, ...] = (
    *domains.PROBES,
    *axes.PROBES,
    *bijections.PROBES,
    *density.PROBES,
    *latents.PROBES,
    *penalty.PROBES,
    *claims.PROBES,
    *training.PROBES,
)
NAMES = tuple(probe.name for probe in PROBES)

Progress = Callable[[str, int, int], None]


@plain()
def certify(
    model: str | nn.Module | Callable[[], nn.Module] | Experiment,
    data: Any = None,
    *,
    domain: str | Domain | None = None,
    shape: int | Sequence[int] | None = None,
    utilities: Mapping[str, Utility] | None = None,
    bound: Callable[..., Any] | None = None,
    k: int = 0,
    loss: Callable[..., Any] | None = None,
    only: Collection[str] = (),
    progress: Progress | None = None,
) -> Certificate:
    """Check a model against what its capabilities promise: densities, bounds, axes, stacks of seeds, resume, bf16.

    Everything is looked at in float64, at three seeds whose parameters are moved away from where they start (a layer that
    starts at zero hides mistakes); a model that is given as a module is looked at as it is first. Deterministic.

    Args:
        model: a module, what makes one, an experiment, or the name of one (also ``file.py:name``).
        data: what it is a model of (see ``data.own.as_dataset``); by default the experiment's.
        domain: in the place of data, what an example is made of: ``real``, ``binary``, ``levels:17`` or ``tokens:50``; by
            default what the model says.
        shape: with ``domain``, of an example.
        utilities: what it is trained by, by name, ``(model, x, ctx) -> Terms``; by default what suits its capabilities.
        bound: a bound of your own on log p(x), ``(model, x, ctx) -> Terms`` or ``[batch]``.
        k: the importance samples of that bound, if it is said to be ``iwae(k)``; 0 of any other.
        loss: a loss of your own that is said to be a negative bound in nats, ``(module, batch) -> [batch]``.
        only: the checks to make, of ``NAMES``; by default all.
        progress: called before each check with its name, its number and how many there are.

    Raises:
        SeedbedError: for a model that cannot be built or called, data that it cannot take, or unknown checks.
    """
    if isinstance(only, str) or not isinstance(only, Iterable):
        raise SeedbedError(f"only must be a list of checks, got {only!r}; e.g. only=[{NAMES[0]!r}]")
    only = list(only)
    for name in only:
        if not isinstance(name, str) or name not in NAMES:
            raise unknown("check", name, NAMES)
    if k and bound is None:
        raise SeedbedError("k is of a bound of your own; give bound=..., or leave it out")
    subject = examined(model, data, domain, shape, utilities or {}, raw=loss is not None)
    subject = with_claims(subject, bound and Claim(bound, k), loss and Claim(Negative(loss)))
    probes = [probe for probe in PROBES if not only or probe.name in only]
    checks: list[Check] = []
    for number, probe in enumerate(probes):
        if progress is not None:
            progress(probe.name, number, len(probes))
        checks.append(made(probe, subject, {check.name for check in checks if check.status == "FAILED"}))
    rows = f"{len(SEEDS)} seeds, float64, {subject.x.shape[1]} examples each, {subject.data_domain} {list(subject.example)}"
    return Certificate(f"{type(subject.model).__name__}: {rows}", capabilities(subject), tuple(checks))


def made(probe: Probe, subject: Subject, failed: Collection[str]) -> Check:
    """One check, unless what it would say follows from one that failed."""
    if cause := [name for name in probe.after if name in failed]:
        return Check(probe.name, "not applicable", f"it rests on {cause[0]}, which failed")
    try:
        with told(f"the check {probe.name!r} of {type(subject.model).__name__}"):
            try:
                found = probe.look(subject)
            except NotApplicableError as reason:
                return Check(probe.name, "not applicable", str(reason))
    except SeedbedError as error:
        return Check(probe.name, "FAILED", str(error))
    return Check(probe.name, "passed" if found.passed else "FAILED", found.words, found.figure, found.tolerance, found.z)

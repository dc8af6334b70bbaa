"""What a check says, and what all of them say together."""

import html
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

Status = Literal["passed", "FAILED", "not applicable"]

# The chance that a certificate of a faultless model says FAILED by bad luck, shared by the statistical checks there are.
FALSE_ALARM, STATISTICAL = 1e-3, 16


class NotApplicableError(Exception):
    """A check has nothing to look at in this model, and says why."""


@dataclass(frozen=True)
class Finding:
    """What a check measured.

    Args:
        figure: the largest deviation, at least 0; not finite where there is no number.
        tolerance: what rounding, or chance, allows it to be.
        words: what deviates from what, and what to do about it.
        z: standard errors that ``tolerance`` is made of, where chance has a say; 0 where it has none.
    """

    figure: float
    tolerance: float
    words: str
    z: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the figure is a number within its tolerance."""
        return self.figure <= self.tolerance  # NaN is not


@dataclass(frozen=True)
class Check:
    """One line of a certificate.

    Args:
        name: what it is called, as ``only`` takes it.
        status: ``passed``, ``FAILED`` or ``not applicable``.
        words: what was looked at; of one that is not applicable, why.
        figure: the largest deviation that was measured; ``None`` where nothing was.
        tolerance: what it may be.
        z: standard errors within the tolerance; 0 where it is rounding alone.
    """

    name: str
    status: Status
    words: str
    figure: float | None = None
    tolerance: float | None = None
    z: float = 0.0

    @property
    def measured(self) -> str:
        """The figure with its tolerance, as text; empty where there is none."""
        if self.figure is None or self.tolerance is None:
            return ""
        return f"{self.figure:.1e} of {self.tolerance:.1e}" + (f" (z = {self.z:.1f})" if self.z else "")


@dataclass(frozen=True)
class Certificate:
    """What was found about a model.

    Args:
        subject: the model, and what it was looked at with.
        capabilities: what it can do.
        checks: in the order in which they were made.
    """

    subject: str
    capabilities: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "FAILED")

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return not self.failed

    def __getitem__(self, name: str) -> Check:
        """The check of a name."""
        return {check.name: check for check in self.checks}[name]

    @property
    def ordered(self) -> list[Check]:
        """The checks that were made, then those that are not applicable."""
        return sorted(self.checks, key=lambda check: check.status == "not applicable")

    @property
    def verdict(self) -> str:
        """One line for all of them."""
        counts = {status: sum(c.status == status for c in self.checks) for status in ("passed", "FAILED", "not applicable")}
        named = f" ({', '.join(check.name for check in self.failed)})" if self.failed else ""
        return f"{counts['passed']} passed, {counts['FAILED']} FAILED{named}, {counts['not applicable']} not applicable"

    def __str__(self) -> str:
        """The capabilities, a line for each check, and the verdict."""
        width = max((len(check.name) for check in self.checks), default=0)
        figures = max((len(check.measured) for check in self.checks), default=0)
        lines = [self.subject, *(f"  {line}" for line in self.capabilities), ""]
        lines += [f"{c.status:14}  {c.name:{width}}  {c.measured:{figures}}  {c.words}" for c in self.ordered]
        return "\n".join([*lines, "", self.verdict])

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        row = "<tr><td>{}</td><td>{}</td><td>{}</td><td style='text-align:left'>{}</td></tr>"
        rows = [row.format(*map(html.escape, (c.status, c.name, c.measured, c.words))) for c in self.ordered]
        about = "<br>".join(map(html.escape, (self.subject, *self.capabilities)))
        head = "<tr><th>status</th><th>check</th><th>deviation of tolerance</th><th>what</th></tr>"
        return f"<p>{about}</p><table>{head}{''.join(rows)}</table><p><b>{html.escape(self.verdict)}</b></p>"


def quantile(comparisons: int) -> float:
    """How many standard errors one of so many comparisons may be off, so that all checks together keep ``FALSE_ALARM``."""
    return NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * STATISTICAL * max(comparisons, 1)))


def worst(findings: "list[Finding]") -> Finding:
    """Of several findings of one check the one that is furthest from its tolerance.

    Raises:
        NotApplicableError: if there are none.
    """
    if not findings:
        raise NotApplicableError("there is nothing to compare")
    return max(findings, key=lambda f: math.inf if math.isnan(f.figure) else f.figure / max(f.tolerance, 1e-300))

"""The page as text: one self-contained HTML file that loads nothing."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from seedbed.report.document import Report
from seedbed.report.groups import settings_that_differ, shown
from seedbed.report.layer_use import trivial_words
from seedbed.report.luck import peaks_words
from seedbed.report.pictures import Strip, data_strips, run_strips
from seedbed.report.stored import StoredRun
from seedbed.report.svg import svg
from seedbed.report.tables import Table
from seedbed.report.verdicts import lead, overall, said
from seedbed.report.words import duration

if TYPE_CHECKING:
    from jinja2 import Environment


def render(
    report: Report, command: str = "", refresh: int | float | None = None, links: dict[str, str] | None = None
) -> str:
    """The page as text.

    Args:
        report: what ``compose`` made.
        command: what was typed.
        refresh: seconds after which it loads itself again.
        links: files beside the page, by name.
    """
    environment = _environment()
    script = environment.get_template("page.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    pictures = _pictures(report)
    differing = [key for key in settings_that_differ(report.runs) if key != "data"]  # that stands beside them
    page = environment.get_template("report.html.j2")
    return page.render(
        report=report,
        script=script,
        digest=digest,
        style=environment.get_template("style.css").render(),
        refresh=refresh,
        links=links or {},
        command=command,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("seedbed"),
        overall=overall(report.families),
        plates=sorted({name.rsplit(".", 1)[0] for name in links or {} if name.endswith(".svg")} - set(report.charts)),
        leads=[
            (
                family,
                " ".join(filter(None, (lead(family), trivial_words(family), peaks_words(family)))),
                [said(family, v) for v in family.verdicts],
            )
            for family in report.families
        ],
        charts={name: [(chart, svg(chart)) for chart in found] for name, found in report.charts.items()},
        pictures=pictures,
        picture_note=_picture_note([strip for _, rows in pictures for _, found in rows for strip in found]),
        common={k: v for k, v in _settings(report.runs).items() if k not in (*differing, "data")},
        differing=differing,
        settings=_settings_table(report, differing),
        duration=duration,
        same=_same_of_all(report.runs),
        data=_data(report.runs),
        trainings=sum(len(run.manifest.seeds) for run in report.runs),
        commands=list(dict.fromkeys(run.manifest.command for run in report.runs if run.manifest.command)),
    )


@lru_cache(maxsize=1)
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    chosen = select_autoescape(enabled_extensions=("html", "j2"), default=False)
    return Environment(
        loader=PackageLoader("seedbed.report"),
        autoescape=chosen,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _pictures(report: Report) -> list[tuple[str, list[tuple[str, list[Strip]]]]]:
    """Per data set rows of pictures: the data first, then each run, best first."""
    out = []
    for family in report.families:
        task = family.group.task
        rows = [(run.label, run_strips(run, task, family.group.metric_of(run))) for run in family.ranked]
        if rows := [(label, found) for label, found in rows if found]:
            beside = next((found for run in family.ranked if (found := data_strips(run, task))), [])
            out.append((task, [("data", beside)] * bool(beside) + rows))
    return out


def _picture_note(strips: Sequence[Strip]) -> str:
    """What is to be known of all of them."""
    note = "Each model at its best, median and worst seed by the test value, and at the first that was lost, if any"
    note += "; what its latents hold at its best." if any(strip.size == "large" for strip in strips) else "."
    if any(strip.kind == "density" for strip in strips):
        note += " Densities are white at zero and darkest at the true density's highest value and above."
    if any(strip.passages for strip in strips):
        note += " Texts are the beginnings of the first samples, not chosen among them."
    return note


def _settings_table(report: Report, differing: Sequence[str]) -> Table:
    body = []
    for family in report.families:
        for run in (*family.group.runs, *family.group.strangers):
            config = run.manifest.config
            body.append([family.group.task, run.label, *(shown(config[k]) if k in config else "" for k in differing)])
    return Table("settings", "Settings that are not the same in all runs.", ["data", "model", *differing], body, words=2)


def _settings(runs: Sequence[StoredRun]) -> dict[str, str]:
    return {key: shown(value) for run in reversed(runs) for key, value in run.manifest.config.items()}


def _data(runs: Sequence[StoredRun]) -> list[tuple[str, str, str]]:
    """Name, protocol and checksum of every data set."""
    rows = []
    for run in runs:
        protocol, checksum = (str(run.manifest.data.get(key, "not loaded yet")) for key in ("protocol", "checksum"))
        checksum = checksum if run.manifest.strategy else ""  # of a table that somebody brought
        rows.append((run.data, protocol, checksum))
    known = {name for name, _, checksum in rows if checksum != "not loaded yet"}
    return [row for row in dict.fromkeys(rows) if row[2] != "not loaded yet" or row[0] not in known]


def _same_of_all(runs: Sequence[StoredRun]) -> dict[str, str]:
    """Versions and devices, and whether they are the same for all runs."""
    out: dict[str, str] = {}
    for name in dict.fromkeys(key for run in runs for key in run.manifest.versions):
        out[name] = ", ".join(sorted({str(run.manifest.versions.get(name, "unknown")) for run in runs}))
    out["device"] = ", ".join(sorted({run.manifest.device for run in runs}))
    out["execution"] = ", ".join(
        sorted({f"{run.manifest.strategy}, {run.manifest.threads} threads" for run in runs if run.manifest.strategy})
    )
    return {name: value for name, value in out.items() if value}

"""What `report` does, apart from its flags."""

import shlex
import time
from pathlib import Path
from typing import Any

import click

from seedbed.cli.targets import find_runs_or_results
from seedbed.core.numbers import number

WEEK = 604_800  # seconds between two looks, at most


def report_runs(targets: tuple[str, ...], options: dict[str, Any]) -> None:
    """Write the page of the runs that are meant; with ``follow`` again and again until all of them are finished.

    Raises:
        SeedbedError: if nothing was found, or the page cannot be written.
    """
    from seedbed.report.comparison import page_path

    path, every = page_path(options["out_file"]), number("every", options["every"], 1, WEEK)
    if options["threshold"] is not None:
        options["threshold"] = number("threshold", options["threshold"])
    while True:
        started = time.monotonic()
        waiting = _write(targets, options, path)
        if not waiting:
            return
        click.echo(f"{waiting}; next look in {every:g} s, Ctrl-C stops following", err=True)
        time.sleep(max(0.0, every - (time.monotonic() - started)))


def _write(targets: tuple[str, ...], options: dict[str, Any], path: Path) -> str:
    """Write the page once; what is still to come, in words, or an empty string if nothing is or nobody follows."""
    from seedbed.report.comparison import metric_named
    from seedbed.report.document import compose
    from seedbed.report.files import write_report

    found = find_runs_or_results(targets, options)
    for run in found.runs:
        run.checked()  # before anything is written
    metric = None if options["metric"] is None else metric_named(found.runs, options["metric"])
    report = compose(found.runs, metric=metric, threshold=options["threshold"])
    going = [run for run in found.runs if not run.finished]
    follow = options["follow"] and bool(going or found.missing)
    for written in write_report(report, path, _command(targets, options), options["every"] if follow else None)[:1]:
        click.echo(f"wrote {written} ({written.stat().st_size / 1e6:.1f} MB)")
    if not follow:
        return ""
    started = len(found.runs)
    return f"{started - len(going)} of {started + len(found.missing)} runs finished"


def _command(targets: tuple[str, ...], options: dict[str, Any]) -> str:
    parts = ["seedbed", "report", *targets]
    parts += [part for model in options["models"] for part in ("-m", model)]
    parts += [part for data in options["sets"] for part in ("-d", data)]
    parts += [part for flag in ("columns", "better") for value in options[flag] for part in (f"--{flag}", value)]
    for flag in ("recipe", "name", "metric", "threshold"):
        if options[flag] is not None:
            parts += [f"--{flag}", str(options[flag])]
    parts += ["--out", options["out"]] if options["out"] != "runs" else []
    return shlex.join([*parts, "--out-file", options["out_file"]])

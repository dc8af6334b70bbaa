"""What `evaluate` does, apart from its flags."""

from typing import TYPE_CHECKING, Any

import click

from seedbed.cli.estimators import given
from seedbed.cli.record import check_budget, record_runs, training_command
from seedbed.cli.targets import find_targets
from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import whole
from seedbed.evaluate.estimators import ESTIMATORS

if TYPE_CHECKING:
    from seedbed.runs.evaluate import Request


def evaluate_runs(targets: tuple[str, ...], options: dict[str, Any]) -> None:
    """Measure every run that is meant, then print what was found.

    Raises:
        SeedbedError: for a run that cannot be measured so; those before it are done and kept.
    """
    import torch

    from seedbed.report.layer_use import collapsed_layers
    from seedbed.report.record import Measured
    from seedbed.report.run_tables import summarise_run, text_table
    from seedbed.runs.evaluate import Request, evaluate
    from seedbed.runs.load import load
    from seedbed.runs.machine import check_threads, usable_device
    from seedbed.runs.progress import examples_bar
    from seedbed.store.manifest import command_line

    if options["examples"] is not None:
        options["examples"] = whole("examples", options["examples"], 1)
    if (threads := check_threads(options["threads"])) is not None:
        torch.set_num_threads(threads)
    device = usable_device(options["device"]).split(" ")[0]
    request = Request(
        estimator=options["metric"],
        split=options["split"],
        options=given(options),
        examples=options["examples"] or 0,
        precision=options["precision"] or "",
        memory_gib=options["memory_gib"],
    )
    if options["record"]:
        _check_record(request, options["budget"])
    table, measured, collapsed = [], [], []
    for found in find_targets(targets, options).runs:
        with examples_bar(found.manifest.experiment, options["quiet"]) as progress:
            rows = evaluate(
                load(found.folder.path, options["experiment"]),
                request,
                again=options["again"],
                device=device,
                progress=progress,
                data_at=options["data_at"],
            )
        kl = {(row.metric, row.seed): row.value for row in rows if row.split == request.split}
        collapsed += [f"{found.manifest.experiment}: {says}" for says in collapsed_layers(kl)]
        # Fates come with the run's own rows: a seed that diverged is measured, counted, and left out of the mean.
        fates = [row for row in found.rows if row.split == "status"]
        table += summarise_run(found.folder, split=request.split, rows=[*rows, *fates])
        command = f"{training_command(found.manifest, options['budget'])} && {command_line()}"
        half = not request.full_precision and (request.precision or found.manifest.config.get("precision")) == "bf16"
        note = "evaluated in bf16" if half else "evaluated in fp32" if request.precision == "fp32" else ""
        if request.examples:
            note += f"{'; ' if note else ''}{request.examples} examples, evenly spread"
        measured.append(Measured(found.folder, [*rows, *fates], command, note))
    click.echo(text_table(table))
    for says in collapsed:
        click.echo(says)
    if options["record"]:
        record_runs(measured, options["budget"])


def _check_record(request: "Request", budget: str) -> None:
    """Refuse what is no result, before it is computed."""
    check_budget(budget)
    if request.split != "test" or (request.examples and not any(way.partly for way in request.ways)):
        parts = ", ".join(one.name for one in ESTIMATORS if one.partly)
        raise SeedbedError(
            f"results are of the whole test split (of {parts}, parts); leave --split and --examples out, or --record"
        )

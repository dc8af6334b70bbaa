"""What `evaluate` does, apart from its flags."""

from typing import TYPE_CHECKING, Any

import click

from seedbed.cli.estimators import given
from seedbed.cli.record import check_budget, record_runs, training_command
from seedbed.cli.targets import find_targets
from seedbed.core.errors import SeedbedError, unknown
from seedbed.core.numbers import number as number_of
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

    from seedbed.report.layer_use import kl_of, unused_latents
    from seedbed.report.record import Measured
    from seedbed.report.run_tables import summarise_run, text_table
    from seedbed.runs.evaluate import Request, evaluate
    from seedbed.runs.load import load
    from seedbed.runs.machine import check_threads, usable_device
    from seedbed.runs.progress import examples_bar
    from seedbed.runs.sets import is_set
    from seedbed.store.manifest import command_line

    if options["examples"] is not None:
        options["examples"] = whole("examples", options["examples"], 1)
    if (threads := check_threads(options["threads"])) is not None:
        torch.set_num_threads(threads)
    device = usable_device(options["device"]).split(" ")[0]
    if any(map(is_set, targets)):
        return _evaluate_sets(targets, options)
    requests = [
        Request(
            estimator=name.strip(),
            split=options["split"],
            options=given(options, name.strip() if "," in options["metric"] else ""),
            examples=options["examples"] or 0,
            precision=options["precision"] or "",
            memory_gib=options["memory_gib"],
        )
        for name in options["metric"].split(",")
    ]
    if len(requests) > 1 and (unheard := next((request for request in requests if not request.ways), None)):
        raise unknown("estimator", unheard.name, [one.name for one in ESTIMATORS])
    taken = {option.name for request in requests for way in request.ways for option in way.options}
    if unused := sorted(given(options).keys() - taken):
        raise SeedbedError(f"none of {options['metric']} has an option --{unused[0].replace('_', '-')}; leave it out")
    if options["record"]:
        for request in requests:
            _check_record(request, options["budget"])
    table, measured, unused = [], [], []
    for found in find_targets(targets, options).runs:
        by_request, kept = [], {}
        for request in requests:
            with examples_bar(found.manifest.experiment, options["quiet"]) as progress:
                mine = evaluate(
                    load(found.folder.path, options["experiment"]),
                    request,
                    again=options["again"],
                    device=device,
                    progress=progress,
                    data_at=options["data_at"],
                    kept=kept,
                )
                by_request.append((request, mine))
        rows = [row for _, mine in by_request for row in mine]
        now = {(row.metric, row.seed): row.value for row in rows if row.split == options["split"]}
        kl = kl_of(found, options["split"]) | now  # that of all latents a run has measured itself
        unused += [f"{found.manifest.experiment}: {says}" for says in unused_latents(kl)]
        # Fates come with the run's own rows: a seed that diverged is measured, counted, and left out of the mean.
        fates = [row for row in found.rows if row.split == "status"]
        table += summarise_run(found.folder, split=options["split"], rows=[*rows, *fates])
        command = f"{training_command(found.manifest, options['budget'])} && {command_line()}"
        trained_in = str(found.manifest.config.get("precision", "fp32"))
        measured += [
            Measured(found.folder, [*mine, *fates], command, _note(request, options, trained_in))
            for request, mine in by_request
        ]
    click.echo(text_table(table))
    for says in unused:
        click.echo(says)
    if options["record"]:
        record_runs(measured, options["budget"])


def _note(request: "Request", options: dict[str, Any], trained_in: str) -> str:
    """What the protocol of its rows says of an evaluation."""
    half = not request.full_precision and (options["precision"] or trained_in) == "bf16"
    parts = [
        "evaluated in bf16" if half else "evaluated in fp32" if options["precision"] == "fp32" else "",
        f"{options['examples']} examples, evenly spread" if options["examples"] else "",
        *dict.fromkeys(way.words(way.settings(request.options)) for way in request.ways),
    ]
    return "; ".join(filter(None, parts))


def _evaluate_sets(targets: tuple[str, ...], options: dict[str, Any]) -> None:
    """Distances between two sets of pictures, of which one at least is no run."""
    from seedbed.evaluate.quality.measures import WAYS
    from seedbed.report.tables import Table
    from seedbed.report.words import number, spread
    from seedbed.runs.sets import compare_sets, is_set, picture_set

    if len(targets) != 2:
        raise SeedbedError(f"pictures are compared two sets at a time, got {len(targets)}: {', '.join(targets)}; name two")
    ways = [name.strip() for name in options["metric"].split(",")]
    for way in ways:
        if way not in WAYS:
            raise unknown("metric of two sets of pictures", way, WAYS)
    others = [name for name in given(options) if name not in ("features", "pictures")]
    for flag in ("record", "again", "data_at", "precision", "examples", "experiment", *others):
        if options[flag]:
            raise SeedbedError(f"--{flag.replace('_', '-')} is for runs; leave it out between sets of pictures")
    if options["split"] != "test":
        raise SeedbedError(f"--split is for runs; name the split of data, e.g. mnist:{options['split']}")
    settings = given(options)
    memory_gib = number_of("memory in GiB", options["memory_gib"], 0, above=True)
    sides = [picture_set(target if is_set(target) else _one_run(target, options)) for target in targets]
    rows, words = compare_sets(sides[0], sides[1], ways, **settings, memory_gib=memory_gib)
    body = [
        [row.metric, spread(row.value) if row.value.n > 1 else number(row.value.mean, 4), number(row.error, 2)]
        for row in rows
    ]
    click.echo(Table("sets", "", ["metric", "value [95 % over seeds]", "error over pictures"], body, words=1).text())
    click.echo(f"\n{words}")


def _one_run(target: str, options: dict[str, Any]) -> str:
    runs = find_targets((target,), options).runs
    if len(runs) > 1:
        raise SeedbedError(f"{target} is {len(runs)} runs; name one of them, e.g. {runs[0].folder}")
    return str(runs[0].folder.path)


def _check_record(request: "Request", budget: str) -> None:
    """Refuse what is no result, before it is computed."""
    check_budget(budget)
    if request.split != "test" or (request.examples and not any(way.partly for way in request.ways)):
        parts = ", ".join(one.name for one in ESTIMATORS if one.partly)
        raise SeedbedError(
            f"results are of the whole test split (of {parts}, parts); leave --split and --examples out, or --record"
        )

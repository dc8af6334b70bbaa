"""What the shell offers while one types: experiments, models, data sets, runs. Nothing here imports torch or pandas.

It is switched on by one line, see docs/shell.md.
"""

import os
import re
from collections.abc import Iterable
from glob import escape, glob
from pathlib import Path

import click
from click.shell_completion import CompletionItem

HASH = re.compile(r"[0-9a-f]{8}")


def targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What can be trained: studies, models, experiments, and files of one's own."""
    from seedbed.experiments import EXPERIMENTS, MODELS, STUDIES

    return [*_offered([*STUDIES, *MODELS, *_next(EXPERIMENTS, incomplete)], incomplete), *_files(incomplete, ".py")]


def studies(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Studies."""
    from seedbed.experiments import STUDIES

    return _offered(STUDIES, incomplete)


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models, and those of the study that was named."""
    from seedbed.experiments import MODELS, STUDIES

    # A flag whose value is still to come: what stands before it has not been given to the arguments yet.
    own = [name.split("/", 2)[2] for study in ctx.args if study in STUDIES for name in STUDIES[study].experiments]
    return _offered(dict.fromkeys(own or MODELS), incomplete)


def data_sets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Data sets by name; behind ``array:`` and its like the files that there are."""
    from seedbed.data import OWN, has_path, names

    if has_path(incomplete):
        kind, _, path = incomplete.partition(":")
        return [CompletionItem(f"{kind}:{item.value}", type=item.type) for item in _files(path)]
    return _offered([*names(), *(f"{kind}:" for kind in OWN)], incomplete)


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs: by their folder, by a name that they were given, and by experiments and studies that have some."""
    from seedbed.experiments import EXPERIMENTS, MODELS, STUDIES

    out = _out(ctx)
    known = [name for name in (*STUDIES, *MODELS, *EXPERIMENTS) if os.path.isdir(out / name)]
    return _offered(dict.fromkeys([*known, *_tags(out), *map(str, _folders(out))]), incomplete)


def tags(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names that runs were given, then the hashes of the others."""
    out = _out(ctx)
    return _offered(dict.fromkeys([*_tags(out), *(path.name for path in _folders(out))]), incomplete)


def metrics(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Metrics that runs are judged by."""
    from seedbed.core.metric import METRICS

    found = [metric.name for metric in METRICS if metric.better is not None and "<" not in metric.name]
    return _offered(dict.fromkeys(found), incomplete)


def budgets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Budgets."""
    from seedbed.experiments.experiment import BUDGETS

    return _offered(BUDGETS, incomplete)


def _offered(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _next(names: Iterable[str], incomplete: str) -> list[str]:
    """Names of experiments once the study is typed: all of them at once would be a page."""
    return list(names) if "/" in incomplete else []


def _files(incomplete: str, suffix: str = "") -> list[CompletionItem]:
    """Files of a kind that go on as was typed, and the folders where there may be others."""
    found = [f"{path}/" if os.path.isdir(path) else path for path in glob(f"{escape(incomplete)}*")]
    return [CompletionItem(path) for path in sorted(found) if path.endswith((suffix, "/"))]


def _out(ctx: click.Context) -> Path:
    return Path(ctx.params.get("out") or "runs")


def _folders(out: Path) -> list[Path]:
    from seedbed.store.folder import find_runs

    return find_runs(out)


def _tags(out: Path) -> list[str]:
    return [path.name for path in _folders(out) if not HASH.fullmatch(path.name)]

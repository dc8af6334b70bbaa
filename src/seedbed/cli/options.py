"""Flags: the common ones, and one for every field that an experiment declares."""

import types
import typing
from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise
from typing import Any, Literal

import click

from seedbed.core.errors import SeedbedError


def parse_seeds(text: str) -> list[int]:
    """``10`` for the first ten seeds, ``3:7`` for 3, 4, 5, 6, ``1,5,9`` for those.

    Raises:
        SeedbedError: for anything else.
    """
    try:
        if ":" in text:
            first, last = (int(part) for part in text.split(":"))
            seeds = list(range(first, last))
        elif "," in text:
            seeds = [int(part) for part in text.split(",") if part]
        else:
            seeds = list(range(int(text)))
    except ValueError:
        raise SeedbedError(f"seeds must be a count (10), a range (0:10) or a list (1,5,9), got {text!r}") from None
    if not seeds or min(seeds) < 0:
        raise SeedbedError(f"seeds must be at least 1 and not negative, got {text!r}")
    return seeds


class _Numbers(click.ParamType):
    """Comma-separated numbers."""

    name = "numbers"

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"expected numbers separated by commas, e.g. 64,64; got {value!r}", param, ctx)


def _kind(annotation: Any) -> Any:
    """The click type of a field's annotation."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return click.Choice([str(a) for a in args])
    if origin is tuple:
        return _Numbers(args[0])
    if origin in (typing.Union, types.UnionType):
        return _kind(next(a for a in args if a is not type(None)))
    return annotation


def field_options(experiment: Any) -> list[click.Option]:
    """One option per declared field that no common flag covers; unset ones keep the experiment's value."""
    hints = typing.get_type_hints(type(experiment))
    covered = {"steps", "precision", "data"}
    return [
        click.Option(
            ["--" + field.name.replace("_", "-")],
            type=_kind(hints[field.name]),
            default=None,
            help=f"{field.metadata.get('help', '')}  [{_shown(getattr(experiment, field.name))}]",
        )
        for field in fields(experiment)
        if field.name not in covered
    ]


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def experiment_options() -> type[click.Command]:
    """A command whose flags depend on its target: the fields of the experiments that it names."""

    class Command(click.Command):
        def make_context(
            self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
        ) -> click.Context:
            targets = _targets(args)
            if targets:
                known = {name for param in self.params for name in param.opts}
                added: dict[str, click.Option] = {}
                for target in targets:
                    for option in field_options(target):
                        if not known & set(option.opts):
                            added.setdefault(option.opts[0], option)
                self = type(self)(  # flags of one call must not stay for the next
                    self.name,
                    callback=self.callback,
                    params=[*self.params, *added.values()],
                    help=self.help,
                    context_settings=self.context_settings,
                )
            return click.Command.make_context(self, info_name, args, parent, **extra)

    return Command


def _targets(args: list[str]) -> list[Any]:
    """The experiments named by the first argument that is one; unknown names are left to the command to refuse."""
    from seedbed.experiments import EXPERIMENTS, STUDIES, find

    for arg in args:
        if arg in STUDIES:
            model = next((b for a, b in pairwise(args) if a in ("-m", "--model")), None)
            found = STUDIES[arg].experiments
            return [e for name, e in found.items() if model is None or name.split("/", 2)[2] == model]
        if arg in EXPERIMENTS or ".py:" in arg:
            return [find(arg)]
    return []


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that every run takes."""
    options = [
        click.option("-m", "--model", help="model of a study, e.g. vae"),
        click.option(
            "-d", "--data", help="data set of a study, e.g. 8gaussians, or your own: folder:PATH[,size=28,...], array:FILE"
        ),
        click.option("-n", "--seeds", help="a count (10), a range (0:10) or a list (1,5,9)"),
        click.option("--budget", default="laptop", show_default=True, help="smoke, laptop or full"),
        click.option("--steps", type=int, help="updates in all"),
        click.option("-e", "--epochs", type=int, help="passes over the data instead of --steps"),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda:N or mps"),
        click.option("--strategy", default="auto", show_default=True, help="auto, vectorized, sequential or processes"),
        click.option("--precision", type=click.Choice(["fp32", "bf16", "fp64"]), help="of matrix products"),
        click.option("--threads", type=click.IntRange(min=1), help="CPU threads; all by default"),
        click.option("--name", help="name of the run; by default the hash of its settings"),
        click.option("--from", "--warm-start", "warm_start", metavar="RUN", help="start each seed from its weights there"),
        click.option("--data-dir", type=click.Path(), help="folder of data files; by default SEEDBED_DATA or the cache"),
        click.option("--out", default="runs", show_default=True, help="folder of all runs"),
        click.option(
            "--checkpoint-seconds", type=float, default=30.0, show_default=True, help="least time between checkpoints"
        ),
        click.option("--again", is_flag=True, help="train anew even what is finished; the old run is moved aside"),
        click.option("--record", is_flag=True, help="write the rows of results/<study>.json"),
        click.option("-q", "--quiet", "--mute", "-mute", is_flag=True, help="no progress bar"),
    ]
    for option in reversed(options):
        function = option(function)
    return function

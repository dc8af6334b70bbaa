"""Flags: the common ones, and one for every field that an experiment declares."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from seedbed.cli.completion import budgets, data_sets, models, runs, tags
from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import shown
from seedbed.runs.seeds import check_seeds

if TYPE_CHECKING:
    from seedbed.experiments import Experiment
    from seedbed.experiments.fields import FieldType

COVERED = ("steps", "precision", "data", "warm_start")  # settings that the flags of every run set


def parse_seeds(text: str) -> list[int]:
    """``10`` for the first ten seeds, ``3:7`` for 3, 4, 5, 6, ``1,5,9`` for those.

    Raises:
        SeedbedError: for anything else.
    """
    try:
        if ":" in text:
            first, last = (int(part) for part in text.split(":"))
            return check_seeds(range(first, last))
        return check_seeds([int(part) for part in text.split(",") if part] if "," in text else int(text))
    except ValueError:
        raise SeedbedError(f"seeds must be a count (10), a range (0:10) or a list (1,5,9), got {shown(text)}") from None


class _Numbers(click.ParamType):
    """Numbers, separated by commas where there are several."""

    def __init__(self, kind: type, several: bool) -> None:
        self.kind = kind
        self.name = {int: "whole number", float: "number"}[kind] + ("s" if several else "")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            wanted = "one or more numbers separated by commas, e.g. 64,64" if self.name.endswith("s") else f"a {self.name}"
            self.fail(f"expected {wanted}; got {value!r}", param, ctx)


def field_options(experiments: "Sequence[Experiment]") -> list[click.Option]:
    """One option for every setting of the experiments that no common flag covers; unset ones keep what is declared."""
    found: dict[str, list[tuple[FieldType, str, str]]] = {}
    for experiment in experiments:
        for name, (kind, about) in experiment.described().items():
            if name not in COVERED:
                found.setdefault(name, []).append((kind, about.get("help", ""), _shown(experiment.settings[name])))
    options = []
    for name, uses in found.items():
        values = " | ".join(dict.fromkeys(shown for _, _, shown in uses))
        flag = click.Option(
            ["--" + name.replace("_", "-")],
            type=_click_type([kind for kind, _, _ in uses]),
            default=None,
            help=f"{uses[0][1]}  [{values}]",
        )
        options.append(flag)
    return options


def _click_type(kinds: "Sequence[FieldType]") -> Any:
    """What one flag takes for all experiments that have it: their names mean one type (see ``experiments.check_names``)."""
    kind = kinds[0]
    if kind.choices:
        return click.Choice(kind.choices)
    return _Numbers(kind.of, any(k.many for k in kinds)) if kind.of in (int, float) else kind.of


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def experiment_options() -> type[click.Command]:
    """A command whose flags depend on its target: the fields of the experiments that it names."""

    class Command(click.Command):
        def make_context(
            self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
        ) -> click.Context:
            # A file is executed by who runs it, not by who types its name and asks what may follow.
            typing = extra.get("resilient_parsing", False)
            targets = _targets([arg for arg in args if not (typing and ".py" in arg)])
            if targets:
                known = {name for param in self.params for name in param.opts}
                added: dict[str, click.Option] = {}
                for option in field_options(targets):
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


def _given(args: list[str], short: str, long: str) -> str | None:
    """The value of a flag, in any of the ways to write it."""
    for arg, after in zip(args, [*args[1:], ""], strict=False):
        if arg in (short, long):
            return after
        if arg.startswith(f"{long}=") or (arg.startswith(short) and not arg.startswith("--")):
            return arg.removeprefix(f"{long}=").removeprefix(short).removeprefix("=")
    return None


def _targets(args: list[str]) -> "list[Experiment]":
    """The experiments named by the first argument that is one; unknown names are left to the command to refuse."""
    from seedbed.experiments import EXPERIMENTS, MODELS, STUDIES, find
    from seedbed.experiments.files import is_in_file

    model, data = _given(args, "-m", "--model"), _given(args, "-d", "--data")
    for before, arg in zip(["", *args], args, strict=False):
        if before in ("-m", "--model", "-d", "--data", "--name"):
            continue
        if arg in STUDIES:
            found = STUDIES[arg].experiments
            return [e for name, e in found.items() if model is None or name.split("/", 2)[2] == model]
        if (arg in MODELS or is_in_file(arg)) and data:
            return [find(arg).on(data)]  # whose own settings are flags too
        if arg in EXPERIMENTS or arg in MODELS or is_in_file(arg):
            return [find(arg)]
    return []


def own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flag of the verbs that execute the code of one's own that a run was made with."""
    help_ = "file.py:variable of your own that the run was made with, where it is now; only what you trust"
    return click.option("--experiment", metavar="FILE.py:NAME", help=help_)(function)


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that every run takes."""
    options = [
        click.option("-m", "--model", help="model of a study, e.g. vae", shell_complete=models),
        click.option(
            "-d",
            "--data",
            help="data set, e.g. 8gaussians, or your own: csv:FILE, array:FILE, folder:PATH[,size=28,...]",
            shell_complete=data_sets,
        ),
        click.option("-n", "--seeds", help="a count (10), a range (0:10) or a list (1,5,9)"),
        click.option(
            "--budget", default="laptop", show_default=True, help="smoke, demo, laptop or full", shell_complete=budgets
        ),
        click.option("--steps", type=int, help="updates in all"),
        click.option("-e", "--epochs", type=int, help="passes over the data instead of --steps"),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda:N or mps"),
        click.option("--strategy", default="auto", show_default=True, help="auto, vectorized, sequential or processes"),
        click.option("--precision", type=click.Choice(["fp32", "bf16", "fp64"]), help="of matrix products"),
        click.option("--threads", type=int, help="CPU threads; all by default"),
        click.option("--name", help="name of the run; by default the hash of its settings", shell_complete=tags),
        click.option(
            "--from",
            "--warm-start",
            "warm_start",
            metavar="RUN",
            help="start each seed from its weights there",
            shell_complete=runs,
        ),
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

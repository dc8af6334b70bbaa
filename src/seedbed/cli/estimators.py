"""The flags of `evaluate` that estimators bring, and their help, from the one list of estimators."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from seedbed.evaluate.estimator import Option
from seedbed.evaluate.estimators import ESTIMATORS, WAY


def _by_name() -> dict[str, dict[str, Option]]:
    """By option: the estimators that have it, each with its own."""
    found: dict[str, dict[str, Option]] = {}
    for estimator in ESTIMATORS:
        for option in estimator.options:
            found.setdefault(option.name, {})[estimator.name] = option
    return found


def estimator_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flag that names an estimator, and one for every option that an estimator has; unset ones keep its default."""
    names = list(dict.fromkeys(one.name for one in ESTIMATORS))
    flags = [
        click.option("--metric", default=names[0], show_default=True, help=f"the estimator, or several: {', '.join(names)}")
    ]
    for name, owners in _by_name().items():
        first = next(iter(owners.values()))
        words = [f"--{name.replace('_', '-')}", *([f"-{first.short}"] if first.short else [])]
        choices = [choice for option in owners.values() for choice in option.choices]
        kind = click.Choice(list(dict.fromkeys(choices))) if choices else type(first.default)
        flags.append(click.option(*words, name, type=kind, help=_help(owners)))
    for flag in reversed(flags):
        function = flag(function)
    return function


def way_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of `sample` that say how draws are made, those of the estimators that look at draws."""
    for option in reversed(WAY):
        kind: Any = click.Choice(list(option.choices)) if option.choices else type(option.default)
        text = f"{option.help} [{option.default}]"
        if option.name == "chain_from":  # of chains that are kept a file tells as well where they begin
            kind, text = str, f"coins: noise; draws: of random codes; FILE.npz: its chains, to go on [{option.default}]"
        function = click.option(f"--{option.name.replace('_', '-')}", option.name, type=kind, help=text)(function)
    return function


def _help(owners: Mapping[str, Option]) -> str:
    """What the option means to each, e.g. ``of nll, ais: draws of z per example [5000]``."""
    said: dict[str, list[str]] = {}
    for owner, option in owners.items():
        said.setdefault(f"{option.help} [{option.default}]", []).append(owner)
    return "; ".join(f"of {', '.join(names)}: {text}" for text, names in said.items())


def given(options: Mapping[str, Any], of: str = "") -> dict[str, Any]:
    """The estimators' options among all flags, those that were given.

    Args:
        options: every flag.
        of: an estimator, of several that were asked for at once: those of its own alone.
    """
    owners = _by_name()
    return {name: options[name] for name in owners if options[name] is not None and (not of or of in owners[name])}


def estimator_help() -> str:
    """Every estimator: its name, what it measures, of which models, with which flags."""
    lines = []
    for one in ESTIMATORS:
        flags = ", ".join(f"--{option.name.replace('_', '-')}" for option in one.options)
        long = "; takes long, say --examples 100" if one.partly else ""
        lines += [f"  {one.name:8} {one.meaning}{long}", f"           needs {one.needs}"]
        lines += [f"           {flags}"] if flags else []
    return "\b\nEstimators; of several of one name the first that a model offers counts:\n" + "\n".join(lines)

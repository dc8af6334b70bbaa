"""What `certify` does, apart from its flags."""

import sys
from typing import Any

import click

from seedbed.core.errors import SeedbedError
from seedbed.experiments import EXPERIMENTS, MODELS, STUDIES


def certify_model(target: str, options: dict[str, Any]) -> int:
    """Print the certificate of a model; 1 if a check failed.

    Raises:
        SeedbedError: for bad input.
    """
    if target in STUDIES:
        raise SeedbedError(f"{target} is a study; name one of its experiments, e.g. {STUDIES[target].grid[0]}")
    given = [options["data"], options["domain"] or options["shape"]]
    if all(given):
        raise SeedbedError("data have a domain and a shape; give -d, or --domain and --shape, not both")
    if not any(given) and target not in EXPERIMENTS and target in MODELS:
        raise SeedbedError(f"say what {target} is a model of: -d DATA, e.g. -d digits-binary, or --domain real --shape 2")
    from seedbed.certificate.certify import certify

    shown = not options["quiet"] and sys.stderr.isatty()

    def progress(name: str, number: int, count: int) -> None:
        click.echo(f"\r{number + 1:3} of {count}  {name:12}", nl=False, err=True)

    found = certify(
        target,
        options["data"],
        domain=options["domain"],
        shape=shape_of(options["shape"]),
        only=options["only"],
        progress=progress if shown else None,
    )
    if shown:
        click.echo("\r" + " " * 30 + "\r", nl=False, err=True)
    click.echo(str(found))
    return int(not found.passed)


def shape_of(text: str | None) -> tuple[int, ...] | None:
    """The shape of an example from ``2`` or ``1,28,28``.

    Raises:
        SeedbedError: for anything else.
    """
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise SeedbedError(f"a shape is numbers of at least 1 with commas between, e.g. 2 or 1,28,28, got {text!r}")
    return tuple(map(int, parts))

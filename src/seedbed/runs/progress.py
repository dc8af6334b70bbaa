"""How far a run is: a bar where somebody watches, a line now and then where the output is kept."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LINE_SECONDS = 30.0  # between two lines


@contextmanager
def bar(name: str, steps: int, groups: int, quiet: bool) -> Iterator[Callable[..., None]]:
    """A bar over all steps of all groups with the seeds' mean and spread; tqdm adds the time left.

    Where the error stream is no terminal, a line at the start and every ``LINE_SECONDS``.

    Yields:
        ``update(group, step, steps, values)``.
    """
    if quiet:
        yield lambda *args: None
        return
    from tqdm import tqdm

    done, said = [0] * groups, time.perf_counter()
    # disable=None: silent unless the error stream is a terminal
    with tqdm(total=steps * groups, desc=name, unit="step", disable=None, dynamic_ncols=True) as shown:
        if shown.disable:
            print(f"{name}: {steps} steps{f' of {groups} groups of seeds' if groups > 1 else ''} begin", file=sys.stderr)

        def update(group: int, step: int, _: int, values: Any = None) -> None:
            nonlocal said
            shown.update(max(0, step - done[group]))
            done[group] = max(step, done[group])
            if values is None:
                return
            shown.set_postfix_str(_spread(values))
            if shown.disable and time.perf_counter() - said >= LINE_SECONDS:
                said = time.perf_counter()
                print(f"{name}: step {sum(done)} of {steps * groups}, {_spread(values)}", file=sys.stderr)

        yield update


def _spread(values: Any) -> str:
    """Mean and spread of the seeds that still run."""
    finite = values[values.isfinite()]
    lost = len(values) - len(finite)
    if not len(finite):
        return f"{lost} ended"
    spread = f" ± {float(finite.std()):.3f}" if len(finite) > 1 else ""
    return f"{float(finite.mean()):.3f}{spread}" + (f", {lost} ended" if lost else "")


@contextmanager
def examples_bar(name: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar over the examples of one group of seeds after the other.

    Yields:
        ``update(done, total)``.
    """
    from tqdm import tqdm

    with tqdm(desc=name, unit="example", disable=quiet or None, dynamic_ncols=True) as shown:

        def update(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield update

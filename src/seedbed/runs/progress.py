"""The progress bar: silent where nobody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def bar(name: str, steps: int, groups: int, quiet: bool) -> Iterator[Callable[..., None]]:
    """A bar over all steps of all groups with the seeds' mean and spread; tqdm adds the time left.

    Yields:
        ``update(group, step, steps, values)``.
    """
    if quiet:
        yield lambda *args: None
        return
    from tqdm import tqdm

    done = [0] * groups
    # disable=None: silent unless the error stream is a terminal
    with tqdm(total=steps * groups, desc=name, unit="step", disable=None, dynamic_ncols=True) as shown:

        def update(group: int, step: int, _: int, values: Any = None) -> None:
            shown.update(max(0, step - done[group]))
            done[group] = max(step, done[group])
            if values is not None:
                finite = values[values.isfinite()]
                lost = len(values) - len(finite)
                if len(finite):
                    spread = f" ± {float(finite.std()):.3f}" if len(finite) > 1 else ""
                    shown.set_postfix_str(f"{float(finite.mean()):.3f}{spread}" + (f", {lost} ended" if lost else ""))

        yield update


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

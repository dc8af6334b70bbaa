"""Which seeds a run trains: a count, or whole numbers of any kind, made plain and refused before a list of them is."""

from collections.abc import Iterable, Mapping, Set
from itertools import islice

from seedbed.core.errors import SeedbedError
from seedbed.core.numbers import SEED_MOST, is_number, shown, whole

SEEDS_MOST = 100_000  # of one run


def check_seeds(seeds: object) -> list[int]:
    """Distinct seeds from 0 to ``SEED_MOST``, at least one: so many, or these, in their order.

    Args:
        seeds: how many, or which: whole numbers of Python, NumPy or torch, ``2.0`` too.

    Raises:
        SeedbedError: for anything else, and for more than ``SEEDS_MOST``.
    """
    if is_number(seeds):
        return list(range(whole("seeds", seeds, 1, SEEDS_MOST)))
    if isinstance(seeds, str | bytes | bytearray | Set | Mapping) or not isinstance(seeds, Iterable):
        raise SeedbedError(
            f"seeds must be how many, or whole numbers in an order, got {shown(seeds)}; e.g. seeds=10 or seeds=[0, 1]"
        )
    try:
        given = list(islice(seeds, SEEDS_MOST + 1))
    except TypeError:  # of an array without axes
        raise SeedbedError(f"seeds must be whole numbers, got {shown(seeds)}; e.g. seeds=[0, 1]") from None
    if len(given) > SEEDS_MOST:
        raise SeedbedError(f"seeds must be at most {SEEDS_MOST}, got more; train fewer in one run")
    if not given:
        raise SeedbedError("seeds must be at least 1, got none; say --seeds 10 or --seeds 0:10")
    found = [whole("seeds", seed, 0, SEED_MOST) for seed in given]
    if len(set(found)) < len(found):
        twice = next(seed for seed in found if found.count(seed) > 1)
        raise SeedbedError(f"seeds must be distinct, got {twice} more than once; leave out what is repeated")
    return found

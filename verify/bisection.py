"""The least whole number that reaches something."""

from __future__ import annotations

from collections.abc import Callable


def least(reaches: Callable[[int], bool], most: int) -> int | None:
    """The least number from 1 on that reaches, by doubling and bisection; None if no power of two up to `most` does.

    Args:
        reaches: false below some number and true from there on; on a lattice it may waver by a few.
        most: where to give up.
    """
    high = 1
    while not reaches(high):
        high *= 2
        if high > most:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high

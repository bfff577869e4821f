"""What the serving benchmarks share: turns taken in one run, ratios turn by turn, results written whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def turns(contestants: dict[str, Callable[[int], float]], repeats: int) -> dict[str, list[float]]:
    """What each contestant measures in each turn; who begins changes, and one round first is not counted.

    Args:
        contestants: name -> a function of the turn's number.
        repeats: turns.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        names = list(contestants) if turn % 2 else list(contestants)[::-1]
        for name in names:
            value = contestants[name](turn)
            if turn:
                found[name].append(value)
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, and a 95 % interval for it from order statistics where there are six values or more, else the range."""
    ordered = np.sort(values)
    n = len(ordered)
    outside = 0
    while n >= 6 and _below(n, outside) <= 0.025:
        outside += 1
    low = max(outside - 1, 0)
    return {
        "median": float(np.median(ordered)),
        "low": float(ordered[low]),
        "high": float(ordered[n - 1 - low]),
        "min": float(ordered[0]),
        "max": float(ordered[-1]),
    }


def _below(n: int, k: int) -> float:
    """P(Binomial(n, 1/2) <= k)."""
    from math import comb

    return sum(comb(n, i) for i in range(k + 1)) / 2.0**n


def write_json(path: Path, record: Any) -> None:
    """To a temporary file, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps(record, indent=1) + "\n")
    part.replace(path)

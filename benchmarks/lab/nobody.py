"""Campaigns of `crowd` without a ring: in how many was anybody named, and in how many may somebody be?

H0 of every account holds: the sign of each of its n untied pairs is a fair coin, and accounts are independent. Somebody
is named by Holm if and only if the smallest p is at most level / m: probability 1 - (1 - P(W >= w))^m, W of
Binomial(n, 1/2) and w the fewest wins that reach it. It is below the level, since wins are whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import expm1, log1p
from typing import Final

from scipy.special import betaincinv

from benchmarks.lab.naming import FWER
from benchmarks.lab.runs import Result
from verify.power import least_wins
from verify.tails import binomial_log10_sf

SCORES: Final = ("ratio", "plain")
KINDS: Final = ("fwer", "fdr")


def chance(pairs: int, accounts: int) -> float:
    """Probability that Holm names anybody: exact, for accounts of so many untied pairs."""
    wins = least_wins(pairs, FWER / accounts)
    if wins is None:
        return 0.0
    one = float(10.0 ** float(binomial_log10_sf(pairs, 0.5, wins)))
    return -expm1(accounts * log1p(-one))


def exact(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Clopper and Pearson 1934, Biometrika 26, 404)."""
    low = float(betaincinv(hits, n - hits + 1, 0.025)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 0.975)) if hits < n else 1.0
    return low, high


def nobody(campaigns: Sequence[Result], accounts: int) -> Result:
    """Count campaigns with a name, by row and in any row.

    Args:
        campaigns: as `crowd.campaign` gives them.
        accounts: of each.

    Returns:
        `rows`: by score and pairs the chance (`chance`), and for `fwer` and `fdr` the campaigns with a name and the
        exact interval of their rate; `any`: campaigns with a name in one row or more; `expected`: the chances added
        up over rows and campaigns; `hits`: campaigns with a name by Holm, added up over rows.
    """
    n, rows, touched = len(campaigns), [], {kind: [False] * len(campaigns) for kind in KINDS}
    for score in SCORES:
        for place, first in enumerate(campaigns[0][score]):
            row: Result = {"score": score, "pairs": first["pairs"], "chance": chance(first["pairs"], accounts)}
            for kind in KINDS:
                named = [c[score][place]["roles"]["ordinary"][kind] > 0 for c in campaigns]
                touched[kind] = [a or b for a, b in zip(touched[kind], named, strict=True)]
                row[kind] = {"campaigns": sum(named), "interval": list(exact(sum(named), n))}
            rows.append(row)
    found = {kind: {"campaigns": sum(x), "interval": list(exact(sum(x), n))} for kind, x in touched.items()}
    expected, hits = n * sum(row["chance"] for row in rows), sum(row["fwer"]["campaigns"] for row in rows)
    return {"campaigns": n, "rows": rows, "any": found, "expected": round(expected, 3), "hits": hits}

"""What `verify.accounts` says of a campaign, by the roles that the lab gave its accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from benchmarks.lab.measures import Floats
from benchmarks.lab.rates import rates
from benchmarks.lab.runs import Result
from verify.accounts.groups import group_results
from verify.accounts.scores import Scores
from verify.accounts.table import account_table
from verify.hypotheses.twin import Signs
from verify.twin_finding import wilson

FWER: Final = 1e-3
FDR: Final = 0.01
RING: Final = "ring"  # roles of accounts whose answers were taken begin with it


def named(differences: Floats, roles: Sequence[str]) -> Result:
    """Name accounts at both levels, and count by role.

    Args:
        differences: (m, n) score of each served answer less that of its twin, a row an account.
        roles: m of them.

    Returns:
        By role the accounts, those named by Holm and by e-BH, their wins and untied pairs; and how many of the ring
        were used at least.
    """
    m, n = differences.shape
    names = tuple(map(str, range(m)))
    account = np.repeat(np.arange(m, dtype=np.int32), n)
    table = account_table(
        Scores(names=names, account=account, difference=differences.ravel(), alone=True, drawn="serving"),
        missing="loss",
    )
    found = {"fwer": set(table.named(FWER, by="holm").tolist()), "fdr": set(table.named(FDR, by="e-bh").tolist())}
    ring = [name for name, role in zip(names, roles, strict=True) if role.startswith(RING)]
    bound = group_results(table, {RING: ring}, level=FWER, alone=True)[0].at_least if ring else 0
    result: Result = {"pairs": n, "at_least": bound, "roles": {}}
    for role in dict.fromkeys(roles):
        own = [i for i, r in enumerate(roles) if r == role]
        wins, losses, _ = table.signs[own].sum(axis=0).tolist()
        result["roles"][role] = {
            "accounts": len(own),
            **{kind: len(some.intersection(own)) for kind, some in found.items()},
            "wins": wins,
            "untied": wins + losses,
        }
    return result


def summary(tests: Sequence[Result]) -> Result:
    """What `named` gave in campaigns of one kind, with the same pairs each.

    Returns:
        By role the win rate, the share of accounts named (95 % interval clustered by campaign, `rates`) and the fewest
        in a campaign. `false`: campaigns in which an ordinary account was named (95 % Wilson interval), and how many
        such names. `false_share`: the ordinary ones among all that e-BH named, mean over campaigns with a
        95 % normal interval, and largest.
        `group_log10_p`: of the ring tested as a whole, in the campaign where it is weakest.
    """
    first = tests[0]["roles"]
    found: Result = {"pairs": tests[0]["pairs"], "campaigns": len(tests), "roles": {}}
    for role, one in first.items():
        own = [test["roles"][role] for test in tests]
        wins, untied = sum(x["wins"] for x in own), sum(x["untied"] for x in own)
        found["roles"][role] = {"accounts": one["accounts"], "win_rate": round(wins / untied, 4)} | {
            kind: _share([x[kind] for x in own], one["accounts"]) for kind in ("fwer", "fdr")
        }
    for kind in ("fwer", "fdr"):
        wrong = [test["roles"]["ordinary"][kind] for test in tests]
        hit = sum(x > 0 for x in wrong)
        interval = [round(x, 5) for x in wilson(hit, len(wrong))]
        found[f"false_{kind}"] = {"campaigns": hit, "interval": interval, "names": sum(wrong)}
    named_at_fdr = [sum(x["fdr"] for x in test["roles"].values()) for test in tests]
    shares = [test["roles"]["ordinary"]["fdr"] / max(n, 1) for test, n in zip(tests, named_at_fdr, strict=True)]
    mean = float(np.mean(shares))
    half = 1.96 * float(np.std(shares, ddof=1)) / len(shares) ** 0.5 if len(shares) > 1 else 1.0
    found["false_share"] = {
        "mean": round(mean, 6),
        "interval": [round(max(0.0, mean - half), 6), round(min(1.0, mean + half), 6)],
        "largest": round(max(shares), 6),
    }
    ring = [[x for role, x in test["roles"].items() if role.startswith(RING)] for test in tests]
    whole = [Signs(w := sum(x["wins"] for x in r), sum(x["untied"] for x in r) - w, 0) for r in ring if r]
    if whole:
        found["group_log10_p"] = round(max(signs.log10_p for signs in whole), 2)
    bounds = [test["at_least"] for test in tests]
    found["at_least"] = {"mean": round(float(np.mean(bounds)), 2), "least": min(bounds), "most": max(bounds)}
    return found


def _share(counts: Sequence[int], size: int) -> Result:
    named_ones = np.arange(size) < np.array(counts)[:, None]
    rate = rates(np.where(named_ones, -np.inf, 0.0), levels=(0.05,))[0]
    interval = [round(rate.low, 4), round(rate.high, 4)]
    return {"rate": round(rate.rejected / rate.n, 5), "interval": interval, "least": min(counts)}

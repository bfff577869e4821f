"""Accounts tested by their signs, and adjusted for all that were tested.

H0 of an account: the suspect does not depend on the coins of its pairs (`verify.hypotheses.twin`). Coins of different
accounts are independent, so p-values are too.
Family-wise: Holm on the exact sign test. False discoveries: e-BH on the sign test's e-value, which is valid whenever
an account's pairs stopped coming. With two pairs in one conversation p is 1 / e.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.accounts.marks import Mark
from verify.accounts.scores import Scores
from verify.hypotheses.multiplicity import e_bh, holm
from verify.hypotheses.sequential import log10_e_signs
from verify.hypotheses.twin import Signs
from verify.twin_finding import wilson

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """All accounts that were tested, whatever came of them.

    Attributes:
        names: (m,) of the accounts.
        signs: (m, 3) wins, losses, ties.
        log10_p: (m,) of the sign test.
        log10_p_holm: (m,) adjusted: compare it with a family-wise level.
        log10_e: (m,) of the sign test's e-value, joined with that of the mark if one was given.
        log10_e_bh: (m,) the smallest false discovery rate at which e-BH names the account.
        log10_e_twin: (m,) of the sign test's alone.
    """

    names: tuple[str, ...]
    signs: NDArray[np.int64]
    log10_p: Floats
    log10_p_holm: Floats
    log10_e: Floats
    log10_e_bh: Floats
    log10_e_twin: Floats

    def named(self, level: float, *, by: str) -> NDArray[np.intp]:
        """Accounts named at a level, the strongest first.

        Args:
            level: family-wise for `holm`, false discovery rate for `e-bh`.
            by: `holm` or `e-bh`.
        """
        adjusted = self.log10_p_holm if by == "holm" else self.log10_e_bh
        found = np.flatnonzero(adjusted <= log10(level)).tolist()
        # Not by numpy: its texts are all as long as the longest.
        return np.array(sorted(found, key=lambda i: (adjusted[i], -self.log10_e[i], self.names[i])), dtype=np.intp)

    def row(self, index: int) -> dict[str, Any]:
        """One account as JSON fields."""
        wins, losses, ties = self.signs[index].tolist()
        low, high = wilson(wins, wins + losses)
        columns = ("log10_p", "log10_p_holm", "log10_e", "log10_e_bh", "log10_e_twin")
        return {
            "account": self.names[index],
            "pairs": wins + losses + ties,
            "wins": wins,
            "losses": losses,
            "ties": ties,
            "win_rate": wins / (wins + losses) if wins + losses else 0.5,
            "win_interval": [low, high],
        } | {name: float(getattr(self, name)[index]) for name in columns}


def account_table(scores: Scores, *, missing: str, marks: Mapping[str, Mark] | None = None) -> Table:
    """Test every account that has a pair.

    Args:
        scores: of the pairs.
        missing: see `Scores.signs`.
        marks: of the accounts' own channels, by account.
    """
    return table_of(scores.names, scores.signs(missing), alone=scores.alone, marks=marks)


def table_of(
    names: tuple[str, ...], signs: NDArray[np.int64], *, alone: bool, marks: Mapping[str, Mark] | None = None
) -> Table:
    """Test accounts by their signs.

    Args:
        names: m of them.
        signs: (m, 3) wins, losses, ties.
        alone: whether no conversation has two pairs.
        marks: see `account_table`.
    """
    log10_p, twin = sign_tests(signs, alone=alone)
    joined = twin.copy()
    for index, name in enumerate(names):
        if marks and name in marks:
            joined[index] = marks[name].joined(float(twin[index]))
    return Table(
        names=names,
        signs=signs,
        log10_p=log10_p,
        log10_p_holm=holm(log10_p),
        log10_e=joined,
        log10_e_bh=e_bh(joined),
        log10_e_twin=twin,
    )


def sign_tests(signs: NDArray[np.int64], *, alone: bool) -> tuple[Floats, Floats]:
    """(log10 p, log10 e) of (m, 3) wins, losses and ties; equal counts are tested once."""
    counts, inverse = np.unique(signs[:, :2], axis=0, return_inverse=True)
    log10_e = log10_e_signs(counts[:, 0], counts[:, 1]) if len(counts) else np.empty(0)
    tested: Sequence[Signs] = [Signs(int(w), int(l), 0) for w, l in counts]  # noqa: E741
    log10_p = np.array([s.log10_p if alone else s.log10_p_stopped for s in tested], dtype=np.float64)
    where = inverse.reshape(-1)
    return log10_p[where], log10_e[where]

"""The result of the test of accounts: who is named, at a level that was fixed before, out of all that were tested.

H0 of an account, its tests and corrections are those of `verify.accounts.table`. That no account's answers reached the
suspect is rejected by the smallest p after Holm, which is Bonferroni's bound; the mean of the e-values is an e-value of
it, whatever their dependence (Vovk & Wang 2021, Ann. Statist. 49).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log10
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from verify.accounts.groups import Group, group_results
from verify.accounts.sealing import alias
from verify.accounts.table import Table, table_of
from verify.errors import Refused
from verify.finding import POWER, log10_sum
from verify.measured import MeasuredAccounts, rounded
from verify.planned import plan_sentence
from verify.power import smallest_rate
from verify.twin_finding import ASSUMPTIONS as TWIN
from verify.twin_finding import FIXED, REPLAY, STATED

SHOWN: Final = 12  # names in a sentence
ASSUMPTIONS: Final = (
    "all accounts that were looked at are here: the correction is for them and no others",
    "the coins are fair, and the suspect's maker saw neither coins nor twins",
    "how many pairs an account has does not depend on which of its answers were served (who comes back for good ones "
    "makes it depend); the e-values and e-BH hold without this",
    "a named account is one whose answers reached the suspect, by whatever way: one that published what it was served "
    "is named too",
)
ALIASES: Final = (
    "the pairs under an alias are those of one account, and of the account that the sealed file says; whoever opens an "
    "alias sees which"
)
Numbers = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class AccountsFinding:
    """One suspect tested on the pairs of all accounts.

    Attributes:
        measured: the counts.
        table: of the accounts, in the order of their numbers; its logarithms are as evidence writes them.
        groups: tested whole.
        alpha: threshold of `found`.
        level: family-wise, at which accounts are named; alpha over the tests of the plan's family.
        fdr: rate at which e-BH names, or None.
        smallest_rate: win rate at which an account with the median number of untied pairs would have been named with
            probability 0.95; None if none.
        options: every choice that can move the number.
    """

    measured: MeasuredAccounts
    table: Table
    groups: tuple[Group, ...]
    alpha: float
    level: float
    fdr: float | None
    smallest_rate: float | None
    options: dict[str, Any]

    @property
    def log10_p(self) -> float:
        """Of H0 of all accounts at once."""
        return float(self.table.log10_p_holm.min())

    @property
    def log10_p_stated(self) -> float:
        """log10 p plus 2^-128 for the key that the coins come from."""
        return log10_sum(self.log10_p, -128 * log10(2))

    @property
    def log10_e(self) -> float:
        """Of the mean of all e-values."""
        e = self.table.log10_e * np.log(10)
        return float((np.logaddexp.reduce(e) - np.log(len(e))) / np.log(10))

    @property
    def found(self) -> bool:
        """Whether p is at most alpha: an account is named, if this is the family's one test."""
        return self.log10_p <= log10(self.alpha)

    @property
    def named(self) -> list[int]:
        """Numbers of the accounts named at the family-wise level."""
        return (1 + np.flatnonzero(self.table.log10_p_holm <= log10(self.level))).tolist()

    @property
    def named_fdr(self) -> list[int]:
        """Numbers of those named by e-BH."""
        if self.fdr is None:
            return []
        return (1 + np.flatnonzero(self.table.log10_e_bh <= log10(self.fdr))).tolist()

    @property
    def assumptions(self) -> list[str]:
        """What must hold."""
        m = self.measured
        drawn = ("serving", "later") if m.drawn == "both" else (m.drawn,)
        found = [TWIN[name] for name in (*drawn, "both", "conversation")]
        if m.n_drawn_again:
            found.append(f"{REPLAY}: {m.n_replayed:,} of {m.n_drawn_again:,} token for token")
        if m.coin_key is not None:
            found.insert(0, f"coins recomputed from node {m.coin_key} are as the pairs state them; {FIXED}")
        elif "serving" in drawn:
            found.insert(0, STATED)
        return [*found, *ASSUMPTIONS, ALIASES]

    @property
    def sentence(self) -> str:
        """What this means, in words."""
        m, named, more = len(self.table.names), self.named, self.named_fdr
        names = ", ".join(map(alias, named[:SHOWN])) + (f" and {len(named) - SHOWN:,} more" if named[SHOWN:] else "")
        count = f"{len(named):,} {'is' if len(named) == 1 else 'are'} named" if named else "none is named"
        rate = "" if self.fdr is None else f" At a false discovery rate of {self.fdr:g}, {len(more):,}."
        return (
            f"Of {m:,} account{'' if m == 1 else 's'}, {count}{f': {names}' if names else ''}. The chance of naming "
            f"any account whose answers did not reach the suspect is at most {self.level:g}.{rate} Not named does not "
            f"mean not used.{plan_sentence(self.options)}"
        )


def conclude(
    measured: MeasuredAccounts, *, alpha: float, level: float, fdr: float | None, options: dict[str, Any]
) -> AccountsFinding:
    """What follows from a measurement, by arithmetic alone.

    Args:
        measured: the counts.
        alpha: threshold of the test of all accounts at once.
        level: see `AccountsFinding`.
        fdr: likewise.
        options: likewise.

    Raises:
        Refused: so few untied pairs that even wins alone could not reach alpha in all of them together.
    """
    signs = np.array(measured.accounts, dtype=np.int64).reshape(-1, 3)
    untied = signs[:, :2].sum(axis=1)
    if untied.sum() * log10(2) < -log10(alpha):
        raise Refused(
            f"only {int(untied.sum())} of {measured.n_pairs} pairs can be compared, and even wins in all of them could "
            f"not reach alpha = {alpha:g}",
            hint=f"probe at least {ceil(-log10(alpha) / log10(2))} pairs that differ",
        )
    names = tuple(alias(number) for number in range(1, len(signs) + 1))
    groups = {group.group: [alias(number) for number in group.accounts] for group in measured.groups}
    table = table_of(names, signs, alone=measured.alone)
    return AccountsFinding(
        measured=measured,
        table=_written(table),
        groups=group_results(table, groups, level=level, alone=measured.alone),
        alpha=alpha,
        level=level,
        fdr=fdr,
        smallest_rate=_smallest(untied, level / len(signs), alone=measured.alone),
        options=options,
    )


def _written(table: Table) -> Table:
    """The table with its logarithms rounded to the weaker side: who is named follows from what is written."""
    columns = ("log10_p", "log10_p_holm", "log10_e", "log10_e_bh", "log10_e_twin")
    logs = {name: np.array(rounded(getattr(table, name).tolist(), name)) for name in columns}
    return Table(names=table.names, signs=table.signs, **logs)


def _smallest(untied: NDArray[np.int64], alpha: float, *, alone: bool) -> float | None:
    """Of an account with the median of pairs, at the first bound of Holm."""
    middle = int(np.sort(untied)[len(untied) // 2])
    return smallest_rate(middle, alpha=alpha, power=POWER) if alone and middle else None

"""Pairs by account, in memory for a dozen bytes a pair."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import nan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from verify.accounts.sealing import number_of
from verify.twin_finding import Pairwise

NO_ACCOUNT: Final = -1
STEP: Final = 1 << 14  # pairs between two reports of progress


@dataclass(frozen=True, eq=False)
class Scores:
    """What the twin test needs of many accounts.

    Attributes:
        names: of the accounts, in the order in which they first came.
        account: (n,) int32, which of them; `NO_ACCOUNT` where a pair names none.
        difference: (n,) score of the served member less that of its twin; 0 is a tie, NaN if nobody scored the pair.
        alone: whether no conversation has two pairs.
        drawn: when twins were drawn: `serving`, `later` or `both`.
        n_drawn_again: pairs whose served answer was drawn again.
        n_replayed: those of them in which it came out token for token.
    """

    names: tuple[str, ...]
    account: NDArray[np.int32]
    difference: NDArray[np.float64]
    alone: bool
    drawn: str
    n_drawn_again: int = 0
    n_replayed: int = 0

    @classmethod
    def of(cls, pairs: Iterable[Pairwise], *, progress: Callable[[int], object] = lambda n: None) -> Scores:
        """Take pairs one by one.

        Args:
            pairs: in any order.
            progress: called with the pairs taken since the last call.
        """
        names, account, difference = dict[str, int](), array("i"), array("d")
        conversations, alone, drawn, again, replayed = set[str](), True, set[str](), 0, 0
        for pair in pairs:
            account.append(NO_ACCOUNT if pair.account is None else names.setdefault(pair.account, len(names)))
            difference.append(nan if pair.difference is None else pair.difference)
            drawn.add(pair.drawn)
            again, replayed = again + (pair.replayed is not None), replayed + (pair.replayed is True)
            if pair.conversation is not None:
                alone = alone and pair.conversation not in conversations
                conversations.add(pair.conversation)
            if len(account) % STEP == 0:
                progress(STEP)
        progress(len(account) % STEP)
        return cls(
            names=tuple(names),
            account=np.array(account, dtype=np.int32),
            difference=np.array(difference, dtype=np.float64),
            alone=alone,
            drawn=drawn.pop() if len(drawn) == 1 else "both",
            n_drawn_again=again,
            n_replayed=replayed,
        )

    def signs(self, missing: str) -> NDArray[np.int64]:
        """(m, 3) wins, losses and ties of each account.

        Args:
            missing: `loss` counts pairs without a score as losses, `drop` leaves them out.
        """
        sign = np.sign(self.difference)
        sign[np.isnan(sign)] = -1 if missing == "loss" else 9
        own = self.account != NO_ACCOUNT
        columns = [np.bincount(self.account[own & (sign == s)], minlength=len(self.names)) for s in (1, -1, 0)]
        return np.stack(columns, axis=1)

    def by_number(self, accounts: int, missing: str) -> NDArray[np.int64]:
        """(accounts, 3) of alias-1, alias-2 and so on: one without a pair has none, and is a test like the others.

        Args:
            accounts: how many aliases there are.
            missing: see `signs`.

        Raises:
            Refused: a name that is no alias.
        """
        found = np.zeros((accounts, 3), dtype=np.int64)
        found[[number_of(name, accounts) - 1 for name in self.names]] = self.signs(missing)
        return found

"""Pairs that were to be drawn while serving and are not in the log. Normative text: docs/spec/pair.md, section 4."""

from __future__ import annotations

from watermark.errors import LedgerError
from watermark.keys import CoinKey
from watermark.ledger.records import TWIN_SUFFIX, Served


class LostPairs:
    """Counts them from the records of an epoch, as they come.

    Args:
        coins: the node that chose the requests.
    """

    def __init__(self, coins: CoinKey) -> None:
        self._coins, self._epoch = coins, coins.path.split("/")[1]
        self._shares: set[int] = set()
        self._alone: list[str] = []

    def add(self, record: Served) -> None:
        """Take in one more record; those of other epochs are passed over."""
        if record.epoch != self._epoch:
            return
        if record.twin is None:
            self._alone.append(record.request.removesuffix(TWIN_SUFFIX))
        elif record.twin.share is not None:
            self._shares.add(record.twin.share)

    def count(self) -> int:
        """Requests without a twin that were chosen to have one.

        Raises:
            LedgerError: no pair states the share of the requests that get one, or pairs state several.
        """
        if len(self._shares) != 1:
            stated = "none" if not self._shares else ", ".join(map(str, sorted(self._shares)[:5]))
            raise LedgerError(
                f"lost pairs of epoch {self._epoch} cannot be counted: the shares that its pairs state are {stated}",
                hint="a gateway keeps one twin_share through an epoch",
            )
        (share,) = self._shares
        return sum(self._coins.is_twinned(request, share) for request in self._alone)

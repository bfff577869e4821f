"""Which share of the served tokens carries a mark, and why the rest does not.

Symbols: T tokens served, M of them drawn under a value key, F of those with one candidate; covered (M - F) / T.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from watermark.ledger.folds import Fold
from watermark.ledger.records import Record, Served

FORCED = "forced"


@dataclass(frozen=True)
class Cell:
    """What was served to one account in one epoch, or altogether.

    Attributes:
        epoch: its name, or None if no key could draw.
        account: the slot, or None.
        answers: how many.
        tokens: T.
        marked: tokens that carry a mark, by channel, those with one candidate among them.
        forced: F, marked in name only.
        unmarked: the others, by reason.
        twins: how many answers have a withheld twin.
    """

    epoch: str | None
    account: str | None
    answers: int
    tokens: int
    marked: Mapping[str, int]
    forced: int
    unmarked: Mapping[str, int]
    twins: int

    @property
    def n_marked(self) -> int:
        """M - F."""
        return sum(self.marked.values()) - self.forced

    @property
    def covered(self) -> float | None:
        """(M - F) / T, or None of no tokens."""
        return self.n_marked / self.tokens if self.tokens else None

    def reasons(self) -> dict[str, int]:
        """Why tokens carry no mark, the most frequent first."""
        found = Counter(self.unmarked)
        found[FORCED] += self.forced
        return {reason: count for reason, count in found.most_common() if count}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "epoch": self.epoch,
            "account": self.account,
            "answers": self.answers,
            "tokens": self.tokens,
            "marked": self.n_marked,
            "covered": None if self.covered is None else round(self.covered, 6),
            "channels": dict(self.marked),
            "reasons": self.reasons(),
            "twins": self.twins,
        }


@dataclass
class _Sum:
    answers: int = 0
    tokens: int = 0
    forced: int = 0
    twins: int = 0
    marked: dict[str, int] = field(default_factory=dict)
    unmarked: dict[str, int] = field(default_factory=dict)

    def cell(self, epoch: str | None, account: str | None) -> Cell:
        return Cell(
            epoch, account, answers=self.answers, tokens=self.tokens, marked=self.marked, forced=self.forced,
            unmarked=self.unmarked, twins=self.twins,
        )  # fmt: skip


@dataclass(frozen=True)
class Coverage:
    """The audit.

    Attributes:
        total: of all answers.
        epochs: one cell an epoch, by name.
        cells: one cell for each account and epoch, by epoch and account.
    """

    total: Cell
    epochs: tuple[Cell, ...]
    cells: tuple[Cell, ...]


class Sums(Fold):
    """What was served, added up by epoch and account; memory goes with these alone."""

    def __init__(self) -> None:
        self._by_account: dict[tuple[str | None, str | None], _Sum] = {}

    def add(self, record: Record) -> None:
        """See `Fold`."""
        if isinstance(record, Served):
            _add(self._by_account.setdefault((record.epoch, record.account), _Sum()), record)

    def merge(self, part: Self) -> None:
        """See `Fold`."""
        for key, more in part._by_account.items():
            _merge(self._by_account.setdefault(key, _Sum()), more)

    def empty(self) -> Self:
        """See `Fold`."""
        return type(self)()

    def coverage(self) -> Coverage:
        """The audit of all that was taken in."""
        by_epoch: dict[str | None, _Sum] = {}
        total = _Sum()
        for (epoch, _), part in self._by_account.items():
            _merge(by_epoch.setdefault(epoch, _Sum()), part)
            _merge(total, part)
        in_order = sorted(self._by_account, key=lambda k: (_order(k[0]), _order(k[1])))
        return Coverage(
            total=total.cell(None, None),
            epochs=tuple(by_epoch[epoch].cell(epoch, None) for epoch in sorted(by_epoch, key=_order)),
            cells=tuple(self._by_account[key].cell(*key) for key in in_order),
        )


def coverage(records: Iterable[Record]) -> Coverage:
    """Add up the answers of a ledger in one pass.

    Args:
        records: of a ledger that was checked.
    """
    sums = Sums()
    for record in records:
        sums.add(record)
    return sums.coverage()


def _order(name: str | None) -> tuple[bool, str]:
    return name is not None, name or ""


def _add(to: _Sum, record: Served) -> None:
    to.answers += 1
    to.tokens += record.tokens
    to.forced += record.forced
    to.twins += record.twin is not None
    for counts, more in ((to.marked, record.marked), (to.unmarked, record.unmarked)):
        for name, count in more.items():
            counts[name] = counts.get(name, 0) + count


def _merge(to: _Sum, part: _Sum) -> None:
    to.answers += part.answers
    to.tokens += part.tokens
    to.forced += part.forced
    to.twins += part.twins
    for counts, more in ((to.marked, part.marked), (to.unmarked, part.unmarked)):
        for name, count in more.items():
            counts[name] = counts.get(name, 0) + count

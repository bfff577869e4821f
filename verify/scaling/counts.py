"""Sums that add up: what was read, and what a bucket scores."""

from __future__ import annotations

from typing import Self

import msgspec

from verify.scoring import Score, Summary


class Counts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Summary without its pairs; the attributes are those of `verify.scoring.Summary`."""

    n_documents: int = 0
    n_empty: int = 0
    n_seen: int = 0
    n_first_h: int = 0
    n_repeated_window: int = 0
    n_copied_from_prompt: int = 0

    @classmethod
    def of(cls, summary: Summary) -> Self:
        """The counts of a Summary."""
        return cls(**{name: getattr(summary, name) for name in cls.__struct_fields__})

    def __add__(self, other: Self) -> Self:
        return type(self)(**{n: getattr(self, n) + getattr(other, n) for n in self.__struct_fields__})


class Sums(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What distinct pairs score under one key.

    Attributes:
        n_pairs: distinct pairs, those of other channels included.
        n: pairs scored.
        total: sum of integer scores.
        total_squares: sum of their squares, in decimal: it may pass 64 bits.
    """

    n_pairs: int = 0
    n: int = 0
    total: int = 0
    total_squares: str = "0"

    @classmethod
    def of(cls, score: Score) -> Self:
        """The sums of a score."""
        return cls(
            n_pairs=score.n + score.n_other_channel,
            n=score.n,
            total=score.total,
            total_squares=str(score.total_squares),
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            n_pairs=self.n_pairs + other.n_pairs,
            n=self.n + other.n,
            total=self.total + other.total,
            total_squares=str(int(self.total_squares) + int(other.total_squares)),
        )

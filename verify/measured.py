"""What takes the inputs and the key: counts and integer sums, from which a Finding follows by arithmetic alone.

Normative text: docs/spec/evidence.md, section 4. Every field is an integer, a name, or says why it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

import msgspec

from verify.errors import InputError, quoted
from verify.plan_parts import Count, Hex32, Positive

HISTOGRAM_BINS: Final = 50
FORM_BINS: Final = 1281  # `verify.linear`: coefficients between powers of 2^(1/64), 20 octaves; a test compares
MAX_ROWS: Final = 1 << 10
MAX_ACCOUNTS: Final = 1 << 20
MAX_PAIRS: Final = 1 << 32  # up to here the tails of `verify.tails` and the e-value of signs keep their digits
_LEAST_LOG: Final = -1e12

Sum = Annotated[str, msgspec.Meta(pattern=r"^(0|-?[1-9][0-9]{0,59})\Z")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
Log = Annotated[float, msgspec.Meta(ge=_LEAST_LOG, le=0)]
_Rows = Annotated[tuple[tuple[Count, Count, Count], ...], msgspec.Meta(max_length=MAX_ROWS)]
_SumRows = Annotated[tuple[tuple[Count, Count, Sum], ...], msgspec.Meta(max_length=MAX_ROWS)]
_Bins = Annotated[tuple[tuple[Annotated[int, msgspec.Meta(ge=0, lt=FORM_BINS)], Positive], ...],
                  msgspec.Meta(max_length=FORM_BINS)]  # fmt: skip
Dropped = dict[Annotated[str, msgspec.Meta(max_length=40)], Count]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a measurement."""

    def check(self, where: str) -> None:
        """Refuse what types cannot."""


class Decoys(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the true key stands among decoys; see `verify.hypotheses.decoys.DecoyRank`."""

    n: Positive
    rank: Positive
    seed: Hex32
    histogram: Annotated[tuple[Count, ...], msgspec.Meta(min_length=HISTOGRAM_BINS, max_length=HISTOGRAM_BINS)]

    def check(self, where: str) -> None:
        """Refuse counts that do not add up."""
        if self.rank > self.n + 1 or sum(self.histogram) != self.n:
            raise InputError(f"{where}: decoys, expected a rank among them and a histogram of all of them")


class MeasuredClosed(
    _Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="closed"
):
    """Scores of distinct pairs.

    Attributes:
        n_documents: responses read.
        n_empty: responses without a token, such as failed requests.
        n_seen: tokens read.
        n_dropped: tokens not scored, by reason; with `n_scored` they add up to `n_seen`.
        n_scored: distinct pairs scored.
        total: sum of their integer scores.
        total_squares: sum of the squares.
        decoys: rank among decoys, if any were asked for.
        accumulation: (tokens looked up, distinct pairs scored, total) as the text goes on.
    """

    n_documents: Count
    n_empty: Count
    n_seen: Count
    n_dropped: Dropped
    n_scored: Count
    total: Sum
    total_squares: Sum
    decoys: Decoys | None = None
    accumulation: _SumRows = ()

    def check(self, where: str) -> None:
        """Refuse counts that do not add up."""
        if self.n_scored + sum(self.n_dropped.values()) != self.n_seen:
            raise InputError(f"{where}: n_scored and n_dropped do not add up to n_seen")
        if self.decoys is not None:
            self.decoys.check(where)


class Form(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A linear form in independent scores: see `verify.linear.LinearForm`."""

    n_windows: Count
    n_terms: Count
    total: Sum
    sum_coefficients: Sum
    sum_squares: Sum
    positive: _Bins
    negative: _Bins

    def check(self, where: str) -> None:
        """Refuse a histogram that is not one of the terms."""
        for bins in (self.positive, self.negative):
            if any(later <= earlier for (earlier, _), (later, _) in pairwise(bins)):
                raise InputError(f"{where}: form, expected bins in growing order")
        if sum(n for _, n in self.positive + self.negative) != self.n_terms:
            raise InputError(f"{where}: form, expected as many coefficients as terms")


class MeasuredForm(
    _Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="linear"
):
    """A linear form, and what was read for it: see `verify.hypotheses.open.Scored`."""

    rule: Text
    suspect: Text
    tokenizer: Text
    reference_model: Text | None = None
    served: bool
    n_texts: Count
    n_positions: Count
    n_ends: Count
    n_cut: Count
    n_dropped: Dropped
    form: Form

    def check(self, where: str) -> None:
        """See `Form.check`."""
        self.form.check(where)


class AccountSigns(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The pairs of one account."""

    account: Annotated[str, msgspec.Meta(max_length=1000)]
    wins: Count
    losses: Count
    ties: Count


class MeasuredTwin(
    _Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="twin"
):
    """Signs of pairs.

    Attributes:
        n_pairs: pairs, those without a score included.
        n_missing: pairs without a score.
        wins: pairs in which the served member scores higher.
        losses: pairs in which its twin does; missing ones included if they count.
        ties: pairs in which both score the same.
        alone: whether no conversation has two pairs.
        log10_p_rank: of signed ranks if `alone`; the ranks themselves are not kept.
        drawn: when the twins were drawn: `serving`, `later` or `both`.
        n_drawn_again: pairs whose served answer was drawn again.
        n_replayed: those of them in which it came out token for token.
        scored_by: what a score is, such as "log-likelihood ratio to base".
        suspect: as the records name it, or None where they do not.
        reference_model: likewise.
        coin_key: id of the node that the coins were computed from again, or None if they are taken as stated.
        accounts: of pairs that name one.
        accumulation: (pairs, wins, losses) as pairs go on.
    """

    n_pairs: Count
    n_missing: Count
    wins: Count
    losses: Count
    ties: Count
    alone: bool
    log10_p_rank: Log | None = None
    drawn: Literal["serving", "later", "both"]
    n_drawn_again: Count
    n_replayed: Count
    scored_by: Text
    suspect: Text | None = None
    reference_model: Text | None = None
    coin_key: Hex32 | None = None
    accounts: Annotated[tuple[AccountSigns, ...], msgspec.Meta(max_length=MAX_ACCOUNTS)] = ()
    accumulation: _Rows = ()

    def check(self, where: str) -> None:
        """Refuse counts that do not add up."""
        counted = self.wins + self.losses + self.ties
        names = {a.account for a in self.accounts}
        holds = counted in (self.n_pairs, self.n_pairs - self.n_missing) and self.n_missing <= self.n_pairs <= MAX_PAIRS
        holds = holds and self.n_replayed <= self.n_drawn_again <= self.n_pairs and len(names) == len(self.accounts)
        holds = holds and sum(a.wins + a.losses + a.ties for a in self.accounts) <= counted
        if not holds or (self.log10_p_rank is not None) != self.alone:
            raise InputError(f"{where}: counts of pairs, expected some that add up, at most {MAX_PAIRS}")


class AccountGroup(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Accounts that belong together, by the numbers of their aliases."""

    group: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
    accounts: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1, max_length=MAX_ACCOUNTS)]


class MeasuredAccounts(
    _Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="accounts"
):
    """Signs of pairs by account.

    Attributes:
        n_pairs: pairs, those without a score or without an account included.
        n_missing: pairs without a score.
        n_unnamed: pairs that name no account, which are in no test.
        accounts: (wins, losses, ties) of alias-1, alias-2 and so on; missing ones are losses.
        groups: of aliases.

    The others are as in `MeasuredTwin`.
    """

    n_pairs: Count
    n_missing: Count
    n_unnamed: Count
    alone: bool
    drawn: Literal["serving", "later", "both"]
    n_drawn_again: Count
    n_replayed: Count
    scored_by: Text
    suspect: Text | None = None
    reference_model: Text | None = None
    coin_key: Hex32 | None = None
    accounts: Annotated[tuple[tuple[Count, Count, Count], ...], msgspec.Meta(min_length=1, max_length=MAX_ACCOUNTS)]
    groups: Annotated[tuple[AccountGroup, ...], msgspec.Meta(max_length=MAX_ROWS)] = ()

    def check(self, where: str) -> None:
        """Refuse counts that do not add up, and groups of accounts that there are not."""
        holds = sum(map(sum, self.accounts)) == self.n_pairs - self.n_unnamed
        holds = holds and self.n_missing <= self.n_pairs <= MAX_PAIRS
        holds = holds and self.n_replayed <= self.n_drawn_again <= self.n_pairs
        if not holds:
            raise InputError(f"{where}: counts of pairs, expected some that add up, at most {MAX_PAIRS}")
        for group in self.groups:
            if any(b <= a for a, b in pairwise(group.accounts)) or group.accounts[-1] > len(self.accounts):
                raise InputError(f"{where}: group {quoted(group.group)}, expected numbers of aliases in growing order")
        if len({group.group for group in self.groups}) != len(self.groups):
            raise InputError(f"{where}: a group is there twice, expected each once")


class MeasuredSequential(
    _Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="sequential"
):
    """An e-process over answers.

    Attributes:
        n_answers: answers, those without a new pair included.
        n_scored: distinct pairs scored.
        total: sum of their integer scores.
        log10_e_max: of the largest e-value so far; which answer gave it is not kept.
        enough_after: answers after which it first reached 1 / alpha, or None.
        accumulation: (answers, distinct pairs scored, total).
    """

    n_answers: Count
    n_scored: Count
    total: Sum
    log10_e_max: Annotated[float, msgspec.Meta(ge=0, le=-_LEAST_LOG)]
    enough_after: Positive | None = None
    accumulation: _SumRows = ()

    def check(self, where: str) -> None:
        """Refuse counts that do not add up."""
        if (self.enough_after or 0) > self.n_answers:
            raise InputError(f"{where}: enough_after {self.enough_after} of {self.n_answers} answers")


Measured = MeasuredClosed | MeasuredForm | MeasuredTwin | MeasuredAccounts | MeasuredSequential


def to_fields(measured: Measured) -> dict[str, Any]:
    """As JSON fields, numbers rounded as evidence has them."""
    fields: dict[str, Any] = rounded(msgspec.to_builtins(measured))
    return fields


def from_fields(value: object, where: str) -> Measured:
    """Check a decoded JSON value.

    Raises:
        InputError: not a measurement, or counts that do not add up.
    """
    try:
        found: Measured = msgspec.convert(value, Measured)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {quoted(str(error).replace('`', ''))}, expected a measurement") from None
    found.check(where)
    return found


LAST: Final = Decimal("0.000001")
_UP: Final = ("log10_p", "log10_adjusted", "log10_e_bh")
_DOWN: Final = ("log10_e",)


def rounded(value: Any, name: str = "") -> Any:
    """Numbers with 6 decimals, logarithms towards the weaker side: none is stronger than it is."""
    if isinstance(value, dict):
        return {k: rounded(v, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v, name) for v in value]
    if not isinstance(value, float) or not abs(value) < 1e9:  # beyond, six decimals are more than a double has
        return value
    way = ROUND_CEILING if name.startswith(_UP) else ROUND_FLOOR if name.startswith(_DOWN) else ROUND_HALF_EVEN
    # By the decimal that the double is written as: what was rounded once stays as it is.
    return float(Decimal(repr(value)).quantize(LAST, rounding=way)) + 0.0


def checkpoints(first: int = 32) -> Iterator[int]:
    """Growing numbers, two a factor of two: 32, 45, 64, 91, ..."""
    k = 0
    while True:
        yield round(first * 2 ** (k / 2))
        k += 1

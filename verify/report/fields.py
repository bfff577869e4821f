"""What follows from a measurement, as a report reads it. Normative text: docs/spec/evidence.md, section 4."""

from __future__ import annotations

from typing import Final

import msgspec

from verify.errors import InputError
from verify.measured import (
    Log,
    Measured,
    MeasuredAccounts,
    MeasuredClosed,
    MeasuredForm,
    MeasuredSequential,
    MeasuredTwin,
)
from verify.plan_parts import Count, Positive


class AccountNumbers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one account."""

    account: str
    log10_p: Log
    log10_p_holm: Log
    log10_e: float
    log10_e_bh: Log


class AccountColumns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of alias-1, alias-2 and so on."""

    log10_p: tuple[Log, ...]
    log10_p_holm: tuple[Log, ...]
    log10_e: tuple[float, ...]
    log10_e_bh: tuple[Log, ...]


class GroupNumbers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one group of accounts; see `verify.accounts.groups.Group`."""

    name: str
    n_accounts: Count
    n_unknown: Count
    wins: Count
    losses: Count
    log10_p: Log
    log10_p_holm: Log
    at_least: Count


class Derived(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one key; which of the optional numbers a test states is in `REQUIRED`."""

    log10_p: Log
    log10_p_stated: Log
    log10_e: float
    found: bool
    sentence: str
    assumptions: tuple[str, ...]
    excess: float | None = None
    excess_low: float | None = None
    excess_high: float | None = None
    smallest_share: float | None = None
    log10_p_decoys: Log | None = None
    z: float | None = None
    smallest_excess: float | None = None
    estimate_log10_p: Log | None = None
    log10_p_sign: Log | None = None
    win_rate: float | None = None
    win_low: float | None = None
    win_high: float | None = None
    smallest_rate: float | None = None
    accounts: tuple[AccountNumbers, ...] | AccountColumns = ()
    groups: tuple[GroupNumbers, ...] = ()
    named: tuple[Positive, ...] | None = None
    named_fdr: tuple[Positive, ...] | None = None


REQUIRED: Final[dict[type, tuple[str, ...]]] = {
    MeasuredClosed: ("excess", "excess_low", "excess_high"),
    MeasuredForm: ("excess", "excess_low", "excess_high", "z", "smallest_excess"),
    MeasuredTwin: ("win_rate", "win_low", "win_high", "log10_p_sign"),
    MeasuredAccounts: ("named",),
    MeasuredSequential: ("excess",),
}


def read_derived(value: object, measured: Measured, where: str) -> Derived:
    """The typed form of `derived`.

    Args:
        value: decoded JSON.
        measured: what it is derived from.
        where: what errors call it.

    Raises:
        InputError: a field that is unknown, missing or of another type, or accounts that were not measured.
    """
    try:
        derived = msgspec.convert(value, Derived)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`", "")
        raise InputError(f"{where}: {reason[:1].lower()}{reason[1:]}, expected the numbers of its test") from None
    lacking = [name for name in REQUIRED[type(measured)] if getattr(derived, name) is None]
    if lacking:
        raise InputError(f"{where} lacks {', '.join(lacking)}, expected the numbers of its test")
    if isinstance(measured, MeasuredAccounts):
        _check_columns(derived, measured, where)
        return derived
    if isinstance(derived.accounts, AccountColumns):
        raise InputError(f"{where}: accounts, expected those of the twin test")
    counted = [account.account for account in measured.accounts] if isinstance(measured, MeasuredTwin) else []
    if counted != [account.account for account in derived.accounts]:
        raise InputError(f"{where}: accounts, expected those that were measured, in their order")
    return derived


def _check_columns(derived: Derived, measured: MeasuredAccounts, where: str) -> None:
    m, columns = len(measured.accounts), derived.accounts
    if not isinstance(columns, AccountColumns) or {len(c) for c in msgspec.structs.astuple(columns)} != {m}:
        raise InputError(f"{where}: accounts, expected four numbers of each of {m}")
    if [g.group for g in measured.groups] != [g.name for g in derived.groups]:
        raise InputError(f"{where}: groups, expected those that were measured, in their order")
    if any(number > m for number in (derived.named or ()) + (derived.named_fdr or ())):
        raise InputError(f"{where}: named, expected numbers of at most {m}")

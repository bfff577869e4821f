"""What follows from a measurement, as a report reads it. Normative text: docs/spec/evidence.md, section 4."""

from __future__ import annotations

from typing import Final

import msgspec

from verify.errors import InputError
from verify.measured import Log, Measured, MeasuredClosed, MeasuredForm, MeasuredSequential, MeasuredTwin


class AccountNumbers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one account."""

    account: str
    log10_p: Log
    log10_p_holm: Log
    log10_e: float
    log10_e_bh: Log


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
    accounts: tuple[AccountNumbers, ...] = ()


REQUIRED: Final[dict[type, tuple[str, ...]]] = {
    MeasuredClosed: ("excess", "excess_low", "excess_high"),
    MeasuredForm: ("excess", "excess_low", "excess_high", "z", "smallest_excess"),
    MeasuredTwin: ("win_rate", "win_low", "win_high", "log10_p_sign"),
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
    counted = [account.account for account in measured.accounts] if isinstance(measured, MeasuredTwin) else []
    if counted != [account.account for account in derived.accounts]:
        raise InputError(f"{where}: accounts, expected those that were measured, in their order")
    return derived

"""Rounds of public randomness, and when they come. Normative text: docs/spec/commitment.md, section 3."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from verify.errors import InputError, quoted

QUICKNET: Final = "drand:52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
# Genesis and period in seconds, as each network's /info states them; round 1 comes at genesis.
SCHEDULES: Final = {
    QUICKNET: (1_692_803_367, 3),
    "drand:8990e7a9aaed2ffed73dbd7092123d6f289930540d7651336225dc172e51b2ce": (1_595_431_050, 30),
}
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class Beacon(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A round of public randomness that nobody knows yet.

    Attributes:
        network: whose.
        round: which.
        not_before: nobody knows its value earlier, such as "2026-10-01T00:00:00Z".
    """

    network: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:-]{1,128}\Z")]
    round: Annotated[int, msgspec.Meta(ge=1, le=(1 << 53) - 1)]
    not_before: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]


def time_of(text: str) -> datetime:
    """The time that a record states.

    Raises:
        InputError: there is no such time.
    """
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise InputError(f"time is {quoted(text)}, expected one such as 2026-10-01T00:00:00Z") from None


def round_time(network: str, number: int) -> datetime | None:
    """When a round is published, or None if the network's schedule is not known here.

    Raises:
        InputError: a round that no calendar reaches.
    """
    if network not in SCHEDULES:
        return None
    genesis, period = SCHEDULES[network]
    try:
        return datetime.fromtimestamp(genesis + period * (number - 1), UTC)
    except (ValueError, OverflowError, OSError):
        raise InputError(f"round {number} of {network} has no date, expected a smaller number") from None


def beacon(network: str, number: int, not_before: str | None = None) -> Beacon:
    """A round, with the time that the network's schedule gives it.

    Raises:
        InputError: no time for a network that is not known here, or another than it has.
    """
    scheduled = round_time(network, number)
    if scheduled is None and not_before is None:
        raise InputError(f"when {quoted(network)} publishes round {number} is not known here, expected to be told")
    stated = time_of(not_before) if not_before is not None else scheduled
    if scheduled is not None and stated != scheduled:
        raise InputError(f"not_before is {not_before}, and round {number} comes at {scheduled:{_TIME}}")
    assert stated is not None
    return Beacon(network=network, round=number, not_before=f"{stated:{_TIME}}")

"""Tickets: the gateway's word on who an answer is for. A ticket names neither a key nor an off switch.

Normative text: docs/spec/ticket.md.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from watermark.errors import Error, TicketError
from watermark.keys import GatewayKey, check_name

PREFIX: Final = "rl1."
MAX_CHARACTERS: Final = 1024
MAX_REQUEST: Final = 96  # leaves room for the number of a further answer
MAX_LIFETIME: Final = 7 * 24 * 3600  # seconds: a used ticket is remembered until it expires
_FORM: Final = re.compile(r"rl1\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})")
_NUMBERED: Final = re.compile(r"\.[0-9]+\Z")

GatewayKeys = Mapping[str, GatewayKey] | Callable[[str], GatewayKey | None]


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """Whom one answer is for, until when.

    Attributes:
        epoch: the epoch's name.
        request: never used twice in an epoch; at most 96 characters, and not ending in a dot and digits, which
            number the further answers of one ticket.
        expires: Unix time in whole seconds from which on the ticket is refused.
        account: the account's slot, or empty.
        cohort: the cohort's slot, or empty.
    """

    epoch: str
    request: str
    expires: int
    account: str = ""
    cohort: str = ""

    def __post_init__(self) -> None:
        for slot in (self.account, self.cohort):
            if slot != "":
                check_name(slot)
        for name in (self.epoch, self.request):
            check_name(name)
        if len(self.request) > MAX_REQUEST or _NUMBERED.search(self.request):
            raise Error(
                f"request id {self.request[:60]!r} cannot stand in a ticket",
                hint=f"use at most {MAX_REQUEST} characters that do not end in a dot and digits",
            )
        if type(self.expires) is not int or not 0 <= self.expires < 1 << 53:
            raise Error(f"expiry {str(self.expires)[:40]} is not a Unix time in whole seconds")


def mint(key: GatewayKey, ticket: Ticket) -> str:
    """The ticket's text, at most 1,024 characters.

    Args:
        key: of the ticket's epoch.
        ticket: what to vouch for.

    Raises:
        Error: the key is another epoch's.
    """
    if key.epoch != ticket.epoch:
        raise Error(f"a ticket of epoch {ticket.epoch!r} cannot be minted with the gateway key {key.path}")
    signed = PREFIX + _encode(_payload(ticket))
    return f"{signed}.{_encode(key.mac(signed.encode()))}"


def read(text: str, *, keys: GatewayKeys, now: float) -> Ticket:
    """Check a ticket.

    Args:
        text: what the client sent.
        keys: the gateway key of an epoch's name.
        now: Unix time in seconds.

    Raises:
        TicketError: it is not accepted; `reason` says why. The message quotes nothing of it.
    """
    # 1. The form, and one spelling of it only.
    found = _FORM.fullmatch(text) if isinstance(text, str) and len(text) <= MAX_CHARACTERS else None
    payload, mac = (_decode(part) for part in found.groups()) if found else (None, None)
    if found is None or payload is None or mac is None:
        raise _malformed("it is not two base64url strings after 'rl1.'")
    ticket = _parse(payload)
    # 2. The epoch.
    key = keys.get(ticket.epoch) if isinstance(keys, Mapping) else keys(ticket.epoch)
    if key is None:
        raise TicketError(
            "the ticket's epoch has no key here",
            reason="unknown_epoch",
            hint="give the engine the epoch's key file before the gateway mints for it",
        )
    # 3. The gateway's MAC.
    if not hmac.compare_digest(key.mac(text.rpartition(".")[0].encode()), mac):
        raise TicketError("the ticket's seal does not match", reason="forged")
    # 4. The time.
    if now >= ticket.expires:
        raise TicketError("the ticket has expired", reason="expired", hint="get a new one from the gateway")
    if ticket.expires > now + MAX_LIFETIME:
        raise TicketError(
            f"the ticket expires more than {MAX_LIFETIME} seconds from now",
            reason="far_future",
            hint="mint tickets for minutes; or the clocks of gateway and engine differ",
        )
    return ticket


def _payload(ticket: Ticket) -> bytes:
    fields = {name: getattr(ticket, name) for name in ("account", "cohort", "epoch", "expires", "request")}
    return json.dumps({k: v for k, v in fields.items() if v != ""}, separators=(",", ":")).encode()


def _parse(payload: bytes) -> Ticket:
    try:
        fields: Any = json.loads(payload.decode("ascii"))
        # What the dataclass does not refuse, the comparison does: extra or doubled fields, spaces, another order.
        ticket = Ticket(**fields)
        if _payload(ticket) != payload:
            raise ValueError
    except (ValueError, TypeError, RecursionError, Error):
        raise _malformed("its content is not that of a ticket") from None
    return ticket


def _malformed(why: str) -> TicketError:
    return TicketError(f"the ticket is malformed: {why}", reason="malformed", hint="see docs/spec/ticket.md")


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes | None:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    return raw if _encode(raw) == text else None

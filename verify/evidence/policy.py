"""What a checker trusts, and knows from elsewhere. Normative text: docs/spec/evidence.md, section 8."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from verify.beacons import time_of
from verify.canonical import canonical, parse_canonical, read_canonical
from verify.errors import InputError, quoted
from verify.evidence.step_ids import is_step
from verify.inputs.streams import display_name
from verify.plan_parts import Hex32
from verify.stamped import convert

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

VERSION: Final = 1
UNKNOWN: Final = "unknown"
_TIME: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without a default: whoever checks says all of it.

    Attributes:
        signer: Ed25519 public key, in hexadecimal.
        roots: certificates of timestamp authorities, PEM, perhaps none.
        released: when the suspect, or its tested outputs, became public at the earliest, or "unknown".
        beacon_value: of the master commitment's round, in hexadecimal, or "unknown".
        required: ids of the steps that must be ok.
    """

    what: ClassVar[str] = "policy"
    signer: Hex32
    roots: str
    released: str
    beacon_value: str
    required: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """The object of the file."""
        own: dict[str, Any] = msgspec.to_builtins(self)
        return {"radiolabel": self.what, "version": VERSION} | own

    def to_json(self) -> bytes:
        """The whole file.

        Raises:
            InputError: a value that a reader would refuse.
        """
        data = canonical(self.fields(), self.what) + b"\n"
        _parse(parse_canonical(data, self.what), self.what)
        return data

    def certificates(self) -> list[Certificate]:
        """The certificates of `roots`, each once.

        Raises:
            InputError: text without any.
        """
        return certificates_in(self.roots, self.what)

    def released_at(self) -> datetime | None:
        """`released`, or None if it is unknown.

        Raises:
            InputError: there is no such time.
        """
        return None if self.released == UNKNOWN else time_of(self.released)

    def beacon_bytes(self) -> bytes | None:
        """`beacon_value`, or None if it is unknown."""
        return None if self.beacon_value == UNKNOWN else bytes.fromhex(self.beacon_value)


def read_policy(path: str) -> Policy:
    """The policy in a file.

    Raises:
        InputError: unreadable, not canonical, of another version, a field that is unknown or missing, certificates
            that are none, a time that does not exist, or a step that is unknown or there twice.
    """
    return _parse(read_canonical(path), display_name(path))


def check_steps(required: Sequence[str], where: str) -> None:
    """Refuse ids that no check has a step of.

    Raises:
        InputError: an unknown id, or one that is there twice.
    """
    seen: set[str] = set()
    for name in required:
        if not is_step(name):
            raise InputError(f"{where} has {quoted(name)}, expected ids of steps, such as 'measured' or 'register.1'")
        if name in seen:
            raise InputError(f"{where} has {quoted(name)} twice, expected every step once")
        seen.add(name)


def certificates_in(text: str, where: str) -> list[Certificate]:
    """The certificates of PEM text, each once; none of empty text.

    Raises:
        InputError: text that holds none, or one that cannot be read.
    """
    from cryptography import x509

    if not text:
        return []
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except (ValueError, x509.InvalidVersion):
        raise InputError(
            f"{where}: roots are not certificates in PEM, expected those of timestamp authorities"
        ) from None
    return list(dict.fromkeys(found))


def _parse(value: dict[str, Any], name: str) -> Policy:
    if value.get("radiolabel") != Policy.what:
        raise InputError(f"{name}: radiolabel is {quoted(value.get('radiolabel'))}, expected 'policy'")
    policy: Policy = convert(value, name, Policy.what, Policy, VERSION)
    check_steps(policy.required, f"{name}: required")
    certificates_in(policy.roots, name)
    if policy.released != UNKNOWN and not _is_time(policy.released):
        found = quoted(policy.released)
        raise InputError(f"{name}: released is {found}, expected unknown, or a time such as 2026-10-01T00:00:00Z")
    if policy.beacon_value != UNKNOWN and not re.fullmatch("([0-9a-f]{2}){1,1024}", policy.beacon_value):
        found = quoted(policy.beacon_value)
        raise InputError(f"{name}: beacon_value is {found}, expected unknown, or 1 to 1024 bytes as digits of 0-9a-f")
    return policy


def _is_time(text: str) -> bool:
    try:
        return re.fullmatch(_TIME, text) is not None and bool(time_of(text))
    except InputError:  # such as February 30
        return False

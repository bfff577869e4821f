"""The signed envelope of an evidence file, and the Statement in it. Normative text: docs/spec/evidence.md, 1 and 2.

DSSE, version 1 (https://github.com/secure-systems-lab/dsse), with one algorithm, one signature and one spelling: there
is nothing to choose, so nothing can be exchanged.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from verify.canonical import canonical, read_bytes
from verify.decoding import ANY, decode
from verify.errors import InputError
from verify.evidence.signing import Signer, keyid
from verify.inputs.streams import display_name
from verify.plan_parts import Hex32

MAX_BYTES: Final = 1 << 26
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:radiolabel:evidence:1"
SIGNATURE_BYTES: Final = 64  # RFC 8032, section 5.1.6
MAX_DEPTH: Final = 64  # so that nothing that walks a predicate runs out of stack

FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")]


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keyid: Hex32
    sig: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: str
    payloadType: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[tuple[_Signature, ...], msgspec.Meta(min_length=1, max_length=1)]


class _Digest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sha256: Hex32


class _Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: _Digest
    name: FileName


class _Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type_: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    predicateType: Literal["urn:radiolabel:evidence:1"]
    subject: tuple[_Subject, ...]
    predicate: dict[str, Any]


# Typed: a hostile file is refused at its first wrong field, before it fills the memory.
_FILE: Final = msgspec.json.Decoder(_File)


@dataclass(frozen=True)
class Envelope:
    """A payload with one signature, which may or may not fit: see `verify`.

    Attributes:
        payload: what was signed.
        keyid: SHA-256 of the public key, in hexadecimal.
        signature: 64 bytes.
    """

    payload: bytes
    keyid: str
    signature: bytes

    def to_json(self) -> bytes:
        """The whole file.

        Raises:
            InputError: an envelope that a reader would refuse.
        """
        data = self._spelled()
        parse_envelope(data, "envelope")
        return data

    def verify(self, public: bytes) -> bool:
        """Whether this public key (32 bytes) is the one that is named, and signed this payload."""
        if keyid(public) != self.keyid:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(self.signature, pae(self.payload))
        except (InvalidSignature, ValueError):  # ValueError: 32 bytes that are no key
            return False
        return True

    def statement(self, name: str) -> dict[str, Any]:
        """The Statement that the payload is, its predicate not looked into.

        Args:
            name: what errors call the file.

        Raises:
            InputError: not canonical JSON, another type or version, a field that is unknown or missing, or subjects
                that are not distinct file names in order.
        """
        where = f"{name}: payload"
        value: Any = decode(self.payload, ANY, name=where, line=None)
        if _is_deep(value):
            raise InputError(f"{where}: nested too deeply, expected at most {MAX_DEPTH} levels")
        if canonical(value, where) != self.payload:
            raise InputError(f"{where}: not in canonical form, expected the JSON of RFC 8785 without a line end")
        try:
            found = msgspec.convert(value, _Statement)
        except msgspec.ValidationError as error:
            raise InputError(f"{where}: not a valid statement: {_said(error)}") from None
        names = [subject.name for subject in found.subject]
        if names != sorted(set(names)):
            raise InputError(f"{where}: subjects are not each there once, in the order of their names")
        statement: dict[str, Any] = value
        return statement

    def _spelled(self) -> bytes:
        """The one spelling: nothing in it needs an escape, and the fields are in order."""
        encoded = (base64.b64encode(part).decode() for part in (self.payload, self.signature))
        file = _File(next(encoded), PAYLOAD_TYPE, (_Signature(self.keyid, next(encoded)),))
        return msgspec.json.encode(file) + b"\n"


def pae(payload: bytes) -> bytes:
    """What is signed: type and payload with their lengths, so that no bytes can move from one to the other."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def sign(payload: bytes, key: Signer) -> Envelope:
    """Sign a Statement.

    Args:
        payload: its canonical JSON, without LF.
        key: whose.

    Raises:
        InputError: a payload that a reader would refuse.
    """
    envelope = Envelope(payload, keyid(key.public), key.sign(pae(payload)))
    envelope.statement("evidence")
    return envelope


def parse_envelope(data: bytes, name: str) -> Envelope:
    """The envelope that a file holds; who signed it, and what it says, is for its methods.

    Args:
        data: the whole file.
        name: what errors call it.

    Raises:
        InputError: longer than `MAX_BYTES`, not this JSON in its one spelling, or a signature of another length.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{name}: more than {MAX_BYTES} bytes, expected at most that")
    try:
        file = _FILE.decode(data)
    except msgspec.ValidationError as error:
        raise InputError(f"{name}: not an evidence file: {_said(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InputError(f"{name}: not an evidence file, expected JSON that is complete and nothing else") from None
    (one,) = file.signatures
    try:
        payload, signature = (base64.b64decode(part, validate=True) for part in (file.payload, one.sig))
    except ValueError:
        raise InputError(f"{name}: payload or signature is not base64, expected that of RFC 4648") from None
    if len(signature) != SIGNATURE_BYTES:
        raise InputError(f"{name}: a signature of {len(signature)} bytes, expected {SIGNATURE_BYTES}")
    envelope = Envelope(payload, one.keyid, signature)
    if envelope._spelled() != data:
        raise InputError(
            f"{name}: not in canonical form, expected the JSON of RFC 8785, base64 of RFC 4648 and one line end",
            hint="take the file as it was made: what was written again is not what was handed over",
        )
    return envelope


def read_envelope(path: str) -> Envelope:
    """The envelope in a file; see `parse_envelope`.

    Raises:
        InputError: also when the file cannot be read.
    """
    return parse_envelope(read_bytes(path, MAX_BYTES), display_name(path))


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list))
        level = [child for children in inner for child in children]
        if not level:
            return False
    return any(isinstance(v, dict | list) for v in level)


def _said(error: msgspec.ValidationError) -> str:
    text = re.sub("`", "", str(error))  # its words name the field and what was expected
    return text[:1].lower() + text[1:]

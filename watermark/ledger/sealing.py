"""Sealing contents for one private key: HPKE (RFC 9180), single-shot, base mode. Spec: docs/spec/ledger.md, section 3.

The private key is a PEM file as OpenSSL writes it (RFC 8410): created exclusively, mode 0600, never shown.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from watermark.errors import LedgerError
from watermark.secret import write_secret_file

MAX_BYTES: Final = 16 * 1024
_MAKE: Final = "make one with radiolabel ledger key, or with openssl genpkey -algorithm X25519"
_PROBE: Final = bytes(range(32))


@lru_cache(maxsize=1)
def _suite() -> Any:
    try:
        from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
    except ImportError:
        raise LedgerError(
            "this cryptography has no HPKE, expected 47 or later", hint="pip install 'cryptography>=47'"
        ) from None
    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def check_public(public: str) -> None:
    """Refuse what is not a public key.

    Raises:
        LedgerError: not 64 hexadecimal digits, or a point of small order, with which everybody could open.
    """
    if not re.fullmatch("[0-9a-f]{64}", public):
        raise LedgerError(f"sealing key of {len(public)} characters, expected 64 digits of 0-9a-f")
    try:
        # Only a point of small order gives zeros, whatever the private key; the library refuses those.
        X25519PrivateKey.from_private_bytes(_PROBE).exchange(_public(public))
    except ValueError:
        raise LedgerError("sealing key is a point of small order: everybody could open what it seals") from None


@lru_cache(maxsize=64)
def _public(public: str) -> X25519PublicKey:
    return X25519PublicKey.from_public_bytes(bytes.fromhex(public))


def seal(data: bytes, public: str, info: bytes) -> bytes:
    """`enc || ct`, which only the holder of the private key opens.

    Args:
        data: what is sealed.
        public: 64 hexadecimal digits.
        info: what the box is bound to.
    """
    box: bytes = _suite().encrypt(data, _public(public), info)
    return box


class SealingKey:
    """A private key that opens and never shows itself: it has no revealing `repr` and refuses to be pickled."""

    __slots__ = ("_key",)

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key

    @property
    def public(self) -> str:
        """The public key, 64 hexadecimal digits."""
        return self._key.public_key().public_bytes_raw().hex()

    def open(self, box: bytes, info: bytes, what: str) -> bytes:
        """What was sealed.

        Args:
            box: `enc || ct`.
            info: what it was bound to.
            what: names it in errors.

        Raises:
            LedgerError: sealed for another key or another place, or changed.
        """
        try:
            data: bytes = _suite().decrypt(box, self._key, info)
        except (InvalidTag, ValueError):
            raise LedgerError(
                f"{what}: does not open with this key",
                hint="it was sealed for another key or for another record, or it was changed",
            ) from None
        return data

    def __repr__(self) -> str:
        return f"SealingKey(public={self.public!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled: read it again where it is needed")


def new_sealing_key(path: str | Path) -> SealingKey:
    """Make a key in a new file.

    Raises:
        LedgerError: the file exists, or cannot be written.
    """
    name = _name(path)
    key = X25519PrivateKey.generate()
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        write_secret_file(path, data)
    except FileExistsError:
        raise LedgerError(
            f"{name} exists, and a key file is never overwritten", hint="choose another name, or move it away first"
        ) from None
    except (OSError, ValueError) as error:
        raise LedgerError(f"{name} cannot be written: {_reason(error)}") from None
    return SealingKey(key)


def read_sealing_key(path: str | Path) -> SealingKey:
    """The private key in a PEM file.

    Raises:
        LedgerError: it is unreadable, open to others, too long, encrypted, or not one X25519 private key.
    """
    name = f"sealing key {_name(path)}"
    data = _read(path, name)
    try:
        # No message of the parser is quoted: it may hold a part of a key.
        key = load_pem_private_key(data, None)
    except TypeError:
        raise LedgerError(f"{name} is encrypted, expected a private key without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise LedgerError(f"{name} holds no private key in PEM, expected one of X25519", hint=_MAKE) from None
    if not isinstance(key, X25519PrivateKey):
        raise LedgerError(f"{name} holds another kind of key, expected one of X25519", hint=_MAKE)
    return SealingKey(key)


def _read(path: str | Path, name: str) -> bytes:
    try:
        # Without O_NONBLOCK a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise LedgerError(f"{name} is not a file, expected a PEM file")
            if stat.S_IMODE(mode) & 0o077:
                raise LedgerError(f"{name} can be read by others", hint=f"chmod 600 {shlex.quote(str(path))}")
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise LedgerError(f"{name} cannot be read: {_reason(error)}, expected a PEM file") from None
    if len(data) > MAX_BYTES:
        raise LedgerError(f"{name} is longer than {MAX_BYTES} bytes, expected a PEM file")
    return data


def _name(path: str | Path) -> str:
    if str(path) in ("", "-"):
        raise LedgerError(f"{str(path)!r} is not the name of a key file: keys do not pass through pipes")
    text = str(path)
    return text if text.isprintable() else repr(text)[1:-1]


def _reason(error: Exception) -> str:
    return str((isinstance(error, OSError) and error.strerror) or error).lower()

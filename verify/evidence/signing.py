"""Ed25519 keys of whoever signs evidence: PEM files as OpenSSL writes them (RFC 8410, section 7).

Created exclusively, mode 0600, never overwritten, never shown.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
from pathlib import Path
from typing import Final, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from verify.decoding import printable
from verify.errors import InputError
from verify.private import create_private

MAX_BYTES: Final = 16 * 1024
_MAKE: Final = "make one with radiolabel key signer, or with openssl genpkey -algorithm ed25519"


class Signer:
    """A private key that signs and never shows itself: it has no revealing `repr` and refuses to be pickled."""

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes (RFC 8032, section 5.1.5)."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"Signer(public={self.public.hex()!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled: read it again where it is needed")


def keyid(public: bytes) -> str:
    """What an envelope calls a public key: its SHA-256."""
    return hashlib.sha256(public).hexdigest()


def new_signer(path: str | Path) -> Signer:
    """Make a key in a new file.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    name = _name(path)
    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    create_private(path, data, name)
    return Signer(key)


def read_signer(path: str | Path) -> Signer:
    """The private key in a PEM file.

    Raises:
        InputError: it is unreadable, open to others, too long, encrypted, or not one Ed25519 private key.
    """
    name = f"signer {_name(path)}"
    data = _read(path, name, secret=True)
    try:
        # No message of the parser is quoted: it may hold a part of a key.
        key = load_pem_private_key(data, None)
    except TypeError:
        raise InputError(
            f"{name} is encrypted, expected a private key without a passphrase",
            hint=f"write one with umask 077; openssl pkey -in {shlex.quote(str(path))} -out plain.pem",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"{name} holds no private key in PEM, expected one of Ed25519", hint=_MAKE) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{name} holds another kind of key, expected one of Ed25519", hint=_MAKE)
    return Signer(key)


def read_public(text: str) -> bytes:
    """A public key as people name it: 64 hexadecimal digits, or a PEM file of the key or of its private half.

    Raises:
        InputError: neither, or see `read_signer`.
    """
    if re.fullmatch("[0-9a-f]{64}", text):
        return bytes.fromhex(text)
    if re.fullmatch("[0-9A-Fa-f]{32,}", text) and not os.path.exists(text):
        raise InputError(f"signer has {len(text)} hexadecimal digits, expected 64 in lower case, or a PEM file")
    name = f"signer {_name(text)}"
    if b"PUBLIC KEY-----" not in (data := _read(text, name, secret=False)):
        return read_signer(text).public
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"{name} holds no public key in PEM, expected one of Ed25519") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{name} holds another kind of key, expected one of Ed25519")
    return key.public_bytes_raw()


def _name(path: str | Path) -> str:
    if str(path) in ("", "-"):
        raise InputError(f"{str(path)!r} is not the name of a key file: keys do not pass through pipes")
    return printable(str(path))


def _read(path: str | Path, name: str, *, secret: bool) -> bytes:
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise InputError(f"{name} is not a file, expected a PEM file")
            if secret and stat.S_IMODE(mode) & 0o077 and os.name == "posix":
                raise InputError(f"{name} can be read by others", hint=f"chmod 600 {shlex.quote(str(path))}")
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read: {_reason(error)}, expected a PEM file") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{name} is longer than {MAX_BYTES} bytes, expected a PEM file")
    return data


def _reason(error: Exception) -> str:
    return str((isinstance(error, OSError) and error.strerror) or error).lower()

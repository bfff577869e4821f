"""Trusted timestamps (RFC 3161): asked for over HTTP, checked without a network.

Normative text: docs/spec/commitment.md, section 7. A token says that its digest existed at its time, never that it did
not exist before.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from verify.errors import Error, InputError, Refused, quoted
from verify.inputs.streams import display_name
from verify.stamped import MAX_TOKEN_BYTES

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampRequest, TimeStampResponse

SHA256: Final = "2.16.840.1.101.3.4.2.1"  # RFC 5754, section 2.2
# RFC 3370, section 2; RFC 3279, sections 2.2.1 and 2.2.3; and the older identifiers that OpenSSL still knows.
WEAK: Final = {
    **dict.fromkeys(("1.3.14.3.2.26", "1.2.840.113549.1.1.5", "1.2.840.10045.4.1", "1.3.14.3.2.29"), "SHA-1"),
    **dict.fromkeys(("1.2.840.113549.2.5", "1.2.840.113549.1.1.4", "1.3.14.3.2.3"), "MD5"),
    "1.2.840.10040.4.3": "SHA-1",
}
MAX_ROOTS_BYTES: Final = 1 << 20
TIMEOUT: Final = 30.0  # seconds for each read


@dataclass(frozen=True)
class Timestamp:
    """What a token states.

    Attributes:
        time: UTC.
        accuracy: the time may be off by this much either way.
        authority: subject of the signer's certificate.
    """

    time: datetime
    accuracy: timedelta
    authority: str

    @property
    def latest(self) -> datetime:
        """The digest existed by then."""
        return self.time + self.accuracy

    def __str__(self) -> str:
        accuracy = f" +- {self.accuracy.total_seconds():g} s" if self.accuracy else ""
        return f"{self.time:%Y-%m-%dT%H:%M:%SZ}{accuracy} by {self.authority}"


def request_token(data: bytes, url: str) -> bytes:
    """Ask an authority for a token over the SHA-256 of `data`.

    Args:
        data: what is to be timestamped; only its digest is sent.
        url: of the authority.

    Returns:
        The token, DER. It is of this digest and this request; whether the signer is to be trusted is for `check_token`.

    Raises:
        InputError: no answer, or none that is a granted token for this request.
    """
    import httpx
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    headers = {"content-type": "application/timestamp-query", "accept-encoding": "identity"}
    body = bytearray()
    try:
        with httpx.stream("POST", url, content=request.as_bytes(), headers=headers, timeout=TIMEOUT) as answer:
            status = answer.status_code
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > MAX_TOKEN_BYTES:
                    raise InputError(f"{url}: an answer of more than {MAX_TOKEN_BYTES} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InputError(f"{url}: no answer from the timestamp authority: {error}") from None
    if status != 200:
        raise InputError(f"{url}: status {status}, expected 200", hint="is this the address of a timestamp authority?")
    return _granted(bytes(body), request, hashlib.sha256(data).digest(), url)


def check_token(token: bytes, digest: bytes, roots: Sequence[Certificate]) -> Timestamp:
    """Check a token without a network.

    Args:
        token: DER.
        digest: 32 bytes, what it must be over.
        roots: certificates that are trusted.

    Returns:
        What it states.

    Raises:
        InputError: not a token.
        Refused: over something else, a weak hash, a bad signature, or a signer who is not trusted at its time.
    """
    import rfc3161_client  # noqa: F401  # that it is missing is no fault of the token

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what a library only warns of, no authority writes
            return _checked(_parse(_respond(token)), digest, roots)
    except Error:
        raise
    except Exception as error:  # two DER parsers with many ways to fail, KeyError among them
        raise Refused(f"the timestamp cannot be trusted: {_said(error)}") from None


def stated_time(token: bytes) -> datetime:
    """The time that a token states, with nothing checked: to be shown, never to decide by.

    Args:
        token: DER.

    Raises:
        InputError: not a token.
    """
    try:
        return _parse(_respond(token)).tst_info.gen_time
    except InputError:
        raise
    except Exception as error:  # see `check_token`
        raise InputError(f"not a timestamp token: {_said(error)}") from None


def load_roots(path: str) -> list[Certificate]:
    """The certificates of a PEM file.

    Raises:
        InputError: unreadable, or without any certificate.
    """
    from cryptography import x509

    name = display_name(path)
    try:
        with open(path, "rb") as file:
            roots = x509.load_pem_x509_certificates(file.read(MAX_ROOTS_BYTES))
    except (OSError, ValueError, x509.InvalidVersion) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "no certificates in PEM"
        raise InputError(f"{name}: {reason.lower()}, expected certificates of timestamp authorities") from None
    return list(dict.fromkeys(roots))


def _granted(body: bytes, request: TimeStampRequest, digest: bytes, url: str) -> bytes:
    try:
        response = _parse(body)
        if response.status != 0:
            said = quoted("; ".join(response.status_string)) if response.status_string else "nothing more"
            raise InputError(f"the request was not granted (status {response.status}), and it says {said}")
        _check_imprint(response, digest)
        if response.tst_info.nonce != request.nonce:
            raise InputError("the token is of another request: its nonce is not the one that was sent")
        return response.time_stamp_token()
    except (Error, ValueError) as error:
        raise InputError(f"{url}: {_said(error)}") from None


def _checked(response: TimeStampResponse, digest: bytes, roots: Sequence[Certificate]) -> Timestamp:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID
    from rfc3161_client import VerifierBuilder

    _check_imprint(response, digest)
    data, info = response.signed_data, response.tst_info
    certificates = [x509.load_der_x509_certificate(raw) for raw in data.certificates]
    signers = {(s.issuer, s.serial_number, s.version) for s in data.signer_infos}
    signer = next((c for c in certificates if {(c.issuer, c.serial_number, 1)} == signers), None)
    if signer is None or data.version != 3:  # RFC 5652, sections 5.1 and 5.3
        raise Refused("the timestamp does not come with the certificate of its one signer")
    weak = [WEAK[oid.dotted_string] for oid in data.digest_algorithms if oid.dotted_string in WEAK]
    weak += [WEAK[o] for c in certificates if c not in roots and (o := c.signature_algorithm_oid.dotted_string) in WEAK]
    if weak:
        raise Refused(f"the timestamp is signed with {weak[0]}, expected SHA-256 or better")
    usages = [(e.critical, list(e.value)) for e in signer.extensions if isinstance(e.value, x509.ExtendedKeyUsage)]
    if usages != [(True, [ExtendedKeyUsageOID.TIME_STAMPING])]:
        raise Refused("the signer's certificate is not one for timestamps alone, marked critical")
    begin, end = signer.not_valid_before_utc, signer.not_valid_after_utc
    if not begin <= info.gen_time <= end:
        raise Refused(
            f"the signer's certificate is valid from {begin} to {end}, and the timestamp is of {info.gen_time}"
        )
    VerifierBuilder(roots=list(roots)).build().verify(response, digest)
    accuracy = timedelta(0)
    if info.accuracy is not None:
        parts = info.accuracy.seconds, info.accuracy.millis, info.accuracy.micros
        seconds, millis, micros = (part or 0 for part in parts)
        accuracy = timedelta(seconds=seconds, milliseconds=millis, microseconds=micros)
    return Timestamp(info.gen_time, accuracy, signer.subject.rfc4514_string())


def _check_imprint(response: TimeStampResponse, digest: bytes) -> None:
    try:
        imprint = response.tst_info.message_imprint
        algorithm, stated = imprint.hash_algorithm.dotted_string, imprint.message
    except ValueError as error:
        raise InputError(f"not a timestamp token: {_said(error)}") from None
    if algorithm != SHA256:
        raise Refused(f"the timestamp is over a digest by {WEAK.get(algorithm, algorithm)}, expected SHA-256")
    if stated != digest:
        raise Refused(f"the timestamp is of sha256:{stated.hex()[:12]}..., expected sha256:{digest.hex()[:12]}...")


def _parse(response: bytes) -> TimeStampResponse:
    from rfc3161_client import decode_timestamp_response

    try:
        return decode_timestamp_response(response)
    except ValueError as error:
        raise InputError(f"not a timestamp in DER: {_said(error)}") from None


def _respond(token: bytes) -> bytes:
    # The library reads responses only: TimeStampResp (RFC 3161, section 2.4.2) with status 0, granted.
    content = bytes.fromhex("3003020100") + token
    length = len(content).to_bytes(4, "big").lstrip(b"\0")
    return b"\x30" + (length if len(content) < 128 else bytes([0x80 | len(length)]) + length) + content


def _said(error: Exception) -> str:
    reasons = re.findall(r'reason: "([^"]*)"', str(error))  # OpenSSL's, without its places in its source
    text = "; ".join(reasons) or " ".join(str(error).split()) or type(error).__name__
    return (text if text[:2].isupper() else text[:1].lower() + text[1:])[:200]

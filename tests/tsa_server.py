"""A real local timestamp authority: OpenSSL's `ts` behind a tiny HTTP server, with a CA made here."""

from __future__ import annotations

import datetime as dt
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

YEAR = dt.timedelta(days=365)
CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
crypto_device = builtin
signer_digest = {signer_digest}
default_policy = 1.2.3.4.1
digests = sha1, sha256, sha512
accuracy = {accuracy}
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A CA and its TSA certificate, in a folder.

    Args:
        folder: an empty one.
        usages: extended key usages of the TSA's certificate.
        critical: whether that extension is critical.
        years: when the TSA's certificate is valid, in years from now.
        signer_digest: what the TSA signs with.
        accuracy: as OpenSSL's configuration has it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "Test TSA",
        usages: tuple = (ExtendedKeyUsageOID.TIME_STAMPING,),
        critical: bool = True,
        years: tuple[float, float] = (-1, 5),
        signer_digest: str = "sha256",
        accuracy: str = "secs:1, millisecs:500",
    ) -> None:
        self.folder = folder
        now = dt.datetime.now(dt.UTC)
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

        def build(subject: str, public, start: float, end: float) -> x509.CertificateBuilder:
            return (
                x509.CertificateBuilder(_name("Test CA"), _name(subject), public, x509.random_serial_number())
                .not_valid_before(now + start * YEAR)
                .not_valid_after(now + end * YEAR)
            )

        ca = build("Test CA", ca_key.public_key(), -10, 10)
        ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = [False] * 9
        usage[5] = usage[6] = True  # certificates and CRLs
        ca = ca.add_extension(x509.KeyUsage(*usage), critical=True)
        own = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
        self.root = ca.add_extension(own, critical=False).sign(ca_key, hashes.SHA256())
        tsa = build(name, key.public_key(), *years)
        tsa = tsa.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if usages:
            tsa = tsa.add_extension(x509.ExtendedKeyUsage(usages), critical=critical)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
        self.certificate = tsa.add_extension(issuer, critical=False).sign(ca_key, hashes.SHA256())
        self.roots_file = self._write("roots.pem", self.root.public_bytes(Encoding.PEM))
        self._write("tsa.pem", self.certificate.public_bytes(Encoding.PEM))
        self._write("ca.key", ca_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._write("key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._write("serial", b"01\n")
        config = CONFIG.format(folder=folder, signer_digest=signer_digest, accuracy=accuracy)
        self._write("tsa.cnf", config.encode())

    def _write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def openssl(self, *arguments: str | Path, check: bool = True, tool: str = "ts") -> subprocess.CompletedProcess:
        """Run `openssl ts`; a machine without it fails the test."""
        return subprocess.run(
            ["openssl", tool, *map(str, arguments)], cwd=self.folder, capture_output=True, check=check
        )

    def reply(self, query: bytes) -> bytes:
        """The DER answer to a DER request."""
        self._write("query.tsq", query)
        self.openssl(
            *("-reply", "-config", "tsa.cnf", "-section", "here", "-queryfile", "query.tsq"),
            *("-signer", "tsa.pem", "-inkey", "key.pem", "-out", "reply.tsr"),
        )
        return (self.folder / "reply.tsr").read_bytes()

    def query(self, data: bytes, *options: str) -> bytes:
        """A DER request by OpenSSL for some data."""
        self._write("data", data)
        self.openssl("-query", "-data", "data", "-cert", "-out", "made.tsq", *options)
        return (self.folder / "made.tsq").read_bytes()

    def token(self, data: bytes, *options: str) -> bytes:
        """A token over some data, made without HTTP."""
        self._write("whole.tsr", self.reply(self.query(data, *options)))
        self.openssl("-reply", "-in", "whole.tsr", "-token_out", "-out", "token.der")
        return (self.folder / "token.der").read_bytes()

    def forge(self, token: bytes, *options: str) -> bytes:
        """What a token states, signed again with this authority's certificate, whatever that is good for."""
        self._write("original.der", token)
        self.openssl("-verify", "-noverify", "-inform", "DER", "-in", "original.der", "-out", "info.der", tool="cms")
        self.openssl(
            *("-sign", "-binary", "-nodetach", "-econtent_type", "1.2.840.113549.1.9.16.1.4", "-in", "info.der"),
            *("-signer", "tsa.pem", "-inkey", "key.pem", "-outform", "DER", "-out", "forged.der", *options),
            tool="cms",
        )
        return (self.folder / "forged.der").read_bytes()

    def weaken(self) -> None:
        """Have the CA sign the TSA's certificate again, with SHA-1."""
        self._write("extensions", b"extendedKeyUsage = critical, timeStamping\n")
        self.openssl("-x509toreq", "-in", "tsa.pem", "-signkey", "key.pem", "-out", "tsa.csr", tool="x509")
        self.openssl(
            *("-req", "-in", "tsa.csr", "-CA", "roots.pem", "-CAkey", "ca.key", "-sha1", "-extfile", "extensions"),
            *("-set_serial", "77", "-days", "300", "-out", "tsa.pem"),
            tool="x509",
        )


class TSAServer:
    """Runs while it is entered.

    Args:
        authority: who answers.
        change: answer -> what is sent instead, or (status, body).
    """

    def __init__(self, authority: Authority, change: Callable = lambda answer: answer) -> None:
        self.authority, self.change = authority, change
        self.requests: list[bytes] = []

    def __enter__(self) -> TSAServer:
        handler = type("Handler", (_Handler,), {"owner": self})
        self.http = HTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/tsr"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: TSAServer

    def log_message(self, *arguments: object) -> None:
        """Stay silent."""

    def do_POST(self) -> None:
        query = self.rfile.read(int(self.headers["content-length"]))
        self.owner.requests.append(query)
        assert self.headers["content-type"] == "application/timestamp-query"
        answer = self.owner.change(self.owner.authority.reply(query))
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        self.send_response(status)
        self.send_header("content-type", "application/timestamp-reply")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

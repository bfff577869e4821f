"""Check an evidence file a second time: from the pages of this folder alone, importing nothing of Radiolabel.

    python check_evidence.py EVIDENCE POLICY FOLDER [KEYFILE]

Needs `cryptography`, `mpmath`, `numpy`, `tokenizers`, and `openssl` on PATH for timestamps. Prints one line a step, with
the ids of evidence.md, section 9, and exits with 0 if the file is accepted, else with 1. "not checked" is what this
program cannot do: measurements other than closed with distinct pairs of transcripts and twin with likelihoods, logs,
other evidence, types of fields, words and intervals of `derived`, BH and e-BH, zstd, texts above 2^20 characters.
"""

import base64
import calendar
import gzip
import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import accumulate
from pathlib import Path

import mpmath
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from tokenizers import Tokenizer

ROUNDS = {  # drand chain: time of its first round, seconds between rounds
    "drand:8990e7a9aaed2ffed73dbd7092123d6f289930540d7651336225dc172e51b2ce": (1595431050, 30),
    "drand:52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971": (1692803367, 3),
}
FIELDS = "citations commitments decision inputs others plan register results software times unrun"
PREDICATE, FILE = set(FIELDS.split()), "[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
UNSEEN = {"sentence", "assumptions", "excess_low", "excess_high", "smallest_share", "smallest_rate", "accounts"}


class Unchecked(Exception):  # noqa: N818
    """What cannot be decided here."""


def need(holds, otherwise, error=ValueError):
    if not holds:
        raise error(otherwise)


def canonical(value):
    """Canonical JSON (RFC 8785) as text, of integers below 2^53."""
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(k)}:{canonical(v)}" for k, v in items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if value is None or isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    need(isinstance(value, float) or abs(value) < 2**53, "an integer is out of range")
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    digits, _, exponent = repr(value).partition("e")
    if 1e-6 <= abs(value) < 1e-4:  # Python turns to exponents earlier
        return f"{value:.{len(digits.replace('.', '').strip('-')) - int(exponent) - 1}f}"
    return f"{digits}e{int(exponent):+d}" if exponent else digits


def parse(data, end=b""):
    value = json.loads(data)  # of duplicate fields the last wins, and then the bytes differ
    need(canonical(value).encode() + end == data, "not in the one spelling of canonical JSON")
    return value


def equal(stated, found, where):
    """Fail where two values first differ; numbers may by one unit of the last decimal."""
    if isinstance(found, dict) and isinstance(stated, dict):
        need(stated.keys() == found.keys(), f"{where} has other fields than {sorted(found)}")
        return all(equal(stated[k], found[k], f"{where}.{k}") for k in found)
    near = (
        isinstance(found, float)
        and type(stated) in (int, float)
        and abs(stated - found) < 1.000001e-6 + 1e-9 * abs(found)
    )
    need(
        near or canonical(stated) == canonical(found), f"{where} is {canonical(stated)}, and {canonical(found)} follows"
    )
    return True


def sha(data):
    return hashlib.sha256(data).hexdigest()


def digest(record):
    return "sha256:" + sha(canonical({k: v for k, v in record.items() if k != "timestamps"}).encode())


def unbase64(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 in another spelling")
    return data


def seconds(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def hkdf(ikm, length, *parts):
    """HKDF-SHA256 with an empty salt, over length-prefixed parts (key-file.md, section 1)."""
    info = b"".join(len(p.encode()).to_bytes(2, "little") + p.encode() for p in map(str, parts))
    return HKDF(SHA256(), length, None, info).derive(ikm)


def read_envelope(data, signer):
    """The statement, and what checks its signature (evidence.md, sections 1 and 2)."""
    envelope = parse(data, b"\n")
    payload, (signature,), kind = unbase64(envelope["payload"]), envelope["signatures"], "application/vnd.in-toto+json"
    statement, pae = parse(payload), f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    names = [s["name"] for s in statement["subject"] if set(s) == {"name", "digest"} and set(s["digest"]) == {"sha256"}]
    need(
        set(envelope) == {"payload", "payloadType", "signatures"} and set(signature) == {"keyid", "sig"}, "other fields"
    )
    need(set(statement) == {"_type", "predicateType", "subject", "predicate"}, "other fields of the statement")
    need((envelope["payloadType"], statement["_type"]) == (kind, "https://in-toto.io/Statement/v1"), "another type")
    need(statement["predicateType"] == "urn:radiolabel:evidence:1", "another type of predicate")
    need(names == sorted(set(names)) and len(names) == len(statement["subject"]), "subjects are not in order")
    need(all(re.fullmatch(FILE, name) for name in names), "a subject is no file name")

    def signed():
        need(signature["keyid"] == sha(bytes.fromhex(signer)), "the key is not the policy's signer")
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer)).verify(unbase64(signature["sig"]), pae)

    return statement, signed


def token_time(token, imprint, roots):
    """Earliest and latest time of a timestamp token, which OpenSSL verifies (commitment.md, section 7)."""
    need(roots and shutil.which("openssl"), "no trusted authority, or no openssl", Unchecked)
    with tempfile.TemporaryDirectory() as folder:
        der, trusted = Path(folder, "token.der"), Path(folder, "roots.pem")
        der.write_bytes(token), trusted.write_text(roots)
        ts = ["openssl", "ts", "-in", der, "-token_in"]
        text = subprocess.run([*ts, "-reply", "-text"], capture_output=True, text=True, timeout=60).stdout
        when = re.search(r"Time stamp: (\w+ +\d+ [\d:]+)(\.\d+)?( \d+) GMT", text)
        at = calendar.timegm(time.strptime(when[1] + when[3], "%b %d %H:%M:%S %Y"))
        ts += ["-verify", "-digest", imprint, "-CAfile", trusted, "-attime", str(at)]
        verified = subprocess.run(ts, capture_output=True, timeout=60).returncode == 0
    need(verified and "Hash Algorithm: sha256" in text, "openssl does not verify a timestamp")
    units = {"seconds": 1, "millis": 1e-3, "micros": 1e-6}
    accuracy = sum(int(n, 16) * units[unit] for n, unit in re.findall("(0x[0-9A-F]+) (seconds|millis|micros)", text))
    return at + float(when[2] or 0) - accuracy, at + float(when[2] or 0) + accuracy


class Case:
    """The steps of one file, in their order."""

    def __init__(self, policy, folder, keyfile):
        self.outcomes, self.policy, self.folder, self.keyfile, self.key = {}, policy, folder, keyfile, None

    def step(self, name, check, otherwise=""):
        """Print a step: what a function returns or raises, or whether something holds."""
        said = ""
        try:
            need(check() if callable(check) else check, otherwise)
            outcome = "ok"
        except Unchecked as reason:
            outcome, said = "not checked", str(reason)
        except BaseException as error:  # also a panic of a library in Rust
            outcome, said = "failed", f"{type(error).__name__}: {error}"
        self.outcomes[name] = outcome
        print(f"{outcome:<11}  {name:<12}  {ascii(said)[1:-1][:300]}".rstrip())
        return outcome == "ok"

    def stamp(self, record):
        """Earliest and latest time of a record's earliest timestamp; all of them must hold."""
        need(record["timestamps"], "no timestamp", Unchecked)
        found = [token_time(unbase64(t), digest(record)[7:], self.policy["roots"]) for t in record["timestamps"]]
        return min(found, key=lambda times: times[1])

    def records(self, role):
        """The JSON objects of an input's lines."""
        need(self.files.get(role) is not None, f"{role} was not given", Unchecked)
        need(self.files[role][:4] != b"\x28\xb5\x2f\xfd", "zstd", Unchecked)
        data = gzip.decompress(self.files[role]) if self.files[role][:2] == b"\x1f\x8b" else self.files[role]
        return [json.loads(line) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]

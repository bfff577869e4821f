"""Check an evidence file a second time: from the pages of this folder alone, importing nothing of Radiolabel.

    python check_evidence.py EVIDENCE POLICY FOLDER [KEYFILE]

Needs `cryptography`, `numpy`, `tokenizers`, and `openssl` on PATH for timestamps. Prints one line a step (evidence.md,
section 9); exits with 0 if the file is accepted, else with 1. "not checked" is whatever this program cannot do: other
measurements than closed with distinct pairs of transcripts and twin with likelihoods, field types inside records,
words and intervals of `derived`, BH and e-BH, zstd, integers of 2^53 and more, texts of more than 2^20 characters.
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
from decimal import MAX_EMAX, Context, Decimal, localcontext
from functools import cache, partial
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

TYPES = {  # as regular expressions of a value's canonical JSON
    **{"object": r"\{.*\}", "array": r"\[.*\]", "text": '".*"', "bool": "true|false", "count": "0|[1-9][0-9]*"},
    **{"hex32": '"[0-9a-f]{64}"', "number": "-?[0-9].*"},
}
TABLES = {
    "envelope": "payload:text payloadType:text signatures:array",
    "statement": "_type:text predicateType:text subject:array predicate:object",
    "policy": "radiolabel:text version:count signer:hex32 roots:text released:text beacon_value:text required:array",
    "predicate": "plan:object inputs:object register:array unrun:object commitments:object results:array times:object "
    "decision:object others:array citations:array software:object rate?:object",
    "plan": "radiolabel:text version:count name:text keys:array scheme:text width:count shares:object suspect:object "
    "test:object alpha:number family:object filters:array inputs:object timestamps:array",
    "result": "key:hex32 measured:object derived:object",
    "decision": "tests:array sentence:text",
}
ROUNDS = {  # drand chain: time of its first round, seconds between rounds
    "drand:8990e7a9aaed2ffed73dbd7092123d6f289930540d7651336225dc172e51b2ce": (1595431050, 30),
    "drand:52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971": (1692803367, 3),
}
STATEMENT = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:radiolabel:evidence:1"}


class Unchecked(Exception):  # noqa: N818
    """What cannot be decided here."""


def need(holds, otherwise, said="", error=ValueError):
    if not holds:
        raise error(otherwise)
    return said


def canonical(value):
    """Canonical JSON (RFC 8785), as text."""
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(k)}:{canonical(v)}" for k, v in items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if value is None or isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    need(math.isfinite(value) and (isinstance(value, float) or abs(value) < 2**53), "a number is out of range")
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    mantissa, _, exponent = repr(value).partition("e")
    return format(Decimal(repr(value)), "f") if 1e-6 <= abs(value) < 1e21 else f"{mantissa}e{int(exponent):+d}"


def parse(data, end=b""):
    value = json.loads(data)  # of duplicate fields the last wins, and then the bytes differ
    return need(canonical(value).encode() + end == data, "not in the one spelling of canonical JSON", value)


def fields(value, table):
    """Names that the table does not have; all others must be of its types."""
    known = dict(item.split(":") for item in TABLES[table].split())
    for name, kind in known.items():
        given = name.strip("?") in value or name[-1] != "?"
        holds = not given or re.fullmatch(TYPES[kind], canonical(value.get(name.strip("?"))), re.S)
        need(holds, f"{name} of the {table} is missing, or no {kind}")
    return sorted(set(value) - {name.strip("?") for name in known})


def equal(stated, found, where):
    """Fail at the first field of `found` of which something else is stated."""
    if isinstance(found, dict) and isinstance(stated, dict):
        return [equal(stated.get(k), v, f"{where}.{k}") for k, v in found.items()]
    numbers = isinstance(found, float) and type(stated) in (int, float)
    same = abs(stated - found) <= 1.000001e-6 + 1e-9 * abs(found) if numbers else canonical(stated) == canonical(found)
    return need(same, f"{where} is {canonical(stated)}, and {canonical(found)} follows")


def sha(data):
    return hashlib.sha256(data).hexdigest()


def digest(record):
    return "sha256:" + sha(canonical({k: v for k, v in record.items() if k != "timestamps"}).encode())


def unbase64(text):
    data = base64.b64decode(text, validate=True)
    return need(base64.b64encode(data).decode() == text, "base64 in another spelling", data)


def hkdf(ikm, length, *parts):
    """HKDF-SHA256 with an empty salt, over length-prefixed parts (key-file.md, section 1)."""
    info = b"".join(len(p.encode()).to_bytes(2, "little") + p.encode() for p in map(str, parts))
    return HKDF(SHA256(), length, None, info).derive(ikm)


def seconds(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def stamp(record, roots):
    """(earliest, latest) possible time of the record's earliest timestamp; all must hold."""
    tokens = [unbase64(token) for token in record["timestamps"]]
    need(tokens, "no timestamp", error=Unchecked)
    need(roots and shutil.which("openssl"), "no trusted authority, or no openssl", error=Unchecked)
    return min((token_time(t, digest(record)[7:], roots) for t in tokens), key=lambda times: times[1])


@cache
def token_time(token, imprint, roots):
    with tempfile.TemporaryDirectory() as folder:
        der, trusted = Path(folder, "token.der"), Path(folder, "roots.pem")
        der.write_bytes(token)
        trusted.write_text(roots)
        ts = partial(subprocess.run, capture_output=True, text=True, timeout=60)
        text = ts(["openssl", "ts", "-reply", "-in", der, "-token_in", "-text"]).stdout
        when = re.search(r"Time stamp: (\w+ +\d+ [\d:]+)(\.\d+)?( \d+) GMT", text)
        at = calendar.timegm(time.strptime(when[1] + when[3], "%b %d %H:%M:%S %Y"))
        asked = ["-digest", imprint, "-in", der, "-token_in", "-CAfile", trusted, "-attime", str(at)]
        held = ts(["openssl", "ts", "-verify", *asked]).returncode == 0 and "Hash Algorithm: sha256" in text
    need(held, "openssl does not verify a timestamp")
    parts = re.findall(r"(0x[0-9A-F]+) (seconds|millis|micros)", text)
    accuracy = sum(int(n, 16) * {"seconds": 1, "millis": 1e-3, "micros": 1e-6}[unit] for n, unit in parts)
    at += float(when[2] or 0)
    return at - accuracy, at + accuracy


def read_envelope(data, signer):
    """The statement of an evidence file, and a check of its signature."""
    envelope = parse(data, b"\n")
    payload, (signature,) = unbase64(envelope["payload"]), envelope["signatures"]
    stray = [*fields(envelope, "envelope"), *set(signature) - {"keyid", "sig"}]
    statement, kind = parse(payload), "application/vnd.in-toto+json"
    names = [subject["name"] for subject in statement["subject"]]
    for subject in statement["subject"]:
        need(re.fullmatch("[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", subject["name"]), "a subject is no file name")
        need(set(subject) == {"name", "digest"} and set(subject["digest"]) == {"sha256"}, "a subject has other fields")
    need(not stray + fields(statement, "statement"), "a field is unknown")
    need(envelope["payloadType"] == kind and STATEMENT.items() <= statement.items(), "another type of statement")
    need(names == sorted(set(names)) and len(data) <= 1 << 26, "subjects out of order, or the file is too long")
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload

    def verify():
        need(signature["keyid"] == sha(bytes.fromhex(signer)), "signed with another key than the policy's signer")
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer)).verify(unbase64(signature["sig"]), signed)

    return statement, verify


def check_fields(e):
    plan, test, inputs = e.plan, e.plan["test"], e["inputs"]
    stray = fields(e.predicate, "predicate")
    need(not fields(plan, "plan"), "the plan has an unknown field")
    need([r["key"] for r in e["results"]] == [k["id"] for k in plan["keys"]], "results of other keys than the plan's")
    need(all(not fields(r, "result") for r in e["results"]), "a result has an unknown field")
    need(not fields(e["decision"], "decision"), "the decision has an unknown field")
    need(sorted(inputs.values()) == [s["name"] for s in e.subjects], "every subject has one role")
    likely = "likelihoods" if test.get("scores") == "likelihoods" else "answers"
    roles = {"twin": {"pairs", likely}, "closed-reference": {"predictions"}, "open": {"predictions"}}
    needed = roles.get(test["hypothesis"], {"input", "tokenizer"}) | {
        r for r in ("prompts", "served") if test.get(r) is True
    }
    needed |= {"tokenizer"} if test.get("records") == "answers" else set()
    asked = {"asked"} if plan["suspect"]["kind"] == "endpoint" else set()
    need(needed <= set(inputs) <= needed | asked, "other roles than the plan's test has")
    need(not stray, f"unknown: {stray}", f"{len(inputs)} inputs", error=Unchecked)


def check_register(e):
    """Ids and checks of plan.md, section 3, and of the drawer."""
    lines, stamped = e["register"], lambda line: stamp(line, e.policy["roots"])
    own = [line for line in lines if line["plan"] == digest(e.plan)]
    tokens = ["sha256:" + sha(unbase64(t)) for t in e.plan["timestamps"]]
    keys = {k["id"] for k in e.plan["keys"]}
    known = {digest(e.plan), *(other["plan"] for other in e["others"])}
    before = ["sha256:" + "0" * 64] + ["sha256:" + sha(canonical(line).encode()) for line in lines]

    def backwards():
        times = [stamped(line) for line in lines]
        starts = [max(low for low, _ in times[: i + 1]) for i in range(len(times))]
        need(all(high >= start for (_, high), start in zip(times, starts, strict=True)), "times run backwards")

    def drawer():
        lost = {line["plan"] for line in lines if keys & set(line["keys"])} - known
        need(lost <= set(e["unrun"]), f"without a result or a reason: {sorted(lost)}")
        need(lines and not lost, "no register, or plans that are said not to have been run", error=Unchecked)

    if lines:
        chained = all(
            (n, p) == (x["number"], x["previous"]) for n, (x, p) in enumerate(zip(lines, before, strict=False))
        )
        yield "register.1", lambda: need(chained, "a line does not name the one before")
        yield "register.2", lambda: need(len({x["plan"] for x in lines}) == len(lines), "a plan is there twice")
        yield "register.3", lambda: need([stamped(line) for line in lines], "")
        yield "register.4", backwards
        held = own and (own[0]["keys"], own[0]["plan_tokens"]) == ([k["id"] for k in e.plan["keys"]], tokens)
        yield "register.5", lambda: need(held, "the plan is not there, or with other keys or timestamps")
        yield "register.6", lambda: need(stamped(e.plan)[0] <= stamped(own[0])[1], "the plan came after its line")
    yield "drawer", drawer


def check_collection(e):
    """plan.md, section 4."""
    s, answers, token = e.plan["suspect"], list(e.records("input")), unbase64(e.plan["timestamps"][0])
    n, seed = s["n_prompts"] * s["repeat"], hkdf(token, 32, "radiolabel/v1/plan-order")
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = int.from_bytes(hashlib.sha256(seed + i.to_bytes(8, "little")).digest()[:16], "little") % (i + 1)
        order[i], order[j] = order[j], order[i]
    rank = {q: place for place, q in enumerate(order)}
    left = ("system", "max_tokens", "temperature", "top_p", "logprobs")
    settings = {k: s[k] for k in left if s[k] not in ("none", "endpoint")} | {"plan": digest(e.plan)}
    settings |= {k: s[k] for k in ("base_url", "model", "prompts")}
    asked = [int(a["id"]) for a in answers]
    prompts = {q % s["n_prompts"]: a["prompt"] for q, a in zip(asked, answers, strict=True)}
    listed = sha(json.dumps([prompts.get(i) for i in range(s["n_prompts"])]).encode())
    same = all(a["prompt"] == prompts[q % s["n_prompts"]] for q, a in zip(asked, answers, strict=True))
    nonces = [hkdf(token, 16, "radiolabel/v1/plan-nonce", q).hex() for q in asked]
    created = [a["meta"]["created"] for a in answers if "created" in a["meta"]]

    def in_order():
        top = -1  # a question before the last one in the order leaves no new gap
        for done, q in enumerate(asked):
            need(rank[q] <= top or rank[q] - done < s["concurrency"], f"question {q} came too early")
            top = max(top, rank[q])

    held = [a["meta"].get("settings") == settings for a in answers]
    yield "collection.1", lambda: need(all(held), "other settings, or another plan")
    yield "collection.2", lambda: need(len(set(asked)) == len(asked) and set(asked) <= set(order), "other questions")
    yield "collection.3", lambda: need(same and listed == s["prompts"][7:], "other prompts")
    yield "collection.4", lambda: need(nonces == [a["meta"].get("nonce") for a in answers], "other nonces")
    yield "collection.5", in_order
    yield "collection.6", lambda: need(len(asked) == n or e.plan["test"]["stopping"]["rule"] != "fixed", "incomplete")
    begin = lambda: stamp(e.plan, e.policy["roots"])[0] - 300
    yield "collection.7", lambda: need(min(created) >= begin(), "an answer is older than the plan")

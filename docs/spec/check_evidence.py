"""Check an evidence file a second time: from the pages of this folder alone, importing nothing of Radiolabel.

    python check_evidence.py EVIDENCE POLICY FOLDER [KEYFILE]

Needs `cryptography`, `mpmath`, `numpy`, `tokenizers`, and `openssl` on PATH for timestamps. Prints one line a step, with
the ids of evidence.md, section 9; exits with 0 if no step failed and all that the policy requires are ok, else with 1.
It does less than `radiolabel check`: steps that it does not print are not checked, nor is what a line leaves out after
"not:". Measured again are closed tests of transcripts with distinct pairs, and twin tests with likelihoods and signs.
Of timestamps OpenSSL says that they are of the record and trusted; their times are not compared.
"""

import base64
import hmac
import json
import math
import shutil
import subprocess
import sys
import tempfile
from decimal import Decimal
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import mpmath
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from tokenizers import Tokenizer

CHANNELS = ("fleet", "cohort", "account", "leaf")
PREDICATE = "citations commitments decision inputs others plan register results software times unrun".split()
REASONS = ("first_h", "repeated_window", "copied_from_prompt", "duplicate", "other_channel")


def sha(data):
    return sha256(data).hexdigest()


class Unchecked(Exception):  # noqa: N818
    """What cannot be decided here."""


def need(holds, otherwise, error=ValueError):
    """Raise unless something holds."""
    if not holds:
        raise error(otherwise)


def canonical(value):
    """Canonical JSON (RFC 8785), as text, of numbers below 10^21."""
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(k)}:{canonical(v)}" for k, v in items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float) and not value.is_integer():
        return format(Decimal(repr(value)), "f") if abs(value) >= 1e-6 else repr(value).replace("e-0", "e-")
    return json.dumps(int(value) if isinstance(value, float) else value, ensure_ascii=False)


def parse(data, end=b""):
    """Read canonical JSON: of duplicate fields the last wins, and then the bytes differ."""
    value = json.loads(data)
    need(canonical(value).encode() + end == data, "not in the one spelling of canonical JSON")
    return value


def digest(record):
    """Digest of a record: of its canonical JSON without timestamps."""
    return "sha256:" + sha(canonical({k: v for k, v in record.items() if k != "timestamps"}).encode())


def same(stated, found, where=""):
    """Fail where a field of `found` is stated otherwise; return the names that only `stated` has."""
    for name, value in found.items():
        x = stated.get(name)
        near = isinstance(value, float) and abs(x - value) < 1.000001e-6 + 1e-9 * abs(value)
        need(
            near or canonical(x) == canonical(value), f"{where}{name} is {canonical(x)}, and {canonical(value)} follows"
        )
    return f"not: {', '.join(sorted(set(stated) - set(found)))}"


def hkdf(ikm, length, *parts):
    """HKDF-SHA256 with an empty salt, over length-prefixed parts, of at most 32 bytes (key-file.md, section 1)."""
    info = b"".join(len(p.encode()).to_bytes(2, "little") + p.encode() for p in map(str, parts))
    return hmac.digest(hmac.digest(b"", ikm, "sha256"), info + b"\1", "sha256")[:length]


def blocks(key, words):
    """AES-128 of rows of four u32 words, as rows of two u64 words (prf.md, section 1)."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return np.frombuffer(encryptor.update(words.astype("<u4").tobytes()), "<u8").reshape(-1, 2)


def plain(text):
    """Text without case, white space and replacement characters."""
    return "".join(text.casefold().replace("\ufffd", "").split())


class Law:
    """A scheme's integer scores and their law (prf.md, section 4); `unit` of them are one natural unit."""

    def __init__(self, spec):
        self.gumbel, self.w, self.unit, self.mean, self.variance = spec == "gumbel", np.array([1]), 65536, 1.0, 1.0
        if self.gumbel:
            with mpmath.workdps(40):
                self.table = np.array([int(-65536 * mpmath.log1p(mpmath.mpf(-i) / 65536)) for i in range(65536)])
            self.mean = float(self.table.mean()) / 65536
            return
        option = dict(x.split("=") for x in spec.partition(":")[2].split(","))
        self.m, self.p = int(option.get("layers", 0)), 0.5
        if self.m:
            self.w = np.array([1 + 10 * (self.m - 1 - i) // self.m for i in range(self.m)])
        else:
            self.limit = (int(Decimal(option["gamma"]) * 10**6) << 64) // 10**6
            self.p = self.limit / 2**64
        self.unit, self.mean = int(self.w.sum()), self.p
        self.variance = float(self.p * (1 - self.p) * (self.w**2).sum()) / self.unit**2

    def scores(self, r):
        """Of rows of two u64 words."""
        if self.gumbel:
            return self.table[r[:, 0] >> 48]
        bits = [r[:, i // 64] >> (i % 64) & 1 for i in range(self.m)] or [r[:, 0] < self.limit]
        return sum(w * bit.astype(int) for w, bit in zip(self.w, bits, strict=True))

    def log_mgf(self, z):
        """ln E exp(z score); of Gumbel a bound."""
        if self.gumbel:
            return -math.log1p(-65536 * z) if 65536 * z < 1 else math.inf
        return np.log1p(self.p * np.expm1(np.multiply.outer(self.w, z))).sum(axis=0)

    def log10_p(self, n, total):
        """P(sum >= total): the gamma law, or a Fourier sum of the law tilted until its mean is the total."""
        if self.gumbel:
            return float(mpmath.log10(mpmath.gammainc(n, mpmath.mpf(total) / 65536, regularized=True)))
        low, high, size = 0.0, 50.0, n * self.unit + 1
        for _ in range(100):
            z = (low + high) / 2
            below = n * (self.w / (1 + (1 / self.p - 1) * np.exp(-z * self.w))).sum() < total
            low, high = (z, high) if below else (low, z)
        k, s = n * self.log_mgf(z), np.arange(size)
        law = np.fft.irfft(np.exp(n * self.log_mgf(z - 2j * np.pi / size * s[: size // 2 + 1]) - k), size)
        return float(k - z * total + np.log((law * np.exp(z * (total - s)))[total:].sum())) / math.log(10)

    def log10_e(self, n, total):
        """The mixture over 2, 2^(1/2), ... 2^-16.5 standard deviations."""
        steps = [2 ** (1 - i / 2) / math.sqrt(self.variance) / self.unit for i in range(36)]
        return float(mpmath.log10(sum(mpmath.exp(z * total - n * self.log_mgf(z)) for z in steps) / 36))


def closed(plan, law, key, answers, tokenizer):
    """`measured` of a closed test (marking.md, section 3)."""
    n, h, pairs, skip = [0, 0, 0], plan["width"], {}, plan["test"]["repeated_windows"] == "skip"
    dropped = dict.fromkeys(("first_h", "repeated_window", "copied_from_prompt", "duplicate", "other_channel"), 0)
    for answer in answers:
        ids, shown = (tokenizer.encode(answer[x], add_special_tokens=False).ids for x in ("response", "prompt"))
        copied = {tuple(shown[i : i + h + 1]) for i in range(len(shown) - h)}
        letters = [plain(tokenizer.decode([token], skip_special_tokens=False)) for token in ids]
        n, used, text = [n[0] + 1, n[1] + (not ids), n[2] + len(ids)], set(), plain(answer["prompt"])
        for t in range(len(ids)):
            pair = tuple(ids[max(0, t - h) : t + 1])
            echo = pair in copied or (text and "".join(letters[max(0, t - h) : t + 1]) in text)
            why = "first_h" if t < h else "repeated_window" if skip and pair[:h] in used else ""
            why = why or ("copied_from_prompt" if echo else "duplicate" if pair in pairs else "")
            used.add(pair[:h])
            if why:
                dropped[why] += 1
            else:
                pairs[pair] = None
    ids, words = np.array(list(pairs)), np.full((len(pairs), 4), 2**32 - 1)
    words[:, :h] = ids[:, :h]
    ends = [0, *accumulate(key["shares"].get(name, 0) for name in CHANNELS)]
    low, high = (end * 2**32 // 10**6 for end in ends[CHANNELS.index(key["path"].split("/")[2]) :][:2])
    place = blocks(bytes.fromhex(key["selector_key"]), words)[:, 0] & 0xFFFFFFFF
    words[:, h] = ids[:, h]
    words = words[(low <= place) & (place < high)]
    score = law.scores(blocks(bytes.fromhex(key["value_key"]), words)).astype(object)
    dropped["other_channel"] = len(pairs) - len(words)
    found = dict(zip(("n_documents", "n_empty", "n_seen"), n, strict=True)) | {"n_dropped": dropped}
    found |= {"n_scored": len(words), "total": str(sum(score)), "total_squares": str(sum(score**2))}
    if not plan["test"]["decoys"]:
        return found
    # Decoys: 16 bytes each of PCG64, seeded with a digest of the sorted pairs (20 bits an id) and of the key's id.
    packed = sorted(sum(token << 20 * (h - i) for i, token in enumerate(pair)) for pair in pairs)
    data = b"".join((x & 2**64 - 1).to_bytes(8, "little") for x in packed)
    data += b"".join((x >> 64).to_bytes(2, "little") for x in packed if h == 3)
    seed = sha(data + key["id"].encode())
    draw = np.random.Generator(np.random.PCG64(int(seed, 16))).bytes
    totals = np.array([law.scores(blocks(draw(16), words)).sum() for _ in range(plan["test"]["decoys"])])
    z = (totals / law.unit - len(words) * law.mean) / math.sqrt(len(words) * law.variance)
    bins = np.bincount(np.searchsorted(np.arange(-24, 25) / 4, z, side="right"), minlength=50).tolist()
    rank = 1 + int((totals >= sum(score)).sum())
    return found | {"decoys": {"n": len(z), "rank": rank, "seed": seed, "histogram": bins}}


def twin(test, pairs, likelihoods, key):
    """`measured` of a twin test (pair.md; key-file.md, section 5)."""
    total, accounts = {"wins": 0, "losses": 0, "ties": 0}, {}
    missing = [name for name in pairs if name not in likelihoods]
    for name in [*likelihoods, *missing]:
        pair, x, sign = pairs[name], likelihoods.get(name), "losses"
        coin = hkdf(bytes.fromhex(key["secret"]), 9, "radiolabel/v1/coin", name)[8] & 1 if key else pair["served"]
        need(coin == pair["served"], f"the coin of {name} is another")
        if x:
            base, size = x.get("reference") or (0, 0), (1, 1) if x.get("reference") else x["tokens"]
            score = [(x["log_likelihood"][i] - base[i]) / max(1, size[i]) for i in (0, 1)]
            gap, texts = score[coin] - score[1 - coin], [y["text"] for y in pair.get("members", [])]
            need(x["digests"] == pair["digests"], f"the likelihood of {name} is of other texts")
            tie = gap == 0 or pair.get("equal") or len(set(texts)) == 1
            sign = "ties" if tie else "wins" if gap > 0 else "losses"
        if x or test["missing"] == "loss":
            total[sign] += 1
            if pair.get("account") is not None:
                accounts.setdefault(pair["account"], dict.fromkeys(total, 0))[sign] += 1
    names = [pair["conversation"] for pair in pairs.values() if pair.get("conversation") is not None]
    rows = [{"account": account, **signs} for account, signs in accounts.items()]
    alone = len(names) == len(set(names))
    return {"n_pairs": len(pairs), "n_missing": len(missing), **total, "alone": alone, "accounts": rows}


def derive(plan, law, m):
    """What follows from `measured`, of which p and e are rounded to their weaker side."""
    if m["kind"] == "closed":
        n, total = m["n_scored"], int(m["total"])
        p, e, beside = law.log10_p(n, total), law.log10_e(n, total), mpmath.mpf(n * n) / 2**129
        more = {"excess": round(total / law.unit / n - law.mean, 6)}
        if "decoys" in m:
            more["log10_p_decoys"] = math.ceil(1e6 * math.log10(m["decoys"]["rank"] / (m["decoys"]["n"] + 1))) / 1e6
    else:
        w, n, beside = m["wins"], m["wins"] + m["losses"], 0
        e = math.log10(sum(math.comb(n + 1, k) for k in range(w + 1))) - math.log10((n + 1) * math.comb(n, w))
        p = math.log10(sum(math.comb(n, k) for k in range(w, n + 1))) - n * math.log10(2) if m["alone"] else min(0, -e)
        more = {"log10_p_sign": math.ceil(1e6 * p) / 1e6, "win_rate": round(w / n, 6)}
        p = m["log10_p_rank"] if plan["test"]["statistic"] == "rank" else p
    stated = float(mpmath.log10(mpmath.mpf(10) ** p + beside + mpmath.mpf(2) ** -128))
    more |= {"log10_p": math.ceil(1e6 * p) / 1e6, "log10_p_stated": math.ceil(1e6 * stated) / 1e6}
    return more | {"log10_e": math.floor(1e6 * e) / 1e6, "found": p <= math.log10(plan["alpha"])}


def main(evidence, policy, folder, keyfile=None):
    """Go through the steps; the exit code."""
    outcomes = {}

    @contextmanager
    def step(name):
        outcome, said = "ok", []
        try:
            yield said.append
        except Unchecked as reason:
            outcome, said = "not checked", [reason]
        except BaseException as error:  # a panic of a library in Rust is one
            outcome, said = "failed", [f"{type(error).__name__}: {error}"]
        outcomes[name] = outcome
        print(f"{outcome:<11}  {name:<12}  {ascii(' '.join(map(str, said)))[1:-1][:200]}".rstrip())

    with step("envelope"):  # sections 1 and 2
        data, kind = Path(evidence).read_bytes(), "application/vnd.in-toto+json"
        envelope, trust = parse(data, b"\n"), parse(Path(policy).read_bytes(), b"\n")
        payload, (one,) = base64.b64decode(envelope["payload"]), envelope["signatures"]
        statement, sig = parse(payload), base64.b64decode(one["sig"])
        again, one = base64.b64encode(payload).decode(), {"keyid": one["keyid"], "sig": base64.b64encode(sig).decode()}
        again = {"payload": again, "payloadType": kind, "signatures": [one]}
        need(envelope == again, "other fields or types, or base64 in another spelling")
        digests = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
        subjects = [{"digest": {"sha256": digests[name]}, "name": name} for name in sorted(digests)]
        types = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:radiolabel:evidence:1"}
        again = {**types, "subject": subjects, "predicate": statement["predicate"]}
        need(statement == again and not {"/", "\\"} & set("".join(digests)), "other fields, types or names")
    with step("signature"):
        signer, size = bytes.fromhex(trust["signer"]), str(len(payload)).encode()
        need(one["keyid"] == sha(signer), "the key is not the policy's signer")
        signed = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind.encode(), size, payload])
        Ed25519PublicKey.from_public_bytes(signer).verify(sig, signed)
    if set(outcomes.values()) != {"ok"}:
        return 1
    with step("fields"):
        p, plan = statement["predicate"], statement["predicate"]["plan"]
        test, ids, inputs = plan["test"], [key["id"] for key in plan["keys"]], p["inputs"]
        stray = set(p) - {"rate", *PREDICATE}
        need(set(PREDICATE) <= set(p), "a field is missing")
        need(sorted(inputs.values()) == sorted(digests), "not every subject has one role")
        need([result["key"] for result in p["results"]] == ids, "results of other keys than the plan's")
        need(not stray, f"unknown fields: {sorted(stray)}", Unchecked)
    with step("plan"):
        stamped(plan, trust["roots"])
    lines, heads = p["register"], ["sha256:" + "0" * 64]
    with step("register.1"):
        for number, line in enumerate(lines):
            need((line["number"], line["previous"]) == (number, heads[-1]), f"line {number} does not fit")
            heads.append("sha256:" + sha(canonical(line).encode()))
    with step("register.2"):
        need(len({line["plan"] for line in lines}) == len(lines), "a plan is there twice")
    with step("register.3"):
        for line in lines:
            stamped(line, trust["roots"])
    with step("register.5"):
        (own,) = [line for line in lines if line["plan"] == digest(plan)]
        tokens = ["sha256:" + sha(base64.b64decode(token)) for token in plan["timestamps"]]
        need((own["keys"], own["plan_tokens"]) == (ids, tokens), "with other keys or timestamps")
    with step("drawer"):
        known = {digest(plan), *(other["plan"] for other in p["others"])}
        lost = {line["plan"] for line in lines if set(line["keys"]) & set(ids)} - known
        need(lost <= set(p["unrun"]), "a registered plan has no result and no reason")
        need(not lost, "plans were not run, as the file says", Unchecked)
    with step("inputs"):
        files = {role: Path(folder, name) for role, name in inputs.items()}
        files = {role: path.read_bytes() for role, path in files.items() if path.is_file() and not path.is_symlink()}
        wrong = [role for role, data in files.items() if sha(data) != digests[inputs[role]]]
        need(not wrong, f"another file: {wrong}")
        need(set(files) == set(inputs), "not all were given", Unchecked)
        rows = {role: [json.loads(x) for x in files[role].split(b"\n") if x.strip()] for role in files if role in LINES}
    with step("keys"):
        need(keyfile, "no key was given", Unchecked)
        key = json.loads(Path(keyfile).read_text())
        context, shares = ["radiolabel/v1/id", key["path"]], key.get("shares", {})
        if key["kind"] == "value":
            spelled = ",".join(f"{name}={shares[name]}" for name in CHANNELS if shares.get(name))
            context += ["aes128-v1", key["scheme"], key["width"], spelled]
        secret = bytes.fromhex(key["secret"] if key["kind"] == "coin" else key["value_key"] + key["selector_key"])
        held = hkdf(secret, 32, *context).hex()
        need(held in (ids, [p["results"][0]["measured"].get("coin_key")])[key["kind"] == "coin"], "not the plan's")

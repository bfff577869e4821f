"""Evidence files for tests of reports: counts chosen by hand, and what follows from them computed."""

from __future__ import annotations

import copy
from base64 import b64decode
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scipy.special import ndtr

from tests import planning
from verify.canonical import canonical, digest
from verify.evidence.citations import citations
from verify.evidence.decision import decide
from verify.evidence.deriving import derive
from verify.evidence.envelope import PREDICATE_TYPE, STATEMENT_TYPE, sign
from verify.evidence.signing import Signer
from verify.measured import from_fields, to_fields
from verify.plans import Plan, parse_plan
from watermark.schemes import parse

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
TOKEN = "VGhpcyBpcyBubyB0b2tlbi4="  # base64 of no timestamp: nothing reads it without a check
LAW = parse("gumbel").law
FLEET, SEVEN, NINE = (
    {"id": letter * 64, "path": f"epoch/q4/{path}"}
    for letter, path in (("a", "fleet"), ("b", "account/7"), ("c", "account/9"))
)
CLOSED = planning.TESTS["closed"] | {"hypothesis": "closed", "decoys": 0, "stopping": {"rule": "fixed", "n": 400}}
RATE = {
    "method": "closed test of innocent students, each under 20 keys",
    "hypothesis": "closed",
    "n_trials": 2000,
    "n_accused": 1,
    "n_independent": 400,
    "alpha": 0.001,
    "low": 0.000013,
    "high": 0.0139,
    "source": "calibration.json, sha256:" + "9" * 64,
}


def total(n: int, excess: float) -> int:
    """An integer sum of n scores that are so much too high on average."""
    return round(n * (LAW.mean + excess) * LAW.unit)


def closed(n: int, excess: float, *, prompts: int = 120, decoys: int = 0, rank: int = 1) -> dict[str, Any]:
    """Measured numbers of a closed test."""
    rows = [
        [round(n * i / 12 * 1.2), n * i // 12, str(total(n * i // 12, excess * (0.8 + i / 60)))] for i in range(1, 12)
    ]
    dropped = {"first_h": 800, "repeated_window": n // 10, "copied_from_prompt": prompts, "duplicate": n // 20}
    found = {
        "kind": "closed",
        "n_documents": 400,
        "n_empty": 3,
        "n_seen": n + sum(dropped.values()) + n // 2,
        "n_dropped": dropped | {"other_channel": n // 2},
        "n_scored": n,
        "total": str(total(n, excess)),
        "total_squares": str(2 * n * LAW.unit**2),
        "accumulation": [*rows, [round(1.2 * n), n, str(total(n, excess))]],
    }
    if decoys:
        edges = [0.0, *(float(ndtr(-6 + i / 4)) for i in range(49)), 1.0]
        ends = [round(decoys * edge) for edge in edges]
        histogram = [b - a for a, b in pairwise(ends)]
        found["decoys"] = {"n": decoys, "rank": rank, "seed": "d" * 64, "histogram": histogram}
    return found


def linear(z: float, *, served: bool = False) -> dict[str, Any]:
    """Measured numbers of an open test."""
    positive, negative = [[b, 3 + b % 5] for b in range(700, 1200, 4)], [[b, 2 + b % 3] for b in range(700, 1150, 4)]
    signed = [(sign * 2 ** (b / 64), n) for sign, bins in ((1, positive), (-1, negative)) for b, n in bins]
    squares = sum(n * round(a) ** 2 for a, n in signed)
    coefficients = sum(n * round(a) for a, n in signed)
    sum_ = z * squares**0.5 + LAW.mean * coefficients
    return {
        "kind": "linear",
        "rule": "root",
        "suspect": "rival",
        "tokenizer": planning.TOKENIZER,
        "reference_model": "base",
        "served": served,
        "n_texts": 300,
        "n_positions": 30_000,
        "n_ends": 290,
        "n_cut": 10,
        "n_dropped": {"repeated_window": 27_000, "other_channel": 1_000},
        "form": {
            "n_windows": 1_000,
            "n_terms": sum(n for _, n in positive + negative),
            "total": str(round(sum_ * LAW.unit)),
            "sum_coefficients": str(coefficients),
            "sum_squares": str(squares),
            "positive": positive,
            "negative": negative,
        },
    }


def twin(wins: int, losses: int, *, alone: bool = True, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Measured numbers of a twin test; accounts share wins and losses unequally."""
    parts = [(i + 1) / sum(range(1, len(names) + 1)) for i in range(len(names))]
    found = {
        "kind": "twin",
        "n_pairs": wins + losses + 40,
        "n_missing": 0,
        "wins": wins,
        "losses": losses,
        "ties": 40,
        "alone": alone,
        "drawn": "serving",
        "n_drawn_again": 0,
        "n_replayed": 0,
        "scored_by": "log-likelihood ratio to base",
        "accounts": [
            {"account": name, "wins": int(wins * part), "losses": int(losses * part), "ties": 1}
            for name, part in zip(names, parts, strict=True)
        ],
        "accumulation": [[(wins + losses) * i // 8, wins * i // 8, losses * i // 8] for i in range(1, 9)],
    }
    return found | ({"log10_p_rank": -20.5 if wins > losses * 1.2 else -0.3} if alone else {})


def accounts(
    signs: Sequence[tuple[int, int, int]], *, groups: Mapping[str, Sequence[int]] | None = None, **changed: Any
) -> dict[str, Any]:
    """Measured numbers of a test of accounts: wins, losses and ties of each, and numbers by group."""
    found = {
        "kind": "accounts",
        "n_pairs": sum(map(sum, signs)),
        "n_missing": 0,
        "n_unnamed": 0,
        "alone": True,
        "drawn": "serving",
        "n_drawn_again": 0,
        "n_replayed": 0,
        "scored_by": "log-likelihood ratio to base",
        "accounts": [list(row) for row in signs],
    }
    if groups:
        found["groups"] = [{"group": name, "accounts": list(numbers)} for name, numbers in groups.items()]
    return found | changed


def crowd(
    n: int, ring: int, *, pairs: int = 100, rate: float = 0.85, seed: int = 0, groups: bool = True, spread: int = 0
) -> dict[str, Any]:
    """Accounts of which the first are a ring, and the others innocent."""
    rng = np.random.default_rng(seed)
    each = rng.integers(pairs - spread, pairs + spread + 1, size=n)
    wins = rng.binomial(each, np.where(np.arange(n) < ring, rate, 0.5))
    numbers = {"ring": range(1, ring + 1), "ordinary": range(ring + 1, n + 1)} if groups else None
    return accounts([(int(w), int(k - w), 0) for w, k in zip(wins, each, strict=True)], groups=numbers)


def accounts_plan(measured: Mapping[str, Any], **changed: Any) -> Plan:
    """The plan that fits what was measured, at 0.001."""
    test = planning.TESTS["accounts"] | {"hypothesis": "accounts", "accounts": len(measured["accounts"])}
    test |= {"stopping": {"rule": "fixed", "n": measured["n_pairs"]}}
    inputs = {name: digest(name.encode()) for name in ("pairs", *(["groups"] if "groups" in measured else []))}
    return plan("accounts", **({"test": test, "alpha": 1e-3, "inputs": inputs} | changed))


def on_accounts(measured: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """Evidence of such a test."""
    own = accounts_plan(measured)
    inputs = {name: f"{name}.jsonl" for name in (*own.inputs, "likelihoods")}
    return evidence(own, [dict(measured)], **({"inputs": inputs} | changed))


def sequential(n: int, excess: float) -> dict[str, Any]:
    """Measured numbers of a sequential test."""
    from verify.hypotheses.closed import log10_e

    rows = [[i, n * i // 6, total(n * i // 6, excess)] for i in range(1, 7)]
    values = list(accumulate((max(log10_e(LAW, k, s), 0.0) for _, k, s in rows), max))
    enough = [row[0] for row, e in zip(rows, values, strict=True) if e >= 6]
    found = {
        "kind": "sequential",
        "n_answers": 6,
        "n_scored": n,
        "total": str(rows[-1][2]),
        "log10_e_max": int(values[-1] * 1e6) / 1e6,
        "accumulation": [[a, k, str(s)] for a, k, s in rows],
    }
    return found | ({"enough_after": enough[0]} if enough else {})


def plan(hypothesis: str, *, committed: bool = True, **changed: object) -> Plan:
    """A plan, with a timestamp that nothing here reads, or without."""
    if hypothesis == "closed":
        changed = {"test": CLOSED} | changed
    kind = "texts" if hypothesis == "closed" else None
    return parse_plan(planning.record(hypothesis, kind, **{"timestamps": [TOKEN] * committed, **changed}), "plan")


def other(suspect: str, *, found: bool, control: bool = True) -> dict[str, Any]:
    """What another evidence file says."""
    tests = [{"name": "q4", "found": found, "log10_adjusted": -8.0 if found else -0.4}]
    return {
        "file": f"other-{digest(suspect.encode())[7:15]}.json",
        "sha256": digest(suspect.encode())[7:],
        "plan": digest(suspect.encode()),
        "suspect": suspect,
        "hypothesis": "closed",
        "control": control,
        "exploratory": False,
        "tests": tests,
    }


def register(plan: Plan, more: list[str]) -> list[dict[str, Any]]:
    """Lines of this plan and of others under its first key."""
    from verify.register import RegisterEntry

    lines: list[dict[str, Any]] = []
    previous = "sha256:" + "0" * 64
    for number, of in enumerate([plan.digest, *more]):
        entry = RegisterEntry(
            number=number,
            previous=previous,
            plan=of,
            keys=(plan.keys[0].id,),
            plan_tokens=(digest(b64decode(TOKEN)),),
            timestamps=(TOKEN,),
        )
        lines.append(entry.fields())
        previous = entry.head
    return lines


def evidence(plan: Plan, measured: list[dict[str, Any]], **changed: object) -> dict[str, Any]:
    """A predicate."""
    typed = [from_fields(fields, "measured") for fields in measured]
    derived = [derive(plan, i, m) for i, m in enumerate(typed)]
    decision = decide(plan, derived)
    tests = [{"found": t.found, "log10_adjusted": t.log10_adjusted, "name": t.name} for t in decision.tests]
    predicate = {
        "plan": plan.fields(),
        "inputs": {"input": "answers.jsonl", "tokenizer": "tokenizer.json"},
        "register": [],
        "unrun": {},
        "commitments": {"slots": [], "logs": {}},
        "results": [
            {"key": key.id, "measured": to_fields(m), "derived": d}
            for key, m, d in zip(plan.keys, typed, derived, strict=True)
        ],
        "decision": {"tests": tests, "sentence": decision.sentence},
        "others": [],
        "citations": list(citations(plan, typed)),
        "software": {"radiolabel": "0.1.0", "numpy": "2.0"},
        "times": {"made": "2026-12-01T12:00:00Z"},
    }
    return copy.deepcopy(predicate | changed)


def write(predicate: Mapping[str, Any], path: Path) -> Path:
    """The signed file; whatever stands in it, the envelope is in order."""
    inputs = predicate["inputs"] if isinstance(predicate["inputs"], dict) else {}
    roles = {name: role for role, name in inputs.items() if isinstance(name, str) and name.isprintable()}
    statement = {
        "_type": STATEMENT_TYPE,
        "predicateType": PREDICATE_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest(roles[name].encode())[7:]}} for name in sorted(roles)],
        "predicate": predicate,
    }
    path.write_bytes(sign(canonical(statement), SIGNER).to_json())
    return path


def cases() -> dict[str, dict[str, Any]]:
    """One predicate for each kind of result."""
    keys = [FLEET, SEVEN, NINE]
    family = {"tests": [*(f"q4: {key['path']}" for key in keys), "later 1", "later 2"], "correction": "holm"}
    prompted = CLOSED | {"prompts": True, "decoys": 100_000}
    found = plan("closed", test=prompted)
    controls = [other("innocent one", found=False), other("innocent two", found=False)]
    lines = register(found, [controls[0]["plan"], digest(b"unrun"), digest(b"unknown")])
    seven = plan("closed", keys=[SEVEN])
    pairs = {"pairs": "pairs.jsonl", "likelihoods": "likelihoods.jsonl"}
    names = tuple(f"customer-{i:02}" for i in range(1, 31))
    open_inputs: dict[str, object] = {"inputs": {"predictions": "predictions.jsonl", "texts": "texts.jsonl"}}
    return {
        "closed-found": evidence(
            found, [closed(60_000, 0.045, decoys=100_000)], rate=RATE, others=controls, register=lines,
            inputs={"input": "answers.jsonl", "prompts": "prompts.txt", "tokenizer": "tokenizer.json"},
            unrun={digest(b"unrun"): "the suspect's endpoint was closed"},
        ),
        "closed-missed": evidence(seven, [closed(5_000, 0.004)], others=[other("also marked", found=True)]),
        "closed-little": evidence(plan("closed"), [closed(60, 0.01)]),
        "closed-exploratory": evidence(plan("closed", committed=False), [closed(60_000, 0.05)]),
        "closed-account": evidence(seven, [closed(40_000, 0.06)]),
        "many-keys": evidence(
            plan("closed", keys=keys, family=family),
            [closed(9_000, 0.09), closed(4_000, 0.01), closed(7_000, 0.11)],
            others=controls, rate=RATE | {"n_accused": 0, "low": 0.0},
        ),
        "linear-found": evidence(plan("open"), [linear(9.0)], **open_inputs),
        "linear-missed": evidence(plan("open"), [linear(1.1)], **open_inputs),
        "twin-found": evidence(plan("twin"), [twin(1_400, 1_000, names=names)], inputs=pairs),
        "twin-missed": evidence(plan("twin"), [twin(700, 690, alone=False)], inputs=pairs),
        "accounts-found": on_accounts(crowd(200, 20)),
        "accounts-missed": on_accounts(crowd(60, 0, pairs=40, groups=False)),
        "sequential-found": evidence(plan("sequential"), [sequential(20_000, 0.08)]),
        "sequential-missed": evidence(plan("sequential"), [sequential(2_000, 0.01)]),
    }  # fmt: skip


def hostile() -> dict[str, Any]:
    """Strings that would like to be markup, terminals' commands, or the report's own words."""
    name = "<script>alert(1)</script>\u202e\x1b[2J“ was proven guilty ”"
    texts = {"kind": "texts", "name": name, "origin": "<img src=http://evil.example/x onerror=alert(1)>\x00"}
    long = "x" * 200
    names = [name, f"{long}", "![a](http://evil.example)", "שלום <b>", "$\\frac{1}{2}$ |a|b|", "\n# heading\n- item"]
    others = [other(text[:200], found=i == 1) for i, text in enumerate(names)]
    p = plan("closed", suspect=texts, name=long, family={"tests": [long, "<b>"], "correction": "bh"}, filters=names[3:])
    nasty = evidence(
        p,
        [closed(40_000, 0.06) | {"n_dropped": {"<b>drop</b>\x07": 20_000, "first_h": 4_000}, "n_seen": 64_000}],
        others=others,
        rate=RATE | {"method": name, "source": "javascript:alert(1)"},
        citations=names,
        software={text[:100] or "x": "<i>" for text in names},
        unrun={digest(b"unrun"): "</td><script>1</script>"},
        register=register(p, [digest(b"unrun")]),
        future={"<script>": 1},
    )
    nasty["results"][0]["derived"]["sentence"] = "</p><script>document.title</script>"
    nasty["results"][0]["derived"]["assumptions"] = [name]
    return nasty

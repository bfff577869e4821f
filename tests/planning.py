"""Plans for tests."""

from __future__ import annotations

import copy

from verify.canonical import digest
from verify.plans import Plan, parse_plan

TOKENIZER = digest(b"tokenizer")
FIXED = {"rule": "fixed", "n": 6}

TESTS = {
    "closed": {
        "tokenizer": TOKENIZER,
        "repeated_windows": "skip",
        "weights": "distinct",
        "token_ids": False,
        "prompts": False,
        "served": False,
        "input_format": "auto",
        "decoys": 1000,
        "stopping": FIXED,
    },
    "closed-reference": {
        "tokenizer": TOKENIZER,
        "prompt_windows": "count",
        "reference": "base",
        "stopping": FIXED,
    },
    "open": {
        "tokenizer": TOKENIZER,
        "prompt_windows": "count",
        "reference": "base",
        "rule": "root",
        "records": "predictions",
        "served": False,
        "stopping": FIXED,
    },
    "twin": {
        "scores": "likelihoods",
        "coins": "stated",
        "statistic": "sign",
        "missing": "loss",
        "reference": "none",
        "stopping": FIXED,
    },
    "accounts": {
        "scores": "likelihoods",
        "coins": "stated",
        "missing": "loss",
        "reference": "none",
        "stopping": FIXED,
        "accounts": 4,
        "aliases": "cd" * 32,
        "fdr": 0.01,
    },
    "sequential": {"tokenizer": TOKENIZER, "stopping": {"rule": "e-process", "budget": 6}},
}
WEIGHTS = {"kind": "weights", "name": "rival", "digest": digest(b"weights")}
TEXTS = {"kind": "texts", "name": "rival", "origin": "its public page"}
ENDPOINT = {
    "kind": "endpoint",
    "name": "rival",
    "base_url": "http://127.0.0.1:9/v1",
    "model": "suspect",
    "prompts": digest(b'["p0", "p1", "p2"]'),
    "n_prompts": 3,
    "repeat": 2,
    "concurrency": 2,
    "system": "none",
    "max_tokens": 50,
    "temperature": 0.7,
    "top_p": "endpoint",
    "logprobs": "none",
}
SUSPECTS = {"weights": WEIGHTS, "texts": TEXTS, "endpoint": ENDPOINT}


def record(hypothesis: str = "closed", kind: str | None = None, **changed: object) -> dict:
    """The object of a plan."""
    kind = kind or {"sequential": "endpoint", "closed": "endpoint"}.get(hypothesis, "weights")
    there = {"twin": ["pairs"], "accounts": ["pairs"], "open": ["texts"], "closed-reference": ["texts"]}
    already = there.get(hypothesis, [])
    if kind == "texts":
        already = [*already, *{"twin": ["answers"], "accounts": ["answers"], "closed": ["input"]}.get(hypothesis, [])]
    path = "epoch/q4" if hypothesis in ("twin", "accounts") else "epoch/q4/fleet"
    whole = {
        "radiolabel": "plan",
        "version": 1,
        "name": "q4",
        "keys": [{"id": "ab" * 32, "path": path}],
        "scheme": "gumbel",
        "width": 2,
        "shares": {"fleet": 500000, "account": 400000, "leaf": 100000},
        "suspect": SUSPECTS[kind],
        "test": TESTS[hypothesis] | {"hypothesis": hypothesis},
        "alpha": 1e-6,
        "family": {"tests": ["q4"], "correction": "none"},
        "filters": [],
        "inputs": {name: digest(name.encode()) for name in already},
        "timestamps": [],
    }
    return copy.deepcopy(whole | changed)


def plan(hypothesis: str = "closed", kind: str | None = None, **changed: object) -> Plan:
    """A plan without timestamps."""
    return parse_plan(record(hypothesis, kind, **changed), "plan")

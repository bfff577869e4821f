"""Observed against nominal false-alarm rates of the closed test, of every scheme, channel and engine's mark.

Null: the text does not depend on the key. Each trial draws a new key, scores one stretch of real text and takes the
shipped p-value; the first trials are compared with the shipped scorer one by one. The observed rate at 10^-x is the
share of p-values at or below it. A rate holds if so many would be seen with probability above 10^-6 were it exact:
about a thousand are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration import CHECKED, SHARES, _scorer
from benchmarks.suite import intervals, texts
from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context, Unit
from watermark.windows import Ids

NAME = "calibration"
ABOUT = "observed against nominal false-alarm rates on real text: schemes, channels, engines' marks"
NEEDS = Needs(minutes={"smoke": 0.2, "quick": 2, "full": 120})

LEVELS: Final = tuple(x / 4 for x in range(1, 25))  # -log10 of the nominal rate
ALARM: Final = 1e-6
SCHEMES: Final = ("gumbel", "tournament:layers=30", "greenlist:delta=2,gamma=0.25")
# Trials by profile: of our schemes, and of engines' marks, whose scorers cost from 0.1 ms to a second a key.
TRIALS: Final = {"smoke": 300, "quick": 10_000, "full": 1_000_000}
NATIVE: Final = {
    "vllm-gumbel": {"smoke": 20, "quick": 1_000, "full": 200_000},
    "vllm-dual-key-gumbel": {"smoke": 4, "quick": 100, "full": 10_000},
    "sglang-gumbel": {"smoke": 20, "quick": 1_000, "full": 200_000},
    "synthid": {"smoke": 4, "quick": 200, "full": 20_000},
    "transformers-greenlist:vocabulary=8192": {"smoke": 2, "quick": 50, "full": 5_000},
}
LENGTH: Final = 256
TEXTS: Final = 64


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """All configurations of a profile."""
    rows = context.each(units(profile), measure)
    return {"text_tokens": LENGTH, "levels": list(LEVELS), "alarm": ALARM, "rows": rows, "pooled": pooled(rows)}


def units(profile: Profile) -> Iterator[Unit]:
    """Every scheme on every kind of text; every width and channel on prose; every engine's mark on prose and a log."""
    kinds = texts.available() if profile != "smoke" else ["prose", "log"]
    n, seed = TRIALS[profile], 0
    for scheme in SCHEMES:
        cases = [(2, "fleet", kind) for kind in kinds]
        if profile != "smoke":
            cases += [(width, channel, "prose") for width in (1, 3) for channel in ("fleet", "account")]
            cases += [(2, channel, "prose") for channel in ("cohort", "account")]
        for width, channel, kind in cases:
            seed += 1
            yield {"mark": scheme, "width": width, "channel": channel, "kind": kind, "trials": n, "seed": seed}
    for spec, trials in NATIVE.items():
        for kind in ("prose", "log"):
            seed += 1
            yield {"mark": spec, "width": None, "channel": "native", "kind": kind, "trials": trials[profile],
                   "seed": seed}  # fmt: skip


def measure(unit: Unit) -> dict[str, Any]:
    """One configuration."""
    log10 = native_p_values(unit) if unit["channel"] == "native" else p_values(unit)
    return {"smallest_log10_p": float(log10.min()), "levels": observed(log10)}


def observed(log10: NDArray[np.float64]) -> list[dict[str, Any]]:
    """At each level that the trials can show: how many p-values lie at or below it."""
    return [
        _level(x, int((log10 <= -x).sum()), len(log10)) for x in LEVELS if 10.0**-x * len(log10) >= 1 or x <= LEVELS[0]
    ]


def _level(x: float, count: int, trials: int) -> dict[str, Any]:
    from scipy.special import bdtrc

    seen = float(bdtrc(count - 1, trials, 10.0**-x)) if count else 1.0
    return {"nominal": 10.0**-x, **intervals.share(count, trials), "p_of_so_many": seen, "holds": seen > ALARM}


def pooled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All trials of our schemes, and of each engine's mark, together: levels deeper than any one shows."""
    found = []
    groups = {"radiolabel": [r for r in rows if r["channel"] != "native"]}
    groups |= {r["mark"]: [s for s in rows if s["mark"] == r["mark"]] for r in rows if r["channel"] == "native"}
    for name, own in groups.items():
        levels = []
        for i, x in enumerate(LEVELS):
            parts = [r["levels"][i] for r in own if i < len(r["levels"])]
            if parts:
                levels.append(_level(x, sum(p["count"] for p in parts), sum(p["n"] for p in parts)))
        found.append({"group": name, "trials": sum(r["trials"] for r in own), "levels": levels})
    return found


def p_values(unit: Unit) -> NDArray[np.float64]:
    """(trials,) log10 p of one of our schemes, one new value key and selector key each."""
    from verify.hypotheses.closed import log10_p
    from verify.scoring import score, summarize
    from watermark.deployment import Deployment
    from watermark.keys import AES_BYTES, ValueKey
    from watermark.secret import Secret
    from watermark.windows import TokenBatch

    d = Deployment.parse(scheme=unit["mark"], width=unit["width"], shares=SHARES)
    channel, trials, rng = unit["channel"], unit["trials"], np.random.default_rng(unit["seed"])
    path = f"epoch/null/{channel}" + ("" if channel == "fleet" else "/1")
    documents = texts.corpora(unit["kind"], length=LENGTH, count=TEXTS)
    corpora = [summarize(TokenBatch.from_documents([own]), d.width).pairs for own in documents]
    scorers = [_scorer(pairs, d, channel) for pairs in corpora]
    n, totals = np.empty(trials, dtype=np.int64), np.empty(trials, dtype=np.int64)
    for trial in range(trials):
        value, selector = (Secret(rng.bytes(AES_BYTES)) for _ in range(2))
        n[trial], totals[trial] = scorers[trial % TEXTS](value, selector)
        if trial < CHECKED:
            s = score(corpora[trial % TEXTS], ValueKey(value, selector, path, d))
            assert (n[trial], totals[trial]) == (s.n, s.total)
    out = np.zeros(trials)
    for size in np.unique(n[n > 0]):
        out[n == size] = log10_p(d.scheme.law, int(size), totals[n == size])
    return out


def native_p_values(unit: Unit) -> NDArray[np.float64]:
    """(trials,) log10 p of an engine's mark, one new key each, by the shipped scorer and tail."""
    from verify.native.tails import log10_p
    from watermark.native import mark_named

    kind, parameters = mark_named(unit["mark"])
    rng = np.random.default_rng(unit["seed"])
    configuration = kind.configuration(rng.bytes(kind.key_length()))
    base = kind.from_configuration(configuration, parameters)
    documents = texts.corpora(unit["kind"], length=LENGTH, count=TEXTS)
    prepared = [base.inputs(*native_pairs(own, base.width)) for own in documents]
    out = np.empty(unit["trials"])
    for trial in range(unit["trials"]):
        scored = base.rekeyed(rng.bytes(base.decoy_bytes)).score(prepared[trial % TEXTS])
        out[trial] = log10_p(scored.law, scored.n, scored.total)
    return out


def native_pairs(own: Ids, width: int) -> tuple[Ids, Ids]:
    """Distinct (window, token) pairs of one document, each window once: (n, h) and (n,) uint32."""
    rows = np.lib.stride_tricks.sliding_window_view(own, width + 1)
    _, first = np.unique(rows[:, :-1], axis=0, return_index=True)
    kept = np.ascontiguousarray(rows[np.sort(first)])
    return kept[:, :-1], np.ascontiguousarray(kept[:, -1])

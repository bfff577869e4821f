"""Observed against nominal false-alarm rates of the tests that are not the closed test's p-value.

Null: the text, and the suspect, do not depend on the key or on the coins. Every trial draws a new key, or new coins.

* e-value: of the closed test; P(e >= 10^x) <= 10^-x.
* sequential: the largest e-value over nine answers of real prose, looked at after each.
* decoys: the true key's rank among 99 decoys.
* open: the Chernoff bound of an innocent model's next-token laws against a reference, both bigram models of other
  halves of real prose; and its e-value.
* signs, ranks: of the twin test; fair coins on pairs of which a tenth are ties.

Where one trial is a whole student, the lab has trained innocents (docs/lab.md).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.suite import texts
from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.cases.calibration import ALARM, LEVELS, observed
from benchmarks.suite.context import Context, Unit
from verify.scoring import summarize
from watermark.deployment import Deployment
from watermark.keys import ValueKey
from watermark.secret import Secret
from watermark.windows import Ids, TokenBatch

NAME = "calibration-tests"
ABOUT = "observed against nominal false-alarm rates: e-values, sequential, decoys, open, twin"
NEEDS = Needs(minutes={"smoke": 0.2, "quick": 1.5, "full": 60})

SCHEMES: Final = ("gumbel", "tournament", "greenlist")
# Trials by profile and test.
TRIALS: Final = {
    "e-value": {"smoke": 200, "quick": 2_000, "full": 200_000},
    "sequential": {"smoke": 20, "quick": 200, "full": 20_000},
    "decoys": {"smoke": 20, "quick": 300, "full": 20_000},
    "open p": {"smoke": 20, "quick": 300, "full": 20_000},
    "open e": {"smoke": 20, "quick": 300, "full": 20_000},
    "signs": {"smoke": 300, "quick": 10_000, "full": 1_000_000},
    "ranks": {"smoke": 20, "quick": 500, "full": 20_000},
}
COINS: Final = ("signs", "ranks")
PAIRS: Final = 200
DECOYS: Final = 99
WINDOWS: Final = 60


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """All tests of a profile."""
    units: list[Unit] = []
    for test, trials in TRIALS.items():
        for scheme in ("none",) if test in COINS else SCHEMES:
            seed = 1000 + len(units)
            units.append({"test": test, "scheme": scheme, "trials": trials[profile], "seed": seed})
    return {"levels": list(LEVELS), "alarm": ALARM, "rows": context.each(units, measure)}


def measure(unit: Unit) -> dict[str, Any]:
    """One test under one scheme."""
    rng, one = np.random.default_rng(unit["seed"]), _TESTS[unit["test"]]
    log10 = np.array([one(unit["scheme"], rng) for _ in range(unit["trials"])])
    return {"smallest_log10_p": float(log10.min()), "levels": observed(log10)}


def random_key(scheme: str, rng: np.random.Generator) -> ValueKey:
    """A value key of its own for every trial."""
    return ValueKey(Secret(rng.bytes(16)), Secret(rng.bytes(16)), "epoch/null/fleet", _deployment(scheme))


@cache
def _deployment(scheme: str) -> Deployment:
    return Deployment.parse(scheme=scheme, width=2, shares="fleet=1")


@cache
def _answers() -> list[Any]:
    documents = texts.corpora("prose", length=40, count=9)
    return [summarize(TokenBatch.from_documents([own]), 2).pairs for own in documents]


@cache
def _text() -> Any:
    return summarize(TokenBatch.from_documents(texts.corpora("chat" if "chat" in texts.available() else "prose",
                                                             length=256, count=1)), 2).pairs  # fmt: skip


def _e_value(scheme: str, rng: np.random.Generator) -> float:
    from verify.hypotheses.closed import log10_e
    from verify.scoring import score

    s = score(_text(), random_key(scheme, rng))
    return -log10_e(_deployment(scheme).scheme.law, s.n, s.total)


def _sequential(scheme: str, rng: np.random.Generator) -> float:
    from verify.hypotheses.sequential import ClosedProcess

    process = ClosedProcess(random_key(scheme, rng))
    for pairs in _answers():
        process.add(pairs)
    return process.evidence.log10_p


def _decoys(scheme: str, rng: np.random.Generator) -> float:
    from verify.hypotheses.decoys import rank

    return rank(_text(), random_key(scheme, rng), n=DECOYS).log10_p


@cache
def _innocent() -> tuple[Ids, Ids, NDArray[np.float64]]:
    """Windows of real prose, the candidates that follow their last token anywhere, and p - q of two bigram models."""
    whole, size = texts.ids("prose"), texts.VOCABULARY
    halves = [np.array(half) for half in np.array_split(whole, 2)]
    followers: dict[int, set[int]] = {}
    for a, b in zip(whole[:-1].tolist(), whole[1:].tolist(), strict=True):
        followers.setdefault(a, set()).add(b)
    pairs = _answers()[0].windows()[:WINDOWS]
    candidates = np.zeros((len(pairs), 64), dtype=np.uint32)
    coefficients = np.zeros((len(pairs), 64))
    for row, (_, last) in enumerate(pairs.tolist()):
        own = sorted(followers[last])[:64]
        laws = [np.bincount(h[1:][h[:-1] == last], minlength=size)[own] + 0.1 for h in halves]
        p, q = (law / law.sum() for law in laws)
        rest = [v for v in range(64 + len(own)) if v not in own][: 64 - len(own)]  # distinct, of coefficient 0
        candidates[row], coefficients[row, : len(own)] = [*own, *rest], p - q
    return pairs, candidates, coefficients


def _open(scheme: str, rng: np.random.Generator, *, e: bool) -> float:
    from verify.hypotheses.open import score_windows
    from verify.linear import log10_e, log10_p

    form = score_windows(*_innocent(), random_key(scheme, rng))
    law = _deployment(scheme).scheme.law
    return -log10_e(law, form) if e else log10_p(law, form)


def _differences(rng: np.random.Generator) -> NDArray[np.float64]:
    """Sizes that are the same in every trial, signs by fair coins."""
    sizes = np.exp(np.random.default_rng(0).normal(size=PAIRS))
    sizes[: PAIRS // 10] = 0.0
    return np.where(rng.random(PAIRS) < 0.5, sizes, -sizes)


def _signs(scheme: str, rng: np.random.Generator) -> float:
    from verify.hypotheses.twin import Signs

    return Signs.of(_differences(rng)).log10_p


def _ranks(scheme: str, rng: np.random.Generator) -> float:
    from verify.hypotheses.twin import signed_rank_log10_p

    return signed_rank_log10_p(_differences(rng))


_TESTS: Final[dict[str, Callable[[str, np.random.Generator], float]]] = {
    "e-value": _e_value,
    "sequential": _sequential,
    "decoys": _decoys,
    "open p": lambda scheme, rng: _open(scheme, rng, e=False),
    "open e": lambda scheme, rng: _open(scheme, rng, e=True),
    "signs": _signs,
    "ranks": _ranks,
}

"""The closed test's growth: how the excess in a student's own answers grows with what was served and asked.

Nano students are trained on 100 to 3,200 served answers and nothing else, and answer prompts that nobody served.
Symbols: N answers served, n distinct pairs asked, x mean excess score per pair, z = x sqrt(n) / sd.
Fitted is x = A N^b by weighted least squares on log x, with a parametric bootstrap over the errors of x. From it, how
many pairs a p of 1e-6 needs at a given N; beyond the largest N that is an extrapolation and named so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from benchmarks.lab import bases, campaigns, corpus, opened
from benchmarks.lab.campaigns import Plan
from benchmarks.lab.family import Training, train
from benchmarks.lab.generation import PROMPT, samples
from benchmarks.lab.runs import Result, Run
from verify import linear
from verify.hypotheses import closed
from verify.hypotheses.counted import Counted
from verify.power import closed_need
from verify.scoring import score, summarize
from watermark.schemes import parse
from watermark.windows import TokenBatch

ESTIMATE: Final = 900
SIZE: Final = "nano"
SERVED: Final = (100, 200, 400, 800, 1600, 3200)
WIDTHS: Final = (1, 2, 3)
ASKED: Final = 1600
CONTROLLED: Final = 300  # answers that are also tested with the base as control variate
CANDIDATES: Final = 64
HOW: Final = Training(rate=2e-3, batch=16)
CAMPAIGN: Final = 28_800_000  # exchanges alleged in June 2026
ALPHA: Final = 1e-6
POWER: Final = 0.95
RESAMPLES: Final = 2000


def plan(width: int) -> Plan:
    """What is served under one width's key; the first N answers are a smaller campaign."""
    return Plan(seed=9000 + width, pairs=SERVED[-1], width=width, shares="fleet=1", pairing="none", prompts=4000)


def runs() -> Iterator[Run]:
    """One a width and number of answers."""
    for width in WIDTHS:
        for count in SERVED:
            configuration = {"width": width, "served": count, "shares": "fleet=1", "size": SIZE, "asked": ASKED}
            yield Run(f"h{width}-{count}", configuration, lambda w=width, n=count: _measure(w, n))  # type: ignore[misc]


def _measure(width: int, count: int) -> Result:
    campaign = campaigns.load(plan(width))
    base = bases.load(SIZE)
    student = train(base.copy(), campaign.rows()[:count], HOW, seed=count)
    prompts = corpus.rows(corpus.load().prompts[4000 * PROMPT :], PROMPT, ASKED, np.random.default_rng(width))
    own = samples(student, prompts, campaign.plan.length, seed=width)
    key = campaign.plan.epoch.value_key("fleet")
    law, curve = key.deployment.scheme.law, []
    for asked in (ASKED // 8, ASKED // 4, ASKED // 2, ASKED):
        counted = Counted(key)
        summary = summarize(TokenBatch.from_documents(list(own[:asked])), width, take=counted.add)
        found = score(summary.pairs, key)
        weighed = counted.scored(summary, tokenizer=None).form
        excess = found.total / law.unit / found.n - law.mean
        error = (law.variance / found.n) ** 0.5
        log10_p = float(closed.log10_p(law, found.n, found.total))
        curve.append(
            {
                "asked": asked,
                "n": found.n,
                "excess": excess,
                "error": error,
                "z": excess / error,
                "log10_p": log10_p,
                "z, counts": linear.z(law, weighed),
                "log10_p, counts": linear.log10_p(law, weighed),
            }
        )
    some = slice(0, CONTROLLED)
    plain = score(summarize(TokenBatch.from_documents(list(own[some])), width).pairs, key)
    controlled = opened.control(base, prompts[some], own[some], key, k=CANDIDATES)
    plain_z = (plain.total / law.unit - plain.n * law.mean) / (plain.n * law.variance) ** 0.5
    return {"curve": curve, "control": {"asked": CONTROLLED, "plain z": plain_z, "with the base": controlled}}


def report(results: dict[str, Result]) -> Result:
    """The fits, and what they say of the alleged campaign."""
    found: Result = {"runs": results, "fits": {}}
    law = parse("gumbel").law
    for width in WIDTHS:
        last = [r["curve"][-1] | {"served": r["configuration"]["served"]} for r in results.values()
                if r["configuration"]["width"] == width]  # fmt: skip
        last.sort(key=lambda row: row["served"])
        if len(last) < 3:
            continue
        served, excess, error = (np.array([row[k] for row in last]) for k in ("served", "excess", "error"))
        generator = np.random.default_rng(width)
        drawn = excess + error * generator.standard_normal((RESAMPLES, len(excess)))
        fits = np.array([f for f in (_fit(served, x, error) for x in drawn) if f is not None])
        best = _fit(served, excess, error)
        fit: dict[str, Any] = {"points": last, "bootstrap kept": len(fits) / RESAMPLES}
        if best is not None and len(fits):
            at = np.exp(fits[:, 0] + fits[:, 1] * np.log(CAMPAIGN))
            fit |= {
                "A": float(np.exp(best[0])),
                "b": float(best[1]),
                "b interval": np.quantile(fits[:, 1], [0.025, 0.975]).tolist(),
                "excess at the campaign, extrapolated": float(np.exp(best[0] + best[1] * np.log(CAMPAIGN))),
                "its interval": np.quantile(at, [0.025, 0.975]).tolist(),
            }
        fit["pairs needed for 1e-6 at each N"] = [closed_need(law, float(x), alpha=ALPHA, power=POWER) for x in excess]
        found["fits"][f"h={width}"] = fit
    return found


def _fit(served: Any, excess: Any, error: Any) -> tuple[float, float] | None:
    """ln A and b from the points with a positive excess; None from fewer than three."""
    good = excess > 0
    if good.sum() < 3:
        return None
    weight = excess[good] / error[good]
    slope, intercept = np.polyfit(np.log(served[good]), np.log(excess[good]), 1, w=weight)
    return float(intercept), float(slope)

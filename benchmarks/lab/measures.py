"""What the tests see of one student: raw statistics and p-values, from token ids and weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.lab import corpus
from benchmarks.lab.campaigns import Campaign
from benchmarks.lab.family import Transformer, log_likelihood
from benchmarks.lab.generation import PROMPT, samples
from verify.hypotheses import closed
from verify.hypotheses.twin import Signs, signed_rank_log10_p
from verify.scoring import score, summarize
from verify.similarity import MEASURES
from watermark.windows import Ids, TokenBatch

Floats = NDArray[np.float64]


def preference(model: Transformer, campaign: Campaign) -> Floats:
    """Log-likelihood of each served answer less that of its twin: (n,)."""
    rows = np.concatenate([campaign.rows(), campaign.rows(twins=True)])
    served, twins = np.split(log_likelihood(model, rows, PROMPT), 2)
    equal = (campaign.served == campaign.twins).all(axis=1)
    return np.where(equal, 0.0, served - twins)


def signs(differences: Floats) -> dict[str, Any]:
    """The twin test's figures for (n,) differences."""
    counted = Signs.of(differences)
    spread = float(differences.std())
    return {
        "wins": counted.wins,
        "losses": counted.losses,
        "t": round(float(differences.mean() / spread * len(differences) ** 0.5), 3) if spread else 0.0,
        "log10_p": round(counted.log10_p, 4),
        "log10_p_ranks": round(signed_rank_log10_p(differences), 4),
    }


def twin(student: Transformer, campaign: Campaign, reference: Floats) -> dict[str, Any]:
    """The twin test with and without the base: `reference` is the base's `preference`."""
    raw = preference(student, campaign)
    return {"base": signs(raw - reference), "none": signs(raw)}


def asked(student: Transformer, campaign: Campaign, *, seed: int) -> Ids:
    """The student's own answers to the served prompts: (n, length) ids."""
    return samples(student, campaign.prompts, campaign.plan.length, seed=seed)


def similarity(own: Ids, campaign: Campaign) -> dict[str, Any]:
    """The twin test on text alone: is the student's answer more like the served one than like the twin?"""
    decode = corpus.tokenizer().decode_batch
    texts = [decode(ids.tolist()) for ids in (own, campaign.served, campaign.twins)]
    found = {}
    for name, measure in MEASURES.items():
        found[name] = signs(np.array([measure(a, s) - measure(a, t) for a, s, t in zip(*texts, strict=True)]))
    return found


def closed_test(own: Ids, campaign: Campaign) -> dict[str, Any]:
    """The closed test on the student's own answers."""
    key = campaign.plan.epoch.value_key("fleet")
    pairs = summarize(TokenBatch.from_documents(list(own)), campaign.plan.width).pairs
    found, law = score(pairs, key), key.deployment.scheme.law
    mean = found.total / law.unit - found.n * law.mean
    return {
        "n": found.n,
        "total": found.total,
        "z": round(mean / (found.n * law.variance) ** 0.5, 3),
        "log10_p": round(float(closed.log10_p(law, found.n, found.total)), 4),
        "log10_e": round(closed.log10_e(law, found.n, found.total), 4),
    }

"""The lab's campaigns without a ring, and what a suspect lets be seen: against sums written out."""

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom

from benchmarks.lab import access, ring
from benchmarks.lab.crowd import RECIPES
from benchmarks.lab.family import SIZES, Transformer, log_likelihood
from benchmarks.lab.nobody import chance, exact, nobody


@pytest.mark.parametrize("pairs", [10, 20, 30, 40, 75, 100])
def test_the_chance_of_a_name_is_the_binomials(pairs):
    tails = [float(binom.sf(w - 1, pairs, 0.5)) for w in range(pairs + 1)]
    one = max((p for p in tails if p <= 1e-6), default=0.0)
    assert chance(pairs, 1000) == pytest.approx(1 - (1 - one) ** 1000, rel=1e-6)
    assert chance(pairs, 1000) <= 1e-3


def test_the_chance_is_how_often_it_happens():
    """Of 20 pairs at 1e-3 over 4: P(W >= 18) is 2.0e-4 and P(W >= 17) is 1.3e-3. Of 12 over 40 nobody can be named."""
    assert chance(12, 40) == 0.0
    rng, least = np.random.default_rng(0), 18
    hits = (rng.binomial(20, 0.5, size=(200_000, 4)).max(axis=1) >= least).mean()
    assert chance(20, 4) == pytest.approx(hits, rel=0.2)


@pytest.mark.parametrize(("hits", "n"), [(0, 800), (2, 800), (7, 800), (800, 800)])
def test_intervals_are_clopper_and_pearsons(hits, n):
    low, high = exact(hits, n)
    assert low == pytest.approx(beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0)
    assert high == pytest.approx(beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0)


def test_a_campaign_counts_once_a_row_and_once_for_all_rows():
    def row(pairs, fwer, fdr):
        return {"pairs": pairs, "roles": {"ordinary": {"fwer": fwer, "fdr": fdr}}}

    campaigns = [
        {"ratio": [row(20, 3, 0), row(50, 1, 0)], "plain": [row(20, 0, 0), row(50, 0, 2)]},
        {"ratio": [row(20, 0, 0), row(50, 0, 0)], "plain": [row(20, 0, 0), row(50, 0, 0)]},
        {"ratio": [row(20, 0, 0), row(50, 1, 0)], "plain": [row(20, 0, 0), row(50, 0, 0)]},
    ]
    found = nobody(campaigns, 1000)
    assert [(r["score"], r["pairs"], r["fwer"]["campaigns"], r["fdr"]["campaigns"]) for r in found["rows"]] == [
        ("ratio", 20, 1, 0), ("ratio", 50, 2, 0), ("plain", 20, 0, 0), ("plain", 50, 0, 1)
    ]  # fmt: skip
    assert (found["any"]["fwer"]["campaigns"], found["any"]["fdr"]["campaigns"]) == (2, 1)
    assert (found["campaigns"], found["hits"]) == (3, 3)
    assert found["expected"] == pytest.approx(3 * 2 * (chance(20, 1000) + chance(50, 1000)), abs=1e-3)


def test_no_two_campaigns_share_a_seed():
    seeds = [recipe.seed + i for recipe in RECIPES.values() for i in range(recipe.campaigns)]
    assert len(set(seeds)) == len(seeds)


@pytest.fixture
def models(monkeypatch):
    """A student and a base that differ."""
    student, base = Transformer(SIZES["nano"], 1).eval(), Transformer(SIZES["nano"], 2).eval()
    with torch.no_grad():
        for model in (student, base):
            model.embed.weight.mul_(6)  # not uniform, and not nearly certain, where single precision has no digits left
    monkeypatch.setattr(access.bases, "load", lambda name: base)
    return student, base


def test_all_is_the_ratio_and_what_is_not_seen_is_shared_out_as_the_base_does(models):
    student, base = models
    rows = np.random.default_rng(0).integers(0, 2048, size=(6, 24), dtype=np.uint32)
    with torch.inference_mode():
        likely = student(torch.from_numpy(rows[:, :-1].astype(np.int64)), start=15).argmax(dim=2).numpy()
    rows[:3, 16:] = likely[:3]  # the likeliest given other ids before: some seen, some not
    found = access.ratios(student, rows, 16)
    assert set(found) == {"all", "top 1", "top 5", "top 20"}
    whole = log_likelihood(student, rows, 16) - log_likelihood(base, rows, 16)
    assert found["all"] == pytest.approx(whole, rel=1e-4)
    ids = torch.from_numpy(rows.astype(np.int64))
    with torch.inference_mode():
        p, q = (m(ids[:, :-1], start=15).double().softmax(dim=2).numpy() for m in models)
    for k in access.TOP:
        expected, seen = np.zeros(6), 0
        for i in range(6):
            for t in range(8):
                w, top = rows[i, 16 + t], np.argsort(-p[i, t])[:k]
                seen += w in top
                given = p[i, t, w] if w in top else (1 - p[i, t, top].sum()) * q[i, t, w] / (1 - q[i, t, top].sum())
                expected[i] += np.log(given) - np.log(q[i, t, w])
        assert found[f"top {k}"] == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert 0 < seen < 48


def test_answers_are_compared_with_both_members(models, monkeypatch):
    decoded = {0: "the cat sat on the mat", 1: "the cat sat on a mat", 2: "zebras run"}

    class Tokenizer:
        def decode_batch(self, rows):
            return [decoded[row[0]] for row in rows]

    monkeypatch.setattr(access.corpus, "tokenizer", Tokenizer)
    monkeypatch.setattr(access, "samples", lambda model, prompts, length, seed: np.zeros((len(prompts), length), int))
    first, second = np.array([[1], [2], [1]]), np.array([[2], [1], [1]])
    found = access.likenesses(models[0], np.zeros((3, 16), dtype=np.uint32), (first, second))
    assert set(found) == {f"text, {n} ({m})" for n in (1, 4) for m in ("ngram", "subsequence")}
    for values in found.values():
        assert values[0] == -values[1] > 0.3
        assert values[2] == 0


def test_merged_accounts_are_of_one_role():
    recipe = ring.RECIPES["merged-20"]
    number = np.repeat(np.arange(ring.ACCOUNTS, dtype=float)[:, None], ring.PAIRS, axis=1)
    found, who = ring.alike(number, recipe)
    roles = ring.roles(recipe)
    assert found.shape == (ring.ACCOUNTS // recipe.merged, ring.PAIRS * recipe.merged)
    for row, role in zip(found, who, strict=True):
        assert {roles[int(i)] for i in set(row)} == {role}
    assert len({i for row in found for i in set(row)}) == ring.ACCOUNTS

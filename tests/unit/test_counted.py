import numpy as np
import pytest

from tests.conftest import make_epoch
from verify import linear
from verify.hypotheses.counted import Counted
from verify.hypotheses.reference import CAP
from verify.linear_finding import find
from verify.scoring import merge, summarize
from watermark.prf import Prf, pack_blocks
from watermark.windows import TokenBatch


def scored(documents, key, *, parts=1):
    """Through the shipped path, in so many batches."""
    taken = Counted(key)
    cuts = np.array_split(np.arange(len(documents)), parts)
    summaries = [
        summarize(TokenBatch.from_documents([documents[i] for i in cut]), key.deployment.width, take=taken.add)
        for cut in cuts
        if len(cut)
    ]
    return taken.scored(merge(summaries, key.deployment.width), tokenizer=None)


def test_each_pair_weighs_by_its_count_up_to_the_cap():
    """By hand at width 1: (1, 2) three times, (2, 3) forty times, in documents of their own."""
    key = make_epoch(1, width=1, shares="fleet=1").value_key("fleet")
    documents = [np.array(d, dtype=np.uint32) for d in [[1, 2]] * 3 + [[2, 3]] * 40]
    form = scored(documents, key).form
    scores = key.deployment.scheme.score(
        Prf(key.value).words(pack_blocks(np.array([[1], [2]], dtype=np.uint32), np.array([2, 3], dtype=np.uint32)))
    ).tolist()
    unit = linear.ONE // CAP
    assert form.total == 3 * unit * scores[0] + CAP * unit * scores[1]
    assert (form.n_windows, form.n_terms) == (2, 2)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_any_partition_gives_the_same_bytes(prose_ids, width):
    documents = [prose_ids[i : i + 300] for i in range(0, 30_000, 300)] + [prose_ids[:300]] * 5
    key = make_epoch(2, width=width).value_key("fleet")
    assert scored(documents, key).form.to_bytes() == scored(documents[::-1], key, parts=7).form.to_bytes()


@pytest.mark.parametrize("kind", ["prose", "phrase", "identical"])
def test_p_holds_over_random_keys(prose_ids, kind):
    """400 keys; real prose, a phrase a thousand times over, identical documents: rates stay at or under the level."""
    documents = {
        "prose": [prose_ids[i : i + 200] for i in range(0, 12_000, 200)],
        "phrase": [prose_ids[:60]] * 1000,
        "identical": [prose_ids[:400]] * 30,
    }[kind]
    p, zs = [], []
    for label in range(400):
        key = make_epoch(label, width=1, shares="fleet=1").value_key("fleet")
        form = scored(documents, key).form
        p.append(linear.log10_p(key.deployment.scheme.law, form))
        zs.append(linear.z(key.deployment.scheme.law, form))
    for level in (0.1, 0.05, 0.01):
        assert np.mean(np.array(p) <= np.log10(level)) <= level + 3 * np.sqrt(level * (1 - level) / 400)
    assert abs(np.std(zs) - 1) < 0.15  # counting a pair as independent draws would give far more


def test_what_is_learned_is_said_often_and_counts_find_it(prose_ids):
    """A text in which a few pairs come often and score high, among many that come once: distinct pairs drown it."""
    key = make_epoch(3, width=1, shares="fleet=1").value_key("fleet")
    law, scheme, prf = key.deployment.scheme.law, key.deployment.scheme, Prf(key.value)
    rng = np.random.default_rng(0)
    documents = [prose_ids[i : i + 200] for i in range(0, 40_000, 200)]
    for window in rng.integers(0, 4096, 40):
        tokens = np.arange(4096, dtype=np.uint32)
        words = prf.words(pack_blocks(np.full((4096, 1), window, dtype=np.uint32), tokens))
        best = tokens[np.argsort(scheme.score(words))[-400]]  # in the upper tenth
        documents += [np.array([window, best], dtype=np.uint32)] * 30
    with_counts = linear.z(law, scored(documents, key).form)
    pairs = merge([summarize(TokenBatch.from_documents(documents), 1)], 1).pairs
    once = linear.z(law, Once(key).form(pairs))
    assert with_counts > 2 * once
    finding = find(scored(documents, key), key, alpha=1e-6, options={})
    assert finding.test == "closed"
    assert finding.rule == "counts"


class Once:
    """Each distinct pair with the same weight."""

    def __init__(self, key):
        self.key = key

    def form(self, pairs):
        taken = Counted(self.key)
        taken.add(pairs)
        return taken.scored(summarize(TokenBatch.from_documents([]), 1), tokenizer=None).form

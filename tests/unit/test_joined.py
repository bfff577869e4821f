"""The lab's marks of accounts in what a student says: an answer drawn for an account is that account's."""

import numpy as np

from benchmarks.lab import joined, ring
from benchmarks.lab.accounts_page import joined_part
from watermark.sampling import Request, Sampler


def test_what_was_drawn_for_an_account_is_traced_to_it():
    sampler, rng = Sampler(ring.PLAN.epoch), np.random.default_rng(1)
    responses = [sampler.start(Request(f"r{i}", account="37")) for i in range(8)]
    for _ in range(60):
        sampler.draw(responses, rng.normal(size=(8, 512)))
    found = joined.marks(np.array([r.tracker.tokens for r in responses], dtype=np.uint32))
    assert sorted(found.key.tolist()) == list(range(ring.ACCOUNTS))
    assert found.key[np.argsort(found.log10_e)[-1]] == 37
    assert np.sort(found.log10_e)[-1] > 3 > np.sort(found.log10_e)[-2]


def test_the_page_says_how_many_were_named():
    role = {"accounts": 20, "fdr": 2, "log10_e": [0.1, 0.2, 0.3], "sum": 4.0}
    ways = {way: {"ring": role, "ordinary": role | {"accounts": 160, "fdr": 1}} for way in joined.WAYS}
    run = {"configuration": {"epochs": 3}, "ways": ways, "z": {"ring": 0.5, "others": -0.25}, "pairs_scored": 9}
    text = "\n".join(joined_part({"one": run, "two": run}))
    assert "4 of 40 accounts of the ring are named" in text
    assert "+0.50 / -0.25" in text

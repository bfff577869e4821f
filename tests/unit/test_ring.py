"""The lab's campaigns of accounts: n-gram models, roles, what a trainer does, and who is named."""

from math import comb, log10

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.lab import crowd, edits, ngram, ring
from benchmarks.lab.campaigns import Campaign
from benchmarks.lab.corpus import Corpus
from benchmarks.lab.family import Size, Transformer
from benchmarks.lab.generation import PROMPT
from benchmarks.lab.naming import named, summary
from benchmarks.lab.ngram import K1, K2, K3, Ngram, Teacher, V
from watermark.sampling import Request, Sampler


@pytest.fixture
def text():
    """20,000 ids below 12 with an order that a trigram model can learn."""
    generator, ids = np.random.default_rng(0), [0, 1]
    for u in generator.random(19_998):
        ids.append(int(ids[-1] + ids[-2] + 3 * u) % 12)
    return np.array(ids, dtype=np.uint32)


def probability(text, a, b, w):
    """P(w|ab) by the equations of the module, counted in a loop."""
    ids = text.tolist()
    ab = [i for i in range(len(ids) - 2) if ids[i : i + 2] == [a, b]]
    one = [i for i in range(len(ids) - 1) if ids[i] == b]
    p1 = (ids.count(w) + K1 / V) / (len(ids) + K1)
    p2 = (sum(ids[i + 1] == w for i in one) + K2 * p1) / (len(one) + K2)
    return (sum(ids[i + 2] == w for i in ab) + K3 * p2) / (len(ab) + K3)


def test_likelihood_is_by_the_equations(text):
    some = text[:500]
    rows = np.array([[3, 5, 8, 2], [1, 1, 1, 1], [900, 901, 2, 7]], dtype=np.uint32)
    expected = [sum(np.log(probability(some, *row[i : i + 3].tolist())) for i in (0, 1)) for row in rows]
    np.testing.assert_allclose(Ngram.of(some[None]).log_likelihood(rows), expected, rtol=1e-5)


def test_probabilities_sum_to_one(text):
    model = Ngram.of(text[:2000].reshape(40, 50))
    for a, b in ((1, 2), (7, 7), (900, 3), (3, 900)):
        rows = np.array([[a, b, w] for w in range(V)], dtype=np.uint32)
        assert np.exp(model.log_likelihood(rows)).sum() == pytest.approx(1, abs=1e-4)


def test_a_context_that_was_never_seen_is_that_of_one_token_whatever_shares_its_place(text, monkeypatch):
    """c(abw) is never taken above c(ab.): with 16 places for all trigrams every place is full."""
    monkeypatch.setattr(ngram, "BITS", 4)
    model = Ngram.of(text[None])
    assert model.three.min() > 100
    rows = np.array([[900, 3, w] for w in range(12)], dtype=np.uint32)
    expected = [np.log(probability(text, 900, 3, w)) for w in range(12)]
    np.testing.assert_allclose(model.log_likelihood(rows), expected, rtol=1e-5)


def test_rows_do_not_run_into_each_other():
    rows = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint32)
    model = Ngram.of(rows)
    assert model.two.sum() == 4
    assert model.three.sum() == model.pairs.sum() == 2
    assert model.two[3 * V + 4] == 0


def test_counts_of_two_texts_add_up_by_weight(text):
    rows = text[:600].reshape(12, 50)
    one, both = Ngram.of(rows[:6]), Ngram.of(rows[[*range(12), *range(6, 12)]])
    summed = one.plus(Ngram.of(rows[6:]), weight=2.0)
    for name in ("one", "two", "pairs", "three"):
        np.testing.assert_array_equal(getattr(summed, name), getattr(both, name))


def test_many_rows_are_looked_up_in_parts(text, monkeypatch):
    model, rows = Ngram.of(text[None]), text[:1000].reshape(100, 10)
    whole = model.log_likelihood(rows)
    monkeypatch.setattr(ngram, "CHUNK", 70)
    np.testing.assert_array_equal(model.log_likelihood(rows), whole)


@pytest.mark.parametrize("context", [(3, 5), (900, 4), (900, 901)])
def test_a_teacher_draws_from_its_model(text, context):
    """40,000 draws of the next token, known context or not: each of 12 ids and all others within 5 deviations."""
    n, model = 40_000, Ngram.of(text[None])
    starts = np.tile(np.array(context, dtype=np.uint32), (n, 1))
    drawn = Teacher(text).draw(starts, 1, np.random.default_rng(1))[:, 0]
    rows = np.array([[*context, w] for w in range(12)], dtype=np.uint32)
    p = np.exp(model.log_likelihood(rows))
    seen = np.bincount(np.minimum(drawn, 12), minlength=13)
    expected = n * np.append(p, 1 - p.sum())
    assert (np.abs(seen - expected) <= 5 * np.sqrt(np.maximum(expected, 0)) + 1).all()


def test_a_teacher_goes_on_from_its_own_tokens(text):
    """The second token depends on the last of the prompt and the first drawn."""
    teacher, model = Teacher(text), Ngram.of(text[None])
    starts = np.tile(np.array([3, 5], dtype=np.uint32), (60_000, 1))
    drawn = teacher.draw(starts, 2, np.random.default_rng(2))
    first = int(np.bincount(drawn[:, 0]).argmax())
    second = np.minimum(drawn[drawn[:, 0] == first, 1], 12)
    p = np.exp(model.log_likelihood(np.array([[5, first, w] for w in range(12)], dtype=np.uint32)))
    expected = len(second) * np.append(p, 1 - p.sum())
    assert (np.abs(np.bincount(second, minlength=13) - expected) <= 5 * np.sqrt(np.maximum(expected, 0)) + 1).all()


@pytest.fixture
def small(monkeypatch, text):
    """A crowd of n-grams on a small text."""
    parts = np.split(text, [8000, 16_000, 18_000])
    monkeypatch.setattr(crowd.corpus, "load", lambda: Corpus(*parts))
    for cached in (crowd.teacher, crowd.counted):
        cached.cache_clear()
    yield
    for cached in (crowd.teacher, crowd.counted):
        cached.cache_clear()


def test_coins_say_which_member_is_served(small):
    recipe = crowd.Recipe(0.2, accounts=40, ring=4, pairs=50)
    served, twins = crowd.pairs(recipe, np.random.default_rng(0))
    assert served.shape == twins.shape == (40, 50, 34)
    assert (served[..., :2] == twins[..., :2]).all()
    assert (served != twins).any()
    again, others = crowd.pairs(recipe, np.random.default_rng(0))
    assert (served == again).all()
    assert (twins == others).all()


def test_a_students_share_is_as_stated(small):
    served, _ = crowd.pairs(crowd.Recipe(1.0, accounts=40, ring=4, pairs=50), np.random.default_rng(0))
    for share, doses, kept in ((0.5, (1.0,), 200), (0.2, (1.0,), 200), (0.01, (0.5, 1.0), 150)):
        recipe = crowd.Recipe(share, accounts=40, ring=4, pairs=50, doses=doses)
        model, passes = crowd.student(recipe, served, np.random.default_rng(1))
        own, published = kept * 34, 4 * 25 * 34
        assert model.one.sum() == pytest.approx(own / share, rel=1e-3)
        assert passes == pytest.approx((own / share - own - published) / 8000)
        assert (passes > 1) or (model.one == np.round(model.one)).all()  # part of the text once, not all of it thinly


def test_a_ring_of_ngrams_is_found_and_nobody_without_one(small):
    found = crowd.campaign(crowd.Recipe(0.2, accounts=40, ring=4, pairs=100), 1)
    last = found["ratio"][-1]
    assert last["pairs"] == 100
    assert last["roles"]["ring"]["wins"] > 0.6 * last["roles"]["ring"]["untied"]
    assert last["roles"]["ordinary"]["fwer"] == 0
    none = crowd.campaign(crowd.Recipe(0.2, accounts=40, ring=0, pairs=100), 2)["ratio"][-1]
    assert list(none["roles"]) == ["ordinary"]
    assert (none["roles"]["ordinary"]["fwer"], none["at_least"]) == (0, 0)


def test_roles_and_doses_take_turns():
    found = ring.roles(ring.RECIPES["dose-20"])
    assert {role: found.count(role) for role in set(found)} == {
        "ring, 10 %": 7, "ring, 50 %": 7, "ring, 100 %": 6, "published half": 20, "ordinary": 160
    }  # fmt: skip
    assert ring.roles(ring.RECIPES["none-20"]) == ["ordinary"] * 200
    assert ring.roles(ring.RECIPES["share-5"]) != ring.roles(ring.RECIPES["share-5-again"])


@pytest.fixture
def stock(monkeypatch):
    """A stock in which every row names its account and pair."""
    n = ring.ACCOUNTS * ring.PAIRS
    number = np.arange(n, dtype=np.uint32)[:, None]
    served = np.repeat(number, 4, axis=1)
    made = Campaign(ring.PLAN, np.repeat(number % 50, PROMPT, axis=1), served, served + n)
    monkeypatch.setattr(ring, "stock", lambda: made)
    return made


@pytest.mark.parametrize("name", ["share-5", "dose-20"])
def test_the_ring_gives_its_doses_and_publishers_half(stock, name):
    recipe = ring.RECIPES[name]
    roles = ring.roles(recipe)
    for rows, kind in zip(ring.taken(recipe), ("ring", "published"), strict=True):
        given = np.bincount(rows[:, -1] // ring.PAIRS, minlength=ring.ACCOUNTS)
        for account, role in enumerate(roles):
            dose = {"ring": 100, "ring, 10 %": 10, "ring, 50 %": 50, "ring, 100 %": 100, "published half": 50}.get(
                role, 0
            )
            assert given[account] == (dose if role.startswith(kind) else 0)
        assert len(np.unique(rows[:, -1])) == len(rows)
        assert (rows[:, -1] < ring.ACCOUNTS * ring.PAIRS).all()  # what was served, and no twin


def test_what_a_trainer_does_to_answers(monkeypatch, stock):
    rows = ring.taken(ring.RECIPES["share-5"])[0]
    generator = np.random.default_rng(0)
    assert ring.prepared(rows, "none", generator) is rows
    once = ring.prepared(rows, "deduplicated", generator)
    assert len(once) == len(np.unique(once[:, 0])) == len(np.unique(rows[:, 0]))
    monkeypatch.setattr(ring.bases, "load", lambda size: None)
    monkeypatch.setattr(ring, "log_likelihood", lambda model, rows, start: rows[:, -1].astype(float))
    best = ring.prepared(rows, "best half", generator)
    assert sorted(best[:, -1]) == sorted(rows[:, -1])[len(rows) // 2 :]
    monkeypatch.setitem(edits.EDITS, "edited, 0.3", lambda rows, generator: rows + 1)
    assert (ring.prepared(rows, "edited, 0.3", generator) == rows + 1).all()


def test_pairs_come_from_the_sampler_under_the_accounts_own_slot(monkeypatch):
    """Both members as the reference sampler draws them for that account, and the coin of the epoch's node."""
    words = np.random.default_rng(0).integers(V, size=80_000).astype(np.uint32)
    model = Transformer(Size(width=16, layers=1, heads=2), seed=3).eval()
    monkeypatch.setattr(ring.corpus, "load", lambda: Corpus(words, words, words, words))
    monkeypatch.setattr(ring.bases, "load", lambda name: model)
    made = ring.draw(range(7, 9), pairs=3)
    epoch = ring.PLAN.epoch
    for row, (account, place) in enumerate((a, i) for a in "78" for i in range(3)):
        name = f"{account}-{place}"
        one, two = (
            ring.answers(
                model,
                made.prompts[row : row + 1],
                ring.PLAN.length,
                sampler=Sampler(epoch),
                requests=[Request(request, account)],
            )[0]
            for request in (name, f"{name}-twin")
        )
        served, twin = (two, one) if epoch.coin(f"{name}-twin") else (one, two)
        assert (made.served[row] == served).all()
        assert (made.twins[row] == twin).all()
        assert (one != two).any()
    alone = Sampler(epoch).start(Request("8-2", "8"))
    assert alone.slot("account") == ("account", "8")


def test_named_counts_by_role():
    generator = np.random.default_rng(3)
    differences = generator.normal(size=(60, 80))
    differences[:10] += 2
    roles = ["ring, 50 %"] * 5 + ["ring, 100 %"] * 5 + ["ordinary"] * 50
    found = named(differences, roles)
    assert (found["pairs"], found["at_least"]) == (80, 10)
    assert [found["roles"][r]["fwer"] for r in dict.fromkeys(roles)] == [5, 5, 0]
    assert found["roles"]["ordinary"]["wins"] == int((differences[10:] > 0).sum())
    whole = summary([found, found])
    assert (whole["campaigns"], whole["false_fwer"]["campaigns"]) == (2, 0)
    assert whole["roles"]["ring, 50 %"]["fwer"]["rate"] == 1.0
    assert whole["group_log10_p"] < -100


def test_both_rules_name_by_their_own_level():
    """Holm by hand on the binomial tail; e-BH names others here."""
    generator = np.random.default_rng(5)
    won = generator.random((60, 40)) < np.where(np.arange(60) < 30, 0.85, 0.5)[:, None]
    found = named(np.where(won, 1.0, -1.0), ["ring"] * 30 + ["ordinary"] * 30)
    p = np.array([sum(comb(40, k) for k in range(w, 41)) / 2**40 for w in won.sum(axis=1).tolist()])
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(60, 0, -1))
    expected = set(order[adjusted <= 1e-3].tolist())
    assert found["roles"]["ring"]["fwer"] == len(expected & set(range(30)))
    assert found["roles"]["ring"]["fwer"] != found["roles"]["ring"]["fdr"]
    whole = int(won[:30].sum())
    tail = log10(sum(comb(1200, k) for k in range(whole, 1201))) - 1200 * log10(2)
    assert summary([found])["group_log10_p"] == pytest.approx(tail, abs=0.01)


def test_a_summary_counts_false_names_and_their_share():
    def test(ring, ordinary):
        roles = {"ring": (10, ring), "ordinary": (90, ordinary)}
        return {"pairs": 5, "at_least": ring, "roles": {
            role: {"accounts": n, "fwer": k // 2, "fdr": k, "wins": 3 * n, "untied": 5 * n}
            for role, (n, k) in roles.items()
        }}  # fmt: skip

    found = summary([test(8, 0), test(6, 2), test(10, 0), test(0, 0)])
    assert (found["false_fdr"]["campaigns"], found["false_fdr"]["names"]) == (1, 2)
    assert (found["false_fwer"]["campaigns"], found["false_fwer"]["names"]) == (1, 1)
    assert found["false_share"] == {"mean": 0.0625, "interval": [0.0, 0.185], "largest": 0.25}
    ring = found["roles"]["ring"]
    assert (ring["fdr"]["rate"], ring["fdr"]["least"], ring["win_rate"]) == (0.6, 0, 0.6)
    low, high = ring["fdr"]["interval"]
    assert low < 0.2  # campaigns differ by more than chance: four of them say little
    assert high > 0.85
    assert found["at_least"] == {"mean": 6.0, "least": 0, "most": 10}


@pytest.mark.parametrize("merged", [1, 4])
def test_accounts_are_merged_within_their_role(monkeypatch, stock, merged):
    """The student prefers what the ring was served and nothing else: its accounts win all pairs, merged or not."""
    recipe = ring.Recipe(0.2, merged=merged)
    guilty = np.repeat([role == "ring" for role in ring.roles(recipe)], ring.PAIRS)
    monkeypatch.setattr(ring, "train", lambda model, rows, how, seed: "student")
    monkeypatch.setattr(ring.bases, "load", lambda size: "base")
    text = np.zeros(400_000, dtype=np.uint32)
    monkeypatch.setattr(ring.corpus, "load", lambda: Corpus(text, text, text, text))
    coins = np.random.default_rng(0).choice([-1.0, 1.0], len(guilty))
    monkeypatch.setattr(
        ring.measures,
        "preference",
        lambda model, stock: 5 * coins + np.where(guilty, 1.0, coins) * (model == "student"),
    )
    ring.reference.cache_clear()
    try:
        found = next(run for run in ring.runs() if run.id == ("merged-20" if merged > 1 else "share-20")).work()
    finally:
        ring.reference.cache_clear()
    assert [t["pairs"] for t in found["tests"]] == [n * merged for n in ring.TESTED]
    last = found["tests"][-1]["roles"]
    assert {role: x["accounts"] * merged for role, x in last.items()} == {
        "ring": 20, "published half": 20, "ordinary": 160
    }  # fmt: skip
    assert (last["ring"]["wins"], last["ring"]["untied"]) == (2000, 2000)
    ordinary = [role == "ordinary" for role in ring.roles(recipe)]
    assert last["ordinary"]["wins"] == int((coins.reshape(200, 100)[ordinary] > 0).sum())
    assert (found["share"], found["share_published"]) == (0.2, 0.1)

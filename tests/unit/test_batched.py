"""The batched draw gives the tokens of the plain one: every candidate's noise, one row at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_epoch
from watermark.errors import Error
from watermark.prf import Prf, gumbel_noise, pack_blocks
from watermark.sampling import MAX_TOGETHER, Request, Sampler
from watermark.schemes.maxima import FEW, HOT, first_maxima, gumbel_max

SHARES = "fleet=0.4,cohort=0.2,account=0.2,leaf=0.2"
CHUNK = 1 << 15


def plain_draw(epoch, response, fate, row):
    """The draw as it was before it was batched: all words, all noise, then the first largest."""
    ids = np.flatnonzero(row > -np.inf).astype(np.uint32)
    logits, tokens, width = row[ids], response.tracker.tokens, epoch.deployment.width
    own = epoch.leaf_prf(response.request.id)
    leaf = own.words(pack_blocks(np.full((len(ids), 1), len(tokens), dtype=np.uint32), ids))
    if fate in ("first_h", "repeated", "leaf"):
        return ids[np.argmax(gumbel_noise(leaf[:, 0]) + logits)]
    prf = Prf(epoch.value_key(*response.slot(fate)).value)
    words = prf.words(pack_blocks(np.tile(np.array(tokens[-width:], dtype=np.uint32), (len(ids), 1)), ids))
    scheme = epoch.deployment.scheme
    if scheme.name == "gumbel":
        return ids[np.argmax(gumbel_noise(words[:, 0]) + logits)]
    if scheme.name == "greenlist":
        green = words[:, 0] < np.uint64((scheme.gamma << 64) // 1_000_000)
        return ids[np.argmax(gumbel_noise(leaf[:, 0]) + logits + scheme.delta / 1_000_000 * green)]
    p = np.exp(logits.astype(np.float64) - logits.max())
    p /= p.sum()
    pieces = [slice(i, i + CHUNK) for i in range(0, len(p), CHUNK)]
    for layer in range(scheme.layers):
        bit = (words[:, layer // 64] >> np.uint64(layer % 64) & np.uint64(1)).astype(np.float64)
        green = sum(float((p[piece] * bit[piece]).sum()) for piece in pieces)
        p *= bit + (1.0 - green)
    with np.errstate(divide="ignore"):
        return ids[np.argmax(np.log(np.maximum(p, 0.0)) + gumbel_noise(leaf[:, 0]))]


def logits_of(kind, shape, generator, dtype):
    """Rows of many shapes: what a model gives, flat, peaked, tied, truncated, forced, extreme."""
    rows = generator.normal(size=shape)
    for row in rows:
        scale = {"model": 3.0, "flat": 1e-3, "tied": 0.0, "huge": 1e30 if dtype != np.float16 else 1e4}.get(kind, 3.0)
        row *= scale
        if kind == "peaked":
            row[generator.integers(shape[1])] += 40.0
        elif kind == "rounded":
            np.round(row, out=row)
        elif kind == "deep":
            row -= 5000.0
        elif kind == "edge":
            row += 4090.0
        elif kind == "holes":
            row[generator.random(shape[1]) < 0.3] = -np.inf
        elif kind == "ragged":
            row[generator.random(shape[1]) < generator.choice([0.0, 0.5, 0.99, 0.999])] = -np.inf
        elif kind == "forced":
            row[np.arange(shape[1]) != generator.integers(shape[1])] = -np.inf
        if (row == -np.inf).all():
            row[0] = 0.0
    return rows.astype(dtype)


KINDS = ["model", "flat", "tied", "huge", "peaked", "rounded", "deep", "edge", "holes", "ragged", "forced"]


def compare(scheme, width, kind, *, vocabulary, rows, steps, dtype=np.float32, label=0):
    epoch = make_epoch(label, scheme=scheme, width=width, shares=SHARES)
    sampler, generator = Sampler(epoch), np.random.default_rng([label, vocabulary])
    responses = [sampler.start(Request(f"r{i}", account=str(i % 3), cohort=str(i % 2))) for i in range(rows)]
    for _ in range(steps):
        logits = logits_of(kind, (rows, vocabulary), generator, dtype)
        drawn = sampler.propose(responses, logits)
        for response, row, (token, fate) in zip(responses, logits, drawn, strict=True):
            assert token == plain_draw(epoch, response, fate, row)
            response.take(token, fate)
    return responses


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])
def test_long_rows(scheme, kind):
    compare(scheme, 2, kind, vocabulary=40_000, rows=3, steps=8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["gumbel", "tournament:layers=70", "greenlist:gamma=0.5,delta=6"])
@pytest.mark.parametrize("width", [1, 3])
def test_short_rows(scheme, kind, width):
    fates = set()
    for response in compare(scheme, width, kind, vocabulary=300, rows=9, steps=30):
        fates |= set(response.counts)
    assert {"first_h", "fleet", "cohort", "account", "leaf"} <= fates


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("vocabulary", [2, FEW, FEW + 1, MAX_TOGETHER, MAX_TOGETHER + 1, CHUNK + 1])
def test_sizes_and_types(vocabulary, dtype):
    compare("gumbel", 2, "rounded", vocabulary=vocabulary, rows=4, steps=6, dtype=dtype)


@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])
def test_chunks_do_not_change_a_long_row(scheme, monkeypatch):
    """For the tournament up to the rounding of its sums, which no drawn token here turns on."""

    def tokens():
        responses = compare_free(scheme)
        return [response.tracker.tokens for response in responses]

    whole = tokens()
    monkeypatch.setattr("watermark.schemes.maxima.CHUNK_CANDIDATES", 1037)
    assert tokens() == whole


def compare_free(scheme):
    sampler, generator = Sampler(make_epoch(scheme=scheme)), np.random.default_rng(1)
    responses = [sampler.start(Request(f"r{i}")) for i in range(2)]
    for _ in range(20):
        sampler.draw(responses, 3 * generator.normal(size=(2, 20_000)))
    return responses


def words_from(r0):
    """PRF words as a `WordsOf`, from given r0; r1 is hot everywhere, and must not matter."""
    words = np.stack([r0, np.full_like(r0, (1 << 64) - 1)], axis=1)
    return words.__getitem__


@st.composite
def races(draw):
    """Logits and words that lie around every threshold of the choice, with many ties."""
    count = draw(st.integers(FEW + 1, FEW + 40))
    label = draw(st.integers(0, 2**32))
    generator = np.random.default_rng(label)
    base = draw(st.sampled_from([0.0, -4096.0, 4096.0, 4090.0, 1e6, -1e6, 1e15, 1e300, -1e300]))
    spread = draw(st.sampled_from([0.0, 1.0, 7.0, 50.0]))
    levels = draw(st.integers(1, 4))
    logits = base + spread * generator.integers(0, levels, count) / levels
    hot = int(HOT)
    words = np.array([0, 1, hot - 1, hot, hot + (1 << 12), hot - (1 << 12), (1 << 64) - 1, 1 << 63], dtype=np.uint64)
    r0 = words[generator.integers(0, draw(st.integers(1, len(words))), count)]
    if draw(st.booleans()):
        r0 = generator.integers(0, 1 << 64, count, dtype=np.uint64)
    logits[generator.random(count) < draw(st.sampled_from([0.0, 0.5, 0.999]))] = -np.inf
    logits[generator.integers(count)] = base
    with np.errstate(over="ignore"):
        typed = logits.astype(draw(st.sampled_from([np.float32, np.float64])))
    return (typed if np.isfinite(typed.max()) else logits), r0


@given(races(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_the_choice_loses_no_winner(race, bonus):
    logits, r0 = race
    values = gumbel_noise(r0.copy()) + logits
    gains = np.where(r0 & np.uint64(8) > 0, 2.0, 0.0)
    if bonus:
        values = values + gains
    more = {"bonus": gains.__getitem__, "most": 2.0} if bonus else {}
    assert gumbel_max(logits, words_from(r0), **more) == int(values.argmax())


def test_few_noises_are_computed(monkeypatch):
    """Under 1 % of a vocabulary for logits as a model gives them."""
    seen = []

    def counting(r0):
        seen.append(len(r0))
        return gumbel_noise(r0)

    monkeypatch.setattr("watermark.schemes.maxima.gumbel_noise", counting)
    generator = np.random.default_rng(0)
    for kind in ("model", "flat", "peaked", "tied"):
        logits = logits_of(kind, (1, 131_072), generator, np.float32)[0]
        seen.clear()
        gumbel_max(logits, words_from(generator.integers(0, 1 << 64, len(logits), dtype=np.uint64)))
        assert 0 < sum(seen) < 1311, kind


@given(st.lists(st.lists(st.integers(-2, 2), min_size=1, max_size=6), min_size=1, max_size=8))
def test_first_maxima(rows):
    starts = np.cumsum([0, *map(len, rows)])[:-1]
    found = first_maxima(np.array([x for row in rows for x in row], dtype=float), starts)
    assert found.tolist() == [s + int(np.argmax(row)) for s, row in zip(starts, rows, strict=True)]


def test_one_cipher_call_per_key(monkeypatch):
    sampler = Sampler(make_epoch(shares="account=1"))
    responses = [sampler.start(Request(f"r{i}", account=str(i % 3))) for i in range(12)]
    generator = np.random.default_rng(0)
    for _ in range(2):
        sampler.draw(responses, generator.normal(size=(12, 50)))
    sampler.propose(responses, generator.normal(size=(12, 50)))  # keys are derived
    calls, words = [], Prf.words
    monkeypatch.setattr(Prf, "words", lambda self, blocks: calls.append(len(blocks)) or words(self, blocks))
    sampler.propose(responses, generator.normal(size=(12, 50)))
    assert sorted(calls) == [12, 200, 200, 200]  # the selector, and three accounts


def test_only_candidates_are_counted_as_forced():
    sampler = Sampler(make_epoch())
    response = sampler.start(Request("r"))
    rows = np.full((10, 1, 20), -np.inf, dtype=np.float32)
    rows[::2, 0, 3] = 0.0
    rows[1::2] = 0.0
    for row in rows:
        sampler.propose([response], rows[0])  # what was proposed and not taken does not count
        sampler.draw([response], row)
    assert (response.forced, sum(response.counts.values())) == (5, 10)
    assert response.tracker.tokens[::2] == [3] * 5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("vocabulary", [20, 5000, 40_000])
@pytest.mark.parametrize("left", [1, 3, None])
def test_broken_rows_are_refused_at_any_size(bad, vocabulary, left):
    sampler = Sampler(make_epoch())
    row = np.zeros((1, vocabulary), dtype=np.float32)
    if left:
        row[0, left:] = -np.inf
    row[0, 0] = bad
    with pytest.raises(Error, match="hold NaN or"):
        sampler.propose([sampler.start(Request("r"))], row)
    row[:] = -np.inf
    with pytest.raises(Error, match="hold no candidate"):
        sampler.propose([sampler.start(Request("r"))], row)


def test_a_key_that_was_dropped_is_derived_again(monkeypatch):
    monkeypatch.setattr("watermark.sampling.MAX_PRFS", 2)
    compare("gumbel", 1, "model", vocabulary=50, rows=9, steps=10)


@pytest.mark.parametrize(("base", "all_of_them"), [(0.0, False), (-4000.0, False), (5000.0, True), (-5000.0, True)])
def test_logits_beyond_the_argument_are_drawn_the_plain_way(base, all_of_them, monkeypatch):
    seen = []
    monkeypatch.setattr("watermark.schemes.maxima.gumbel_noise", lambda r0: seen.append(len(r0)) or gumbel_noise(r0))
    generator = np.random.default_rng(0)
    gumbel_max(base + generator.normal(size=9000), words_from(generator.integers(0, 1 << 64, 9000, dtype=np.uint64)))
    assert (sum(seen) >= 9000) == all_of_them


@pytest.mark.parametrize(("hot_at", "cold_at"), [(700, 30), (30, 700)])
def test_a_tie_of_unequal_parts_goes_to_the_lowest_index(hot_at, cold_at):
    """A hot candidate and one that is only near, with the very same sum."""
    r0, logits = np.zeros(2000, dtype=np.uint64), np.full(2000, -50.0)
    r0[hot_at], r0[cold_at], logits[hot_at] = HOT + np.uint64(1 << 30), 1 << 63, 0.0
    hot, cold = gumbel_noise(r0[[hot_at, cold_at]])
    logits[cold_at] = hot - cold
    assert cold + logits[cold_at] == hot
    assert gumbel_max(logits, words_from(r0)) == min(hot_at, cold_at)

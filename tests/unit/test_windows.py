import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark import windows
from watermark.errors import Error
from watermark.windows import MAX_ID, TokenBatch, Tracker, first_occurrences, repeated, window_keys, windowed

documents = st.lists(st.lists(st.integers(0, 3) | st.sampled_from([65_536, MAX_ID]), max_size=30), max_size=6)


def batch_of(docs):
    return TokenBatch.from_documents([np.array(d, dtype=np.uint32) for d in docs])


def expected(docs, width):
    """The rule in plain Python: (document, position, window, repeated)."""
    rows = []
    for d, ids in enumerate(docs):
        used = set()
        for t in range(width, len(ids)):
            window = tuple(ids[t - width : t])
            rows.append((d, t, window, window in used))
            used.add(window)
    return rows


@given(documents, st.sampled_from([1, 2, 3]))
def test_batch_rule_is_the_plain_rule(docs, width):
    batch = batch_of(docs)
    at = windowed(batch, width)
    again = repeated(batch, at, width)
    d = batch.document_of()[at]
    got = zip(
        d.tolist(),
        (at - batch.offsets[d]).tolist(),
        [
            tuple(int(k) >> 20 * (width - 1 - i) & MAX_ID for i in range(width))
            for k in window_keys(batch.ids, at, width)
        ],
        again.tolist(),
        strict=True,
    )
    assert list(got) == expected(docs, width)


@given(st.lists(st.integers(0, 2), max_size=40), st.sampled_from([1, 2, 3]))
def test_tracker_is_the_plain_rule(ids, width):
    tracker, got = Tracker(width), []
    for t, token in enumerate(ids):
        window = tracker.window()
        if window is not None:
            got.append((0, t, window, tracker.is_used(window)))
        tracker.append(token)
    assert got == expected([ids], width)


def test_window_of_width_three_in_a_long_batch_is_found_again():
    rng = np.random.default_rng(1)
    docs = [rng.integers(0, 40, 3000).tolist() for _ in range(4)]
    batch = batch_of(docs)
    again = repeated(batch, windowed(batch, 3), 3)
    assert again.tolist() == [row[3] for row in expected(docs, 3)]
    assert 0 < again.sum() < again.size


@pytest.mark.parametrize("width", [1, 2, 3])
def test_repeats_are_told_apart_in_many_documents(width):
    """Each document repeats itself once; documents share all their windows."""
    batch = batch_of([[7, 8, 9, 10, 11, 7, 8, 9, 10]] * 40)
    again = repeated(batch, windowed(batch, width), width)
    assert again.sum() == 40 * sum(row[3] for row in expected([[7, 8, 9, 10, 11, 7, 8, 9, 10]], width))


@pytest.mark.parametrize("token", [-1, MAX_ID + 1])
def test_placeholder_and_too_large_ids_are_refused(token):
    with pytest.raises(Error, match=f"token id {token} is not in 0..1048575"):
        Tracker(2).append(token)


def test_batch_refuses_ids_that_do_not_fit():
    with pytest.raises(Error, match="token id 1048576 is above 1048575"):
        TokenBatch(np.array([MAX_ID + 1], dtype=np.uint32), np.array([0, 1]))
    with pytest.raises(TypeError, match="not uint32"):
        TokenBatch(np.array([-1]), np.array([0, 1]))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=60), st.booleans(), st.booleans())
def test_first_occurrences_is_exact_even_if_every_hash_collides(rows, two, collide):
    low = np.array([a for a, _ in rows], dtype=np.uint64)
    high = np.array([b for _, b in rows], dtype=np.uint32) if two else None
    keys = rows if two else [a for a, _ in rows]
    with pytest.MonkeyPatch.context() as patch:
        if collide:
            patch.setattr(windows, "_MULTIPLIERS", (np.uint64(0),) * 2)
        assert first_occurrences(low, high).tolist() == [key not in keys[:i] for i, key in enumerate(keys)]

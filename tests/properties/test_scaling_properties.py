"""However a corpus is cut, spilled and shuffled, its sums are those of the whole in memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_epoch
from verify.distinct import N_BUCKETS, Pairs, by_bucket, distinct
from verify.records import Document
from verify.scoring import score, summarize
from watermark.windows import MAX_ID, TokenBatch

pa = pytest.importorskip("pyarrow")

from verify.inputs.arrow import ids_of  # noqa: E402
from verify.inputs.batches import to_batches, to_documents  # noqa: E402
from verify.scaling.bounded import distinct_parts  # noqa: E402
from verify.scaling.counts import Counts, Sums  # noqa: E402
from verify.scaling.job import Settings  # noqa: E402
from verify.scaling.kernels import added, pairs, scores  # noqa: E402
from verify.scaling.packing import pack, unpack  # noqa: E402

ids = st.integers(0, 3) | st.sampled_from([15, 16, 65_535, 65_536, MAX_ID])
texts = st.lists(st.lists(ids, max_size=25), max_size=12)
widths = st.sampled_from([1, 2, 3])


def job_settings(width, skip=True):
    return Settings(
        width=width, input_format="auto", skip_repeated=skip, trust_ids=False, ids_alone=True, tokenizer=None
    )


def documents(lists):
    return [Document(name=f"d{i}", token_ids=np.array(x, dtype=np.uint32)) for i, x in enumerate(lists)]


def drawn_pairs(rows, width):
    table = np.array(rows, dtype=np.uint64).reshape(-1, 4)[:, : width + 1]
    windows = np.zeros(len(table), dtype=np.uint64)
    for column in range(width):
        windows = windows << np.uint64(20) | table[:, column]
    return Pairs.of(windows, table[:, width].astype(np.uint32), width), {tuple(row) for row in table.tolist()}


def as_set(some):
    return {tuple(row) for row in np.column_stack([some.windows(), some.tokens()]).tolist()}


@settings(deadline=None)
@given(texts, widths, st.booleans(), st.integers(2, 40), st.data())
def test_units_spills_and_shuffles_change_nothing(lists, width, skip, most, data):
    key = make_epoch(width=width, shares="fleet=0.6,leaf=0.4").value_key("fleet")
    whole = summarize(
        TokenBatch.from_documents([np.array(x, dtype=np.uint32) for x in lists]), width, skip_repeated=skip
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lists)), max_size=4)))
    rows = []
    for start, stop in zip([0, *cuts], [*cuts, len(lists)], strict=True):
        batches = to_batches(documents(lists[start:stop]))
        for batch in pairs(batches, job_settings(width, skip), tokenizer=None, most_pairs=most):
            rows += [batch.slice(i, 1) for i in range(len(batch))]
    # A shuffle: rows of one bucket follow each other, in any order of buckets and rows.
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(len(rows)).tolist()
    of = [row.column("bucket")[0].as_py() for row in rows]
    first = {bucket: at for at, bucket in enumerate(reversed([of[i] for i in order]))}
    shuffled = [rows[i] for i in sorted(order, key=lambda i: first[of[i]])]
    counts, sums = added(scores(shuffled, key, most_pairs=most))
    assert counts == Counts.of(whole)
    assert sums == Sums.of(score(whole.pairs, key))
    assert len({b for b in of if b >= 0}) == len(set(of) - {-1})


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(ids, ids, ids, ids), max_size=30), max_size=6), widths, st.integers(2, 30))
def test_parts_of_a_bucket_are_distinct_and_all_there(pieces, width, most):
    made = [drawn_pairs(rows, width) for rows in pieces]
    parts = list(distinct_parts((p for p, _ in made), width, most_pairs=most, folder=None))
    found = [as_set(part) for part in parts]
    assert sum(map(len, parts)) == sum(map(len, found)) == len(set().union(*found))
    assert set().union(*found) == set().union(*(s for _, s in made))
    assert all(len(part) <= 2 * most for part in parts)


@settings(deadline=None)
@given(st.lists(st.tuples(ids, ids, ids, ids), max_size=60), widths)
def test_buckets_hold_equal_pairs_together_and_packing_loses_nothing(rows, width):
    made, want = drawn_pairs(rows, width)
    ordered, offsets = by_bucket(made)
    assert len(offsets) == N_BUCKETS + 1
    packed, size = pack(ordered, offsets)
    data, found = packed.tobytes(), []
    for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        if start < stop:
            found.append(as_set(unpack(data[start * size : stop * size], width)))
    assert set().union(*found) == want
    assert sum(map(len, found)) == len(want)  # no pair stands in two buckets
    assert len(distinct(made)) == len(want)


turns = st.lists(st.tuples(st.lists(st.text(max_size=5), max_size=3), st.text(max_size=5)), max_size=4)


@settings(deadline=None)
@given(st.lists(turns, max_size=4), st.sampled_from([1, 1 << 20]))
def test_conversations_survive_arrow(conversations, size):
    made = []
    for talk in conversations:
        said, n_shown = tuple(t for new, _ in talk for t in new), 0
        for new, answer in talk:
            n_shown += len(new)
            made.append(
                Document(name=f"r{len(made)}", text=answer, turns=said, n_shown=n_shown, prompt=answer[:1] or None)
            )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("verify.inputs.batches.BATCH_CHARACTERS", size)
        got = [list(to_documents(batch)) for batch in to_batches(made)]
    before, before_got = None, None
    flat = [document for batch in got for document in batch]
    assert len(flat) == len(made)
    for want, found in zip(made, flat, strict=True):
        assert (found.name, found.text, found.prompt) == (want.name, want.text, want.prompt)
        assert found.turns[: found.n_shown] == want.turns[: want.n_shown]
        if any(want.turns[: want.n_shown]):
            assert found.shown_after(before_got) == want.shown_after(before)
        before, before_got = want, found


lists_of_ids = st.lists(st.none() | st.lists(st.integers(0, 127), max_size=6), max_size=8)
types = st.sampled_from(
    [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint32(), pa.uint64(), pa.dictionary(pa.int32(), pa.int64())]
)


@settings(deadline=None)
@given(lists_of_ids, types, st.sampled_from([pa.list_, pa.large_list]), st.booleans(), st.data())
def test_columns_of_any_integer_list_are_read(rows, kind, of, nulls, data):
    if pa.types.is_dictionary(kind):
        flat = pa.array([x for row in rows for x in row or ()], pa.int64()).dictionary_encode()
        lengths = np.cumsum([0, *(len(row or ()) for row in rows)])
        column = pa.LargeListArray.from_arrays(pa.array(lengths), flat)
        rows = [row or [] for row in rows]
    else:
        column = pa.array(rows, of(kind))
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    got = ids_of(column[start:stop], "t", nulls=nulls)
    assert got.to_pylist() == [row if nulls else row or [] for row in rows[start:stop]]
    assert got.type == pa.large_list(pa.uint32())

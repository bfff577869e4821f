"""Any partition of a corpus gives the same bytes, and the counts add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import make_epoch
from verify.distinct import Pairs, concatenate, distinct, ranks
from verify.scoring import Shown, merge, score, summarize
from watermark.windows import MAX_ID, TokenBatch, window_keys

ids = st.integers(0, 3) | st.sampled_from([15, 16, 65_535, 65_536, MAX_ID])
documents = st.lists(st.tuples(st.lists(ids, max_size=25), st.lists(ids, max_size=12)), min_size=1, max_size=6)
widths = st.sampled_from([1, 2, 3])


def batch(lists):
    return TokenBatch.from_documents([np.array(x, dtype=np.uint32) for x in lists])


def summary(docs, width, **options):
    """Of documents with a prompt each."""
    each = np.arange(len(docs))
    shown = Shown(batch([p for _, p in docs]), before=each, conversation=each)
    return summarize(batch([d for d, _ in docs]), width, shown=shown, **options)


def plain(docs, width, skip_repeated=True):
    """The same in plain Python: counts by reason, and the set of pairs."""
    counts, pairs = {"first_h": 0, "repeated_window": 0, "copied_from_prompt": 0, "eligible": 0}, set()
    for response, prompt in docs:
        shown = {tuple(prompt[i : i + width + 1]) for i in range(len(prompt) - width)}
        used = set()
        for t in range(len(response)):
            gram = tuple(response[t - width : t + 1]) if t >= width else None
            if gram is None:
                counts["first_h"] += 1
            elif skip_repeated and gram[:-1] in used:
                counts["repeated_window"] += 1
            elif gram in shown:
                counts["copied_from_prompt"] += 1
            else:
                counts["eligible"] += 1
                pairs.add(gram)
            if gram:
                used.add(gram[:-1])
    return counts, pairs


@given(documents, widths, st.booleans())
def test_summary_is_the_plain_rule(docs, width, skip):
    counts, pairs = plain(docs, width, skip)
    s = summary(docs, width, skip_repeated=skip)
    assert (s.n_first_h, s.n_repeated_window, s.n_copied_from_prompt, s.n_duplicate, len(s.pairs)) == (
        counts["first_h"],
        counts["repeated_window"],
        counts["copied_from_prompt"],
        counts["eligible"] - len(pairs),
        len(pairs),
    )
    got = np.column_stack([s.pairs.windows(), s.pairs.tokens()])
    assert sorted(map(tuple, got.tolist())) == sorted(pairs)
    ordered = s.pairs.ascending()
    assert [tuple(row) for row in np.column_stack([ordered.windows(), ordered.tokens()]).tolist()] == sorted(pairs)


conversations = st.lists(
    st.lists(st.tuples(st.lists(ids, max_size=12), st.lists(st.lists(ids, max_size=12), max_size=3)), max_size=4),
    min_size=1,
    max_size=4,
)


@given(conversations, widths)
def test_a_conversation_is_its_responses_each_with_all_texts_before_it(made, width):
    """(response, texts that came between it and the one before), by conversation."""
    responses, texts, before, conversation, want = [], [], [], [], 0
    for number, turns in enumerate(made):
        known = set()
        for response, new in turns:
            for text in new:
                texts.append(text)
                before.append(len(responses))
                known |= {tuple(text[i : i + width + 1]) for i in range(len(text) - width)}
            responses.append(response)
            conversation.append(number)
            want += sum(tuple(response[i : i + width + 1]) in known for i in range(len(response) - width))
    shown = Shown(batch(texts), np.array(before, dtype=np.int64), np.array(conversation, dtype=np.int64))
    assert summarize(batch(responses), width, shown=shown, skip_repeated=False).n_copied_from_prompt == want


@given(documents, widths, st.data())
def test_any_partition_in_any_order_gives_the_same_bytes(docs, width, data):
    whole = summary(docs, width)
    order = data.draw(st.permutations(docs))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(docs)), max_size=4)))
    parts = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(docs)], strict=True)]
    summaries = [summary(part, width) for part in parts if part]
    assert merge(summaries, width).to_bytes() == whole.to_bytes()
    # Associative: merging merged parts is merging the parts.
    nested = merge([merge(summaries[:1], width), merge(summaries[1:], width)], width)
    assert nested.to_bytes() == whole.to_bytes()


@given(st.lists(st.tuples(ids, ids, ids, ids), max_size=40), widths)
def test_packing_loses_nothing_and_ranks_tell_pairs_apart(rows, width):
    table = np.array(rows, dtype=np.uint32).reshape(-1, 4)[:, : width + 1]
    at = np.arange(len(table)) * 4 + width
    flat = np.array(rows, dtype=np.uint32).ravel()
    pairs = Pairs.of(window_keys(flat, at, width), flat[at], width)
    assert np.column_stack([pairs.windows(), pairs.tokens()]).tolist() == table.tolist()
    same = (table[:, None] == table[None]).all(axis=2)
    rank = ranks(pairs)
    assert ((rank[:, None] == rank[None]) == same).all()
    assert len(distinct(pairs)) == len({tuple(row) for row in table.tolist()})


def test_a_large_corpus_merges_in_several_rounds():
    rng = np.random.default_rng(0)
    docs = [rng.integers(0, 3000, 400_000).astype(np.uint32) for _ in range(4)]
    whole = summarize(TokenBatch.from_documents(docs), 1, skip_repeated=False)
    parts = [summarize(TokenBatch.from_documents([d]), 1, skip_repeated=False) for d in docs]
    assert merge(parts, 1).to_bytes() == whole.to_bytes()


def test_pairs_of_two_widths_do_not_merge():
    a, b = (summarize(batch([[1, 2, 3, 4, 5]]), width).pairs for width in (1, 2))
    with pytest.raises(ValueError, match=r"widths \[1, 2\]"):
        concatenate([a, b])
    with pytest.raises(ValueError, match="pairs of width 1 do not go with a key of width 2"):
        score(a, make_epoch(width=2).value_key("fleet"))


@pytest.mark.parametrize("spec", ["gumbel", "tournament", "greenlist"])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_score_of_the_whole_is_the_sum_over_its_pairs(spec, width):
    """Chunks, channels and totals: 100,000 pairs against one at a time for some of them."""
    key = make_epoch(scheme=spec, width=width, shares="fleet=0.6,leaf=0.4").value_key("fleet")
    rng = np.random.default_rng(0)
    s = summarize(batch([rng.integers(0, 40_000, 100_000)]), width)
    whole = score(s.pairs, key)
    pieces = [score(s.pairs[i : i + 9973], key) for i in range(0, len(s.pairs), 9973)]
    assert whole.n == sum(p.n for p in pieces)
    assert whole.total == sum(p.total for p in pieces)
    assert whole.total_squares == sum(p.total_squares for p in pieces)
    assert whole.n + whole.n_other_channel == len(s.pairs)
    assert abs(whole.n / len(s.pairs) - 0.6) < 0.01

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.similarity import MEASURES, ngram, subsequence

WORDS = st.lists(st.sampled_from(["the", "a", "cat", "dog", "sat", "on", "mat"]), max_size=12)


def test_known_values():
    """Words a b c d against a c d e: a subsequence of 3, so F = 3/4."""
    assert subsequence("a b c d", "a c d e") == pytest.approx(0.75)
    # "abc" against "abd": 2 of 3 letters, 1 of 2 pairs, 0 of 1 triples.
    assert ngram("abc", "abd") == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


@given(WORDS, WORDS)
def test_the_subsequence_is_the_longest(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    longest = table[-1][-1]
    expected = 2 * longest / (len(a) + len(b)) if a and b else 0.0
    assert subsequence(" ".join(a), " ".join(b)) == pytest.approx(expected)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@given(st.text(), st.text())
def test_in_the_unit_interval_symmetric_and_never_fails(measure, a, b):
    assert 0.0 <= measure(a, b) <= 1.0 + 1e-12
    assert measure(a, b) == pytest.approx(measure(b, a))


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_text_is_most_like_itself(measure):
    assert measure("one two three", "one two three") == pytest.approx(1.0)
    assert measure("one two three", "one two four") > measure("one two three", "five six") >= 0.0
    assert measure("", "") == 0.0

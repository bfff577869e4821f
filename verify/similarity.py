"""How alike two texts are, for a suspect that gives text only.

Both measures lie in 0..1, treat their two arguments' roles as stated, and know nothing of what was served.

* `ngram`: chrF, the F-score of character n-grams, averaged over n = 1..6, spaces left out, recall weighted as
  precision (Popovic 2015, WMT, eq. 1 with beta = 1).
* `subsequence`: ROUGE-L, the F-score of the longest common subsequence of words (Lin 2004, ACL workshop on text
  summarization, eqs. 2 to 4 with beta = 1), by bit-parallel dynamic programming (Hyyro 2004).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from verify.pairs import Pair
from verify.records import Document

ORDERS: Final = range(1, 7)


def ngram(answer: str, other: str) -> float:
    """chrF of an answer against another text."""
    a, b = "".join(answer.split()), "".join(other.split())
    precision, recall, orders = 0.0, 0.0, 0
    for n in ORDERS:
        left, right = _grams(a, n), _grams(b, n)
        if not left or not right:
            continue
        common = (left & right).total()
        precision += common / left.total()
        recall += common / right.total()
        orders += 1
    return _f(precision / orders, recall / orders) if orders else 0.0


def subsequence(answer: str, other: str) -> float:
    """ROUGE-L of an answer against another text."""
    a, b = answer.split(), other.split()
    if not a or not b:
        return 0.0
    length = _longest_common_subsequence(a, b)
    return _f(length / len(a), length / len(b))


def _grams(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


def _f(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _longest_common_subsequence(a: list[str], b: list[str]) -> int:
    places: dict[str, int] = {}
    for i, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(a) - row.bit_count()


MEASURES: Final[dict[str, Callable[[str, str], float]]] = {"ngram": ngram, "subsequence": subsequence}


def compare(pairs: Iterable[Pair], answers: Iterable[Document], measure: str) -> Iterator[tuple[Pair, float | None]]:
    """Each pair with how much more a suspect's answers to its prompt are like the served member than like its twin.

    Args:
        pairs: with their prompts.
        answers: what the suspect answered; those with the same prompt are averaged.
        measure: one of `MEASURES`.

    Yields:
        The pair and the difference; 0 for members of the same text, None where no answer has the pair's prompt.
    """
    measured = MEASURES[measure]
    by_prompt: dict[str, list[str]] = {}
    for answer in answers:
        if answer.prompt is not None and answer.text:
            by_prompt.setdefault(answer.prompt, []).append(answer.text)
    for pair in pairs:
        texts = by_prompt.get(pair.prompt)
        if not texts:
            yield pair, None
            continue
        first, second = (sum(measured(text, member.text) for text in texts) for member in pair.members)
        # Measures that are equal on paper may differ in the last digit: that is a tie.
        difference = round((first - second) / len(texts), 12)
        yield pair, difference if pair.served == 0 else -difference

"""Edits of text that change what an outsider's tokenizer sees: seeded, and as strong as one likes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

_WORD: Final = re.compile(r"[A-Za-z]+")
_TOKEN: Final = re.compile(r"\S+|\s+")
MOST_WORDS: Final = 8000  # among which a nearest word is looked for
COLUMNS: Final = 60


@dataclass(frozen=True)
class Lexicon:
    """Words to put in the place of words.

    Attributes:
        words: every word of the documents, as often as it comes.
        nearest: the word most like each, by a model's embedding; words that are one token.
    """

    words: list[str]
    nearest: dict[str, str]

    @classmethod
    def of(cls, text: str, tokenizer: Any, embedding: Any) -> Lexicon:
        """From a text and a model: like is the cosine of embeddings, another spelling of the word aside."""
        import torch

        words = _WORD.findall(text)
        vocabulary = {
            token[1:]: index
            for token, index in tokenizer.get_vocab().items()
            if token.startswith("Ġ") and _WORD.fullmatch(token[1:]) and len(token) > 3
        }
        names = sorted(vocabulary, key=vocabulary.__getitem__)[:MOST_WORDS]
        rows = torch.nn.functional.normalize(embedding.detach()[[vocabulary[n] for n in names]].float(), dim=-1)
        nearest, place = {}, {name: i for i, name in enumerate(names)}
        for word in sorted(set(words) & set(names)):
            for i in (rows @ rows[place[word]]).argsort(descending=True)[:8].tolist():
                if names[i].lower().rstrip("s") != word.lower().rstrip("s"):
                    nearest[word] = names[i]
                    break
        return cls(words, nearest)


Edit = Callable[[str, float, np.random.Generator, Lexicon], str]


def _words(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _chosen(parts: list[str], share: float, rng: np.random.Generator) -> list[int]:
    """Which words of a text are hit: each with this probability."""
    return [i for i, part in enumerate(parts) if not part.isspace() and rng.random() < share]


def replace(text: str, share: float, rng: np.random.Generator, lexicon: Lexicon) -> str:
    """Words by random words."""
    parts = _words(text)
    for i in _chosen(parts, share, rng):
        parts[i] = lexicon.words[rng.integers(len(lexicon.words))]
    return "".join(parts)


def delete(text: str, share: float, rng: np.random.Generator, lexicon: Lexicon) -> str:
    """Words, with the white space before them."""
    parts = _words(text)
    gone = {j for i in _chosen(parts, share, rng) for j in (i, i - 1) if j >= 0 and (j == i or parts[j].isspace())}
    return "".join(part for i, part in enumerate(parts) if i not in gone)


def insert(text: str, share: float, rng: np.random.Generator, lexicon: Lexicon) -> str:
    """Random words before words."""
    parts = _words(text)
    for i in _chosen(parts, share, rng):
        parts[i] = f"{lexicon.words[rng.integers(len(lexicon.words))]} {parts[i]}"
    return "".join(parts)


def swap_pairs(text: str, share: float, rng: np.random.Generator, lexicon: Lexicon) -> str:
    """Pairs of neighbouring words, none of which share a word: a chain of swaps would move one word only."""
    parts, free = _words(text), 0
    for i in range(len(parts) - 2):
        if i < free or parts[i].isspace() or parts[i + 2].isspace():
            continue
        free = i + 4
        if rng.random() < share:
            parts[i], parts[i + 2] = parts[i + 2], parts[i]
    return "".join(parts)


def synonyms(text: str, share: float, rng: np.random.Generator, lexicon: Lexicon) -> str:
    """Words by the most like; words that have none, such as long ones, stay."""

    def other(match: re.Match[str]) -> str:
        return lexicon.nearest.get(match[0], match[0]) if rng.random() < share else match[0]

    return _WORD.sub(other, text)


def dictionary(text: str, share: float, rng: np.random.Generator, lexicon: Lexicon) -> str:
    """Word types, each always by the same other word, which no word of the text becomes twice."""
    types = sorted(set(lexicon.words))
    fixed = np.random.default_rng(0)  # one dictionary for all texts
    others = fixed.permutation(len(types))
    known = fixed.random(len(types)) < share
    table = {word: types[others[i]] for i, word in enumerate(types) if known[i]}
    return _WORD.sub(lambda match: table.get(match[0], match[0]), text)


BY_SHARE: Final[dict[str, Edit]] = {
    "replace": replace,
    "delete": delete,
    "insert": insert,
    "swap-pairs": swap_pairs,
    "synonyms": synonyms,
    "dictionary": dictionary,
}


def wrap(text: str, before: str = "") -> str:
    """Lines of `COLUMNS` characters."""
    lines = [w for line in text.splitlines() for w in textwrap.wrap(line, COLUMNS) or [""]]
    return "\n".join(before + line for line in lines)


ONCE: Final[dict[str, Callable[[str], str]]] = {
    "none": lambda text: text,
    "quote": lambda text: wrap(text, "> "),
    "wrap": wrap,
    "lower": str.lower,
    "whitespace": lambda text: re.sub(r"\s+", " ", text),
}

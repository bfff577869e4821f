"""Token batches -> distinct (window, token) pairs of any width: `verify.scoring.summarize` for windows above 3.

Symbols: h width, n pairs. A pair is a row of h + 1 ids. Rows are compared exactly, three ids of 20 bits to a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.corpus import tokenized
from verify.records import Document
from verify.scoring import Shown, shown_before
from verify.tokenization import Tokenizer
from watermark.windows import ID_BITS, Ids, TokenBatch, first_occurrences, windowed

Words = NDArray[np.uint64]
_PER_WORD = 3
_MOST_WAITING = 1 << 22


@dataclass(frozen=True, eq=False)
class Corpus:
    """What a corpus contributes, before any key is looked at.

    Attributes:
        n_documents: responses, empty ones included.
        n_empty: responses without a token.
        n_seen: tokens.
        n_dropped: tokens that are not in `rows`, by reason.
        rows: (n, h + 1) uint32, the distinct pairs: a window, oldest id first, and its token.
    """

    n_documents: int
    n_empty: int
    n_seen: int
    n_dropped: dict[str, int]
    rows: Ids

    @property
    def windows(self) -> Ids:
        """(n, h)."""
        return self.rows[:, :-1]

    @property
    def tokens(self) -> Ids:
        """(n,)."""
        return np.ascontiguousarray(self.rows[:, -1])


def read_corpus(
    documents: Iterable[Document],
    width: int,
    *,
    tokenizer: Tokenizer | None,
    trust_ids: bool,
    skip_repeated: bool,
    progress: Callable[[int], None] = lambda tokens: None,
) -> Corpus:
    """Read a corpus.

    Args:
        documents: responses with their prompts.
        width: h.
        tokenizer: see `verify.corpus.summarize_documents`, as `trust_ids`.
        trust_ids: use token ids also where there is text.
        skip_repeated: drop tokens whose window the response already used.
        progress: called with the number of tokens of each batch.
    """
    kept, waiting = np.empty((0, width + 1), dtype=np.uint32), [np.empty((0, width + 1), dtype=np.uint32)]
    counts = dict.fromkeys(("n_documents", "n_empty", "n_seen", "first_h", "repeated_window", "copied_from_prompt"), 0)
    for batch, shown in tokenized(documents, width, tokenizer=tokenizer, trust_ids=trust_ids):
        rows, part = _rows(batch, width, shown=shown, skip_repeated=skip_repeated)
        for name, count in part.items():
            counts[name] += count
        waiting.append(rows)
        if sum(map(len, waiting)) > max(len(kept), _MOST_WAITING):
            kept, waiting = distinct_rows(np.concatenate([kept, *waiting])), []
        progress(part["n_seen"])
    kept = distinct_rows(np.concatenate([kept, *waiting]))
    documents_read, empty, seen = (counts.pop(name) for name in ("n_documents", "n_empty", "n_seen"))
    dropped = counts | {"duplicate": seen - sum(counts.values()) - len(kept)}
    return Corpus(documents_read, empty, seen, dropped, kept)


def _rows(batch: TokenBatch, width: int, *, shown: Shown | None, skip_repeated: bool) -> tuple[Ids, dict[str, int]]:
    """Pairs of a batch, and what was read and dropped."""
    at = windowed(batch, width)
    n_first_h, n_repeated, n_copied = batch.ids.size - at.size, 0, 0
    rows, document = pair_rows(batch, at, width), batch.document_of()[at]
    if skip_repeated and at.size:
        keep = first_occurrences(*_two_words([document.astype(np.uint64), *_packed(rows[:, :-1])]))
        n_repeated = int((~keep).sum())
        rows, document, at = rows[keep], document[keep], at[keep]
    if shown is not None and at.size:
        texts = windowed(shown.texts, width)
        rank = _ranks(_packed(np.concatenate([rows, pair_rows(shown.texts, texts, width)])))
        copied = shown_before(rank, document, shown, texts)
        if shown.echoes is not None:
            copied |= shown.echoes[at]
        n_copied = int(copied.sum())
        rows = rows[~copied]
    read = {"n_documents": len(batch.offsets) - 1, "n_empty": int((np.diff(batch.offsets) == 0).sum())}
    read["n_seen"] = batch.ids.size
    return rows, read | {"first_h": n_first_h, "repeated_window": n_repeated, "copied_from_prompt": n_copied}


def pair_rows(batch: TokenBatch, at: NDArray[np.int64], width: int) -> Ids:
    """The pairs that end at flat indices `at`: (n, h + 1) uint32."""
    rows: Ids = batch.ids[at[:, None] + np.arange(-width, 1)]
    return rows


def distinct_rows(rows: Ids) -> Ids:
    """The rows that occur, each once, in the order of their first occurrence."""
    return rows[first_occurrences(*_two_words(_packed(rows)))]


def _packed(rows: Ids) -> list[Words]:
    words = []
    for start in range(0, rows.shape[1], _PER_WORD):
        word = np.zeros(len(rows), dtype=np.uint64)
        for column in rows.T[start : start + _PER_WORD]:
            word = word << np.uint64(ID_BITS) | column
        words.append(word)
    return words


def _two_words(words: list[Words]) -> tuple[Words, Words | None]:
    """One or two words that are equal exactly where all are."""
    if len(words) <= 2:
        return words[-1], words[0] if len(words) > 1 else None
    return words[-1], _ranks(words[:-1]).astype(np.uint64)


def _ranks(words: list[Words]) -> NDArray[np.intp]:
    """A number for each row, equal exactly where all words are."""
    rank: NDArray[np.intp] = np.zeros(len(words[0]), dtype=np.intp)
    for word in words:
        column = np.unique(word, return_inverse=True)[1].astype(np.uint64)
        rank = np.unique(rank.astype(np.uint64) << np.uint64(32) | column, return_inverse=True)[1]
    return rank

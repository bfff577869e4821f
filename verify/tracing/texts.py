"""Documents -> the distinct pairs that each text contributes, before any key is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.corpus import summarize_documents
from verify.distinct import Pairs, concatenate
from verify.records import Document
from verify.scoring import Summary
from verify.tokenization import Tokenizer


@dataclass(frozen=True, eq=False)
class Texts:
    """What is tested: the documents one by one, or all of them as one text.

    Attributes:
        names: (D,) of the texts.
        n_tokens: (D,) tokens read of each.
        pairs: distinct pairs within each text, the texts end to end.
        offsets: (D + 1,) where each begins.
    """

    names: tuple[str, ...]
    n_tokens: NDArray[np.int64]
    pairs: Pairs
    offsets: NDArray[np.int64]


def corpus(documents: Iterable[Document], width: int, *, tokenizer: Tokenizer | None, trust_ids: bool,
           progress: Callable[[int], None] = lambda tokens: None) -> Texts:  # fmt: skip
    """All documents as one text, distinct over all of them. Arguments as of `summarize_documents`."""

    def advance(part: Summary) -> None:
        progress(part.n_seen)

    found = summarize_documents(documents, width, tokenizer=tokenizer, trust_ids=trust_ids, progress=advance)
    offsets = np.array([0, len(found.pairs)], dtype=np.int64)
    return Texts(("the whole input",), np.array([found.n_seen]), found.pairs, offsets)


def one_by_one(documents: Iterable[Document], width: int, *, tokenizer: Tokenizer | None, trust_ids: bool,
               progress: Callable[[int], None] = lambda tokens: None) -> Texts:  # fmt: skip
    """Each document as a text of its own. Arguments as of `summarize_documents`."""
    names: list[str] = []

    def summaries() -> Iterator[Summary]:
        for document in documents:
            found = summarize_documents([document], width, tokenizer=tokenizer, trust_ids=trust_ids)
            names.append(document.name)
            progress(found.n_seen)
            yield found

    parts = list(summaries())
    none = Pairs.of(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint32), width)
    pairs = concatenate([none, *(s.pairs for s in parts)])
    offsets = np.cumsum([0, *(len(s.pairs) for s in parts)], dtype=np.int64)
    return Texts(tuple(names), np.array([s.n_seen for s in parts], dtype=np.int64), pairs, offsets)

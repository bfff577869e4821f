"""Token batch -> Summary -> Score. Summaries merge associatively and commutatively, and hold no key.

Symbols: h width, n pairs.
Every token that is not scored is counted under one reason:
`first_h` (no window yet), `repeated_window` (its response already used the window), `copied_from_prompt` (the pair
stands in what the model was shown), `duplicate` (the corpus already has the pair), `other_channel` (the window
belongs to another key).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.distinct import DistinctBuilder, Pairs, concatenate, distinct, ranks
from watermark.channels import CHANNELS, select
from watermark.keys import ValueKey
from watermark.prf import CHUNK_BLOCKS, Blocks, Prf, pack_blocks
from watermark.windows import TokenBatch, repeated, window_keys, windowed

CHUNK_PAIRS = 2 * CHUNK_BLOCKS


@dataclass(frozen=True, eq=False)
class Summary:
    """What a corpus contributes, before any key is looked at.

    Attributes:
        n_documents: responses, empty ones included.
        n_empty: responses without a token.
        n_seen: tokens.
        n_first_h: tokens dropped as `first_h`.
        n_repeated_window: tokens dropped as `repeated_window`.
        n_copied_from_prompt: tokens dropped as `copied_from_prompt`.
        pairs: the distinct pairs that are left, in no particular order.
    """

    n_documents: int
    n_empty: int
    n_seen: int
    n_first_h: int
    n_repeated_window: int
    n_copied_from_prompt: int
    pairs: Pairs

    @property
    def n_duplicate(self) -> int:
        """Tokens dropped as `duplicate`."""
        dropped = self.n_first_h + self.n_repeated_window + self.n_copied_from_prompt
        return self.n_seen - dropped - len(self.pairs)

    def to_bytes(self) -> bytes:
        """A canonical form: equal corpora give equal bytes, however they were partitioned."""
        counts = {name: value for name, value in vars(self).items() if name != "pairs"}
        head = json.dumps({"width": self.pairs.width, "n_pairs": len(self.pairs)} | counts, sort_keys=True)
        pairs = self.pairs.ascending()
        high = b"" if pairs.high is None else pairs.high.astype("<u2").tobytes()
        return head.encode() + b"\n" + pairs.low.astype("<u8").tobytes() + high


@dataclass(frozen=True, eq=False)
class Shown:
    """What the model was shown before each of D responses: S texts, each tokenized by itself.

    A response was shown the texts of its conversation that came before it or before an earlier response.

    Attributes:
        texts: S texts.
        before: (S,) index of the first response that came after the text.
        conversation: (D,) a number for the conversation of each response.
        echoes: (T,) whether the text of the pair that ends at a token stands in a shown text, tokenized in whatever
            way: a copied span often begins with other tokens than it has in the prompt.
    """

    texts: TokenBatch
    before: NDArray[np.int64]
    conversation: NDArray[np.int64]
    echoes: NDArray[np.bool_] | None = None


def merge(summaries: Iterable[Summary], width: int) -> Summary:
    """Merge any number of Summaries of one width; of none, the empty Summary."""
    builder, totals = DistinctBuilder(width), np.zeros(6, dtype=np.int64)
    for s in summaries:
        totals += (s.n_documents, s.n_empty, s.n_seen, s.n_first_h, s.n_repeated_window, s.n_copied_from_prompt)
        builder.add(s.pairs)
    documents, empty, seen, first_h, repeated_window, copied = totals.tolist()
    return Summary(documents, empty, seen, first_h, repeated_window, copied, pairs=builder.result())


def summarize(
    batch: TokenBatch,
    width: int,
    *,
    shown: Shown | None = None,
    skip_repeated: bool = True,
    take: Callable[[Pairs], None] = lambda pairs: None,
) -> Summary:
    """Summarize a batch of responses.

    Args:
        batch: D responses.
        width: h.
        shown: what the model was shown; a pair that stands in a text that its response was shown is dropped.
        skip_repeated: drop tokens whose window the response already used. The sampler did not mark those; a student
            may carry the mark there too.
        take: called with the pairs that are left, each as often as it comes.
    """
    at = windowed(batch, width)
    n_first_h = batch.ids.size - at.size
    n_repeated = 0
    if skip_repeated and at.size:
        again = repeated(batch, at, width)
        n_repeated = int(np.count_nonzero(again))
        at = at[~again]
    pairs = Pairs.of(window_keys(batch.ids, at, width), batch.ids[at], width)
    n_copied = 0
    if shown is not None and at.size:
        copied = _copied(pairs, batch.document_of()[at], shown)
        if shown.echoes is not None:
            copied |= shown.echoes[at]
        n_copied = int(np.count_nonzero(copied))
        pairs = pairs[~copied]
    take(pairs)
    n_empty = int(np.count_nonzero(np.diff(batch.offsets) == 0))
    return Summary(len(batch.offsets) - 1, n_empty, batch.ids.size, n_first_h, n_repeated, n_copied, distinct(pairs))


def _copied(pairs: Pairs, document: NDArray[np.uint32], shown: Shown) -> NDArray[np.bool_]:
    """Which pairs stand in a text that their document was shown: (n,) bool."""
    texts = shown.texts
    at = windowed(texts, pairs.width)
    known = Pairs.of(window_keys(texts.ids, at, pairs.width), texts.ids[at], pairs.width)
    return shown_before(ranks(concatenate([pairs, known])), document, shown, at)


def shown_before(
    rank: NDArray[np.intp], document: NDArray[np.uint32], shown: Shown, at: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of n pairs stand in a text that their document was shown: (n,) bool.

    Args:
        rank: (n + m,) a number for each pair and then for each pair of the shown texts, equal where they are.
        document: (n,) the pairs' documents.
        shown: the texts.
        at: (m,) flat indices of the last tokens of their pairs.
    """
    n = len(document)
    # The first document that follows any text with the pair, per conversation and pair.
    before = shown.before[shown.texts.document_of()[at]]
    owner = shown.conversation[np.concatenate([document, before])].astype(np.uint64)
    keys, inverse = np.unique(owner << np.uint64(40) | rank.astype(np.uint64), return_inverse=True)
    first = np.full(len(keys), len(shown.conversation))
    np.minimum.at(first, inverse[n:], before)
    copied: NDArray[np.bool_] = first[inverse[:n]] <= document
    return copied


@dataclass(frozen=True)
class Score:
    """Integer scores of the distinct pairs that belong to one key's channel.

    Attributes:
        n: pairs scored.
        total: sum of integer scores.
        total_squares: sum of their squares.
        n_other_channel: pairs whose window belongs to another channel.
    """

    n: int
    total: int
    total_squares: int
    n_other_channel: int


def channel_blocks(pairs: Pairs, key: ValueKey) -> Iterable[Blocks]:
    """PRF inputs of the pairs in the key's channel, in cache-sized chunks: (m, 4) uint32 each."""
    shares, selector = key.deployment.shares, Prf(key.selector)
    own = CHANNELS.index(key.channel)
    for start in range(0, len(pairs), CHUNK_PAIRS):
        chunk = pairs[start : start + CHUNK_PAIRS]
        windows, tokens = chunk.windows(), chunk.tokens()
        if shares.ppm[own] < sum(shares.ppm):
            mine = select(selector, shares, windows) == own
            windows, tokens = windows[mine], tokens[mine]
        yield pack_blocks(windows, tokens)


def score(pairs: Pairs, key: ValueKey) -> Score:
    """Score distinct pairs under one key.

    Raises:
        ValueError: the pairs have another width than the key.
    """
    if pairs.width != key.deployment.width:
        raise ValueError(f"pairs of width {pairs.width} do not go with a key of width {key.deployment.width}")
    prf, scheme = Prf(key.value), key.deployment.scheme
    n = total = squares = 0
    for blocks in channel_blocks(pairs, key):
        scores = scheme.score(prf.words(blocks))
        n += len(scores)
        total += int(scores.sum())
        # Scores are below 2^31 and chunks below 2^16, so neither sum can overflow 64 bits unsigned.
        squares += int((scores.astype(np.uint64) ** 2).sum())
    return Score(n, total, squares, len(pairs) - n)

"""Sampled answers as documents of a fixed number of tokens, and their log10 p."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log10

import numpy as np
from numpy.typing import NDArray

from benchmarks.suite.answers import NATIVE, UNMARKED, Batch
from benchmarks.suite.cases.calibration import native_pairs
from watermark.windows import Ids, TokenBatch

Document = list[Ids]  # pieces of answers: no window reaches across two


def cut(answers: Sequence[Ids], length: int) -> Iterator[Document]:
    """Disjoint documents of `length` tokens from answers laid end to end; what is left over is no document."""
    document: Document = []
    missing = length
    for own in answers:
        while len(own):
            piece, own = own[:missing], own[missing:]
            document.append(piece)
            missing -= len(piece)
            if not missing:
                yield document
                document, missing = [], length


def log10_p(document: Document, batch: Batch) -> float:
    """log10 p of one document under its batch's key; unmarked text under a Gumbel key of its own."""
    if batch.mark in NATIVE:
        return _native(document, batch)
    from verify.hypotheses import closed
    from verify.scoring import score, summarize

    key = _epoch(batch).value_key("fleet")
    s = score(summarize(TokenBatch.from_documents(document), key.deployment.width).pairs, key)
    return float(closed.log10_p(key.deployment.scheme.law, s.n, s.total)) if s.n else 0.0


def excess(ids: Ids, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Scores of one answer's eligible tokens less their mean, in standard deviations of the null, and where they are.

    Returns:
        (n,) positions and (n,) excesses.
    """
    from watermark.prf import Prf, pack_blocks
    from watermark.windows import repeated, windowed

    key = _epoch(batch).value_key("fleet")
    width, scheme = key.deployment.width, key.deployment.scheme
    whole = TokenBatch.from_documents([ids])
    at = windowed(whole, width)
    at = at[~repeated(whole, at, width)]
    windows = ids[at[:, None] + np.arange(-width, 0)]
    scores = scheme.score(Prf(key.value).words(pack_blocks(windows, ids[at]))) / scheme.law.unit
    return at, (scores - scheme.law.mean) / scheme.law.variance**0.5


def _epoch(batch: Batch):  # type: ignore[no-untyped-def]
    if batch.mark != UNMARKED:
        return batch.epoch()
    return Batch("gumbel", *(getattr(batch, f) for f in ("temperature", "index", "answers", "tokens", "model"))).epoch()


def _native(document: Document, batch: Batch) -> float:
    from verify.native.tails import log10_p as tail
    from watermark.native import mark_named

    spec = "synthid" if batch.mark == "transformers-synthid" else "transformers-greenlist:vocabulary=49152"
    kind, parameters = mark_named(spec)
    mark = kind.from_configuration(batch.native(), parameters)
    parts = [native_pairs(piece, mark.width) for piece in document if len(piece) > mark.width]
    if not parts:
        return log10(1)
    rows = np.unique(np.concatenate([np.column_stack(p) for p in parts]), axis=0).astype(np.uint32)
    scored = mark.score(mark.inputs(rows[:, :-1], np.ascontiguousarray(rows[:, -1])))
    return float(tail(scored.law, scored.n, scored.total)) if scored.n else 0.0

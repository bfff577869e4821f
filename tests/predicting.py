"""A small teacher that serves marked text, students that learned from it or did not, and what they predict.

The teacher is a random Markov chain of order 1: its law after a token is one fixed row of V, all of them candidates.
"""

import numpy as np

from verify.predictions import Prediction
from watermark.keys import ValueKey
from watermark.prf import Prf, gumbel_noise, pack_blocks
from watermark.windows import window_keys

TOKENIZER = "sha256:" + "7" * 64


def chain(vocabulary, seed, concentration=0.3):
    """(V, V) next-token laws."""
    return np.random.default_rng(seed).dirichlet(np.full(vocabulary, concentration), vocabulary)


def serve(laws, key: ValueKey, lengths, seed, prompts=None):
    """Texts that the marked teacher draws, repeats of a window unmarked; all windows use the key."""
    rng, prf, width = np.random.default_rng(seed), Prf(key.value), key.deployment.width
    logs, vocabulary = np.log(laws), np.arange(len(laws), dtype=np.uint32)
    texts = []
    for n, length in enumerate(lengths):
        ids, used = list(() if prompts is None else prompts[n]), set()
        start = len(ids)
        while len(ids) < start + length:
            law = logs[ids[-1]] if ids else logs[0]
            window = tuple(ids[len(ids) - width :]) if len(ids) - start >= width else None
            if window is None or window in used:
                noise = rng.gumbel(size=len(laws))
            else:
                used.add(window)
                blocks = pack_blocks(np.tile(np.array(window, dtype=np.uint32), (len(laws), 1)), vocabulary)
                noise = gumbel_noise(prf.words(blocks)[:, 0])
            ids.append(int((law + noise).argmax()))
        texts.append(np.array(ids[start:], dtype=np.uint32))
    return texts


def learn(texts, laws, width, weight):
    """Laws after each window as a student counts them: (window key) -> (V,), mixed with the prior by `weight`."""
    counts = {}
    for ids in texts:
        at = np.arange(width, len(ids))
        for window, token in zip(window_keys(ids, at, width).tolist(), ids[at].tolist(), strict=True):
            counts.setdefault(window, np.zeros(len(laws)))[token] += 1
    return {window: (weight * laws[window & 0xFFFFF] + c) / (weight + c.sum()) for window, c in counts.items()}


def predict(texts, laws, width, *, student=None, served=True, prompts=None, reference=True, at=None):
    """Predictions of a student (`learn`), or of one that only knows `laws`; the reference knows `laws`."""
    vocabulary = np.arange(len(laws), dtype=np.uint32)
    out = []
    for n, ids in enumerate(texts):
        places = np.arange(1, len(ids) + served) if at is None else at[n]
        q = laws[ids[places - 1]]
        p = q.copy()
        if student is not None:
            inside = np.flatnonzero(places >= width)
            for row, window in zip(inside, window_keys(ids, places[inside], width).tolist(), strict=True):
                p[row] = student.get(window, q[row])
        out.append(
            Prediction(
                id=f"t{n}",
                ordinal=n,
                served=served,
                prompt_ids=np.array((), dtype=np.uint32) if prompts is None else prompts[n],
                token_ids=ids,
                tokenizer=TOKENIZER,
                at=places,
                candidates=np.tile(vocabulary, (len(places), 1)),
                log_p=np.log(p).astype(np.float32),
                log_q=np.log(q).astype(np.float32) if reference else None,
                suspect="student",
                reference_model="base" if reference else None,
            )
        )
    return out

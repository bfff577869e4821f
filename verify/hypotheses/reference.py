"""The closed test with a reference model as control variate: the suspect's answers, and what q expected there.

Symbols: c a place in an answer, w its window, t the token there, v a candidate, q(v|c) its probability under the
reference, s(w, v) the keyed score, mu its mean.

Statistic: S = sum over distinct (w, v) of a(w, v) (s(w, v) - mu), where a(w, v) is the sum over all places with the
window of 1[v = t] - q(v|c), over `CAP` and clipped to [-1, 1]. Places share a window's scores, so terms are summed
before they are scored; predictable tokens add little, whatever their score. What a student says often it has learned
well: with a cap of 1 the common pairs count no more than the chance ones, and z falls as more is asked (`docs/lab.md`).
H0: answers and reference do not depend on the key, and both keys were fixed before anybody looked at the answers.
Then every a is independent of the key, the scores of distinct (w, v) are independent with the scheme's law, and
log10 p is the Chernoff bound.

As in the closed test a place is left out if its answer used the window before. It is also left out if the window stood
in its prompt: in a prompt with marked text, what follows the window there depends on the key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from verify.distinct import MOST_WAITING, Pairs, concatenate
from verify.errors import InputError, Refused, quoted
from verify.hypotheses.open import CHUNK_TERMS, Scored, in_channel, windows_of
from verify.linear import ONE, Fixed, LinearForm, fixed_point
from verify.predictions import Prediction
from watermark.keys import ValueKey
from watermark.prf import Prf, pack_blocks
from watermark.windows import ID_BITS, first_occurrences, window_keys

RULE = "control-variate"
CAP: Final = 16  # a pair that comes more often counts no more: no phrase decides alone


class Coefficients:
    """Coefficients in 2^-20 summed per (window, token): 26 bytes a pair, and up to three times that while merging.

    Args:
        width: h.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._pairs = Pairs.of(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint32), width)
        self._sums: Fixed = np.empty(0, dtype=np.int64)
        self._waiting: list[tuple[Pairs, Fixed]] = []
        self._n_waiting = 0

    def add(self, pairs: Pairs, values: Fixed) -> None:
        """Add (n,) values to the sums of (n,) pairs, which need not be distinct."""
        self._waiting.append((pairs, values))
        self._n_waiting += len(values)
        if self._n_waiting > max(len(self._sums), MOST_WAITING):
            self.result()

    def result(self) -> tuple[Pairs, Fixed]:
        """Distinct pairs in ascending order, and their sums."""
        if self._waiting:
            pairs = concatenate([self._pairs, *(pairs for pairs, _ in self._waiting)])
            values = np.concatenate([self._sums, *(values for _, values in self._waiting)])
            order = np.argsort(pairs.low) if pairs.high is None else np.lexsort((pairs.low, pairs.high))
            pairs = pairs[order]
            starts = np.flatnonzero(_changes(pairs, 0))
            self._pairs, self._sums = pairs[starts], np.add.reduceat(values[order], starts)
            self._waiting, self._n_waiting = [], 0
        return self._pairs, self._sums


def score_answers(
    predictions: Iterable[Prediction],
    key: ValueKey,
    *,
    prompt_windows: bool = True,
    progress: Callable[[int], object] = lambda n: None,
) -> Scored:
    """Score the suspect's own answers.

    Args:
        predictions: the answers, with the reference's predictions as `log_q`; `log_p` is not read.
        key: the key.
        prompt_windows: leave out places whose window stood in their prompt. Without it the result holds if no prompt
            had marked text.
        progress: called with the positions of each answer.

    Raises:
        InputError: no answer, or one without `log_q`.
        Refused: served text, whose law depends on the key, or two suspects in one file.
    """
    width, first = key.deployment.width, None
    sums = Coefficients(width)
    dropped = dict.fromkeys(("first_h", "repeated_window", "in_prompt", "other_channel"), 0)
    n_texts = n_positions = 0
    for text in predictions:
        first = first or text
        check(text, first)
        at = text.at[text.at >= width]
        dropped["first_h"] += len(text.at) - len(at)
        new = np.flatnonzero(first_occurrences(windows_of(text.token_ids, width), None)) + width
        fresh = np.isin(at, new, assume_unique=True)
        keys = window_keys(text.token_ids, at, width)
        shown = fresh & np.isin(keys, windows_of(text.prompt_ids, width)) if prompt_windows else np.zeros_like(fresh)
        dropped["repeated_window"] += int(np.count_nonzero(~fresh))
        dropped["in_prompt"] += int(np.count_nonzero(shown))
        keep = fresh & ~shown
        own = in_channel(text.token_ids[at[keep, None] + np.arange(-width, 0)], key)
        dropped["other_channel"] += int(np.count_nonzero(~own))
        _add(sums, text, at[keep][own], keys[keep][own])
        n_texts += 1
        n_positions += len(text.at)
        progress(len(text.at))
    if first is None:
        raise InputError("no prediction, expected at least one")
    return Scored(
        form=score_sums(*sums.result(), key),
        served=False,
        n_texts=n_texts,
        n_positions=n_positions,
        n_dropped=dropped,
        rule=RULE,
        tokenizer=first.tokenizer,
        suspect=first.suspect,
        reference_model=first.reference_model,
    )


def check(text: Prediction, first: Prediction) -> None:
    """Refuse a text that cannot be tested, or does not go with the first."""
    name = f"prediction {quoted(text.id)}"
    if text.log_q is None:
        raise InputError(f"{name}: without log_q, expected the reference's predictions")
    if text.served:
        raise Refused(
            f"{name}: served is true, expected the suspect's own answers",
            hint="served text depends on the key: radiolabel test open tests what a model predicts in it",
        )
    for field in ("suspect", "reference_model"):
        value, expected = getattr(text, field), getattr(first, field)
        if value != expected:
            raise Refused(f"{name}: {field} is {quoted(value)}, expected {quoted(expected)} as in the first")


def score_sums(pairs: Pairs, sums: Fixed, key: ValueKey) -> LinearForm:
    """The linear form of distinct pairs in ascending order with their summed coefficients, over `CAP` and clipped."""
    form, prf = LinearForm.empty(), Prf(key.value)
    starts = _changes(pairs, ID_BITS)
    for start in range(0, len(sums), CHUNK_TERMS):
        part = slice(start, start + CHUNK_TERMS)
        fixed = np.clip((sums[part] + CAP // 2) // CAP, -ONE, ONE)
        chosen = pairs[part][fixed != 0]
        scores = key.deployment.scheme.score(prf.words(pack_blocks(chosen.windows(), chosen.tokens())))
        form += LinearForm.of(fixed[fixed != 0], scores, n_windows=int(np.count_nonzero(starts[part])))
    return form


def _add(sums: Coefficients, text: Prediction, at: NDArray[np.int64], windows: NDArray[np.uint64]) -> None:
    """Add 1[v = t] - q(v|c) at the positions `at`."""
    assert text.log_q is not None
    rows = np.searchsorted(text.at, at)
    fixed = fixed_point(-np.exp(text.log_q[rows].astype(np.float64)))
    keep = fixed != 0
    repeats = np.count_nonzero(keep, axis=1)
    width = sums.width
    sums.add(Pairs.of(np.repeat(windows, repeats), text.candidates[rows][keep], width), fixed[keep])
    sums.add(Pairs.of(windows, text.token_ids[at], width), np.full(len(at), ONE))


def _changes(pairs: Pairs, bits: int) -> NDArray[np.bool_]:
    """Where ascending pairs, without their lowest `bits`, differ from the one before; the first does: (n,) bool."""
    changes = np.ones(len(pairs), dtype=bool)
    low = pairs.low >> np.uint64(bits)
    changes[1:] = low[1:] != low[:-1]
    if pairs.high is not None:
        changes[1:] |= pairs.high[1:] != pairs.high[:-1]
    return changes

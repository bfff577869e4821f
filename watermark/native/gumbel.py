"""Scores of keyed uniforms, shared by the Gumbel marks of vLLM and SGLang.

The score of a word is that of the lowest number with its top 16 bits, -65536 ln(1 - i / 65536) rounded down: at most
an Exp(1) variable of the whole word, so that the tail of Gamma(n, 1) bounds the sum's (`watermark.schemes.gumbel`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from watermark.schemes.gumbel import TABLE_BITS, UNIT, score_table


def total_score(words: NDArray[np.uint32]) -> float:
    """The sum in nats of the scores of 32-bit words; the sum itself is of integers, and exact."""
    return int(score_table().take(words >> np.uint32(32 - TABLE_BITS)).sum()) / UNIT


def mean_score() -> float:
    """E of one score, in nats."""
    return float(score_table().mean()) / UNIT

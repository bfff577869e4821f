"""The closed test with counts: text alone, each pair weighed by how often the corpus has it.

Symbols: n(w, v) how often the pair of window w and token v comes, s(w, v) the keyed score, mu its mean.

Statistic: S = sum over distinct (w, v) of min(n(w, v) / CAP, 1) (s(w, v) - mu), with `reference.CAP`.
H0: the text does not depend on the value key, and both keys were fixed before anybody looked at the text.
Then the counts are independent of the key, the scores of distinct pairs are independent with the scheme's law, and
log10 p is the Chernoff bound of the linear form. A phrase a thousand times over is few terms of the largest weight,
and the bound knows it.

Counts are why this sees more than `closed`: a student repeats what it has learned, and the distinct pairs alone are
mostly chance. `docs/lab.md` has both on the same answers.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from verify.distinct import Pairs
from verify.hypotheses.open import Scored, in_channel
from verify.hypotheses.reference import Coefficients, score_sums
from verify.linear import ONE
from verify.scoring import Summary
from watermark.keys import ValueKey

RULE: Final = "counts"


class Counted:
    """Counts of the pairs of one key's channel, batch by batch.

    Args:
        key: the key.

    Attributes:
        n_other_channel: tokens whose window belongs to another channel.
    """

    def __init__(self, key: ValueKey) -> None:
        self._key = key
        self._sums = Coefficients(key.deployment.width)
        self.n_other_channel = 0

    def add(self, pairs: Pairs) -> None:
        """Add (n,) pairs, each as often as it comes."""
        own = pairs[in_channel(pairs.windows(), self._key)]
        self.n_other_channel += len(pairs) - len(own)
        self._sums.add(own, np.full(len(own), ONE, dtype=np.int64))

    def scored(self, summary: Summary, *, tokenizer: str | None) -> Scored:
        """Score what was counted.

        Args:
            summary: of the same corpus, for its counts of what was dropped.
            tokenizer: digest of the tokenizer.
        """
        return Scored(
            form=score_sums(*self._sums.result(), self._key),
            served=False,
            n_texts=summary.n_documents,
            n_positions=summary.n_seen,
            n_dropped={
                "first_h": summary.n_first_h,
                "repeated_window": summary.n_repeated_window,
                "copied_from_prompt": summary.n_copied_from_prompt,
                "other_channel": self.n_other_channel,
            },
            rule=RULE,
            tokenizer=tokenizer or "none",
            suspect="the suspect",
            reference_model=None,
        )

"""The result of a test that was stopped when it was enough.

How the numbers are valid: `verify.hypotheses.sequential`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import Any

from verify.errors import Refused
from verify.finding import ASSUMPTIONS, log10_sum, p_value, upper
from verify.hypotheses import closed
from verify.measured import MeasuredSequential
from verify.planned import plan_sentence
from verify.tested import Tested

_ORDER = "the prompts, and the order in which answers came, do not depend on the key"


@dataclass(frozen=True)
class SequentialFinding:
    """One key tested on answers as they came.

    Attributes:
        n_answers: answers.
        n_scored: distinct pairs scored.
        log10_p: of 1 / (largest e-value so far), valid whenever one stops.
        log10_e: of the e-value at the end.
        log10_e_max: of the largest.
        excess: mean score per pair above its expectation under H0, in the scheme's natural unit.
        alpha: the threshold.
        enough_after: answers after which the e-value first reached 1 / alpha, or None.
        key_path: of the key.
        options: every choice that can move the number.
    """

    n_answers: int
    n_scored: int
    log10_p: float
    log10_e: float
    log10_e_max: float
    excess: float
    alpha: float
    enough_after: int | None
    key_path: str
    options: dict[str, Any]

    @property
    def found(self) -> bool:
        """Whether p is at most alpha."""
        return self.log10_p <= log10(self.alpha)

    @property
    def log10_p_stated(self) -> float:
        """log10 p with what separates a cipher from a random function: what a sentence may claim."""
        return log10_sum(self.log10_p, 2 * log10(self.n_scored) - 129 * log10(2), -128 * log10(2))

    @property
    def sentence(self) -> str:
        """What this means, in words: a statement about the text, never about guilt."""
        if self.found:
            text = (
                f"The mark of key {self.key_path} was found, after {self.enough_after:,} of {self.n_answers:,} "
                f"answers. Text that does not depend on this key would lead to as much evidence, at whatever time one "
                f"stops, with probability at most 10^{upper(self.log10_p_stated)} (threshold {self.alpha:g})."
            )
        else:
            text = (
                f"The mark of key {self.key_path} was not found in {self.n_answers:,} answers (p = "
                f"{p_value(self.log10_p)}, threshold {self.alpha:g}). Not found does not mean not there."
            )
        return text + plan_sentence(self.options)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the numbers rest on."""
        return (_ORDER, *ASSUMPTIONS)


def conclude(measured: MeasuredSequential, key: Tested, *, alpha: float, options: dict[str, Any]) -> SequentialFinding:
    """What follows from a measurement, by arithmetic alone.

    Raises:
        Refused: no pair was scored.
    """
    n, total, law = measured.n_scored, int(measured.total), key.scheme.law
    if n == 0:
        raise Refused(f"no token of {measured.n_answers} answers can be scored", hint="collect more answers")
    found = measured.log10_e_max >= -log10(alpha)
    return SequentialFinding(
        n_answers=measured.n_answers,
        n_scored=n,
        log10_p=-measured.log10_e_max,
        log10_e=closed.log10_e(law, n, total),
        log10_e_max=measured.log10_e_max,
        excess=total / law.unit / n - law.mean,
        alpha=alpha,
        enough_after=measured.enough_after if found else None,
        key_path=key.path,
        options=options,
    )

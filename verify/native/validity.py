"""What an engine's own function can carry, and what a p-value under it may claim.

Symbols: B bits of the narrowest state that key and window pass through (`Mark.state_bits`), n scored inputs,
lambda = n (n - 1) / 2^(B + 1), the expected number of pairs of inputs that would meet in B bits.

*Cap.* Whoever else serves with the same engine draws a key too, and of 2^b keys one is as good as another: text that
another provider marked carries this very mark with probability 2^-b. So no p below 2^-b can be claimed, b = min(key
bits, B), however long the text is.

*Collisions.* Inputs that meet in the state have the same score. They are seen once the key is known, and one of them
counts. What is left are n distinct states. If states are independent and uniform, these are a random sample without
replacement, and for any event A on the scores

    P(A) = P(A | all distinct) <= P(A, for independent scores) / P(all distinct) <= P(A, for independent scores) e^c,

with c = lambda (1 + 2 n / 2^B), since -ln(1 - x) <= x (1 + 2 x) for x <= 1/2. At lambda = 1 (n = 92,682 for 32 bits)
the p-value of independent scores is no longer a bound to within e; the stated one is a bound for every n, and grows
weak.
"""

from __future__ import annotations

from math import ceil, e, isqrt, log10, sqrt
from typing import Final

from watermark.native import AnyMark
from watermark.native.laws import GreenLists, Scored, Shifts

NOTABLE: Final = 1.05  # standard deviation of a sum against that of independent pairs

CHOSEN: Final = "the text was chosen without looking at the key or at scores under it"
ONE_TEST: Final = (
    "this is the one test of this key on this text; for several keys or texts, correct for all that were looked at"
)


def key_bits(mark: AnyMark) -> int:
    """b: bits that tell this key from another."""
    return min(mark.key_bits, mark.state_bits or mark.key_bits)


def log10_cap(mark: AnyMark) -> float:
    """log10 2^-b: no p below it can be claimed."""
    return -key_bits(mark) * log10(2)


def log10_collisions(mark: AnyMark, n: int) -> float:
    """log10 e^c: what collisions in the state can add to log10 p; 0 where the law is exact whatever the function is."""
    if mark.state_bits is None:
        return 0.0
    states = 2.0**mark.state_bits
    return float(n * (n - 1) / 2 / states * (1 + 2 * n / states) * log10(e))


def valid_up_to(mark: AnyMark) -> int | None:
    """The n from which lambda exceeds 1, and the p-value of independent scores is no bound; None if there is none."""
    return None if mark.state_bits is None else isqrt(2 ** (mark.state_bits + 1))


def log10_stated(mark: AnyMark, n: int, ideal: float) -> float:
    """log10 of what may be claimed: the ideal tail times e^c, plus the chance that two keys are one.

    Args:
        mark: under which.
        n: scored inputs.
        ideal: log10 of the tail.
    """
    tail, cap = ideal + log10_collisions(mark, n), log10_cap(mark)
    larger, smaller = max(tail, cap), min(tail, cap)
    return min(0.0, larger + log10(1 + 10 ** (smaller - larger)))


def spread(scored: Scored) -> float:
    """Standard deviation of the sum against that of as many independent pairs; 1 where they are taken as such."""
    if not isinstance(scored.law, Shifts):
        return 1.0
    return sqrt(scored.law.variance * 4 * scored.law.layers)


def offset(scored: Scored) -> float:
    """How far the law's mean lies from that of fair bits, in standard deviations of a sum of as many fair bits."""
    if not isinstance(scored.law, Shifts):
        return 0.0
    return float((scored.law.mean - 0.5) * 2 * (scored.n * scored.law.layers) ** 0.5)


def assumptions(mark: AnyMark, scored: Scored) -> tuple[str, ...]:
    """What the numbers rest on."""
    drawn = f"the key was drawn at random among all keys of its length ({mark.key_bits} bits that count)"
    if isinstance(scored.law, Shifts):
        own = (
            "nothing is assumed of the engine's function: the p-value is over the keys alone, for this very text and "
            "the table of this seed as PyTorch makes it on a CPU"
        )
    elif isinstance(scored.law, GreenLists):
        own = (
            f"green lists of different seeds are as good as independent ({mark.prf}); the binomial tail bounds the "
            "true one, since tokens of one list exclude each other"
        )
    else:
        own = (
            f"{mark.prf} cannot be told from a random function of its {mark.state_bits}-bit state by this text; nobody "
            "claims that it is a cipher"
        )
    return CHOSEN, ONE_TEST, drawn, own


def warnings(mark: AnyMark, scored: Scored) -> tuple[str, ...]:
    """What the engine's function cannot carry, with this sample."""
    found, limit = [], valid_up_to(mark)
    bits = key_bits(mark)
    if bits <= 64 and mark.state_bits is not None:
        found.append(
            f"no p-value below 2^-{bits} = 10^{log10_cap(mark):.1f} is claimed: {_why_so_few(mark, bits)}, and one "
            "other provider of the engine has this very mark with that probability"
        )
    if limit is not None and mark.state_bits == 32:
        now = log10_collisions(mark, scored.n)
        found.append(
            f"key and window pass through {mark.state_bits} bits: with more than {limit:,} scored inputs the ideal "
            f"p-value is no bound; the stated one is, and with {scored.n:,} it is 10^{ceil(100 * now) / 100:.2f} times "
            "as large for that"
        )
    if scored.n_same_input:
        found.append(
            f"{scored.n_same_input:,} distinct (window, token) pairs are the same to this function as another, and "
            "count once"
        )
    if isinstance(scored.law, Shifts):
        found.append(
            f"the function sees only {len(scored.law.sums):,} different n-grams (tokens t and t + "
            f"{len(scored.law.sums):,} always share their bits): a binomial p-value would be off by "
            f"{offset(scored):+.2f} standard deviations in the mean and by the factor {spread(scored):.2f} in the "
            "deviation; the p-value here is of the exact law over keys, at any size"
        )
    if scored.n_keyless:
        found.append(f"{scored.n_keyless:,} pairs score the same under every key, and do not count")
    return tuple(found)


def _why_so_few(mark: AnyMark, bits: int) -> str:
    if mark.state_bits is not None and bits == mark.state_bits:
        return f"of every key the function keeps {bits} bits ({mark.prf})"
    return f"{bits} bits of the key count"

"""Upper tails of the laws of engines' own marks, in log10: inclusive, never 0, never floored.

Symbols: n scored inputs, S their sum, x what was observed, P(S >= x) the tail, m layers.

*Two keys.* a X + b Y with X and Y independent Gamma(n, 1) and a > b > 0 is hypoexponential. Since
1 / (1 - a z) = q / (1 - b z) * 1 / (1 - (1 - q) / (1 - b z)) with q = b / a, an exponential of scale a is a geometric
number of exponentials of scale b, and

    P(a X + b Y >= x) = sum_k NB(k; n, q) P(Gamma(2 n + k, 1) >= x / b),                              (1)

with NB the negative binomial law: positive terms, log-concave in k, no cancellation. What lies beyond the terms that
are summed is below e^-45 of the sum. (Moschopoulos 1985, Ann. Inst. Stat. Math. 37, for such mixtures in general.)

*Shifts.* A sum of m independent copies of a given law on integers: the law is tilted by e^(theta s) so that its mean
lies at x, convolved by FFT, and tilted back, which keeps relative precision however small the tail is (Daniels 1954).

*Green lists.* Greens of one list are drawn without replacement, and those of different lists are independent: their
number is a sum of independent, not identical, indicators (Vatutin and Mikhailov 1982), so for x >= n p + 1 its tail is
at most the binomial's (Hoeffding 1956, Ann. Math. Stat. 27, theorem 4). Below, the bound is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from verify._loader import deviance, stirling_error
from verify.errors import Refused
from verify.tails import binomial_log10_sf, gamma_log10_sf
from watermark.native.laws import Exponentials, GreenLists, Law, Shifts

Floats = NDArray[np.float64]

BEYOND: Final = 50.0  # terms this many nats below the largest are left out
CHUNK: Final = 1 << 20
LEAST_RATIO: Final = 1e-3  # of the weights of two keys
MOST_CELLS: Final = 1 << 27  # of a convolution


def log10_p(law: Law, n: int, total: float) -> float:
    """log10 P(S >= total) under a law, or an upper bound where the law says so.

    Raises:
        Refused: a sum of shifts that spreads too far to be convolved.
    """
    if isinstance(law, Exponentials):
        weights = sorted(w for w in law.weights if w)
        return hypoexponential_log10_sf(n, weights[-1], weights[0] if len(weights) > 1 else 0.0, total)
    if isinstance(law, GreenLists):
        return float(binomial_log10_sf(n, law.p, int(total))) if total >= n * law.p + 1 else 0.0
    return shifts_log10_sf(law, int(total))


def hypoexponential_log10_sf(n: int, a: float, b: float, x: float) -> float:
    """log10 P(a X + b Y >= x), X and Y independent Gamma(n, 1); an upper bound where b < a / 1000.

    Args:
        n: at least 1.
        a: above 0, at least b.
        b: at least 0.
        x: in the units of a and b.
    """
    if x <= 0:
        return 0.0
    b = b and max(b, a * LEAST_RATIO)  # only larger sums, and a number of terms that can be summed
    if b == 0 or a == b:
        return float(gamma_log10_sf(2 * n if b else n, x / a))
    q, y = b / a, x / b

    def term(k: int) -> float:
        tail = float(gamma_log10_sf(2 * n + k, y)) * math.log(10)
        return float(_negative_binomial(n, q, np.array([k]))[0]) + tail

    low, high = 0, 1
    while term(2 * high) > term(high):
        high *= 2
    high *= 2
    while high - low > 2:  # the largest term, by halving: the terms are log-concave
        middle = (low + high) // 2
        low, high = (middle, high) if term(middle + 1) > term(middle) else (low, middle + 1)
    peak = max(range(low, high + 1), key=term)
    first = _edge(term, peak, -1, term(peak) - BEYOND)
    last = _edge(term, peak, +1, term(peak) - BEYOND)
    total, gamma = -math.inf, float(gamma_log10_sf(2 * n + first, y)) * math.log(10)
    for start in range(first, last + 1, CHUNK):
        k = np.arange(start, min(start + CHUNK, last + 1))
        # P(Gamma(j + 1) >= y) = P(Gamma(j) >= y) + e^-y y^j / j!
        steps = np.concatenate([[gamma], _poisson(y, 2 * n + k)])
        tails = np.minimum(np.logaddexp.accumulate(steps), 0.0)
        total = float(np.logaddexp(total, np.logaddexp.reduce(_negative_binomial(n, q, k) + tails[:-1])))
        gamma = float(tails[-1])
    return min(0.0, total / math.log(10))


def _edge(term: Callable[[int], float], peak: int, way: int, least: float) -> int:
    """The k next beyond the outermost on one side whose term is above `least`, or 0."""
    near, step = peak, 1
    while (far := peak + way * step) >= 0 and term(far) > least:
        near, step = far, 2 * step
    far = max(far, 0)
    while abs(far - near) > 1:
        middle = (near + far) // 2
        near, far = (middle, far) if term(middle) > least else (near, middle)
    return far


def _negative_binomial(n: int, q: float, k: NDArray[np.int64]) -> Floats:
    """log of P(k failures before the n-th success at chance q), by Loader's density of the binomial."""
    out = np.full(len(k), n * math.log(q))  # k = 0
    some = k > 0
    f = k[some].astype(np.float64)
    size, successes = f + n, np.full(len(f), float(n))
    errors = stirling_error(size) - stirling_error(successes) - stirling_error(f)
    away = n - size * q
    apart = deviance(successes, size * q, away) + deviance(f, size * (1 - q), -away)
    # The binomial's chance of n successes in n + k, times n / (n + k): the last trial is one.
    out[some] = errors - apart + 0.5 * np.log(size / (2 * math.pi * n * f)) + np.log(n / size)
    return out


def _poisson(y: float, j: NDArray[np.int64]) -> Floats:
    """log of e^-y y^j / j! for j >= 1, by Loader's density."""
    x = j.astype(np.float64)
    return -stirling_error(x) - deviance(x, np.full(len(x), y), x - y) - 0.5 * np.log(2 * math.pi * x)


def shifts_log10_sf(law: Shifts, total: int) -> float:
    """log10 P(sum of `law.layers` independent uniform entries of `law.sums` >= total).

    Raises:
        Refused: the sums spread too far to be convolved.
    """
    m, (values, counts) = law.layers, np.unique(law.sums, return_counts=True)
    least, step = int(values[0]), int(np.gcd.reduce(values - values[0])) or 1
    support, target = (values - least) // step, -((m * least - total) // step)  # rounded up
    if target <= 0:
        return 0.0
    span = int(support[-1])
    if target > m * span:
        raise ValueError(f"total {total} cannot be reached by {m} layers")
    if m * span >= MOST_CELLS:
        raise Refused(
            f"sums of one layer spread over {span:,} values, too many to convolve {m} of them",
            hint="the text repeats few n-grams very often; take fewer tokens of it",
        )
    theta = _tilt(support, counts, target / m)
    tilted = np.log(counts) + theta * support
    scale = float(np.logaddexp.reduce(tilted))
    mass = np.zeros(span + 1)
    mass[support] = np.exp(tilted - scale)
    size = 1 << (m * span).bit_length()
    spread = np.maximum(np.fft.irfft(np.fft.rfft(mass, size) ** m, size)[target : m * span + 1], 0.0)
    tail = math.log(float(np.exp(-theta * np.arange(len(spread))) @ spread))
    found = m * (scale - math.log(len(law.sums))) - theta * target + tail
    return min(0.0, found / math.log(10))


def _tilt(support: NDArray[np.int64], counts: NDArray[np.int64], mean: float) -> float:
    """The theta >= 0 under which the law's mean is `mean`, or one beyond which nothing changes."""

    def tilted_mean(theta: float) -> float:
        weights = counts * np.exp(theta * (support - support[-1]))
        return float(weights @ support / weights.sum())

    low, high = 0.0, 1e-9
    while tilted_mean(high) < mean and high < 64:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tilted_mean(middle) < mean else (low, middle)
    return low if low > 0 else 0.0

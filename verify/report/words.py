"""Names and numbers for people. A probability is rounded up, and a count of cases down: never stronger than it is."""

from __future__ import annotations

import unicodedata
from math import ceil, floor, isfinite
from typing import Final

MOST: Final = 48  # characters of a foreign name inside a sentence
SHORT: Final = 32  # in a list on page one
_INNER: Final = str.maketrans("“”„‟", '""""')
_ISOLATED: Final = {"R", "AL", "AN"}  # letters that would turn the direction of the words around them


def plain(text: str) -> str:
    """Foreign text that cannot steer what shows it: what does not print is escaped, right-to-left stays inside."""
    safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    isolated = any(unicodedata.bidirectional(c) in _ISOLATED for c in safe)
    return f"\u2068{safe}\u2069" if isolated else safe


def called(name: str, most: int = MOST) -> str:
    """A foreign name inside a sentence: in quotation marks that it cannot close, its middle left out if long."""
    half = most // 2
    short = name if len(name) <= most else f"{name[: half - 1]}…{name[-half:]}"
    quoted = plain(short.translate(_INNER))
    return f"“{quoted}”"


def some(names: list[str], *, most: int = 2) -> str:
    """Names with commas between, the first few of them."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def counted(n: int, noun: str) -> str:
    """A count with its noun."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def exponent(log10: float) -> str:
    """A probability from its logarithm, rounded up to a tenth of the exponent."""
    return f"10^{ceil(round(log10 * 10, 6)) / 10:.1f}" if log10 < 0 else "1"


def one_in(log10: float) -> str:
    """A probability in words: one in so many, rounded down to one digit."""
    if log10 > -1:
        return f"{min(ceil(100 * 10**log10), 100)} in 100"
    if log10 <= -15:
        return f"1 in 10^{floor(-log10)}"
    digits = floor(-log10)
    leading = max(floor(10 ** (-log10 - digits) * (1 + 1e-9)), 1)
    return f"1 in {leading * 10**digits:,}"


def chance(log10: float) -> str:
    """Both."""
    return f"{exponent(log10)} ({one_in(log10)})" if log10 <= -1 else one_in(log10)


def level(alpha: float) -> str:
    """A threshold, as one in so many if it is that."""
    n = round(1 / alpha)
    return f"1 in {n:,}" if abs(n * alpha - 1) < 1e-9 else f"{alpha:g}"


def yes(value: object) -> str:
    """A value in words."""
    return ("yes" if value else "no") if isinstance(value, bool) else plain(str(value))


def percent(share: float) -> str:
    """A share that is at least so large, rounded up."""
    return f"{ceil(round(1000 * share, 6)) / 10:g} %"


def number(value: float | None, digits: int = 4) -> str:
    """A number of a table; none is a word."""
    if value is None:
        return "not stated"
    return f"{value:.{digits}f}" if isfinite(value) and abs(value) < 1e12 else f"{value:.6g}"

"""One scheme, one short file: constants, draw, score and null law together.

A scheme is a module of this package that defines `SCHEME`, a frozen subclass of `Scheme`.
Adding one adds a file and edits none.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from watermark.errors import KeyFileError
from watermark.prf import Words
from watermark.schemes.laws import Law

Logits = NDArray[np.float32] | NDArray[np.float64]
Indices = NDArray[np.intp]
WordsOf = Callable[[slice | Indices], Words]


class Scheme(ABC):
    """How a keyed token is drawn and scored.

    Attributes:
        name: first part of the spec string.
        distortion_free: whether the token's law over a random key is the model's own.
        uses_leaf: whether a keyed draw also needs words of the response's leaf key.
        sparse: whether `draw` may be given removed candidates too, with logit -inf, and asks for the words of few.
    """

    name: ClassVar[str]
    distortion_free: ClassVar[bool]
    uses_leaf: ClassVar[bool]
    sparse: ClassVar[bool]

    @classmethod
    @abstractmethod
    def from_params(cls, params: dict[str, str]) -> Scheme:
        """Build from the spec string's `name=value` pairs, as strings; raise `KeyFileError` on a bad one."""

    @property
    @abstractmethod
    def spec(self) -> str:
        """The canonical spec string: it enters the key derivation."""

    @property
    @abstractmethod
    def full_excess(self) -> float | None:
        """Mean excess score per distinct pair of wholly marked text, in the law's natural units, or None.

        As `python -m benchmarks.effect` measured it on SmolLM2-135M-Instruct at temperature 0.7 (more at 1).
        Only "the smallest share that would have been found" uses it, never a p-value.
        """

    @property
    @abstractmethod
    def law(self) -> Law:
        """Null law of one score."""

    @abstractmethod
    def draw(self, logits: Logits, words: WordsOf, leaf: WordsOf) -> int:
        """Draw one token.

        Args:
            logits: (c,), of the candidates that survived temperature and truncation: finite (but see `sparse`).
            words: PRF words of (window, candidate) under the channel's value key, for some of the candidates.
            leaf: words of (position, candidate) under the response's leaf key, for some of the candidates.

        Returns:
            The index of the candidate drawn.
        """

    def draw_rows(self, logits: Logits, starts: Indices, words: Words, leaf: Words) -> Indices:
        """`draw` for several rows laid end to end.

        Args:
            logits: (n,) finite.
            starts: (B,) where each row begins; none is empty.
            words: (n, 2), see `draw`.
            leaf: (n, 2), or (0, 2) if the scheme does not use it.

        Returns:
            (B,) indices into `logits`.
        """
        rows = [slice(*ends) for ends in zip(starts, [*starts[1:], len(logits)], strict=True)]
        drawn = [self.draw(logits[row], words[row].__getitem__, leaf[row].__getitem__) for row in rows]
        return starts + np.array(drawn, dtype=np.intp)

    @abstractmethod
    def score(self, words: Words) -> NDArray[np.int64]:
        """Integer scores of PRF words: (n, 2) uint64 -> (n,) int64, each below 2^31."""


def available() -> list[str]:
    """Names of all schemes."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if name not in ("laws", "maxima"))


def parse(spec: str) -> Scheme:
    """The scheme a spec string names, such as `gumbel` or `greenlist:delta=2,gamma=0.25`.

    Raises:
        KeyFileError: an unknown scheme, or a parameter that is unknown, malformed or out of range.
    """
    name, _, tail = spec.partition(":")
    if name not in available():
        raise KeyFileError(f"unknown scheme {name[:60]!r}", hint=f"schemes are {', '.join(available())}")
    params: dict[str, str] = {}
    for part in tail.split(",") if tail else []:
        key, equals, value = part.partition("=")
        if not equals or key in params:
            raise KeyFileError(f"scheme {spec[:60]!r} is not of the form name:key=value,key=value")
        params[key] = value
    scheme: Scheme = import_module(f"watermark.schemes.{name}").SCHEME.from_params(params)
    return scheme


def take_millionths(params: dict[str, str], key: str, default: str) -> int:
    """Take a decimal parameter out of `params`, in millionths."""
    text = params.pop(key, default)
    whole, _, fraction = text.partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) <= 6) or not (
        fraction == "" or (fraction.isascii() and fraction.isdigit() and len(fraction) <= 6)
    ):
        raise KeyFileError(f"{key}={text[:60]!r} is not a decimal number in whole millionths")
    return int(whole) * 1_000_000 + int((fraction + "000000")[:6])


def decimal(millionths: int) -> str:
    """The one spelling of a decimal parameter."""
    return f"{millionths // 1_000_000}.{millionths % 1_000_000:06d}".rstrip("0").rstrip(".")


def refuse_rest(name: str, params: dict[str, str]) -> None:
    """Raise on parameters that nobody took."""
    if params:
        raise KeyFileError(f"scheme {name} has no parameter {sorted(params)[0][:60]!r}")

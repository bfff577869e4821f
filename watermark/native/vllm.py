"""The two marks of vLLM: `gumbel` and `dual_key_gumbel`.

Symbols: u keyed uniform of (window, token), a and b the two keys, alpha the chance of b.
`gumbel` draws argmax ln p(v) - ln(-ln u(v)). `dual_key_gumbel` flips an unkeyed coin and draws under a or b, both
derived from one key with SHA-256. Windows are response tokens only; what vLLM makes of the first h positions of an
answer, whose windows are filled up, is not scored here.
Score: -ln(1 - u) rounded down, as in `watermark.schemes.gumbel`; for two keys (1 - alpha) s_a + alpha s_b.
The top 16 bits of the word decide the score, and the word's top 24 bits are vLLM's u: no rounding is shared.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np

from watermark.errors import KeyFileError
from watermark.native import philox
from watermark.native.gumbel import mean_score, total_score
from watermark.native.laws import Exponentials, Scored
from watermark.native.mark import MAX_WIDTH, Ids, Mark, byte_length, number, refuse_unknown, unsigned
from watermark.secret import Secret

FIELD: Final = "watermark-config"
_KNOWN: Final = ("key", "algorithm", "alpha", "context_width", "prf", "deduplicate_contexts",
                 "deduplicate_contexts_max_history", "allow_target_only_watermarking")  # fmt: skip
_MOST: Final = 2**64 - 1

Rows = tuple[Ids, Ids]


@dataclass(frozen=True)
class _Vllm(Mark[Rows]):
    """What both have in common.

    Attributes:
        key: 8 bytes, little-endian.
        context_width: h.
    """

    key: Secret
    context_width: int

    engine: ClassVar[str] = "vllm"
    prf: ClassVar[str] = "Philox4x32-10"
    state_bits: ClassVar[int | None] = 128
    marks_repeats: ClassVar[bool] = False
    decoys: ClassVar[int] = 1000
    algorithm: ClassVar[str]

    @classmethod
    def key_length(cls) -> int:
        """See `Mark`."""
        return 8

    @classmethod
    def configuration(cls, key: bytes) -> dict[str, Any]:
        """A file for `vllm serve --config`: JSON, which is YAML too."""
        return {FIELD: {"algorithm": cls.algorithm, "key": int.from_bytes(key, "little"), "context_width": 4}}

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], parameters: dict[str, str]) -> Self:
        """See `Mark`. Takes the whole server's configuration, or the mark's alone."""
        _no_parameters(cls.name, parameters)
        own = configuration.get(FIELD, configuration.get(FIELD.replace("-", "_"), configuration))
        if not isinstance(own, dict):
            raise KeyFileError(f"{FIELD} is not an object")
        refuse_unknown(own, _KNOWN, FIELD)
        if own.get("algorithm", "gumbel") != cls.algorithm or own.get("prf", "philox") != "philox":
            raise KeyFileError(f"the configuration is not of the algorithm {cls.algorithm} with philox")
        key = Secret(unsigned(own.get("key"), "key", _MOST).to_bytes(8, "little"))
        width = unsigned(own.get("context_width", 4), "context_width", MAX_WIDTH, 1)
        return cls._made(key, width, own)

    @classmethod
    def _made(cls, key: Secret, width: int, own: dict[str, Any]) -> Self:
        return cls(key, width)

    @property
    def secret(self) -> Secret:
        """See `Mark`."""
        return self.key

    @property
    def width(self) -> int:
        """See `Mark`."""
        return self.context_width

    @property
    def key_bits(self) -> int:
        """See `Mark`."""
        return 8 * self.decoy_bytes

    @property
    def decoy_bytes(self) -> int:
        """See `Mark`."""
        return byte_length(self._number)

    @property
    def parameters(self) -> dict[str, Any]:
        """See `Mark`."""
        return {"context_width": self.context_width}

    def inputs(self, windows: Ids, tokens: Ids) -> Rows:
        """The pairs themselves: the state is keyed, and wide."""
        return windows, tokens

    @property
    def _number(self) -> int:
        return int.from_bytes(self.key.reveal(), "little")


@dataclass(frozen=True)
class Gumbel(_Vllm):
    """`algorithm: gumbel`."""

    name: ClassVar[str] = "vllm-gumbel"
    algorithm: ClassVar[str] = "gumbel"

    def rekeyed(self, key: bytes) -> Self:
        """See `Mark`."""
        return type(self)(Secret(key.ljust(8, b"\0")), self.context_width)

    def score(self, inputs: Rows) -> Scored:
        """See `Mark`."""
        total = total_score(philox.words(self._number, *inputs))
        return Scored(len(inputs[1]), 0, 0, total, Exponentials((1.0,), mean_score()))


@dataclass(frozen=True)
class DualKeyGumbel(_Vllm):
    """`algorithm: dual_key_gumbel`.

    Attributes:
        alpha: the chance of key b, and its weight.
    """

    alpha: float = 0.1

    name: ClassVar[str] = "vllm-dual-key-gumbel"
    algorithm: ClassVar[str] = "dual_key_gumbel"

    @classmethod
    def _made(cls, key: Secret, width: int, own: dict[str, Any]) -> Self:
        return cls(key, width, number(own.get("alpha", 0.1), "alpha"))

    @property
    def parameters(self) -> dict[str, Any]:
        """See `Mark`."""
        return super().parameters | {"alpha": self.alpha}

    def rekeyed(self, key: bytes) -> Self:
        """See `Mark`."""
        return type(self)(Secret(key.ljust(8, b"\0")), self.context_width, self.alpha)

    def score(self, inputs: Rows) -> Scored:
        """See `Mark`. vLLM's own weights: its detector computes the same sum."""
        weights = (1 - self.alpha, self.alpha)
        totals = [total_score(philox.words(derived(self._number, role), *inputs)) for role in (b"key_a", b"key_b")]
        total = float(np.dot(weights, totals))
        return Scored(len(inputs[1]), 0, 0, total, Exponentials(weights, mean_score()))


def derived(key: int, role: bytes) -> int:
    """One of two keys: SHA-256 of the role and the key, both as bytes, of which the first eight count."""
    return int.from_bytes(hashlib.sha256(role + key.to_bytes(8, "big")).digest()[:8], "big")


def _no_parameters(name: str, parameters: dict[str, str]) -> None:
    if parameters:
        raise KeyFileError(f"scheme {name} has no parameter {sorted(parameters)[0][:60]!r}")

"""SGLang's Gumbel mark, with one key or two.

Symbols: c hash of a context, u keyed uniform of (c, token), P the share of contexts that key a marks.
The draw is argmax ln u(v) / p(v). With two keys, a hash of both keys and the context says which of them marks there:
that is known when scoring, and a pair is scored under its own key only.
Two facts about the 32-bit state decide what is scored. Contexts are hashed without the key, so pairs whose contexts
collide are the same input for every key: one of them counts. The words of distinct inputs are a bijection of the inner
state, so equal words mean equal states, and of those one counts too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import numpy as np

from watermark.errors import KeyFileError
from watermark.native import murmur
from watermark.native.gumbel import mean_score, total_score
from watermark.native.laws import Exponentials, Scored
from watermark.native.mark import MAX_WIDTH, Ids, Mark, byte_length, number, refuse_unknown, unsigned
from watermark.secret import Secret
from watermark.windows import first_occurrences

_KNOWN: Final = ("key", "key_b", "context_window", "mixing_probability", "max_probability", "default_enabled",
                 "enforce_all")  # fmt: skip


@dataclass(frozen=True)
class Hashed:
    """Inputs that differ for some key.

    Attributes:
        contexts: (n,) hashes.
        tokens: (n,).
        n_same: pairs that are the same input as another.
    """

    contexts: Ids
    tokens: Ids
    n_same: int


@dataclass(frozen=True)
class Gumbel(Mark[Hashed]):
    """One key, or two.

    Attributes:
        key: 8 bytes, little-endian.
        key_b: likewise, or None.
        context_window: h.
        mixing_probability: P.
    """

    key: Secret
    key_b: Secret | None = None
    context_window: int = 4
    mixing_probability: float = 0.5

    name: ClassVar[str] = "sglang-gumbel"
    engine: ClassVar[str] = "sglang"
    prf: ClassVar[str] = "MurmurHash3 with a 32-bit state"
    state_bits: ClassVar[int | None] = 32
    marks_repeats: ClassVar[bool] = False
    decoys: ClassVar[int] = 1000

    @classmethod
    def key_length(cls) -> int:
        """See `Mark`."""
        return 8

    @classmethod
    def configuration(cls, key: bytes) -> dict[str, Any]:
        """A file for `--enable-watermark --watermark-config`."""
        return {"key": key[::-1].hex(), "context_window": 4, "enforce_all": True}

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], parameters: dict[str, str]) -> Self:
        """See `Mark`."""
        if parameters:
            raise KeyFileError(f"scheme {cls.name} has no parameter {sorted(parameters)[0][:60]!r}")
        refuse_unknown(configuration, _KNOWN, "the configuration")
        second, share = configuration.get("key_b"), configuration.get("mixing_probability")
        width = configuration.get("context_window")
        made = cls(
            key=_parsed(configuration.get("key"), "key"),
            key_b=None if second is None else _parsed(second, "key_b"),
            context_window=unsigned(4 if width is None else width, "context_window", MAX_WIDTH, 1),
            mixing_probability=0.5 if share is None else number(share, "mixing_probability"),
        )
        if made.key_b is not None and not 0 < made.mixing_probability < 1:
            raise KeyFileError("mixing_probability is not between 0 and 1")
        return made

    @property
    def secret(self) -> Secret:
        """See `Mark`."""
        return Secret(self.key.reveal() + (self.key_b.reveal() if self.key_b else b""))

    @property
    def width(self) -> int:
        """See `Mark`."""
        return self.context_window

    @property
    def key_bits(self) -> int:
        """See `Mark`. Not above 32: that many the state keeps.

        Of two keys, either may be either of another provider's two, and half the mark is enough: four chances.
        """
        keys = [k for k in (self.key, self.key_b) if k is not None]
        return min(32, *(8 * byte_length(_number(k)) for k in keys)) - 2 * (len(keys) - 1)

    @property
    def decoy_bytes(self) -> int:
        """See `Mark`."""
        return sum(byte_length(_number(k)) for k in (self.key, self.key_b) if k is not None)

    @property
    def parameters(self) -> dict[str, Any]:
        """See `Mark`."""
        share = {} if self.key_b is None else {"mixing_probability": self.mixing_probability}
        return {"context_window": self.context_window, "keys": 1 if self.key_b is None else 2} | share

    def rekeyed(self, key: bytes) -> Self:
        """See `Mark`."""
        first = byte_length(_number(self.key))
        keys = [Secret(part.ljust(8, b"\0")) for part in (key[:first], key[first:])]
        return type(self)(
            keys[0], None if self.key_b is None else keys[1], self.context_window, self.mixing_probability
        )

    def inputs(self, windows: Ids, tokens: Ids) -> Hashed:
        """Hash the contexts, and keep one pair of those that no key can tell apart."""
        both = murmur.context_hashes(windows).astype(np.uint64) << np.uint64(32) | tokens
        distinct = both[first_occurrences(both, None)]
        contexts, kept = (distinct >> np.uint64(32)).astype(np.uint32), distinct.astype(np.uint32)
        return Hashed(contexts, kept, len(tokens) - len(kept))

    def score(self, inputs: Hashed) -> Scored:
        """See `Mark`."""
        a = _number(self.key)
        words = murmur.words(a, inputs.contexts, inputs.tokens)
        if self.key_b is not None:
            b, threshold = _number(self.key_b), np.uint64(int(self.mixing_probability * 2**32))
            of_b = murmur.coins(a, b, inputs.contexts).astype(np.uint64) >= threshold
            words[of_b] = murmur.words(b, inputs.contexts[of_b], inputs.tokens[of_b])
        states = words[first_occurrences(words.astype(np.uint64), None)]
        same = inputs.n_same + len(words) - len(states)
        return Scored(len(states), same, 0, total_score(states), Exponentials((1.0,), mean_score()))


def _number(key: Secret) -> int:
    return int.from_bytes(key.reveal(), "little")


def _parsed(value: object, what: str) -> Secret:
    digits = re.fullmatch(r"(?:0[xX])?([0-9A-Fa-f]{1,16})", value) if isinstance(value, str) else None
    if digits is None:
        raise KeyFileError(f"{what} is not a text of 1 to 16 hexadecimal digits")
    return Secret(int(digits[1], 16).to_bytes(8, "little"))

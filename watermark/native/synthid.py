"""SynthID-Text as google-deepmind publishes it and as transformers ships it: one function, bit for bit.

Symbols: N table size, a power of two; T the table of N fair bits; x the n-gram's hash modulo N; k_l the key of layer
l modulo N; m layers; w(x) how many distinct pairs hash to x.
Both packages hash an n-gram with a linear congruential generator modulo 2^64 and read T at the lowest bits of

    (x + k_l) a + 1,   so that   g_l(pair) = T[((x + k_l) a + 1) mod N].

So the function does not see an n-gram but x, of which there are N = 65,536, and a key only shifts the table: tokens
t and t + 65536 always share their bits. No count of pairs makes such bits independent. But for one given text the law
is known exactly, whatever T is: the ones of layer l number

    S(k_l) = sum_x w(x) T[((x + k_l) a + 1) mod N],

a cyclic correlation, computed for all N shifts at once, and under H0 the k_l are uniform and independent. The law of
their sum is a convolution: no independence of pairs, no PRF and no limit to the sample is assumed.
What Google serves its own products with is another function, as both packages say.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import comb
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from watermark.errors import KeyFileError
from watermark.native import mersenne
from watermark.native.laws import Scored, Shifts
from watermark.native.mark import MAX_WIDTH, Ids, Mark, refuse_unknown, unsigned
from watermark.secret import Secret

MULTIPLIER: Final = 6364136223846793005  # Knuth's MMIX constant, as both packages have it
LAYERS: Final = 30
MAX_LAYERS: Final = 64
MAX_TABLE: Final = 2**24
RARE: Final = 1e-3  # of 30 random keys modulo 65,536 two or more repeat with probability 2e-5
_KNOWN: Final = ("ngram_len", "keys", "sampling_table_size", "sampling_table_seed", "context_history_size",
                 "skip_first_ngram_calls", "debug_mode", "device")  # fmt: skip
_INT64: Final = 2**63 - 1


@dataclass(frozen=True)
class SynthId(Mark[Shifts]):
    """`SynthIDTextWatermarkingConfig`.

    Attributes:
        keys: 8 bytes for each layer, a signed integer, little-endian.
        ngram_len: h + 1.
        table_size: N.
        table_seed: of the table.
    """

    keys: Secret
    ngram_len: int
    table_size: int = 2**16
    table_seed: int = 0

    name: ClassVar[str] = "synthid"
    engine: ClassVar[str] = "transformers"
    prf: ClassVar[str] = "a fixed table that the keys shift"
    state_bits: ClassVar[int | None] = None
    marks_repeats: ClassVar[bool] = False
    decoys: ClassVar[int] = 1000

    @classmethod
    def key_length(cls) -> int:
        """See `Mark`."""
        return 8 * LAYERS

    @classmethod
    def configuration(cls, key: bytes) -> dict[str, Any]:
        """For `SynthIDTextWatermarkingConfig.from_dict`."""
        keys = [int.from_bytes(key[i : i + 8], "little") >> 1 for i in range(0, len(key), 8)]
        _refuse_not_random(keys, 2**16)
        return {"ngram_len": 5, "keys": keys}

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], parameters: dict[str, str]) -> Self:
        """See `Mark`."""
        if parameters:
            raise KeyFileError(f"scheme {cls.name} has no parameter {sorted(parameters)[0][:60]!r}")
        refuse_unknown(configuration, _KNOWN, "the configuration")
        if str(configuration.get("device", "cpu")) != "cpu":
            raise KeyFileError("device is not cpu: another device's generator makes another table")
        keys = configuration.get("keys")
        if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_LAYERS:
            raise KeyFileError(f"keys is not a list of 1 to {MAX_LAYERS} whole numbers")
        numbers = [unsigned(k, "one of keys", _INT64, -_INT64 - 1) for k in keys]
        size = unsigned(configuration.get("sampling_table_size", 2**16), "sampling_table_size", MAX_TABLE, 2)
        if size & (size - 1):
            raise KeyFileError("sampling_table_size is not a power of two")
        _refuse_not_random(numbers, size)
        return cls(
            keys=Secret(b"".join(n.to_bytes(8, "little", signed=True) for n in numbers)),
            ngram_len=unsigned(configuration.get("ngram_len"), "ngram_len", MAX_WIDTH + 1, 2),
            table_size=size,
            table_seed=unsigned(configuration.get("sampling_table_seed", 0), "sampling_table_seed", _INT64),
        )

    @property
    def secret(self) -> Secret:
        """See `Mark`."""
        return self.keys

    @property
    def width(self) -> int:
        """See `Mark`."""
        return self.ngram_len - 1

    @property
    def layers(self) -> int:
        """m."""
        return len(self.keys) // 8

    @property
    def key_bits(self) -> int:
        """See `Mark`."""
        return self.layers * (self.table_size - 1).bit_length()

    @property
    def decoy_bytes(self) -> int:
        """See `Mark`."""
        return len(self.keys)

    @property
    def parameters(self) -> dict[str, Any]:
        """See `Mark`."""
        return {"ngram_len": self.ngram_len, "layers": self.layers, "sampling_table_size": self.table_size,
                "sampling_table_seed": self.table_seed}  # fmt: skip

    def rekeyed(self, key: bytes) -> Self:
        """See `Mark`."""
        return type(self)(Secret(key), self.ngram_len, self.table_size, self.table_seed)

    def inputs(self, windows: Ids, tokens: Ids) -> Shifts:
        """The sums of all shifts: they take the pairs, and no key."""
        x = ngram_hashes(np.column_stack([windows, tokens])) & np.uint64(self.table_size - 1)
        weights = np.bincount(x.astype(np.int64), minlength=self.table_size)
        return Shifts(correlated(weights, _shifted_table(self.table_seed, self.table_size)), self.layers, len(tokens))

    def score(self, inputs: Shifts) -> Scored:
        """See `Mark`."""
        total = int(inputs.sums[self.shifts()].sum())
        return Scored(inputs.n, 0, 0, total, inputs)

    def shifts(self) -> NDArray[np.int64]:
        """What the keys are to the table: (m,), below N."""
        return np.frombuffer(self.keys.reveal(), dtype="<i8").astype(np.int64) & (self.table_size - 1)

    def g_values(self, windows: Ids, tokens: Ids) -> NDArray[np.uint8]:
        """The bits themselves, as the packages' `compute_g_values`: (n, m)."""
        x = ngram_hashes(np.column_stack([windows, tokens])).astype(np.int64) & (self.table_size - 1)
        at = (x[:, None] + self.shifts()) & (self.table_size - 1)
        bits: NDArray[np.uint8] = _shifted_table(self.table_seed, self.table_size)[at]
        return bits


def _refuse_not_random(keys: list[int], size: int) -> None:
    """Refuse keys that do not look drawn at random modulo `size`, which the law over keys takes them for.

    Refusing more keys makes no false alarm more likely.
    """
    hint = "make new ones with radiolabel provision, from another epoch key if it wrote these"
    # Random keys fall into the lower half in every layer with probability 2^-layers.
    if all(0 <= k < size // 2 for k in keys):
        raise KeyFileError(
            f"keys are all below {size // 2}, as in documentation and examples, which are known to all", hint=hint
        )
    # Layers of one key have one sum, not independent ones. Each of the r layers that repeat hits one of m values.
    m, r = len(keys), len(keys) - len({k % size for k in keys})
    if r and comb(m, r) * (m / size) ** r < RARE:
        raise KeyFileError(f"{r} of {m} keys are another one modulo {size}, as hardly any random keys are", hint=hint)


def ngram_hashes(ngrams: Ids) -> NDArray[np.uint64]:
    """Hash of each n-gram modulo 2^64: (n, h + 1) -> (n,)."""
    found = np.ones(len(ngrams), dtype=np.uint64)
    for column in ngrams.T:
        found = (found + column) * np.uint64(MULTIPLIER) + np.uint64(1)
    return found


@cache
def _shifted_table(seed: int, size: int) -> NDArray[np.uint8]:
    """T[(z a + 1) mod N] for each z: the table in the order in which shifts go through it."""
    z = np.arange(size, dtype=np.uint64)
    at = (z * np.uint64(MULTIPLIER) + np.uint64(1)) & np.uint64(size - 1)
    return mersenne.bits(seed, size)[at.astype(np.int64)]


def correlated(weights: NDArray[np.int64], table: NDArray[np.uint8]) -> NDArray[np.int64]:
    """sum_x weights[x] table[(x + k) mod N] for every k, exact: (N,) int64.

    By FFT, in doubles. Weights are split into halves of 16 bits, whose sums keep the rounding error far below 1/2.
    """
    size, spectrum = len(table), np.fft.rfft(table)
    total = np.zeros(size, dtype=np.int64)
    for place in range(0, int(weights.max(initial=0)).bit_length(), 16):
        part = (weights >> place) & 0xFFFF
        sums = np.fft.irfft(np.conj(np.fft.rfft(part)) * spectrum, size)
        total += np.rint(sums).astype(np.int64) << place
    return total

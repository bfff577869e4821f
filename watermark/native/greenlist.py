"""The KGW green list as transformers ships it (`WatermarkingConfig`): lefthash or selfhash.

Symbols: V vocabulary, G the size of a green list, gamma = G / V, s a window's seed.
The list of a window is the first G entries of `torch.randperm(V)` after `manual_seed(s mod (2^64 - 1))`, of which the
CPU generator uses 32 bits. lefthash: s = key times the last id, however wide the configured context is, so the window
is one token. selfhash: s is the least of key (1 + P[id]) (1 + P[token]) over the ids of the context and the token
itself, in wrapping 64-bit integers, with P a permutation drawn from the key (Kirchenbauer et al. 2023, arXiv
2306.04634, algorithms 2 and 3).
Under lefthash the window of id 0 has seed 0 whatever the key is: the list of that seed is public, and not scored.
Lists are drawn on the device of the model: those of a CUDA generator are others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from watermark.errors import KeyFileError
from watermark.native import mersenne
from watermark.native.laws import GreenLists, Scored
from watermark.native.mark import MAX_WIDTH, Ids, Mark, byte_length, number, refuse_unknown, unsigned
from watermark.secret import Secret

TABLE_SIZE: Final = 1_000_003  # of selfhash
PUBLIC_KEY: Final = 15_485_863  # the default
_KNOWN: Final = ("greenlist_ratio", "bias", "hashing_key", "seeding_scheme", "context_width")
_MOST: Final = 2**63 - 1
_WRAP: Final = 2**64 - 1

Rows = tuple[Ids, Ids]


@dataclass(frozen=True)
class GreenList(Mark[Rows]):
    """`WatermarkingConfig` and the size of the vocabulary, which the engine takes from the model.

    Attributes:
        key: 8 bytes, little-endian.
        vocabulary: V.
        ratio: as configured; G = floor(V ratio).
        seeding: `lefthash` or `selfhash`.
        context_width: as configured.
    """

    key: Secret
    vocabulary: int
    ratio: float = 0.25
    seeding: str = "lefthash"
    context_width: int = 1

    name: ClassVar[str] = "transformers-greenlist"
    engine: ClassVar[str] = "transformers"
    prf: ClassVar[str] = "MT19937 with a 32-bit seed"
    state_bits: ClassVar[int | None] = 32
    marks_repeats: ClassVar[bool] = True
    decoys: ClassVar[int] = 0

    @classmethod
    def key_length(cls) -> int:
        """See `Mark`."""
        return 8

    @classmethod
    def configuration(cls, key: bytes) -> dict[str, Any]:
        """For `WatermarkingConfig.from_dict`."""
        return {"hashing_key": int.from_bytes(key, "little") >> 1, "greenlist_ratio": 0.25, "bias": 2.0,
                "seeding_scheme": "lefthash", "context_width": 1}  # fmt: skip

    @classmethod
    def from_configuration(cls, configuration: dict[str, Any], parameters: dict[str, str]) -> Self:
        """See `Mark`."""
        refuse_unknown(configuration, _KNOWN, "the configuration")
        if set(parameters) != {"vocabulary"} or not parameters["vocabulary"].isdecimal():
            raise KeyFileError(
                f"scheme {cls.name} takes the size of the model's vocabulary",
                hint=f"for example {cls.name}:vocabulary=49152, the vocab_size of the model's config.json",
            )
        key = unsigned(configuration.get("hashing_key"), "hashing_key", _MOST, 1)
        if key == PUBLIC_KEY:
            raise KeyFileError(
                f"hashing_key is {PUBLIC_KEY}, the default of transformers: everybody has this key",
                hint="text marked under it shows only that somebody used the default",
            )
        seeding = configuration.get("seeding_scheme", "lefthash")
        if seeding not in ("lefthash", "selfhash"):
            raise KeyFileError("seeding_scheme is not lefthash or selfhash")
        made = cls(
            key=Secret(key.to_bytes(8, "little")),
            vocabulary=unsigned(int(parameters["vocabulary"][:12]), "vocabulary", 2**20, 2),
            ratio=number(configuration.get("greenlist_ratio", 0.25), "greenlist_ratio"),
            seeding=seeding,
            context_width=unsigned(configuration.get("context_width", 1), "context_width", MAX_WIDTH, 1),
        )
        if not 0 < made.size < made.vocabulary:
            raise KeyFileError("greenlist_ratio makes every token green, or none")
        return made

    @property
    def size(self) -> int:
        """G."""
        return int(self.vocabulary * self.ratio)

    @property
    def secret(self) -> Secret:
        """See `Mark`."""
        return self.key

    @property
    def width(self) -> int:
        """See `Mark`."""
        return 1 if self.seeding == "lefthash" else self.context_width - 1

    @property
    def key_bits(self) -> int:
        """See `Mark`. Not above 32: that many a seed has.

        Unless key times id exceeds 64 bits, key and key + 2^(32 - t) give one seed to each id that 2^t divides. Up to
        t = 8 such windows are taken to be enough for another key's text to be found.
        """
        wraps = self.seeding == "selfhash" or self.decoy_bytes > 6
        return min(32 if wraps else 24, 8 * self.decoy_bytes)

    @property
    def decoy_bytes(self) -> int:
        """See `Mark`."""
        return byte_length(self._number)

    @property
    def parameters(self) -> dict[str, Any]:
        """See `Mark`."""
        return {"vocabulary": self.vocabulary, "greenlist_ratio": self.ratio, "seeding_scheme": self.seeding,
                "context_width": self.context_width}  # fmt: skip

    def rekeyed(self, key: bytes) -> Self:
        """See `Mark`."""
        value = int.from_bytes(key, "little") & _MOST
        return type(self)(
            Secret(value.to_bytes(8, "little")), self.vocabulary, self.ratio, self.seeding, self.context_width
        )

    def inputs(self, windows: Ids, tokens: Ids) -> Rows:
        """The pairs themselves: seeds take the key."""
        return windows, tokens

    def score(self, inputs: Rows) -> Scored:
        """See `Mark`."""
        seeds = self.seeds(*inputs)
        # Seed 0 is that of id 0 under every key; tokens beyond the vocabulary are red under every key.
        keyed = (seeds != 0) & (inputs[1] < self.vocabulary)
        # Pairs of one seed and token are one input, and in this order the pairs of a list are together.
        order = np.unique(seeds[keyed] << np.uint64(32) | inputs[1][keyed])
        lists, starts = np.unique(order >> np.uint64(32), return_index=True)
        tokens = np.split((order & np.uint64(0xFFFFFFFF)).astype(np.int64), starts[1:])
        green = 0
        for seed, of_list in zip(lists.tolist(), tokens, strict=False):  # of no pairs, split makes one part
            sources = mersenne.sources(seed, self.vocabulary, self.size)
            green += sum(mersenne.among_first(sources, token) for token in of_list.tolist())
        keyless = int((~keyed).sum())
        # An output modulo m prefers some values by 2^-32, in each of G steps.
        law = GreenLists(self.size / self.vocabulary + self.size / 2**32)
        return Scored(len(order), len(keyed) - keyless - len(order), keyless, green, law)

    def seeds(self, windows: Ids, tokens: Ids) -> NDArray[np.uint64]:
        """The 32 bits that the generator uses of each pair's seed: (n,)."""
        if self.seeding == "lefthash":
            ids, at = np.unique(windows[:, -1], return_inverse=True)
            return _low([self._number * int(i) for i in ids])[at]
        table = _table(self._number & 0xFFFFFFFF)
        # Wrapping products, as 64-bit tensors have them.
        last = (table[tokens % TABLE_SIZE] + 1)[:, None]
        ids = np.column_stack([windows, tokens])
        products = np.array([self._number], dtype=np.int64) * (table[ids % TABLE_SIZE] + 1) * last
        return _low(products.min(axis=1).tolist())

    @property
    def _number(self) -> int:
        return int.from_bytes(self.key.reveal(), "little")


def _low(seeds: list[int]) -> NDArray[np.uint64]:
    return np.array([seed % _WRAP & 0xFFFFFFFF for seed in seeds], dtype=np.uint64)


@lru_cache(maxsize=8)
def _table(seed: int) -> NDArray[np.int64]:
    return mersenne.permutation(seed, TABLE_SIZE)

"""SGLang's PRF: MurmurHash3 x86_32 over (key, context hash, token), one 32-bit word per pair.

Symbols: s the 32-bit state, c the 32-bit hash of a context, t a token.
MurmurHash3: Austin Appleby, public domain, 2011. How the words are laid out is SGLang's
(`sglang/srt/sampling/watermarking/README.md`).
A key has 64 bits, but all that follows sees the state s after its two words: 2^32 marks, not 2^64.
The context is hashed without the key: which contexts collide is known to everybody, and is the same for every key.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_C1, _C2 = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)
_F1, _F2 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
_FIVE, _ADD = np.uint32(5), np.uint32(0xE6546B64)
_LOW: Final = 0xFFFFFFFF


def murmur3(words: Iterable[Words | int], like: Words) -> Words:
    """Hash a sequence of words, each an array or one number for all: -> uint32, shaped like `like`.

    Args:
        words: 32-bit words, in order.
        like: an array of the wanted shape.
    """
    state, count = np.zeros(like.shape, dtype=np.uint32), 0
    for word in words:
        mixed = np.full(1, word, dtype=np.uint32) if isinstance(word, int) else word.astype(np.uint32)
        mixed = _rotated(mixed * _C1, 15) * _C2
        state = _rotated(state ^ mixed, 13) * _FIVE + _ADD
        count += 1
    state ^= np.uint32(4 * count)
    state = (state ^ (state >> np.uint32(16))) * _F1
    state = (state ^ (state >> np.uint32(13))) * _F2
    return state ^ (state >> np.uint32(16))


def context_hashes(windows: NDArray[np.uint32]) -> Words:
    """The hash of each context: (n, h) -> (n,)."""
    return murmur3(windows.T, windows[:, 0])


def words(key: int, contexts: Words, tokens: Words) -> Words:
    """The word of each pair.

    Args:
        key: 0 to 2^64 - 1.
        contexts: (n,), see `context_hashes`.
        tokens: (n,).
    """
    return murmur3((key & _LOW, key >> 32, contexts, tokens), tokens)


def coins(key_a: int, key_b: int, contexts: Words) -> Words:
    """What decides, for each context, which of two keys marks there: (n,)."""
    return murmur3((key_a & _LOW, key_a >> 32, key_b & _LOW, key_b >> 32, contexts), contexts)


def _rotated(x: Words, bits: int) -> Words:
    return (x << np.uint32(bits)) | (x >> np.uint32(32 - bits))

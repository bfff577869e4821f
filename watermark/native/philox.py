"""vLLM's PRF: Philox4x32-10 over (context, token), one 32-bit word per pair.

Symbols: key a 64-bit integer, h context width, c_0 ... c_3 the counter, k_0 and k_1 the key words.
Philox4x32-10: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
The chaining is vLLM's (`vllm/v1/watermarking/prfs/philox.py`, version string `philox4x32-10-v1`): a state that begins
as ("WMCX", h, 0, 0) absorbs four context ids at a time, and one more block, keyed by the state, gives the words of
four neighbouring tokens. The state has 128 bits: neither contexts nor keys collide in practice.
It is no cipher: that nobody can tell it from a random function is not claimed by its authors.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint32]
Word = NDArray[np.uint64] | np.uint64
Block = tuple[Word, Word, Word, Word]

# Pairs handled at once: temporaries of 128 KiB stay in the second-level cache.
CHUNK: Final = 1 << 14
_ROUNDS: Final = 10
_MASK: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # multipliers and Weyl steps of the paper's table 2
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_CONTEXT: Final = np.uint64(0x574D4358)  # "WMCX"
_TOKEN: Final = np.uint64(0x574D544B)  # "WMTK"


def philox4x32(counter: Block, k0: Word, k1: Word) -> Block:
    """Ten rounds: words of 32 bits in 64-bit arrays, which need not have one shape but must broadcast."""
    c0, c1, c2, c3 = counter
    for _ in range(_ROUNDS):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _MASK, (p0 >> _HALF) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def words(key: int, windows: Ids, tokens: Ids) -> Ids:
    """The word of each pair.

    Args:
        key: 0 to 2^64 - 1.
        windows: (n, h) uint32, oldest id first; vLLM fills up the beginning of an answer with 0xFFFFFFFF.
        tokens: (n,) uint32.

    Returns:
        (n,) uint32.
    """
    out = np.empty(len(tokens), dtype=np.uint32)
    for start in range(0, len(tokens), CHUNK):
        part = slice(start, start + CHUNK)
        out[part] = _words(key, windows[part].astype(np.uint64), tokens[part].astype(np.uint64))
    return out


def _words(key: int, windows: NDArray[np.uint64], tokens: NDArray[np.uint64]) -> NDArray[np.uint64]:
    k0, k1 = np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)
    width = windows.shape[1]
    state: Block = (_CONTEXT, np.uint64(width), np.uint64(0), np.uint64(0))
    for offset in range(0, width, 4):
        # Each missing place has a filler of its own, so that no shorter context looks like a longer one.
        block = [windows[:, offset + i] if offset + i < width else _MASK - np.uint64(i) for i in range(4)]
        mixed = (state[0] ^ block[0], state[1] ^ block[1], state[2] ^ block[2], state[3] ^ block[3])
        state = philox4x32(mixed, k0 ^ np.uint64(offset), k1)
    four = philox4x32((tokens >> np.uint64(2), *state[:3]), k0 ^ state[3], k1 ^ _TOKEN)
    return np.choose((tokens & np.uint64(3)).astype(np.intp), four)

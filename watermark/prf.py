"""aes128-v1: (window, token) -> 128 pseudorandom bits, by AES-128 on distinct blocks.

Symbols: h window width, n number of pairs, K a 16-byte key.
Normative text: docs/spec/prf.md. Cipher: FIPS 197, through OpenSSL.

A sum of scores under a random key has the ideal law up to the distance between AES and a random function:
at most q^2 / 2^129 for q blocks (the permutation/function switch) plus AES's distinguishing advantage.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from watermark.secret import Secret

PRF_ID: Final = "aes128-v1"
MAX_WIDTH: Final = 3
UNUSED: Final = 0xFFFFFFFF
# 16,384 blocks in and out are 512 KiB: they stay in the second-level cache, and the call overhead is < 3 %.
CHUNK_BLOCKS: Final = 1 << 14

Words = NDArray[np.uint64]
Blocks = NDArray[np.uint32]


def pack_blocks(windows: NDArray[np.uint32], tokens: NDArray[np.uint32] | None) -> Blocks:
    """Lay out PRF inputs.

    Args:
        windows: (n, h) uint32, oldest id first, 1 <= h <= 3.
        tokens: (n,) uint32, or None for a block of the window alone (selector).

    Returns:
        (n, 4) uint32, C-contiguous, little-endian words.
    """
    n, width = windows.shape
    if not 1 <= width <= MAX_WIDTH:
        raise ValueError(f"window width {width} is not in 1..{MAX_WIDTH}")
    blocks = np.empty((n, 4), dtype="<u4")
    for column in range(width):
        blocks[:, column] = windows[:, column]
    blocks[:, width:] = UNUSED
    if tokens is not None:
        blocks[:, width] = tokens
    return blocks


def pack_constant(window: tuple[int, ...], tokens: NDArray[np.uint32]) -> Blocks:
    """`pack_blocks` for one window and (n,) tokens."""
    # Two 64-bit writes a block instead of four strided 32-bit ones: three times faster.
    words = [*window, 0, *[UNUSED] * (MAX_WIDTH - len(window))]
    half, place = divmod(len(window), 2)
    blocks = np.empty((len(tokens), 2), dtype="<u8")
    blocks[:, 1 - half] = words[2 - 2 * half] | words[3 - 2 * half] << 32
    np.left_shift(tokens, np.uint64(32 * place), out=blocks[:, half])
    blocks[:, half] |= np.uint64(words[2 * half] | words[2 * half + 1] << 32)
    return blocks.view("<u4")


class Prf:
    """One key's pseudorandom function. Not for use by two threads at once."""

    __slots__ = ("_encrypt",)

    def __init__(self, key: Secret) -> None:
        # ECB is safe here and only here: no block is a message, and distinct inputs are the point.
        self._encrypt = Cipher(algorithms.AES128(key.reveal()), modes.ECB()).encryptor().update_into  # noqa: S305

    def words(self, blocks: Blocks) -> Words:
        """Encrypt packed blocks.

        Args:
            blocks: (n, 4) uint32 from `pack_blocks`.

        Returns:
            (n, 2) uint64: r0 and r1 of each block, a fresh array.
        """
        n = len(blocks)
        source = np.ascontiguousarray(blocks).data.cast("B") if n else memoryview(b"")
        # OpenSSL asks for one block of slack behind the output.
        out = np.empty(16 * n + 15, dtype=np.uint8)
        target = out.data
        for start in range(0, 16 * n, 16 * CHUNK_BLOCKS):
            stop = min(start + 16 * CHUNK_BLOCKS, 16 * n)
            self._encrypt(source[start:stop], target[start : stop + 15])
        return out[: 16 * n].view("<u8").reshape(n, 2)

    def first_words(self, blocks: Blocks) -> NDArray[np.uint64]:
        """r0 of each block: (n,) uint64."""
        return self.words(blocks)[:, 0]


def uniform52(r0: NDArray[np.uint64]) -> NDArray[np.float64]:
    """u = ((r0 >> 12) + 1/2) / 2^52, exact in double precision and strictly inside (0, 1)."""
    # The 52 bits as the fraction of a double in [1, 2), then minus (1 - 2^-53): exact, and two passes fewer.
    bits = r0 >> np.uint64(12)
    bits |= np.uint64(0x3FF << 52)
    u = bits.view(np.float64)
    u -= 1.0 - 2.0**-53
    return u


def gumbel_noise(r0: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Standard Gumbel noise -ln(-ln u) from PRF words: (n,) float64, always finite."""
    noise = uniform52(r0)
    np.log(noise, out=noise)
    np.negative(noise, out=noise)
    np.log(noise, out=noise)
    np.negative(noise, out=noise)
    return noise

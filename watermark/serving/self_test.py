"""Before a key serves: mark synthetic answers with it and find the mark, and not under another key.

Symbols: n distinct (window, token) pairs of one channel, z = (sum of scores - n mean) / sqrt(n variance).
Under an unrelated key the scores are independent with the scheme's law. |z| > 8 under each of three unrelated keys
has a chance below 1e-9, also for a law as skewed as a green list's of one in a million.
The synthetic logits are flat, so the mark is strong. One that 1,000 pairs do not show would prove nothing: refused.
This is a test of the program on this machine, not a measurement: the verifier's p-values are elsewhere.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import numpy as np

from watermark.channels import CHANNELS, select
from watermark.errors import SelfTestError
from watermark.keys import EpochKey, MasterKey
from watermark.prf import Prf, pack_blocks
from watermark.sampling import Request, Sampler
from watermark.schemes import Scheme
from watermark.secret import Secret
from watermark.windows import Ids, TokenBatch, repeated, windowed

ROWS: Final = 16
STEPS: Final = 96
VOCABULARY: Final = 512
LEAST_PAIRS: Final = 200
FOUND: Final = 5.0
CHANCE: Final = 8.0
OTHERS: Final = 3
# FIPS 197, appendix C.1: key, plain text, cipher text.
_FIPS_197: Final = (
    bytes(range(16)),
    bytes(17 * i for i in range(16)),
    bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a"),
)


def self_test(key: EpochKey) -> None:
    """Try a key.

    Raises:
        SelfTestError: the mark is not found under the key, or is found under another: nothing may be served with it.
    """
    aes, plain, cipher = _FIPS_197
    if Prf(Secret(aes)).words(np.frombuffer(plain, dtype="<u4").reshape(1, 4)).tobytes() != cipher:
        raise _failed(key, "AES-128 gives another block than FIPS 197 has")
    batch = _answers(key)
    others = [MasterKey.generate().epoch(key.name, deployment=key.deployment) for _ in range(OTHERS)]
    for channel in key.deployment.shares.mapping():
        if channel == "leaf":
            continue
        z, n = _z(batch, key, channel, key)
        if n < LEAST_PAIRS:
            continue  # a channel with a small share
        if z < FOUND:
            raise _failed(key, f"the mark of channel {channel} is not found in {n} pairs (z = {z:.1f})")
        z = min(abs(_z(batch, key, channel, other)[0]) for other in others)
        if z > CHANCE:
            raise _failed(key, f"any key finds a mark in channel {channel} in {n} pairs (|z| = {z:.1f})")


def _answers(key: EpochKey) -> TokenBatch:
    sampler, generator = Sampler(key), np.random.default_rng(0)
    responses = [sampler.start(Request(f"self-test-{i}", account="self-test", cohort="self-test")) for i in range(ROWS)]
    for _ in range(STEPS):
        sampler.draw(responses, generator.normal(size=(ROWS, VOCABULARY)).astype(np.float32))
    return TokenBatch.from_documents([np.array(r.tracker.tokens, dtype=np.uint32) for r in responses])


def _z(batch: TokenBatch, marked: EpochKey, channel: str, scored: EpochKey) -> tuple[float, int]:
    """z and n of a channel's pairs, by the rules of docs/spec/marking.md and without the sampler."""
    width, slot = marked.deployment.width, "" if channel == "fleet" else "self-test"
    at = windowed(batch, width)
    at = at[~repeated(batch, at, width)]
    windows = np.stack([batch.ids[at - back] for back in range(width, 0, -1)], axis=1)
    at = at[select(marked.selector_prf(), marked.deployment.shares, windows) == CHANNELS.index(channel)]
    pairs: Ids = np.stack([batch.ids[at - back] for back in range(width, -1, -1)], axis=1)
    pairs = np.unique(pairs, axis=0)
    scheme: Scheme = scored.deployment.scheme
    words = Prf(scored.value_key(channel, slot).value).words(pack_blocks(pairs[:, :-1], pairs[:, -1]))
    law, n = scheme.law, len(pairs)
    total = int(scheme.score(words).sum()) / law.unit
    return (total - n * law.mean) / sqrt(max(n, 1) * law.variance), n


def _failed(key: EpochKey, why: str) -> SelfTestError:
    return SelfTestError(
        f"self-test of key {key.path}: {why}", hint="do not serve with this installation; report it with its versions"
    )

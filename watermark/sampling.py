"""Logits in, token ids out: the reference that every engine must match token for token.

Symbols: B rows, V vocabulary, c candidates of one row (finite logits), h width.

At each position a row is drawn in one of two ways.
*Keyed*: words of F_K(window, v) under the window's channel, through the scheme.
*Leaf*: plain Gumbel-max with words of F_leaf(position, v): the first h positions, a window this response already
used, and windows of the leaf channel. Both are functions of keys and the past alone, so preemption, replay and
speculation give the same tokens.

Temperature and truncation come first; what they removed has logit -inf.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from watermark.channels import CHANNELS, LEAF, select
from watermark.errors import Error
from watermark.keys import EpochKey, check_name
from watermark.prf import Prf, Words, pack_constant
from watermark.schemes import Logits, gumbel_max
from watermark.windows import Ids, Tracker


@dataclass(frozen=True)
class Request:
    """Whom one answer is for.

    Attributes:
        id: never used twice in an epoch; regenerations and each of `n > 1` answers have their own.
        account: the account's slot, needed if accounts have a share.
        cohort: the cohort's slot, needed if cohorts have a share.
    """

    id: str
    account: str = ""
    cohort: str = ""

    def __post_init__(self) -> None:
        check_name(self.id)
        for slot in filter(None, (self.account, self.cohort)):
            check_name(slot)


class Response:
    """One answer while it is drawn: its keys, its tokens, and why each was or was not marked.

    Attributes:
        counts: tokens by fate: a channel's name, `first_h` or `repeated`.
    """

    __slots__ = ("_slots", "counts", "leaf", "request", "tracker")

    def __init__(self, sampler: Sampler, request: Request) -> None:
        self._slots = {"fleet": "", "cohort": request.cohort, "account": request.account}
        for channel in sampler.epoch.deployment.shares.mapping():
            if channel in ("cohort", "account") and not self._slots[channel]:
                raise Error(
                    f"request {request.id[:60]!r} names no {channel}, and the {channel} channel has a share",
                    hint=f"give the request its {channel} slot, or a deployment without that share",
                )
        self.request = request
        self.leaf = sampler.epoch.leaf_prf(request.id)
        self.tracker = Tracker(sampler.epoch.deployment.width)
        self.counts: Counter[str] = Counter()

    def slot(self, channel: str) -> tuple[str, str]:
        """The key of `channel` this response uses, as (channel, slot)."""
        return channel, self._slots[channel]

    def take(self, token: int, fate: str) -> None:
        """Record a drawn token."""
        self.tracker.append(token)
        self.counts[fate] += 1


class Sampler:
    """The keyed draw of one epoch.

    Args:
        epoch: the epoch's key, with its deployment.
    """

    def __init__(self, epoch: EpochKey) -> None:
        self.epoch = epoch
        self._selector = epoch.selector_prf()
        self._prfs: dict[tuple[str, str], Prf] = {}

    def start(self, request: Request) -> Response:
        """Begin an answer."""
        return Response(self, request)

    def fates(self, responses: Sequence[Response]) -> list[str]:
        """How the next token of each response is to be drawn: a channel's name, `first_h` or `repeated`."""
        fates, keyed = [], []
        for row, response in enumerate(responses):
            window = response.tracker.window()
            if window is None:
                fates.append("first_h")
            elif response.tracker.is_used(window):
                fates.append("repeated")
            else:
                fates.append("")
                keyed.append((row, window))
        if keyed:
            windows = np.array([window for _, window in keyed], dtype=np.uint32)
            channels = select(self._selector, self.epoch.deployment.shares, windows)
            for (row, _), channel in zip(keyed, channels, strict=True):
                fates[row] = CHANNELS[channel]
        return fates

    def propose(self, responses: Sequence[Response], logits: Logits) -> list[tuple[int, str]]:
        """Draw the next token of each response without recording it.

        Args:
            responses: B answers in progress.
            logits: (B, V) float, after temperature and truncation; -inf for what was removed.

        Returns:
            B pairs of token id and fate, for `Response.take` once the engine has taken the token.

        Raises:
            Error: a row holds NaN or +inf, or has no candidate.
        """
        if logits.ndim != 2 or len(responses) != len(logits):
            raise ValueError(f"{len(responses)} responses do not go with logits of shape {logits.shape}")
        drawn = []
        for response, fate, row in zip(responses, self.fates(responses), logits, strict=True):
            candidates, values = _candidates(row, response.request.id)
            drawn.append((int(candidates[self._draw(response, fate, candidates, values)]), fate))
        return drawn

    def draw(self, responses: Sequence[Response], logits: Logits) -> NDArray[np.int64]:
        """`propose` and `Response.take` in one: (B,) token ids."""
        drawn = self.propose(responses, logits)
        for response, (token, fate) in zip(responses, drawn, strict=True):
            response.take(token, fate)
        return np.array([token for token, _ in drawn], dtype=np.int64)

    def _draw(self, response: Response, fate: str, candidates: Ids, logits: Logits) -> int:
        def leaf(part: slice) -> Words:
            return response.leaf.words(pack_constant((len(response.tracker.tokens),), candidates[part]))

        if fate in ("first_h", "repeated", CHANNELS[LEAF]):
            return gumbel_max(logits, leaf)
        prf, window = self._prf(*response.slot(fate)), response.tracker.window()
        assert window is not None

        def words(part: slice) -> Words:
            return prf.words(pack_constant(window, candidates[part]))

        return self.epoch.deployment.scheme.draw(logits, words, leaf)

    def _prf(self, channel: str, slot: str) -> Prf:
        if (channel, slot) not in self._prfs:
            self._prfs[channel, slot] = Prf(self.epoch.value_key(channel, slot).value)
        return self._prfs[channel, slot]


@lru_cache(maxsize=8)
def _all_ids(vocabulary: int) -> Ids:
    return np.arange(vocabulary, dtype=np.uint32)


def _candidates(row: Logits, request: str) -> tuple[Ids, Logits]:
    """Ids that temperature and truncation left, and their logits."""
    highest = row.max(initial=-np.inf)  # NaN if there is one
    if not np.isfinite(highest):
        raise Error(
            f"the logits of request {request[:60]!r} hold {'no candidate' if highest == -np.inf else 'NaN or +inf'}",
            hint="the model or an earlier logits processor failed: nothing was drawn",
        )
    kept = row > -np.inf
    if kept.all():
        return _all_ids(len(row)), row
    candidates = np.flatnonzero(kept).astype(np.uint32)
    return candidates, row[candidates]

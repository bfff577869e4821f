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
from typing import Final

import numpy as np
from numpy.typing import NDArray

from watermark.candidates import Row
from watermark.channels import CHANNELS, LEAF, select
from watermark.errors import Error
from watermark.keys import EpochKey, check_name
from watermark.prf import Blocks, Prf, Words, gumbel_noise, pack_blocks, pack_constant
from watermark.schemes import Indices, Logits
from watermark.schemes.maxima import first_maxima, gumbel_max
from watermark.windows import Ids, Tracker

UNKEYED: Final = ("first_h", "repeated", CHANNELS[LEAF])
MAX_TOGETHER: Final = 4096  # candidates of a row that is drawn with others
MAX_PRFS: Final = 8192


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
        forced: tokens among them that were the only candidate, as a grammar leaves it: there the mark had no choice.
        alone: whether the token proposed last was the only candidate.
    """

    __slots__ = ("_slots", "alone", "counts", "forced", "leaf", "request", "tracker")

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
        self.forced = 0
        self.alone = False

    def slot(self, channel: str) -> tuple[str, str]:
        """The key of `channel` this response uses, as (channel, slot)."""
        return channel, self._slots[channel]

    def take(self, token: int, fate: str) -> None:
        """Record a drawn token."""
        self.tracker.append(token)
        self.counts[fate] += 1
        self.forced += self.alone
        self.alone = False


@dataclass(frozen=True)
class Job:
    """One row to draw.

    Attributes:
        index: its place in the batch.
        row: its candidates.
        response: the answer it continues.
        key: (channel, slot) of a keyed draw, None of a leaf draw.
    """

    index: int
    row: Row
    response: Response
    key: tuple[str, str] | None

    @property
    def window(self) -> tuple[int, ...]:
        """The window of a keyed draw."""
        window = self.response.tracker.window()
        assert window is not None
        return window


class Sampler:
    """The keyed draw of one epoch. Not for use by two threads at once.

    Args:
        epoch: the epoch's key, with its deployment.
    """

    def __init__(self, epoch: EpochKey) -> None:
        self.epoch = epoch
        self._selector = epoch.selector_prf()
        self._prfs: dict[tuple[str, str], Prf] = {}
        self._whole: dict[tuple[int, int], Blocks] = {}

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
        if logits.dtype == np.float16:
            logits = logits.astype(np.float32)  # exact
        return self.propose_rows(responses, [Row.find(row) for row in logits])

    def propose_rows(self, responses: Sequence[Response], rows: Sequence[Row]) -> list[tuple[int, str]]:
        """`propose` for an engine that found the candidates itself.

        Args:
            responses: B answers in progress.
            rows: the B rows' candidates, float32 or float64.

        Returns:
            See `propose`.

        Raises:
            Error: a row holds NaN or +inf, or has no candidate.
        """
        fates = self.fates(responses)
        drawn = [0] * len(rows)
        short: dict[bool, list[Job]] = {True: [], False: []}
        for index, (response, fate, row) in enumerate(zip(responses, fates, rows, strict=True)):
            row.check(response.request.id)
            keyed = fate not in UNKEYED
            job = Job(index, row, response, response.slot(fate) if keyed else None)
            response.alone = row.count == 1
            if response.alone:
                drawn[index] = int(row.compact()[0][0])
            elif row.count <= MAX_TOGETHER:
                short[keyed].append(job)
            else:
                drawn[index] = self._draw_alone(job)
        for keyed, jobs in short.items():
            if len(jobs) == 1:
                drawn[jobs[0].index] = self._draw_alone(jobs[0])
            elif jobs:
                self._draw_together(jobs, drawn, keyed=keyed)
        return list(zip(drawn, fates, strict=True))

    def draw(self, responses: Sequence[Response], logits: Logits) -> NDArray[np.int64]:
        """`propose` and `Response.take` in one: (B,) token ids."""
        drawn = self.propose(responses, logits)
        for response, (token, fate) in zip(responses, drawn, strict=True):
            response.take(token, fate)
        return np.array([token for token, _ in drawn], dtype=np.int64)

    def _draw_alone(self, job: Job) -> int:
        """One row, a piece of it at a time."""
        scheme, response = self.epoch.deployment.scheme, job.response
        row = job.row
        if job.key is not None and not scheme.sparse and row.count < len(row.logits):
            ids, logits = row.compact()
            row = Row(logits, ids, row.count)

        def leaf(part: slice | Indices) -> Words:
            return response.leaf.words(self._blocks((len(response.tracker.tokens),), row, part))

        if job.key is None:
            index = gumbel_max(row.logits, leaf)
        else:
            prf, window = self._prf(*job.key), job.window

            def words(part: slice | Indices) -> Words:
                return prf.words(self._blocks(window, row, part))

            index = scheme.draw(row.logits, words, leaf)
        return index if row.ids is None else int(row.ids[index])

    def _draw_together(self, jobs: list[Job], drawn: list[int], *, keyed: bool) -> None:
        """Rows of few candidates: one cipher call per key."""
        jobs.sort(key=lambda job: job.key or ())
        parts = [job.row.compact() for job in jobs]
        ids, logits = np.concatenate([ids for ids, _ in parts]), np.concatenate([values for _, values in parts])
        counts = np.array([job.row.count for job in jobs])
        starts = np.cumsum(counts) - counts
        none = np.empty((0, 2), dtype=np.uint64)
        scheme = self.epoch.deployment.scheme
        leaf = none
        if not keyed or scheme.uses_leaf:
            positions = np.array([[len(job.response.tracker.tokens)] for job in jobs], dtype=np.uint32)
            leaf = _words(positions, ids, counts, [(job.response.leaf, job.index) for job in jobs])
        if keyed:
            windows = np.array([job.window for job in jobs], dtype=np.uint32)
            words = _words(windows, ids, counts, [(self._prf(*job.key), job.key) for job in jobs if job.key])
            found = scheme.draw_rows(logits, starts, words, leaf)
        else:
            found = first_maxima(gumbel_noise(leaf[:, 0]) + logits, starts)
        for job, token in zip(jobs, ids[found].tolist(), strict=True):
            drawn[job.index] = token

    def _blocks(self, words: tuple[int, ...], row: Row, part: slice | Indices) -> Blocks:
        """PRF inputs of some candidates of a row that share their window."""
        if row.ids is not None:
            return pack_constant(words, row.ids[part])
        # All ids in order: the blocks are laid out once, and only the window is written again.
        name = len(row.logits), len(words)
        if name not in self._whole:
            self._whole[name] = pack_constant(words, np.arange(len(row.logits), dtype=np.uint32))
        blocks = self._whole[name][part]
        if len(words) == 2:
            blocks.view("<u8")[:, 0] = words[0] | words[1] << 32
        else:
            for column, word in enumerate(words):
                blocks[:, column] = word
        return blocks

    def _prf(self, channel: str, slot: str) -> Prf:
        if (channel, slot) not in self._prfs:
            if len(self._prfs) >= MAX_PRFS:
                self._prfs.clear()  # accounts come and go, and a key is derived again in 30 microseconds
            self._prfs[channel, slot] = Prf(self.epoch.value_key(channel, slot).value)
        return self._prfs[channel, slot]


def _words(
    windows: NDArray[np.uint32], ids: Ids, counts: NDArray[np.int64], prfs: Sequence[tuple[Prf, object]]
) -> Words:
    """Words of rows laid end to end, rows of one key being neighbours: (n, 2)."""
    blocks = pack_blocks(np.repeat(windows, counts, axis=0), ids)
    ends = np.cumsum(counts)
    words, first = [], 0
    for row, (prf, name) in enumerate(prfs):
        if row + 1 == len(prfs) or prfs[row + 1][1] != name:
            words.append(prf.words(blocks[first : ends[row]]))
            first = ends[row]
    return words[0] if len(words) == 1 else np.concatenate(words)

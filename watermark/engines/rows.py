"""Whose answer is drawn in which row. Nothing here imports an engine.

The engine owns the tokens of an answer: it may take one, throw a draw away (a prompt read in pieces), take tokens
back, interrupt the answer and go on with it later. So nothing is recorded when it is drawn: before each draw an answer
*follows* the engine's list. An interrupted answer goes on with its own leaf key, which is found by what the answer
holds so far; an answer that holds nothing has used up nothing, and begins anew under a fresh number.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from typing import Any, Final

from watermark.errors import Error, Refused
from watermark.sampling import Request, Response, Sampler
from watermark.serving.admission import Marked
from watermark.serving.service import Service

# An admitted request may wait for its turn this long, in seconds: only the door looks at the clock itself.
QUEUE: Final = 3600.0
PARKED: Final = 1 << 14  # answers that left and may come back

_Identity = tuple[Marked | None, str]


@dataclass(frozen=True)
class Asked:
    """What a request asks for, as the engine's request says it.

    Attributes:
        ticket: what it carried, or None.
        greedy: whether it is drawn without randomness.
        rule: its truncation.
        end: the token that ends an answer, which is all that a refused request gets.
    """

    ticket: str | None
    greedy: bool
    rule: Any
    end: int


class Row:
    """One answer in flight.

    Attributes:
        asked: what its request asks for.
        response: the marked answer, or None.
        status: how its tokens count if it is not marked: `greedy`, `unmarked`, or `forced` if it was refused.
    """

    __slots__ = ("_drawn", "_seen", "asked", "response", "sampler", "status")

    def __init__(self, asked: Asked, marked: Marked | None, status: str = "") -> None:
        self.asked, self.status = asked, status
        self.sampler: Sampler | None = marked.sampler if marked else None
        self.response: Response | None = marked.sampler.start(marked.request) if marked else None
        self._drawn: tuple[int, str] | None = None
        self._seen = 0

    def follow(self, tokens: Sequence[int], tally: Counter[str]) -> bool:
        """Record what the engine took.

        Args:
            tokens: all tokens of the answer so far; negative if the engine does not know one yet.
            tally: counts each token once, by status.

        Returns:
            Whether all of them are known. Those after a placeholder are not recorded.
        """
        if self.response is None or self.sampler is None:
            tally[self.status] += max(len(tokens) - self._seen, 0)
            self._seen = len(tokens)
            return True
        mine = self.response.tracker.tokens
        if len(tokens) < len(mine) or (mine and tokens[len(mine) - 1] != mine[-1]):
            self.response = self.sampler.start(self.response.request)  # the engine took tokens back
            mine = self.response.tracker.tokens
        for token in tokens[len(mine) :]:
            if token < 0:
                return False
            # Another token than the one drawn: replayed after an interruption, or the engine overruled the draw.
            drawn, fate = self._drawn or (-1, "")
            self._drawn = None
            if token != drawn:
                fate, self.response.alone = "unmarked", False
            status = "forced" if self.response.alone else fate
            self.response.take(token, fate)
            if len(mine) > self._seen:
                tally[status] += 1
        self._seen = max(self._seen, len(mine))
        return True

    def propose(self, token: int, fate: str) -> None:
        """Remember what was drawn, for `follow` to compare with what was taken."""
        self._drawn = token, fate

    def finish(self, tally: Counter[str]) -> None:
        """Count the last draw of an engine that does not show the last token."""
        if self._drawn is not None:
            tally[self._drawn[1]] += 1
            self._drawn = None

    def identity(self) -> _Identity:
        """What an interrupted answer goes on with."""
        if self.sampler is None or self.response is None:
            return None, self.status
        return Marked(self.sampler, self.response.request), self.status

    def is_before(self, tokens: Sequence[int]) -> bool:
        """Whether this marked answer held `tokens`, or all but the last of them."""
        mine = self.response.tracker.tokens if self.response else []
        return 0 <= len(tokens) - len(mine) <= 1 and list(tokens[: len(mine)]) == mine

    def skip(self, tokens: int) -> None:
        """Do not count the first `tokens` tokens: they were counted before an interruption."""
        self._seen = tokens


_Decision = tuple[str, str, str, Request | None]  # status, epoch, id of its key, request


class Desk:
    """Opens, parks and resumes answers, so that no two share a leaf key.

    Args:
        service: keys and door.
        salt: of ids for answers without a ticket: the same in all processes of one engine, and never twice.
        rank: this engine's number among `ranks` that serve the same requests side by side.
        ranks: how many there are.
        agree: takes what the first process of an engine decided to all others, and is called by all of them in the same
            order: each has its own clock, and its own moment of looking at the key directory.
        leads: whether this process is the first.
    """

    def __init__(
        self,
        service: Service,
        *,
        salt: str,
        rank: int = 0,
        ranks: int = 1,
        agree: Callable[[Any], Any] = lambda decision: decision,
        leads: bool = True,
    ) -> None:
        self._service, self._salt, self._rank, self._ranks = service, salt, rank, ranks
        self._agree, self._leads = agree, leads
        self._anonymous = count()
        self._parked: OrderedDict[tuple[str | None, bytes], list[_Identity]] = OrderedDict()

    def open(self, asked: Asked, tokens: Sequence[int] = (), *, now: float, others: Iterable[Row] = ()) -> Row:
        """An answer that enters the batch.

        Args:
            asked: what its request asks for.
            tokens: what it holds already, if it was interrupted.
            now: Unix time in seconds.
            others: rows that may have left, and may be this answer.

        Raises:
            Error: the first process draws under a key that this one does not have.
        """
        found = self._resume(asked, tokens, others) if tokens else None
        row = Row(asked, *(found or self._admit(asked, now)))
        row.skip(len(tokens))
        return row

    def park(self, row: Row, tokens: Sequence[int]) -> None:
        """An answer that left the batch: ended or interrupted, the engine does not say which."""
        if not tokens:
            return
        key, identity = _key(row.asked, tokens), row.identity()
        parked = self._parked.setdefault(key, [])
        # Of two or more none is resumed, so that two are enough, however many short answers are alike.
        if identity not in parked and len(parked) < 2:
            parked.append(identity)
        self._parked.move_to_end(key)
        if len(self._parked) > PARKED:
            self._parked.popitem(last=False)

    def _resume(self, asked: Asked, tokens: Sequence[int], others: Iterable[Row]) -> _Identity | None:
        found = [row.identity() for row in others if row.asked.ticket == asked.ticket and row.is_before(tokens)]
        # The last token may not have been known when the answer left.
        keys = [key for key in (_key(asked, tokens), _key(asked, tokens[:-1])) if key in self._parked]
        found += [identity for key in keys for identity in self._parked[key]]
        # Of several answers that hold the same tokens, another may go on elsewhere: a fresh number shares no leaf key.
        if len({marked and marked.request for marked, _ in found}) != 1:
            return None
        for key in keys:
            del self._parked[key]
        return found[0]

    def _admit(self, asked: Asked, now: float) -> _Identity:
        status, epoch, key, request = self._agree(self._decide(asked, now) if self._leads else None)
        if request is None:
            return None, status
        return Marked(self._sampler(epoch, key), request), ""

    def _decide(self, asked: Asked, now: float) -> _Decision:
        try:
            decided = self._service.admission.admit(
                asked.ticket,
                greedy=asked.greedy,
                answer=self._rank,
                step=self._ranks,
                now=now - QUEUE,
                own_id=f"{self._salt}-{next(self._anonymous):x}",
            )
        except Refused:
            return "forced", "", "", None
        if isinstance(decided, Marked):
            return "", decided.sampler.epoch.name, decided.sampler.epoch.id, decided.request
        return "greedy" if decided.reason == "greedy" else "unmarked", "", "", None

    def _sampler(self, epoch: str, key: str) -> Sampler:
        keyring = self._service.keyring
        if epoch not in keyring.epochs() or keyring.sampler(epoch).epoch.id != key:
            self._service.look()  # the first process looked at another moment
        sampler = keyring.sampler(epoch)
        if sampler.epoch.id != key:
            raise Error(
                f"the first process of this engine draws under key {key[:16]} of epoch {epoch}, expected "
                f"{sampler.epoch.id[:16]}",
                hint="give all ranks the same key directory",
            )
        return sampler


def _key(asked: Asked, tokens: Sequence[int]) -> tuple[str | None, bytes]:
    return asked.ticket, blake2b(array("q", tokens).tobytes(), digest_size=16).digest()


@dataclass
class Drawing:
    """What one step draws.

    Attributes:
        rows: index of the row of logits, and its answer.
        placeholders: rows left out, because the engine does not know all their tokens.
    """

    rows: list[tuple[int, Row]] = field(default_factory=list)
    placeholders: int = 0

    def add(self, index: int, row: Row, *, known: bool) -> None:
        """Take a row, or count it if not all of its tokens are known."""
        if known:
            self.rows.append((index, row))
        else:
            self.placeholders += 1


_Entry = tuple[Row, list[int]]


class Batch:
    """The rows of vLLM's persistent batch (V1 interface).

    Args:
        desk: opens and parks answers.
        tally: counts tokens by status.
    """

    def __init__(self, desk: Desk, tally: Counter[str]) -> None:
        self._desk, self._tally = desk, tally
        self.rows: dict[int, _Entry] = {}

    def update(
        self,
        *,
        removed: Iterable[int],
        added: Iterable[tuple[int, Asked, list[int]]],
        moved: Iterable[tuple[int, int, bool]],
        now: float,
    ) -> None:
        """Follow one change of the batch; in this order, as vLLM's `BatchUpdate` defines it.

        Args:
            removed: rows that left.
            added: row, request, and the engine's own list of the answer's tokens, which it goes on writing to. A row
                that was occupied is replaced.
            moved: from, to, and whether the two are swapped.
            now: Unix time in seconds.
        """
        after: dict[int, _Entry | tuple[Asked, list[int]]] = dict(self.rows)
        for index in removed:
            after.pop(index, None)
        after |= {index: (asked, tokens) for index, asked, tokens in added}
        for source, target, swapped in moved:
            coming, going = after.pop(source, None), after.pop(target, None)
            if coming is not None:
                after[target] = coming
            if swapped and going is not None:
                after[source] = going
        # All that left are parked before any enters: one may leave and enter in the same change.
        stayed = {id(entry) for entry in after.values()}
        for entry in self.rows.values():
            if id(entry) not in stayed:
                self._leave(*entry)
        self.rows = {
            index: (self._desk.open(first, tokens, now=now) if isinstance(first, Asked) else first, tokens)
            for index, (first, tokens) in after.items()
        }

    def follow(self) -> Drawing:
        """Record the tokens that the engine took."""
        drawing = Drawing()
        for index in sorted(self.rows):
            row, tokens = self.rows[index]
            drawing.add(index, row, known=row.follow(tokens, self._tally))
        return drawing

    def _leave(self, row: Row, tokens: list[int]) -> None:
        known = list(tokens)
        while known and known[-1] < 0:
            known.pop()
        row.follow(known, self._tally)
        self._desk.park(row, known)

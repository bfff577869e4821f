"""Whether and how an answer is marked: the operator's mode, the gateway's ticket, and which answer of it this is.

| mode | no ticket | good ticket | bad ticket |
|---|---|---|---|
| enforce | refused | marked | as `on_bad_ticket` |
| default-on | marked for the anonymous account | marked | as `on_bad_ticket` |
| opt-in | unmarked | marked | as `on_bad_ticket` |

A greedy answer has nothing to mark: after all checks it is unmarked, and counted.
"""

from __future__ import annotations

import heapq
import secrets
import threading
import time
from dataclasses import dataclass, field

from watermark.errors import Error, Refused, TicketError
from watermark.sampling import Request, Sampler
from watermark.serving.keyring import Keyring
from watermark.serving.metrics import Metrics
from watermark.serving.settings import Settings
from watermark.serving.tickets import Ticket, read


@dataclass(frozen=True)
class Marked:
    """An answer to mark.

    Attributes:
        sampler: of its epoch; it stays good if the epoch's key is removed meanwhile.
        request: whom it is for, with an id that no other answer has.
    """

    sampler: Sampler
    request: Request


@dataclass(frozen=True)
class Unmarked:
    """An answer to leave unmarked.

    Attributes:
        reason: `no_ticket`, `greedy`, or a bad ticket's reason.
    """

    reason: str


class Admission:
    """The one door of an engine.

    Args:
        settings: the operator's.
        keyring: the epochs' keys.
        metrics: counts every decision of `admit`.

    Raises:
        Refused: the mode is default-on, and the anonymous epoch or slots cannot be drawn for.
    """

    def __init__(self, settings: Settings, keyring: Keyring, metrics: Metrics) -> None:
        self.settings, self.keyring, self.metrics = settings, keyring, metrics
        self._used = _UsedTickets()
        if settings.mode == "default-on":
            self._decide(None, 0.0)

    def check(self, ticket: str | None, *, now: float | None = None) -> None:
        """What a process without the sampler can decide: whether `admit` will refuse. It uses nothing up.

        Raises:
            Refused: `admit` would.
        """
        self._decide(ticket, time.time() if now is None else now)

    def admit(
        self,
        ticket: str | None,
        *,
        greedy: bool,
        answer: int = 0,
        step: int = 1,
        now: float | None = None,
        own_id: str = "",
    ) -> Marked | Unmarked:
        """Decide about one answer, once.

        Args:
            ticket: what the request carried, or None.
            greedy: the answer is drawn without randomness.
            answer: its number among the answers of one request (`n > 1`); it has the id `ID.k` for k > 0, and a
                number that was used gives way to a free one.
            step: from one free number to the next: engines that serve the same requests side by side, and do not see
                each other's answers, begin apart and step over each other's numbers.
            now: Unix time in seconds.
            own_id: for an answer without a ticket, an id that the engine's processes agree on and never use
                twice; a random one if empty.

        Raises:
            Refused: it may not be drawn; `reason` says why.
        """
        now = time.time() if now is None else now
        try:
            decided = self._decide(ticket, now)
        except Refused as error:
            self.metrics.request(error.reason)
            raise
        if not isinstance(decided, Unmarked) and greedy:
            decided = Unmarked("greedy")
        if isinstance(decided, Unmarked):
            self.metrics.request(decided.reason)
            return decided
        sampler, found = decided
        if found is None:
            self.metrics.request("anonymous")
            return Marked(sampler, self._anonymous(own_id))
        number = self._used.next((found.epoch, found.request), answer, step=step, expires=found.expires, now=now)
        self.metrics.request("marked")
        name = f"{found.request}.{number}" if number else found.request
        return Marked(sampler, Request(name, account=found.account, cohort=found.cohort))

    def _decide(self, ticket: str | None, now: float) -> Unmarked | tuple[Sampler, Ticket | None]:
        if ticket is None:
            if self.settings.mode == "enforce":
                raise Refused(
                    "the request has no ticket", reason="no_ticket", hint="requests come through the provider's gateway"
                )
            if self.settings.mode == "opt-in":
                return Unmarked("no_ticket")
            return self._sampler(self.settings.anonymous_epoch, self._anonymous("x")), None
        try:
            found = read(ticket, keys=self.keyring.gateway_key, now=now)
            sampler = self._sampler(found.epoch, Request(found.request, account=found.account, cohort=found.cohort))
        except TicketError as error:
            return self._bad(error.reason, error)
        except Refused as error:
            return self._bad(error.reason, error)
        return sampler, found

    def _bad(self, reason: str, error: Error) -> Unmarked:
        if self.settings.on_bad_ticket == "unmarked":
            return Unmarked(reason)
        raise Refused(str(error), reason=reason, hint=error.hint) from None

    def _sampler(self, epoch: str, request: Request) -> Sampler:
        """The epoch's sampler, if it can draw for that request."""
        try:
            sampler = self.keyring.sampler(epoch)
        except Error as error:
            raise Refused(str(error), reason="unknown_epoch", hint=error.hint) from None
        try:
            sampler.start(request)
        except Error as error:
            raise Refused(str(error), reason="bad_slot", hint=error.hint) from None
        return sampler

    def _anonymous(self, own_id: str) -> Request:
        s = self.settings
        return Request(own_id or secrets.token_hex(16), account=s.anonymous_account, cohort=s.anonymous_cohort)


@dataclass
class _Used:
    until: int = 0
    numbers: set[int] = field(default_factory=set)
    highest: int = -1


class _UsedTickets:
    """Which answers of which request were drawn, until its last ticket expires."""

    def __init__(self) -> None:
        self._drawn: dict[tuple[str, str], _Used] = {}
        self._expiries: list[tuple[int, tuple[str, str]]] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._drawn)

    def next(self, key: tuple[str, str], answer: int, *, expires: int, now: float, step: int = 1) -> int:
        """The number under which the answer is drawn: `answer`, or a step above all that were."""
        with self._lock:
            self._forget(now)
            used = self._drawn.setdefault(key, _Used())
            if expires > used.until:  # the gateway may mint a second ticket for one request
                used.until = expires
                heapq.heappush(self._expiries, (expires, key))
            number = answer if answer not in used.numbers else used.highest + step
            used.numbers.add(number)
            used.highest = max(used.highest, number)  # kept, so that thousands of answers do not search each other
            return number

    def _forget(self, now: float) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            _, key = heapq.heappop(self._expiries)
            if key in self._drawn and self._drawn[key].until <= now:
                del self._drawn[key]

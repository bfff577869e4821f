"""The gateway's side of marking: request ids, tickets, which requests get a twin, and the record of each answer.

No engine and no HTTP: the caller sends each ticket on as one request, and brings back what was drawn.
Normative text: docs/spec/ticket.md, section 5, and docs/spec/pair.md, section 4.

    for exchange in gateway.open(account="17", answers=n):
        ...  # send draw.ticket for each of exchange.draws at once, with the same prompt
        ledger.append(exchange.record(contents, whole=all_ended, conversation=chat))
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

from watermark.channels import WHOLE
from watermark.errors import Error
from watermark.keys import EpochKey, check_name
from watermark.ledger.answers import Entry, Withheld, answer_record
from watermark.ledger.contents import Content
from watermark.ledger.records import TWIN_SUFFIX
from watermark.sampling import Request
from watermark.serving.tickets import MAX_LIFETIME, MAX_REQUEST, Ticket, mint

MAX_ANSWERS: Final = 128  # of one call, as in the APIs that engines imitate
MAX_GIVEN: Final = MAX_REQUEST - len(f"-{MAX_ANSWERS - 1}{TWIN_SUFFIX}")


@dataclass(frozen=True)
class Draw:
    """One request to an engine.

    Attributes:
        request: for whom, with the id whose leaf key draws. No client sees it: which of two ids was served is the coin.
        ticket: what the engine is shown, once; not in `repr`, since whoever has it is served.
    """

    request: Request
    ticket: str = field(repr=False)


@dataclass(frozen=True)
class Exchange:
    """One wanted answer: the draw that is served and, for a sampled request, the one that is not.

    The caller submits all draws together and in their order, with the same prompt, sampling parameters, limits,
    deadline and priority, fetches and parses them in the same way, and stops none because of what became of another
    or of the client. A draw that fails is not repeated under its id, and the withheld one is never served in its place:
    a retry is a new exchange.

    Attributes:
        id: what a client may be shown; it does not tell whether there is a twin.
        draws: one, or that of `id` and that of its twin.
        coin: which of them is served, known before anything is drawn.
        share: parts per million of the requests that get a twin.
    """

    id: str
    draws: tuple[Draw, ...]
    coin: int = field(repr=False)
    share: int
    _epoch: EpochKey = field(repr=False)

    @property
    def served(self) -> Draw:
        """What the client gets."""
        return self.draws[self.coin]

    @property
    def withheld(self) -> Draw | None:
        """Its twin, or None."""
        return self.draws[1 - self.coin] if len(self.draws) > 1 else None

    def record(self, contents: Sequence[Content], *, whole: bool = True, **others: Any) -> Entry:
        """The ledger's record of this answer: one for each exchange, also of an answer that was cut or is empty.

        A pair is kept if both draws ended whole: by an end token, a stop string or their common limit. Else it is
        lost, and the record has no twin. The ledger needs no field for that: `twinned(R)` of an answer without a twin
        says that its pair was lost, to whoever holds the node of the coins.

        Args:
            contents: what was drawn, in the order of `draws`, as far as it was drawn.
            whole: whether every draw ended whole.
            others: as `watermark.ledger.answer_record` takes them: `conversation`, `reason`, `forced`, `decoding`,
                `model`, ... Answers that hang on one another share a conversation: later turns, and regenerations.

        Raises:
            LedgerError: fields that do not go together.
            Error: not one content for each draw, or contents of different prompts.
        """
        if len(contents) != len(self.draws):
            raise Error(
                f"request {self.id!r} has {len(self.draws)} draws, and {len(contents)} contents were given",
                hint="give what each drew, in the order of draws; of one that failed an empty one",
            )
        if len({content.prompt for content in contents}) > 1:
            raise Error(f"request {self.id!r}: its twin answers another prompt", hint="ask both the same")
        twin = Withheld(contents[1 - self.coin], share=self.share) if whole and len(contents) > 1 else None
        return answer_record(self.served.request, contents[self.coin], epoch=self._epoch, twin=twin, **others)


@dataclass(frozen=True)
class Gateway:
    """Opens exchanges of one epoch.

    Attributes:
        epoch: its key. Whoever only mints needs the gateway key alone (`tickets.mint`); the choice of twins, the coin
            and the record need this one.
        twin_share: parts per million of the answers that get a twin. Kept through an epoch, so that lost pairs can be
            counted.
        lifetime: of a ticket, in seconds: longer than a draw waits for its turn, since one that comes late is lost.

    Raises:
        Error: a share or a lifetime that cannot be.
    """

    epoch: EpochKey
    twin_share: int = field(default=0, kw_only=True)
    lifetime: float = field(default=300.0, kw_only=True)

    def __post_init__(self) -> None:
        if type(self.twin_share) is not int or not 0 <= self.twin_share <= WHOLE:
            raise Error(
                f"twin_share is {str(self.twin_share)[:40]}, expected an integer from 0 to {WHOLE}",
                hint=f"it counts parts per million: {WHOLE // 100} is one request in a hundred",
            )
        if type(self.lifetime) not in (int, float) or not 1 <= self.lifetime <= MAX_LIFETIME:
            raise Error(
                f"lifetime is {str(self.lifetime)[:40]}, expected 1 to {MAX_LIFETIME} seconds",
                hint="an engine remembers a ticket until it expires: minutes are enough",
            )

    def open(
        self,
        *,
        account: str = "",
        cohort: str = "",
        answers: int = 1,
        request: str | None = None,
        now: float | None = None,
    ) -> list[Exchange]:
        """An exchange for each wanted answer, each a request of its own to the engine (`n` is 1 there).

        Answer `k` of `request` has the id `REQUEST-k`, from 0, and its twin `REQUEST-k-twin`. No two pairs of
        `request` and `k` share an id, and no id is one that an engine makes (`ID.k`).

        Args:
            account: slot, needed if accounts have a share.
            cohort: slot, needed if cohorts have a share.
            answers: how many, 1 to `MAX_ANSWERS`.
            request: what their ids begin with, at most `MAX_GIVEN` characters, never used twice in an epoch and
                never taken from a client; None draws 16 random bytes.
            now: Unix time in seconds.

        Raises:
            Error: a slot that is missing, or a name or number that cannot be.
        """
        if type(answers) is not int or not 1 <= answers <= MAX_ANSWERS:
            raise Error(f"answers is {str(answers)[:40]}, expected 1 to {MAX_ANSWERS}")
        name = secrets.token_hex(16) if request is None else check_name(request)
        if len(name) > MAX_GIVEN:
            raise Error(
                f"request {name[:60]!r} has {len(name)} characters, expected at most {MAX_GIVEN}",
                hint="its answers' numbers and their twins' names come after it",
            )
        shares = self.epoch.deployment.shares.mapping()
        for channel, slot in (("account", account), ("cohort", cohort)):
            if channel in shares and not slot:
                raise Error(
                    f"request {name[:60]!r} names no {channel}, and the {channel} channel has a share",
                    hint=f"give its {channel} slot: an engine refuses a ticket without one",
                )
        now = time.time() if now is None else now
        expires = min(ceil(now + self.lifetime), int(now) + MAX_LIFETIME)
        gateway, coins = self.epoch.gateway_key(), self.epoch.coin_key()

        def draw(id_: str) -> Draw:
            ticket = Ticket(epoch=self.epoch.name, request=id_, expires=expires, account=account, cohort=cohort)
            return Draw(Request(id_, account=account, cohort=cohort), mint(gateway, ticket))

        def exchange(first: str) -> Exchange:
            if not coins.is_twinned(first, self.twin_share):
                return Exchange(first, (draw(first),), 0, self.twin_share, self.epoch)
            twin = first + TWIN_SUFFIX
            return Exchange(first, (draw(first), draw(twin)), int(coins.coin(twin)), self.twin_share, self.epoch)

        return [exchange(f"{name}-{k}") for k in range(answers)]

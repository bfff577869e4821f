"""One answer as it is logged: what became of its tokens is worked out from ids and key, not believed.

Symbols: T tokens of the answer, h width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np

from watermark.channels import CHANNELS, LEAF, select
from watermark.decoding import Decoding
from watermark.errors import Error, LedgerError
from watermark.keys import EpochKey, check_name
from watermark.ledger.contents import AnyContent, Assignee, Content, Keeping
from watermark.ledger.records import TWIN_SUFFIX, VERSION, Assigned, Served, Setting, Twin, encode
from watermark.sampling import Request
from watermark.windows import MAX_ID, TokenBatch, repeated, windowed

MARKED: Final = CHANNELS[:LEAF]


@dataclass(frozen=True)
class Entry:
    """A record and what it is about, before a ledger keeps it in its own way.

    Attributes:
        record: without contents.
        content: of the answer, or who was assigned.
        withheld: of the twin, or None.
    """

    record: Served | Assigned
    content: AnyContent
    withheld: Content | None = None

    def kept(self, keeping: Keeping) -> bytes:
        """The record's JSON, with contents as a file keeps them."""
        record = self.record
        changed: dict[str, Any] = {"content": keeping.keep(self.content, record.place)}
        if self.withheld is not None and isinstance(record, Served) and record.twin is not None:
            withheld = keeping.keep(self.withheld, record.twin_place)
            changed["twin"] = msgspec.structs.replace(record.twin, content=withheld)
        return encode(msgspec.structs.replace(record, **changed))


@dataclass(frozen=True)
class Withheld:
    """The draw that was not served.

    Attributes:
        content: prompt, text and ids.
        share: parts per million of the requests that get a twin, or None.
    """

    content: Content
    share: int | None = None


def fates_of(epoch: EpochKey, ids: Sequence[int]) -> dict[str, int]:
    """Tokens by fate, from ids and selector key alone: what the sampler counts while it draws.

    Args:
        epoch: the key that drew.
        ids: T token ids in order.

    Returns:
        counts above 0: channels' names, `first_h` and `repeated`; they add up to T.
    """
    if not all(isinstance(token, int) and 0 <= token <= MAX_ID for token in ids):
        raise LedgerError(f"a token id is not in 0..{MAX_ID}, expected what the sampler drew")
    array = np.asarray(ids, dtype=np.uint32)
    width = epoch.deployment.width
    batch = TokenBatch.from_documents([array])
    at = windowed(batch, width)
    again = repeated(batch, at, width)
    fresh = at[~again]
    windows = batch.ids[fresh[:, None] + np.arange(-width, 0)]
    counts: Counter[str] = Counter(first_h=len(array) - len(at), repeated=int(again.sum()))
    channels = np.bincount(select(epoch.selector_prf(), epoch.deployment.shares, windows), minlength=len(CHANNELS))
    counts.update(dict(zip(CHANNELS, channels.tolist(), strict=True)))
    return {fate: count for fate, count in counts.items() if count}


def answer_record(
    request: Request,
    content: Content,
    *,
    epoch: EpochKey | None,
    reason: str | None = None,
    forced: int = 0,
    twin: Withheld | None = None,
    decoding: Decoding | Mapping[str, Setting] | None = None,
    conversation: str | None = None,
    tokenizer: str | None = None,
    model: str | None = None,
    model_digest: str | None = None,
    time: datetime | None = None,
) -> Entry:
    """The record of one answer.

    Args:
        request: for whom it was drawn, with the id whose leaf key drew it.
        content: prompt, text and ids of what was served.
        epoch: the key that drew it; None if none could, and then there is a reason.
        reason: why no token is marked, such as `greedy` or `no_ticket`; None if the sampler drew them.
        forced: of the marked tokens, how many had one candidate left, as the engine counted them.
        twin: the draw that was withheld.
        decoding: sampling parameters.
        conversation: answers of one conversation share it.
        tokenizer: digest of the ids' `tokenizer.json`.
        model: the model that answered.
        model_digest: of its weights.
        time: when it was logged; now if None.

    Raises:
        LedgerError: fields that do not go together, such as a twin of which the coin says that it was served.
    """
    if epoch is None and reason is None:
        raise LedgerError(f"request {request.id!r} has neither a key nor a reason why its tokens are not marked")
    if reason in MARKED:
        raise LedgerError(f"reason {reason!r} is a channel, expected why no token is marked")
    ids = content.token_ids
    fates = fates_of(epoch, ids) if epoch is not None and reason is None else {reason or "": len(ids)} if ids else {}
    record = Served(
        version=VERSION,
        time=stated(time),
        request=request.id,
        account=request.account or None,
        cohort=request.cohort or None,
        conversation=conversation,
        **({} if epoch is None else _keys(epoch, request)),
        decoding=_settings(decoding),
        tokens=len(ids),
        marked={channel: fates[channel] for channel in MARKED if channel in fates},  # type: ignore[misc]
        unmarked={fate: count for fate, count in fates.items() if fate not in MARKED},
        forced=forced,
        tokenizer=tokenizer,
        model=model,
        model_digest=model_digest,
        digest=content.digest(),
        twin=None if twin is None else _twin(request, twin, epoch),
    )
    return _checked(Entry(record, content, None if twin is None else twin.content))


def assignment(epoch: str, channel: str, slot: str, *, name: str, time: datetime | None = None) -> Entry:
    """The record of who has a slot.

    Args:
        epoch: the epoch's name.
        channel: `account` or `cohort`.
        slot: which.
        name: of the account or cohort; kept as contents are.
        time: now if None.
    """
    content = Assignee(name=name)
    made: Any = {"epoch": epoch, "channel": channel, "slot": slot}
    return _checked(Entry(Assigned(version=VERSION, time=stated(time), digest=content.digest(), **made), content))


def stated(time: datetime | None) -> str:
    """A time as records write it."""
    return (datetime.now(UTC) if time is None else time.astimezone(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _checked(entry: Entry) -> Entry:
    entry.kept(Keeping("clear"))  # found now, not when the ledger writes
    return entry


def _twin(request: Request, twin: Withheld, epoch: EpochKey | None) -> Twin:
    if epoch is None:
        raise LedgerError(f"request {request.id!r} has a twin and no key that tossed its coin")
    first = request.id.removesuffix(TWIN_SUFFIX)
    id_ = first + TWIN_SUFFIX
    coin = epoch.coin(id_)
    if (coin == 1) != (request.id == id_):
        raise LedgerError(
            f"request {request.id!r} was served, and the coin of {id_!r} is {coin}",
            hint="the coin says which of two draws is served: 0 is the first, 1 its twin",
        )
    return Twin(
        id=id_,
        coin=1 if coin else 0,
        share=twin.share,
        tokens=len(twin.content.token_ids),
        digest=twin.content.digest(),
    )


def _settings(decoding: Decoding | Mapping[str, Setting] | None) -> dict[str, Setting] | None:
    if isinstance(decoding, Decoding):
        return {field.name: getattr(decoding, field.name) for field in fields(decoding)}
    return None if decoding is None else dict(decoding)


def _keys(epoch: EpochKey, request: Request) -> dict[str, Any]:
    d = epoch.deployment
    slots = {"fleet": "", "cohort": request.cohort, "account": request.account}
    try:
        keys = {c: epoch.value_key(c, slots[c]).id for c in d.shares.mapping() if c in MARKED}
    except Error as error:
        raise LedgerError(f"request {request.id!r}: {error}", hint=error.hint) from None
    return {
        "epoch": check_name(epoch.name),
        "epoch_id": epoch.id,
        "keys": keys,
        "scheme": d.scheme.spec,
        "width": d.width,
        "shares": d.shares.canonical(),
    }

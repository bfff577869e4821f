"""Small ledgers for the tests: answers drawn by the real sampler, with their twins."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime

import numpy as np

from tests.conftest import make_epoch
from watermark.ledger import Content, Damage, Head, Walk, Withheld, answer_record
from watermark.ledger.lines import chained, parse
from watermark.sampling import Request, Sampler

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
EPOCH = make_epoch(7, shares="fleet=0.5,account=0.25,leaf=0.25")


def drawn(request: Request, *, tokens: int = 40, vocabulary: int = 30) -> tuple[int, ...]:
    """Ids that the sampler draws from fixed logits; few enough that windows repeat."""
    sampler = Sampler(EPOCH)
    response = sampler.start(request)
    logits = np.random.default_rng(3).normal(size=(1, vocabulary))
    for _ in range(tokens):
        sampler.draw([response], logits)
    return tuple(response.tracker.tokens)


def content(ids: tuple[int, ...], *, prompt: str = "why?", salt: str = "0" * 32) -> Content:
    """A content whose text follows from its ids."""
    return Content(prompt=prompt, response=" ".join(map(str, ids)), token_ids=ids, salt=salt)


def entry(number: int, *, tokens: int = 40, twin: bool = False, account: str = ""):
    """The record of an answer, with the twin that its coin withheld if that is asked for."""
    first = Request(f"r{number}", account=account or f"a{number % 3}")
    second = Request(f"r{number}-twin", account=first.account)
    salt = hashlib.sha256(str(number).encode()).hexdigest()[:32]
    coin = EPOCH.coin(second.id) if twin else 0
    served, other = (second, first) if coin else (first, second)
    withheld = Withheld(content(drawn(other, tokens=tokens), salt=salt[::-1]), share=100_000) if twin else None
    return answer_record(
        served,
        content(drawn(served, tokens=tokens), salt=salt),
        epoch=EPOCH,
        twin=withheld,
        decoding={"temperature": 0.7, "top_k": 50},
        tokenizer="sha256:" + "1" * 64,
        model="teacher",
        time=NOON,
    )


def walked(data: bytes, **options) -> tuple[Walk, list[Damage], list]:
    """(the walk, what is wrong, the records) of the bytes of one file."""
    damages: list[Damage] = []
    walk = Walk(on_damage=damages.append, **options)
    found = list(walk.through(io.BytesIO(data), "l"))
    walk.finish()
    return walk, damages, found


def chain(lines: list[bytes], head: Head) -> list[bytes]:
    """The same records as an honest chain behind `head`."""
    made = []
    for line in lines:
        text, head = chained(b"{" + parse(line[:-1]).rest, head)
        made.append(text)
    return made

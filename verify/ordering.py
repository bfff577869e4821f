"""The order of asking, and nonces, from the timestamp token of a plan's line in the register.

Normative text: docs/spec/plan.md, section 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from verify.errors import InputError, Refused, quoted
from verify.records import Transcript
from verify.register import RegisterEntry

_ORDER: Final = "radiolabel/v1/plan-order"
_NONCE: Final = "radiolabel/v1/plan-nonce"


@dataclass(frozen=True)
class Ordering:
    """What follows from a token.

    Attributes:
        token: DER, the first of the plan's line in the register.
        plan: digest of the plan.
    """

    token: bytes
    plan: str

    @classmethod
    def of(cls, line: RegisterEntry) -> Ordering:
        """That of a plan's line in the register, so that nobody asks before the plan stands there.

        Raises:
            Refused: a line without a timestamp.
        """
        if not line.timestamps:
            raise Refused("the plan's line has no timestamp, expected one", hint="radiolabel plan commit")
        return cls(line.tokens()[0], line.plan)

    def order(self, n: int) -> list[int]:
        """The questions 0 to n - 1 in the order in which they are asked."""
        seed, order = self._derive(32, _ORDER), list(range(n))
        for i in range(n - 1, 0, -1):
            x = int.from_bytes(hashlib.sha256(seed + i.to_bytes(8, "little")).digest()[:16], "little")
            j = x % (i + 1)
            order[i], order[j] = order[j], order[i]
        return order

    def nonce(self, question: int) -> str:
        """32 hexadecimal digits that nobody knew before the token existed."""
        return self._derive(16, _NONCE, str(question)).hex()

    def _derive(self, length: int, *parts: str) -> bytes:
        info = b"".join(len(part).to_bytes(2, "little") + part.encode() for part in parts)
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(self.token)


class InOrder:
    """Answers in the order of their questions, each as soon as all before it are there.

    Args:
        order: questions.
    """

    def __init__(self, order: Sequence[int]) -> None:
        self._rank = {str(question): rank for rank, question in enumerate(order)}
        self._next, self._waiting = 0, dict[int, Transcript]()

    def add(self, answer: Transcript) -> Iterator[Transcript]:
        """Take an answer, and give those whose turn it is.

        Raises:
            InputError: it is to none of the questions.
        """
        rank = self._rank.get(answer.id)
        if rank is None:
            raise InputError(f"answer {quoted(answer.id)} is to no question of the plan")
        self._waiting[rank] = answer
        while self._next in self._waiting:
            yield self._waiting.pop(self._next)
            self._next += 1


def in_order(answers: Iterable[Transcript], order: Sequence[int]) -> Iterator[Transcript]:
    """See `InOrder`; answers after the first gap are left out."""
    ordered = InOrder(order)
    for answer in answers:
        yield from ordered.add(answer)

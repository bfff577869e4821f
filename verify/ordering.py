"""The order of asking, and nonces, from a plan's timestamp token. Normative text: docs/spec/plan.md, section 4."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from verify.errors import Refused
from verify.plans import Plan

_ORDER: Final = "radiolabel/v1/plan-order"
_NONCE: Final = "radiolabel/v1/plan-nonce"


@dataclass(frozen=True)
class Ordering:
    """What follows from a token.

    Attributes:
        token: DER, the plan's first.
        plan: digest of the plan.
    """

    token: bytes
    plan: str

    @classmethod
    def of(cls, plan: Plan) -> Ordering:
        """That of a plan.

        Raises:
            Refused: a plan without a timestamp.
        """
        if not plan.timestamps:
            raise Refused("the plan is not committed, expected one with a timestamp", hint="radiolabel plan commit")
        return cls(plan.tokens()[0], plan.digest)

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

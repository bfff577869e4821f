"""What is public of a value key: all that a Finding needs of it, so that a Finding can be made without the key."""

from __future__ import annotations

from dataclasses import dataclass

from watermark.keys import ValueKey
from watermark.schemes import Scheme


@dataclass(frozen=True)
class Tested:
    """A key that was tested.

    Attributes:
        id: public id.
        path: such as `epoch/2026-q4/fleet`.
        scheme: how it marks.
        width: h.
    """

    id: str
    path: str
    scheme: Scheme
    width: int

    @classmethod
    def of(cls, key: ValueKey) -> Tested:
        """That of a key."""
        return cls(key.id, key.path, key.deployment.scheme, key.deployment.width)

    @property
    def channel(self) -> str:
        """`fleet`, `cohort` or `account`."""
        return self.path.split("/")[2]

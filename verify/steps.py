"""One numbered step of a verification: an outsider can tick it off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "failed", "not checked"]


@dataclass(frozen=True)
class Step:
    """What was checked, and what came of it.

    Attributes:
        name: what must hold.
        outcome: "not checked" where something that the check needs was not given, or cannot be given.
        reason: what was found, or what is missing.
    """

    name: str
    outcome: Outcome
    reason: str

    @classmethod
    def of(cls, name: str, holds: bool, reason: str, otherwise: str) -> Step:
        """A step that was checked: `reason` if it holds, else `otherwise`."""
        return cls(name, "ok" if holds else "failed", reason if holds else otherwise)

    @classmethod
    def open(cls, name: str, reason: str) -> Step:
        """A step that was not checked."""
        return cls(name, "not checked", reason)


def failed(steps: Sequence[Step]) -> bool:
    """Whether any step failed; what was not checked did not."""
    return any(step.outcome == "failed" for step in steps)

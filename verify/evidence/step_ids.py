"""The ids of a check's steps, in its order. Normative text: docs/spec/evidence.md, section 9."""

from __future__ import annotations

import re
from typing import Final


def _numbered(prefix: str, n: int) -> tuple[str, ...]:
    return tuple(f"{prefix}.{number}" for number in range(1, n + 1))


# Of `SLOTS` and `LOGS` there are as many as the evidence has keys and log commitments: slot.1, slot.2, ...
SLOTS: Final = "slot"
LOGS: Final = "log"
STEP_IDS: Final = (
    *("envelope", "signature", "fields", "plan"),
    *_numbered("register", 6),
    "drawer",
    "family",
    *_numbered("collection", 7),
    "before",
    *_numbered("master", 3),
    *_numbered("epoch", 6),
    SLOTS,
    LOGS,
    *("release.keys", "release.logs", "inputs", "keys", "measured", "stopping", "derived", "decision", "others"),
)
_FIXED: Final = frozenset(STEP_IDS) - {SLOTS, LOGS}
_COUNTED: Final = re.compile(rf"({SLOTS}|{LOGS})\.[1-9][0-9]{{0,4}}")


def is_step(name: str) -> bool:
    """Whether a check can have a step of this id."""
    return name in _FIXED or _COUNTED.fullmatch(name) is not None

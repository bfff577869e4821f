"""What a report says about the numbered steps of a check, if there was one. docs/spec/evidence.md, section 9."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from verify.steps import Step

# What a provider who is not honest could do, and the steps that speak to it.
DISHONESTY: Final = (
    ("choose the key after seeing the text", ("before", "master", "epoch", "slot", "release")),
    ("test many times and show one", ("plan", "register", "drawer")),
    ("choose or invent the suspect's answers", ("collection",)),
    ("change the record of what was served", ("log",)),
    ("miscalculate", ("inputs", "keys", "measured", "stopping", "derived", "decision")),
)


@dataclass(frozen=True)
class Check:
    """What `radiolabel check` found.

    Attributes:
        steps: every step with its id, in order.
        accepted: whether none failed and all that the policy requires are ok.
    """

    steps: tuple[tuple[str, Step], ...]
    accepted: bool

    @property
    def recomputed(self) -> bool:
        """Whether the numbers were computed again from the inputs and the keys."""
        return any(name == "measured" and step.outcome == "ok" for name, step in self.steps)

    @property
    def failed(self) -> list[str]:
        """Ids of the steps that failed."""
        return [name for name, step in self.steps if step.outcome == "failed"]


def spoken(check: Check | None, groups: Sequence[str]) -> str:
    """What the steps of these groups say together."""
    if check is None:
        return "not checked"
    steps = [(name, step) for name, step in check.steps if name.partition(".")[0] in groups]
    wrong = [name for name, step in steps if step.outcome == "failed"]
    if wrong:
        return f"failed: {', '.join(wrong)}"
    fine = sum(step.outcome == "ok" for _, step in steps)
    if not steps or not fine:
        return "not checked"
    return f"{fine} of {len(steps)} steps ok" + ("" if fine == len(steps) else ", the others not checked")

"""What a report says about the numbered steps of a check, if there was one. docs/spec/evidence.md, section 9."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from verify.steps import Step

# What a provider who is not honest could do, and the steps that speak to it.
DISHONESTY: Final = (
    ("choose the key after seeing the text", ("before", "master", "epoch", "slot", "release.keys")),
    ("test many times and show one", ("plan", "register", "drawer", "family")),
    ("choose options or filters", ("plan", "before", "stopping")),
    ("choose or invent the suspect's answers", ("collection",)),
    ("change the record of what was served", ("log", "release.logs")),
    ("miscalculate", ("inputs", "keys", "measured", "stopping", "derived", "decision")),
)
# What no step can say, beside what the steps say.
REMARKS: Final = {
    "choose options or filters": "options stand in the plan, filters are words that nobody can check",
}


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

    def of(self, groups: Sequence[str]) -> list[tuple[str, Step]]:
        """Steps of these ids, or of ids that begin with one of them and a dot."""
        return [(name, step) for name, step in self.steps if any(name == g or name.startswith(f"{g}.") for g in groups)]


def shown(check: Check | None, *groups: str) -> bool:
    """Whether a check has steps of every one of these groups, and all of them are ok."""
    if check is None:
        return False
    found = [check.of((group,)) for group in groups]
    return all(steps and all(step.outcome == "ok" for _, step in steps) for steps in found)


def spoken(check: Check | None, groups: Sequence[str]) -> str:
    """What the steps of these groups say together."""
    if check is None:
        return "not checked"
    steps = check.of(groups)
    wrong = [name for name, step in steps if step.outcome == "failed"]
    if wrong:
        return f"failed: {', '.join(wrong)}"
    fine = sum(step.outcome == "ok" for _, step in steps)
    if not steps or not fine:
        return "not checked"
    return f"{fine} of {len(steps)} steps ok" + ("" if fine == len(steps) else ", the others not checked")

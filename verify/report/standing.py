"""What an answer stands on: what a check showed of the plan, the record and the coins, and what is only asserted."""

from __future__ import annotations

from typing import Final

from verify.plan_parts import Accounts, Closed, Open, Twin
from verify.report.checks import Check, shown
from verify.report.source import Source

ASSERTED: Final = "That nobody had looked before the plan was fixed is asserted, not shown."


def planned(source: Source, check: Check | None) -> bool:
    """Whether the plan was shown to come before the outputs."""
    return not source.exploratory and shown(check, "plan", "before")


def condition(source: Source, check: Check | None) -> str:
    """Under what a number holds, to stand before it; empty if that was shown."""
    if source.exploratory:
        return "If this was the only look at the data, "
    return "" if planned(source, check) else "If nobody had looked before the plan was fixed, "


def opening(source: Source, check: Check | None) -> str:
    """The yes. What a provider says that it served could have been chosen later to fit the suspect."""
    test = source.plan.test
    record = "pairs" if source.plan.paired else "served text"
    rests = source.plan.paired or (isinstance(test, Closed | Open) and test.served)
    if not rests or shown(check, "log", "release.logs"):
        return "Yes."
    return f"Yes, if the record of {record} is the one that was kept at the time; nothing here shows that."


def tossed(source: Source, check: Check | None) -> bool:
    """Whether a check computed the coins of a twin test again, from a node that was committed."""
    test = source.plan.test
    return isinstance(test, Twin | Accounts) and test.coins == "recomputed" and shown(check, "measured", "slot")

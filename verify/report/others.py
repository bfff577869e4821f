"""What an evidence file says of other tests: innocent controls, tests outside the family, and the register's plans."""

from __future__ import annotations

from dataclasses import dataclass

from verify.evidence.predicate import Other
from verify.report.source import Source
from verify.report.words import SHORT, called, exponent


@dataclass(frozen=True)
class Registered:
    """The lines of a register by what the file says of their plans, this plan's own left out.

    Attributes:
        shown: with a result among the others.
        unrun: with a reason why there is none.
        unknown: with neither.
    """

    shown: int
    unrun: int
    unknown: int


def registered(source: Source) -> Registered:
    """Count all lines: a plan under other keys can be of the same suspect."""
    others = {other.plan for other in source.predicate.others}
    rest = [entry.plan for entry in source.predicate.register if entry.plan != source.plan.digest]
    bare = [plan for plan in rest if plan not in others]
    unrun = sum(plan in source.predicate.unrun for plan in bare)
    return Registered(len(rest) - len(bare), unrun, len(bare) - unrun)


def no_control(source: Source, other: Other) -> str:
    """Why a file that its maker calls a control is none; empty if it is one."""
    if other.suspect == source.plan.suspect.name:
        return "it is of the suspect's own name"
    if other.hypothesis != source.plan.hypothesis:
        return "it is of another test"
    return ""


def controls(source: Source) -> list[Other]:
    """Files on models that their maker calls innocent, which count as such."""
    return [other for other in source.predicate.others if other.control and not no_control(source, other)]


def uncounted(source: Source) -> list[tuple[Other, str]]:
    """Files whose maker calls them controls, which do not count, and why."""
    stated = [other for other in source.predicate.others if other.control]
    return [(other, why) for other in stated if (why := no_control(source, other))]


def outside(source: Source) -> tuple[list[Other], int]:
    """Plans on this suspect or under these keys that nobody corrected for: those with a result, and how many without.

    A test of another plan that is called like this plan's own is not the same test.
    """
    plan, others = source.plan, source.predicate.others
    mine, family = {key.id for key in plan.keys}, set(plan.family.tests) - set(plan.own)
    under = {entry.plan for entry in source.predicate.register if not mine.isdisjoint(entry.keys)} - {plan.digest}
    found = [
        other
        for other in others
        if (other.suspect == plan.suspect.name or (other.plan in under and not other.control))
        and not {test.name for test in other.tests} <= family
    ]
    return found, len(under - {other.plan for other in others})


def gave(other: Other) -> str:
    """What a file says came of its tests."""
    suspect = called(other.suspect, SHORT)
    n, least = sum(test.found for test in other.tests), min((t.log10_adjusted for t in other.tests), default=None)
    if least is None:
        return f"{suspect}: no test"
    many = f" in {n:,} of {len(other.tests):,} tests" if n and len(other.tests) > 1 else ""
    return f"{suspect}: {'found' if n else 'not found'}{many}, {exponent(least)}"

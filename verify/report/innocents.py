"""Page one, below the answer: how often the method accuses the innocent, and what known innocent models gave."""

from __future__ import annotations

from typing import Final

from verify.evidence.predicate import Rate
from verify.report import others
from verify.report.checks import Check
from verify.report.document import Notice, Section, Text
from verify.report.source import Source
from verify.report.standing import planned
from verify.report.words import SHORT, called, counted, level, percent, some

LONG: Final = 60  # characters of what a maker says was measured


def rate(source: Source, check: Check | None) -> Section:
    """How often the method accuses an innocent model: the maker's words, which no step checks."""
    stated, heading = source.predicate.rate, "How often this method accuses an innocent model"
    if stated is None:
        return Section(
            "rate", heading, (Notice(f"No measured rate was given with this evidence. {_none(source, check)}"),)
        )
    text = (
        f"As the maker states, of {called(stated.method, LONG)} ({called(stated.source, LONG)}): "
        f"{stated.n_accused:,} of {counted(stated.n_trials, 'trial')} with innocent models, worth "
        f"{stated.n_independent:,} independent ones, were called found at the level of {level(stated.alpha)}; the rate "
        f"lies between {100 * stated.low:.3g} % and {percent(stated.high)} (95 % interval). No step checks this."
    )
    foreign = _foreign(source, stated)
    if foreign:
        return Section("rate", heading, (Notice(f"{text} That is {foreign}, and says little here."),))
    if stated.high > source.plan.alpha:
        text += f" So few trials cannot confirm a rate as small as {level(source.plan.alpha)}."
    return Section("rate", heading, (Text(text),))


def _none(source: Source, check: Check | None) -> str:
    """What the mathematics promises, which needs a plan that came first."""
    if source.exploratory:
        return "None follows from the mathematics of the test either: nothing was fixed before looking."
    if not planned(source, check):
        return (
            "None follows from the mathematics of the test either, unless nobody had looked before the plan was fixed."
        )
    return (
        f"By the mathematics of the test, and if the assumptions in this report hold, at most "
        f"{level(source.plan.alpha)} innocent models would be called found; no measurement here confirms that."
    )


def _foreign(source: Source, stated: Rate) -> str:
    """What separates a rate from this test."""
    plan, found = source.plan, []
    if stated.hypothesis != plan.hypothesis:
        found.append(f"of another test ({stated.hypothesis}; this one is {plan.hypothesis})")
    if stated.alpha != plan.alpha:
        found.append(f"at another level ({level(stated.alpha)}; this plan's is {level(plan.alpha)})")
    return " and ".join(found)


def controls(source: Source) -> Section:
    """Innocent models under the same keys, with what they gave."""
    known, rest = others.controls(source), others.uncounted(source)
    text = "None: this evidence holds no test of a model known to be innocent."
    if known:
        text = (
            f"{counted(len(known), 'model')} that, as the maker of this file says, never saw marked text, each at the "
            f"level of its own plan, which this file does not state: {some([others.gave(other) for other in known])}."
        )
    accused = any(test.found for other in known for test in other.tests)
    if accused:
        text = f"An innocent model was called found as well. {text}"
    if rest:
        text += f" Not counted: {some([f'{called(other.suspect, SHORT)} ({why})' for other, why in rest])}."
    block = Notice if accused or rest else Text
    return Section("controls", "Innocent models tested under the same key", (block(text),))

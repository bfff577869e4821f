"""Page one: the question, and the answer in a sentence.

A number is a statement about data given models that never saw marked text. No sentence here turns it round.
"""

from __future__ import annotations

from typing import Final

from verify.measured import MeasuredTwin
from verify.report.checks import Check
from verify.report.document import Block, Notice, Section, Text
from verify.report.fields import Derived
from verify.report.source import Outcome, Source
from verify.report.words import called, chance, counted, exponent, level, number, percent, some

MEANING: Final = (
    "This number describes the data: how rarely a model that never saw such text would give data like these. "
    "It does not weigh the other explanations below."
)
LOOKS: Final = (
    "Without a plan, nothing shows how many tests were tried before this one, and what was chosen after looking. "
    "Whoever looks often enough finds something."
)
UNCHECKED: Final = "As the evidence file states, which this report did not check: "
NOT_COMPUTED: Final = "As the evidence file states, whose numbers this report did not compute again: "
_CORRECTIONS: Final = {
    "holm": "corrected for all {m} tests of the plan's family (Holm)",
    "bh": "corrected for all {m} tests of the plan's family (Benjamini and Hochberg)",
    "e-bh": "corrected for all {m} tests of the plan's family (e-BH)",
}


def question(source: Source) -> Section:
    """What was asked."""
    plan, name = source.plan, called(source.plan.suspect.name)
    if plan.hypothesis == "twin":
        text = (
            f"For each of many prompts the provider's model drew two answers, and a coin decided which one was served. "
            f"Does {name} prefer the served answers to those that never left the provider?"
        )
    else:
        about = {"open": "the predictions"}.get(plan.hypothesis, "the answers")
        keys = f"the key {called(plan.keys[0].path)}" if len(plan.keys) == 1 else counted(len(plan.keys), "secret key")
        text = (
            f"A secret key left a statistical mark in the words that the provider's model chose. A model trained on "
            f"those answers can take up a trace of it. Do {about} of {name} show the mark of {keys}?"
        )
    return Section("question", "The question", (Text(text),))


def answer(source: Source, check: Check | None) -> Section:
    """What was found; no answer if the file did not pass."""
    if check is not None and not check.accepted:
        reason = f"failed: {some(check.failed)}" if check.failed else "steps that the policy requires were not checked"
        text = f"No answer. The evidence file was not accepted ({reason}). Nothing in it may be relied on."
        return Section("answer", "The answer", (Notice(text),))
    found, missed = source.found, source.missed
    texts: list[Block] = []
    stated = UNCHECKED if check is None else "" if check.recomputed else NOT_COMPUTED
    if found:
        texts += [Notice(stated + _found(source, found)), Text(f"{_threshold(source)} {MEANING}")]
        if source.exploratory:
            texts.append(Text(LOOKS))
    if missed:
        text = _missed(source, missed)
        texts.append(Text(text) if found else Notice(stated + text))
        texts.append(Text(_limit(source, missed)))
    return Section("answer", "The answer", tuple(texts))


def _names(results: list[Outcome]) -> str:
    return some([called(outcome.path) for outcome in results])


def _found(source: Source, found: list[Outcome]) -> str:
    total, name = len(source.outcomes), called(source.plan.suspect.name)
    only = "If this was the only look at the data, a" if source.exploratory else "A"
    weakest = max(outcome.derived.log10_p_stated for outcome in found)
    if isinstance(found[0].measured, MeasuredTwin):
        wins, losses = found[0].measured.wins, found[0].measured.losses
        return (
            f"Yes: {name} scored the served answer above its twin in {wins:,} of {wins + losses:,} pairs. "
            f"{only} model that does not depend on which answer was served would do so with probability at most "
            f"{chance(weakest)}."
        )
    what = {"open": "lean this far towards it"}.get(source.plan.hypothesis, "score this high")
    if total == 1:
        first = f"Yes, the mark of the key was found. {only} model that never saw text made with this key would {what}"
    else:
        first = (
            f"Yes for {len(found):,} of {total:,} keys: {_names(found)}. "
            f"{only} model that never saw text made with such a key would {what}"
        )
    ever = ", whenever one stops," if source.plan.hypothesis == "sequential" else ""
    each = " for each of them" if len(found) > 1 else ""
    return f"{first}{ever} with probability at most {chance(weakest)}{each}."


def _threshold(source: Source) -> str:
    plan, m = source.plan, len(source.plan.family.tests)
    fixed = "The threshold was" if source.exploratory else "The threshold, stated in the plan, was"
    text = f"{fixed} {level(plan.alpha)}"
    if plan.family.correction == "none":
        return f"{text}."
    worst = max(outcome.test.log10_adjusted for outcome in source.found)
    corrected = _CORRECTIONS[plan.family.correction].format(m=f"{m:,}")
    return f"{text}; {corrected}, the number to compare with it is {exponent(worst)}."


def _missed(source: Source, missed: list[Outcome]) -> str:
    total, name = len(source.outcomes), called(source.plan.suspect.name)
    end = "Not found does not mean that it is not there, and not that the answers were not used."
    if isinstance(missed[0].measured, MeasuredTwin):
        wins, losses = missed[0].measured.wins, missed[0].measured.losses
        return (
            f"Not found: {name} scored the served answer above its twin in {wins:,} of {wins + losses:,} pairs, which "
            f"is not beyond the threshold of {level(source.plan.alpha)}. {end}"
        )
    which = (
        "The mark of the key was" if total == 1 else f"The mark of {counted(len(missed), 'key')} ({_names(missed)}) was"
    )
    first = "" if source.found else "Not found. "
    return f"{first}{which} not found at the threshold of {level(source.plan.alpha)}. {end}"


def _limit(source: Source, missed: list[Outcome]) -> str:
    """What would have been found."""
    texts = [smallest(outcome.derived) for outcome in missed]
    if len(missed) == 1:
        return f"What would have been found: {texts[0]}"
    return f"What would have been found, for the key with the least data: {texts[_least(missed)]}"


def _least(missed: list[Outcome]) -> int:
    def size(outcome: Outcome) -> float:
        d = outcome.derived
        stated = next((v for v in (d.smallest_share, d.smallest_excess, d.smallest_rate) if v is not None), None)
        return float("inf") if stated is None else stated

    return max(range(len(missed)), key=lambda i: size(missed[i]))


def smallest(derived: Derived) -> str:
    """The smallest effect that this much data would have shown, in words."""
    if derived.smallest_share is not None and derived.smallest_share <= 1:
        return (
            f"a mark as strong as measured on a small model, in {percent(derived.smallest_share)} or more of this "
            f"text, in 95 of 100 cases."
        )
    if derived.smallest_share is not None:
        return "nothing reliably. In so little text even a wholly marked one would usually be missed."
    if derived.smallest_excess is not None:
        return (
            f"a lean of {number(derived.smallest_excess)} per window, in 95 of 100 cases; "
            f"{number(derived.excess)} was measured."
        )
    if derived.smallest_rate is not None:
        return (
            f"a share of wins of {number(derived.smallest_rate, 3)} or more, in 95 of 100 cases; "
            f"{number(derived.win_rate, 3)} was measured."
        )
    return "the evidence does not state it, so that this result cannot be told from too little data."

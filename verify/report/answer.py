"""Page one: the answer in a sentence, and what has to stand beside it.

A number is a statement about data given models that never saw marked text. No sentence here turns it round.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from verify.measured import MeasuredAccounts, MeasuredTwin
from verify.report.checks import Check
from verify.report.document import Block, Notice, Section, Text
from verify.report.fields import Derived
from verify.report.found import found, names, threshold
from verify.report.others import gave, outside
from verify.report.source import Outcome, Source
from verify.report.standing import ASSERTED, planned
from verify.report.words import called, counted, level, number, percent, some

MEANING: Final = (
    "This number describes the data: how rarely a model that {who} would give data like these. "
    "It does not weigh the other explanations below."
)
LOOKS: Final = (
    "Without a plan, nothing shows how many tests were tried before this one, and what was chosen after looking. "
    "Whoever looks often enough finds something."
)
UNCHECKED: Final = "As the evidence file states, which this report did not check: "
NOT_COMPUTED: Final = "As the evidence file states, whose numbers this report did not compute again: "


def answer(source: Source, check: Check | None) -> Section:
    """What was found; no answer if the file did not pass."""
    if check is not None and not check.accepted:
        reason = f"failed: {some(check.failed)}" if check.failed else "steps that the policy requires were not checked"
        text = f"No answer. The evidence file was not accepted ({reason}). Nothing in it may be relied on."
        return Section("answer", "The answer", (Notice(text),))
    missed, beside = source.missed, [Text(text) for text in _outside(source)]
    texts: list[Block] = []
    stated = UNCHECKED if check is None else "" if check.recomputed else NOT_COMPUTED
    if source.found:
        looks = f" {LOOKS}" if source.exploratory else ""
        who = "does not depend on what was served" if source.plan.paired else "never saw such text"
        meaning = MEANING.format(who=who)
        texts += [Notice(stated + found(source, check)), Text(f"{threshold(source, check)} {meaning}{looks}")]
    if missed:
        text = _missed(source, missed)
        texts.append(Text(text) if source.found else Notice(stated + text))
        shown = source.found or source.exploratory or planned(source, check)
        texts.append(Text(_limit(source, missed) + ("" if shown else f" {ASSERTED}")))
    return Section("answer", "The answer", (*texts, *beside))


def _outside(source: Source) -> Iterator[str]:
    """Tests that could have been found instead of this one."""
    others, bare = outside(source)
    n = len(others) + bare
    if not n:
        return
    results = [gave(other) for other in others] + ([f"{bare:,} without a result"] if bare else [])
    what = "1 other test" if n == 1 else f"{n:,} other tests"
    yield (
        f"{what} on this suspect or under these keys {'is' if n == 1 else 'are'} outside the family; nobody corrected "
        f"for {'it' if n == 1 else 'them'}. What came of {'it' if n == 1 else 'them'}: {some(results)}."
    )


def _missed(source: Source, missed: list[Outcome]) -> str:
    total, name = len(source.outcomes), called(source.plan.suspect.name)
    end = "Not found does not mean that it is not there, and not that the answers were not used."
    if isinstance(missed[0].measured, MeasuredTwin):
        wins, losses = missed[0].measured.wins, missed[0].measured.losses
        return (
            f"Not found: {name} scored the served answer above its twin in {wins:,} of {wins + losses:,} pairs, which "
            f"is not beyond the threshold of {level(source.plan.alpha)}. {end}"
        )
    if isinstance(missed[0].measured, MeasuredAccounts):
        m = len(missed[0].measured.accounts)
        return (
            f"Not found: of {counted(m, 'account')} none is named at the threshold of {level(source.plan.alpha)}. {end}"
        )
    which = (
        "The mark of the key was" if total == 1 else f"The mark of {counted(len(missed), 'key')} ({names(missed)}) was"
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
    if derived.smallest_rate is not None and derived.named is not None:
        return (
            f"an account with as many pairs as the middle one, whose served answers win in a share of "
            f"{number(derived.smallest_rate, 3)} or more, in 95 of 100 cases."
        )
    if derived.smallest_rate is not None:
        return (
            f"a share of wins of {number(derived.smallest_rate, 3)} or more, in 95 of 100 cases; "
            f"{number(derived.win_rate, 3)} was measured."
        )
    return "the evidence does not state it, so that this result cannot be told from too little data."

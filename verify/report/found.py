"""Page one: what was found, and how rare that is, after the correction for the family first.

Symbols: m tests of the family, p of each with the cipher's bound.
"""

from __future__ import annotations

from typing import Final

from verify.accounts.sealing import alias
from verify.hypotheses.multiplicity import holm
from verify.measured import MeasuredAccounts, MeasuredTwin
from verify.report.checks import Check
from verify.report.source import Outcome, Source
from verify.report.standing import ASSERTED, condition, opening, planned
from verify.report.words import SHORT, called, chance, exponent, level, some

_RATES: Final = {"bh": "Benjamini and Hochberg", "e-bh": "e-BH"}


def found(source: Source, check: Check | None) -> str:
    """The answer, if at least one key was found."""
    results, name = source.found, called(source.plan.suspect.name)
    first, total = results[0].measured, len(source.outcomes)
    if isinstance(first, MeasuredTwin):
        what = (
            f"{name} scored the served answer above its twin in {first.wins:,} of {first.wins + first.losses:,} pairs."
        )
    elif isinstance(first, MeasuredAccounts):
        what = f"{_named(results[0], len(first.accounts))} The suspect prefers what they were served."
    elif total == 1:
        what = "The mark of the key was found."
    else:
        what = f"The mark of {len(results):,} of {total:,} keys was found: {names(results)}."
    return f"{opening(source, check)} {what} {_upper(condition(source, check) + _numbers(source))}"


def names(results: list[Outcome]) -> str:
    """Paths of keys, the first of them."""
    return some([called(outcome.path, SHORT) for outcome in results])


def threshold(source: Source, check: Check | None) -> str:
    """What the number was compared with, and whether that is known to have been fixed before looking."""
    compared = "" if source.plan.family.correction == "none" else " for the corrected number"
    if planned(source, check):
        return f"The threshold{compared}, stated in the plan, was {level(source.plan.alpha)}."
    text = f"The threshold{compared} was {level(source.plan.alpha)}."
    return text if source.exploratory else f"{text} {ASSERTED}"


def _numbers(source: Source) -> str:
    hypothesis, correction, m = source.plan.hypothesis, source.plan.family.correction, len(source.plan.family.tests)
    weakest = max(outcome.derived.log10_p_stated for outcome in source.found)
    made = "this key" if len(source.outcomes) == 1 else "such a key"
    who, do = f"a model that never saw text made with {made}", "score this high"
    if hypothesis == "accounts":
        return _of_accounts(source)
    if hypothesis == "twin":
        who, do = "a model that does not depend on which answer was served", "do so"
    elif hypothesis == "open":
        do = "lean this far towards it"
    elif hypothesis == "sequential":
        do = "score this high, whenever one stops,"
    each = " for each of them" if len(source.found) > 1 else ""
    alone = f"would {do} with probability at most {chance(weakest)}{each}."
    if correction == "none":
        return f"{who} {alone}"
    if correction == "holm":
        return (
            f"the number corrected for all {m:,} tests of the family (Holm) is {chance(_corrected(source))}: at that "
            f"threshold, one or more of the {m:,} tests would name {who} with at most that probability. In one test "
            f"taken alone, such a model {alone}"
        )
    rate = max(outcome.test.log10_adjusted for outcome in source.found)
    return (
        f"the number corrected for all {m:,} tests of the family ({_RATES[correction]}) is {exponent(rate)}. It is a "
        f"false discovery rate over the family, and not a chance: of the tests found at that threshold, at most such "
        f"a share is false on average. In one test taken alone, {who} {alone}"
    )


def _named(result: Outcome, total: int) -> str:
    """Who is named, the first of them."""
    named = result.derived.named or ()
    who = some([alias(number) for number in named], most=4)
    return f"Of {total:,} accounts {len(named):,} {'is' if len(named) == 1 else 'are'} named: {who}."


def _of_accounts(source: Source) -> str:
    """What a family-wise level says, and how strong the strongest account is."""
    result, most = source.found[0], level(source.plan.level)
    strongest = max(result.derived.log10_p_stated, result.test.log10_adjusted)
    return (
        f"the chance that even one account is named whose answers did not reach the suspect is at most {most}. "
        f"Corrected for all of them: a model that does not depend on which answer was served would let some account "
        f"stand out as the strongest does with probability at most {chance(strongest)}."
    )


def _corrected(source: Source) -> float:
    """log10 of the largest number after Holm among those found, with the cipher's bound in every p."""
    stated = [min(outcome.derived.log10_p_stated, 0.0) for outcome in source.outcomes]
    adjusted = holm([*stated, *[0.0] * (len(source.plan.family.tests) - len(stated))])
    both = zip(source.outcomes, map(float, adjusted), strict=False)  # the others of the family have no outcome here
    return max(max(value, outcome.test.log10_adjusted) for outcome, value in both if outcome.test.found)


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]

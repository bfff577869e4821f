"""Page one, below the answer: what else could explain it, and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from verify.measured import MeasuredClosed, MeasuredForm
from verify.plan_parts import Closed, ClosedReference, Open, Weights
from verify.report.checks import DISHONESTY, REMARKS, Check, spoken
from verify.report.document import Facts, Items, Section, Table
from verify.report.source import Source

LIMITS: Final = (
    "“Not found” is not “not used”: rewording, mixing with other text or too little data hides a mark.",
    "“Found” shows dependence on these tokens, by training or otherwise. It is not about intent, or what was allowed.",
)
PASSING: Final = "A service that passes on, stores or looks up the provider's answers shows it without any training."
LEAKED_KEY: Final = (
    "A leaked key",
    "Whoever has the key, or learned enough of it from marked text, can write text with its mark.",
)
LEAKED_PAIRS: Final = (
    "Leaked pairs",
    "Whoever has both answers of each pair can make a model that prefers one of them.",
)
PUBLIC: Final = {
    "fleet": "A key for all traffic was found: training on any published copy of the answers would give that result.",
    "cohort": "A key for some accounts was found: a published copy explains that only if it holds answers to them.",
    "account": "A key for one account was found: a published copy explains that only if it holds answers to it.",
}


def causes(source: Source, check: Check | None) -> Section:
    """What else could explain a finding, or why one may be missing."""
    rows: tuple[tuple[str, str], ...]
    if not source.found:
        rows = (
            ("Little marked text", "The suspect may have been trained on little of it, or on much besides."),
            ("Other text", "It may have been trained on answers under other keys, from other accounts or other times."),
            ("Rewording", "Answers that were reworded, translated or filtered before training lose their mark."),
            ("Too little data", "A longer look may show what this one could not."),
        )
        return Section("causes", "What else could explain this result", (Facts(rows),))
    rows = (
        ("A public copy", _public(source)),
        (
            "Second hand",
            "Training on another model, or on its text, that was itself trained on the provider's answers.",
        ),
        *(() if isinstance(source.plan.suspect, Weights) else (("Passing on", PASSING),)),
        ("Quotation", _quotation(source)),
        LEAKED_PAIRS if source.plan.paired else LEAKED_KEY,
    )
    acts = tuple((act, ", ".join(groups), _said(check, act, groups)) for act, groups in DISHONESTY)
    table = Table("What a dishonest provider could do", ("act", "steps that speak to it", "this report"), acts)
    return Section("causes", "What else could explain this result", (Facts(rows), table))


def _said(check: Check | None, act: str, groups: Sequence[str]) -> str:
    remark = REMARKS.get(act)
    return spoken(check, groups) + (f"; {remark}" if remark else "")


def _public(source: Source) -> str:
    if source.plan.hypothesis == "accounts":
        return "A named account may itself have published what it was served: training on that copy names it."
    if source.plan.paired:
        return "Training on a published copy of the served answers would give the same result."
    parts = [outcome.path.split("/") for outcome in source.found]
    channels = dict.fromkeys(part[2] if len(part) > 2 else "" for part in parts)
    return " ".join(text for channel, text in PUBLIC.items() if channel in channels)


def _quotation(source: Source) -> str:
    test, measured = source.plan.test, source.found[0].measured
    if source.plan.paired:
        return "A suspect whose prompts hold the served answers would prefer them."
    if isinstance(test, Closed) and test.prompts and isinstance(measured, MeasuredClosed):
        n = measured.n_dropped.get("copied_from_prompt", 0)
        return (
            f"Answers can repeat marked prompts. What could be copied from its own prompt was left out ({n:,} tokens)."
        )
    counts = isinstance(test, ClosedReference | Open) and test.prompt_windows == "count"
    if counts and isinstance(measured, MeasuredForm) and (measured.served or isinstance(test, ClosedReference)):
        return "Answers can repeat marked prompts. What stood in its own prompt before was left out."
    return "Answers can repeat marked prompts. This test left nothing out, and assumes that no prompt held marked text."


def limits() -> Section:
    """What no result of this kind says."""
    return Section("limits", "Limits", (Items(LIMITS),))

"""Page one: what was asked."""

from __future__ import annotations

from typing import Final

from verify.measured import MeasuredAccounts, MeasuredTwin
from verify.report.checks import Check
from verify.report.document import Section, Text
from verify.report.source import Source
from verify.report.standing import tossed
from verify.report.words import called, counted

_DRAWN: Final = {
    "serving": "For each of many prompts the provider's model drew two answers, and {coin} decided which was served.",
    "later": "To each of many prompts the provider's model gave an answer that was served, and drew another one later.",
    "both": "The provider has two answers of its model to each of many prompts. Some pairs were drawn together, and "
    "{coin} decided which one was served; of the others, the second was drawn later.",
}


def question(source: Source, check: Check | None) -> Section:
    """The question of the plan's test."""
    plan, name = source.plan, called(source.plan.suspect.name)
    measured = source.outcomes[0].measured
    if isinstance(measured, MeasuredTwin | MeasuredAccounts):
        coin = "a coin" if tossed(source, check) else "the provider says that a coin"
        drawn = _DRAWN[measured.drawn].format(coin=coin)
        text = f"{drawn} Does {name} prefer the served answers to those that never left the provider?"
        if isinstance(measured, MeasuredAccounts):
            m = len(measured.accounts)
            text = (
                f"{drawn} Of {counted(m, 'account')} that were served: whose answers does {name} prefer to their twins?"
            )
    else:
        about = {"open": "the predictions"}.get(plan.hypothesis, "the answers")
        keys = f"the key {called(plan.keys[0].path)}" if len(plan.keys) == 1 else counted(len(plan.keys), "secret key")
        text = (
            f"A secret key left a statistical mark in the words that the provider's model chose. A model trained on "
            f"those answers can take up a trace of it. Do {about} of {name} show the mark of {keys}?"
        )
    return Section("question", "The question", (Text(text),))

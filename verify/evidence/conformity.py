"""Whether what was measured is what the plan says, and no more and no less of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from verify.errors import quoted
from verify.evidence.roles import TOKENIZER
from verify.hypotheses.counted import RULE as COUNTS
from verify.hypotheses.reference import RULE as REFERENCE
from verify.measured import Measured, MeasuredAccounts, MeasuredClosed, MeasuredForm, MeasuredSequential, MeasuredTwin
from verify.plan_parts import Accounts, Closed, ClosedReference, Endpoint, Open, Sequential, Twin
from verify.plans import Plan

Difference = tuple[str, object, object]  # what, found, expected


def differences(plan: Plan, measured: Measured, subjects: Mapping[str, str]) -> Iterator[str]:
    """What a measurement has that the plan does not say, in words.

    Args:
        plan: the plan.
        measured: of one of its keys.
        subjects: SHA-256 of the inputs in hexadecimal, by role.
    """
    for what, found, expected in _compared(plan, measured, subjects):
        if found != expected:
            yield f"{what} is {quoted(found)}, and the plan says {quoted(expected)}"


def _compared(plan: Plan, measured: Measured, subjects: Mapping[str, str]) -> Iterator[Difference]:
    test = plan.test
    for role, stated in plan.inputs.items():
        yield f"the digest of {role}", f"sha256:{subjects.get(role)}", stated
    if TOKENIZER in subjects and not isinstance(test, Twin | Accounts):
        yield "the tokenizer", f"sha256:{subjects[TOKENIZER]}", test.tokenizer
    kinds = {
        Closed: MeasuredClosed if getattr(test, "weights", "distinct") == "distinct" else MeasuredForm,
        ClosedReference: MeasuredForm,
        Open: MeasuredForm,
        Twin: MeasuredTwin,
        Accounts: MeasuredAccounts,
        Sequential: MeasuredSequential,
    }
    if type(measured) is not kinds[type(test)]:
        yield "the kind of measurement", type(measured).__name__, kinds[type(test)].__name__
    elif isinstance(measured, MeasuredClosed) and isinstance(test, Closed):
        yield "the number of answers", measured.n_documents, test.stopping.n
        yield "served", "not_served" in measured.n_dropped, test.served
        decoys = measured.decoys.n if measured.decoys else 0
        yield "the number of decoys", decoys, test.decoys
    elif isinstance(measured, MeasuredForm) and isinstance(test, Closed | ClosedReference | Open):
        yield from _form(measured, test, plan.suspect.name)
    elif isinstance(measured, MeasuredTwin | MeasuredAccounts) and isinstance(test, Twin | Accounts):
        yield "the number of pairs", measured.n_pairs, test.stopping.n
        yield "the reference", measured.reference_model or "none", test.reference
        yield "coins", "recomputed" if measured.coin_key else "stated", test.coins
        if measured.suspect is not None:
            yield "the suspect of the records", measured.suspect, plan.suspect.name
        if isinstance(measured, MeasuredTwin):
            yield "the number of pairs counted", measured.wins + measured.losses + measured.ties, measured.n_pairs
        elif isinstance(test, Accounts):
            yield "the number of accounts", len(measured.accounts), test.accounts
            yield "groups", bool(measured.groups), "groups" in plan.inputs
    elif isinstance(measured, MeasuredSequential) and isinstance(test, Sequential):
        yield from _stopped(measured, test, plan)


def _form(measured: MeasuredForm, test: Closed | ClosedReference | Open, suspect: str) -> Iterator[Difference]:
    yield "the number of texts", measured.n_texts, test.stopping.n
    yield "the tokenizer of the records", measured.tokenizer, test.tokenizer
    if isinstance(test, Closed):
        yield "the rule", measured.rule, COUNTS
    else:
        yield "the rule", measured.rule, test.rule if isinstance(test, Open) else REFERENCE
        yield "the reference", measured.reference_model or "none", test.reference
        yield "served", measured.served, test.served if isinstance(test, Open) else False
        if not (isinstance(test, Open) and test.records == "answers"):  # an endpoint's answers name its model
            yield "the suspect of the records", measured.suspect, suspect


def _stopped(measured: MeasuredSequential, test: Sequential, plan: Plan) -> Iterator[Difference]:
    """Whether an e-process stopped when its rule says: requests that were in flight still add their answers."""
    in_flight = plan.suspect.concurrency - 1 if isinstance(plan.suspect, Endpoint) else 0
    n, budget = measured.n_answers, test.stopping.budget
    if measured.enough_after is None:
        yield "the number of answers without enough evidence", n, budget
    else:
        latest = min(measured.enough_after + in_flight, budget)
        yield "the number of answers after there was enough evidence", min(n, latest), n

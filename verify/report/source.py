"""The evidence file that a report is made of. Normative text: docs/spec/evidence.md.

A report shows what the file states. It does not recompute it, but it refuses a file whose answer contradicts its own
numbers, for nobody should read the answer first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log10
from pathlib import PurePath
from typing import Final

from verify.canonical import read_bytes
from verify.errors import InputError, Refused, quoted
from verify.evidence.envelope import MAX_BYTES, parse_envelope
from verify.evidence.predicate import Decided, Predicate, parse_predicate
from verify.inputs.streams import display_name
from verify.measured import (
    Measured,
    MeasuredAccounts,
    MeasuredClosed,
    MeasuredForm,
    MeasuredSequential,
    MeasuredTwin,
)
from verify.plans import Plan
from verify.report.fields import AccountColumns, Derived, read_derived

ROUNDING: Final = 1.5e-6  # logarithms are written with six decimals, rounded away from what would be strong
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "closed": (MeasuredClosed, MeasuredForm),
    "closed-reference": (MeasuredForm,),
    "open": (MeasuredForm,),
    "twin": (MeasuredTwin,),
    "accounts": (MeasuredAccounts,),
    "sequential": (MeasuredSequential,),
}


@dataclass(frozen=True)
class Outcome:
    """One key's part of the evidence.

    Attributes:
        key: its id.
        path: its path.
        measured: counts and sums.
        derived: what follows.
        test: what the decision says of it.
    """

    key: str
    path: str
    measured: Measured
    derived: Derived
    test: Decided


@dataclass(frozen=True)
class Source:
    """An evidence file, read.

    Attributes:
        file: its name, without folders.
        sha256: of its bytes.
        signer: SHA-256 of the public key that it says it is signed with; not checked.
        subjects: digest of every input by file name.
        predicate: what it states.
        outcomes: of the plan's keys, in its order.
    """

    file: str
    sha256: str
    signer: str
    subjects: Mapping[str, str]
    predicate: Predicate
    outcomes: tuple[Outcome, ...]

    @property
    def plan(self) -> Plan:
        """What was to be done."""
        return self.predicate.plan

    @property
    def exploratory(self) -> bool:
        """Whether the plan was never committed."""
        return self.predicate.exploratory

    @property
    def found(self) -> list[Outcome]:
        """Those that the decision calls found."""
        return [outcome for outcome in self.outcomes if outcome.test.found]

    @property
    def missed(self) -> list[Outcome]:
        """The others."""
        return [outcome for outcome in self.outcomes if not outcome.test.found]


def read_source(path: str) -> Source:
    """The evidence in a file; its signature is not checked.

    Raises:
        InputError: unreadable, not evidence, or parts that do not fit together.
        Refused: an answer that contradicts its own numbers.
    """
    name = display_name(path)
    data = read_bytes(path, MAX_BYTES)
    envelope = parse_envelope(data, name)
    statement = envelope.statement(name)
    predicate = parse_predicate(statement["predicate"], name)
    subjects = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    for holds, what in _fits(predicate, subjects):
        if not holds:
            raise InputError(f"{name}: {what}")
    rows = zip(predicate.plan.keys, predicate.results, predicate.decision.tests, strict=True)
    outcomes = tuple(
        Outcome(
            key.id,
            key.path,
            result.measured,
            read_derived(result.derived, result.measured, f"{name}: results[{i}].derived"),
            test,
        )
        for i, (key, result, test) in enumerate(rows)
    )
    _check_answers(predicate.plan, outcomes, name)
    return Source(PurePath(path).name, hashlib.sha256(data).hexdigest(), envelope.keyid, subjects, predicate, outcomes)


def _fits(predicate: Predicate, subjects: Mapping[str, str]) -> Iterator[tuple[bool, str]]:
    """(whether it holds, what was found and expected) of what one part cannot say of another."""
    plan, names = predicate.plan, [test.name for test in predicate.decision.tests]
    keys = [result.key for result in predicate.results]
    yield keys == [key.id for key in plan.keys], "results, expected one of each key of the plan, in its order"
    yield names == list(plan.own), f"decision.tests is {quoted(names)}, expected the plan's own {quoted(plan.own)}"
    used = sorted(predicate.inputs.values())
    yield used == sorted(subjects), "inputs, expected every subject once, each with its role"
    for i, result in enumerate(predicate.results):
        fits = type(result.measured) in _KINDS[plan.hypothesis]
        yield fits, f"results[{i}] is not of the plan's test, expected {plan.hypothesis}"


def _check_answers(plan: Plan, outcomes: tuple[Outcome, ...], name: str) -> None:
    threshold = log10(plan.alpha)
    for i, outcome in enumerate(outcomes):
        columns = outcome.derived.accounts
        if isinstance(columns, AccountColumns):
            _check_named(plan, outcome.derived, columns, f"{name}: results[{i}].derived")
        stated = (
            (f"decision.tests[{i}]", outcome.test.found, outcome.test.log10_adjusted),
            (f"results[{i}].derived", outcome.derived.found, outcome.derived.log10_p),
        )
        for where, found, value in stated:
            if found != (value <= threshold) and abs(value - threshold) > ROUNDING:
                raise Refused(
                    f"{name}: {where} says found is {str(found).lower()}, and its own number, 10^{value:g}, says "
                    f"otherwise at {plan.alpha:g}",
                    hint="a report of a file that contradicts itself would mislead; see radiolabel check",
                )


def _check_named(plan: Plan, derived: Derived, columns: AccountColumns, where: str) -> None:
    """Refuse names that do not follow from the accounts' own numbers, and a p that is not the smallest of them."""
    fdr = getattr(plan.test, "fdr", "none")
    stated = [("named", derived.named, columns.log10_p_holm, plan.level)]
    stated += [] if fdr == "none" else [("named_fdr", derived.named_fdr, columns.log10_e_bh, float(fdr))]
    for what, names, values, level in stated:
        found, threshold = set(names or ()), log10(level)
        wrong = [
            i for i, v in enumerate(values, 1) if (i in found) != (v <= threshold) and abs(v - threshold) > ROUNDING
        ]
        if wrong:
            raise Refused(
                f"{where}: {what} says otherwise of alias-{wrong[0]} than its own number, at {level:g}",
                hint="a report of a file that contradicts itself would mislead; see radiolabel check",
            )
    if abs(min(columns.log10_p_holm) - derived.log10_p) > ROUNDING:
        raise Refused(
            f"{where}: log10_p is {derived.log10_p:g}, and the smallest of the accounts' is another",
            hint="a report of a file that contradicts itself would mislead; see radiolabel check",
        )

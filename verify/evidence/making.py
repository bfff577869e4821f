"""Carrying out a plan, and writing down what came of it. Normative text: docs/spec/evidence.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from verify.canonical import canonical
from verify.collection_checks import check_answers, read_answers
from verify.commitment_checks import verify_log
from verify.committing import read_raw_lines
from verify.errors import Refused, quoted
from verify.evidence.citations import citations
from verify.evidence.conformity import differences
from verify.evidence.decision import decide
from verify.evidence.deriving import derive
from verify.evidence.envelope import PREDICATE_TYPE, STATEMENT_TYPE
from verify.evidence.folder import digest_of
from verify.evidence.predicate import Commitments, Other, Predicate, Rate, Result, Times, parse_predicate
from verify.evidence.roles import answers_role, check_roles
from verify.measuring.planned import AnyKey, measure
from verify.measuring.progress import Progress, silent
from verify.plan_parts import Accounts, PlannedKey, Twin
from verify.plans import Plan
from verify.register import RegisterEntry, line_of
from watermark import __version__
from watermark.keys import CoinKey, EpochKey, ValueKey

PACKAGES: Final = ("cryptography", "numpy", "scipy", "tokenizers", "msgspec", "rfc8785")


def make(
    plan: Plan,
    files: Mapping[str, str],
    keys: Sequence[ValueKey | CoinKey | EpochKey],
    *,
    register: Sequence[RegisterEntry],
    unrun: Mapping[str, str],
    commitments: Commitments,
    others: Sequence[Other],
    rate: Rate | None,
    made: str,
    progress: Progress = silent,
) -> bytes:
    """Carry out a plan: the Statement, ready to be signed.

    Args:
        plan: with its timestamps; without, the evidence is exploratory.
        files: path by role.
        keys: those of the plan.
        register: lines of the register.
        unrun: reason by digest, of registered plans that were not carried out.
        commitments: of the keys, and of inputs by role.
        others: see `verify.evidence.predicate.Other`.
        rate: see `verify.evidence.predicate.Rate`.
        made: the time, as the maker states it.
        progress: how far the measurement is.

    Raises:
        InputError: malformed inputs, or file names that evidence cannot have.
        Refused: inputs that are not as the plan says, or too few.
    """
    check_roles(plan, files, "inputs")
    names = {role: os.path.basename(path) for role, path in files.items()}
    if len(set(names.values())) != len(names):
        raise Refused(f"two inputs are called {quoted(_twice(names))}, expected different names", hint="rename one")
    before = _digests(files)
    line = line_of(register, plan) if plan.timestamps else None
    if plan.timestamps and line is None:
        raise Refused("the plan has no line in a register, expected the one that it was committed to with --register")
    role = answers_role(plan)
    if role is not None and line is not None:
        for step in check_answers(plan, read_answers(files[role]), line=line):
            if step.outcome == "failed":
                raise Refused(f"{names[role]}: not collected under the plan: {step.name}: {step.reason}")
    for log_role, log in commitments.logs.items():
        if log_role not in files:
            raise Refused(f"a log commitment of {log_role}, expected one of {', '.join(sorted(files))}")
        for step in verify_log(log, (), lines=read_raw_lines(files[log_role])):
            if step.outcome == "failed":
                raise Refused(f"{names[log_role]}: {step.name}: {step.reason}, expected the file of its commitment")
    results = []
    for index, planned in enumerate(plan.keys):
        measured = measure(plan, files, _key(plan, planned, keys), line=line, progress=progress)
        for difference in differences(plan, measured, before):
            raise Refused(difference, hint="evidence is of a plan that was carried out as it says")
        results.append(Result(planned.id, measured, derive(plan, index, measured)))
    if _digests(files) != before:
        raise Refused("an input changed while it was read", hint="take copies that nothing writes to")
    predicate = Predicate(
        plan=plan,
        inputs=names,
        register=tuple(register),
        unrun=dict(unrun),
        commitments=commitments,
        results=tuple(results),
        decision=decide(plan, [result.derived for result in results]),
        others=tuple(others),
        rate=rate,
        citations=citations(plan, [result.measured for result in results]),
        software=software(),
        times=Times(made=made),
    )
    fields = predicate.fields()
    parse_predicate(fields, "evidence")
    return statement({names[role]: before[role] for role in names}, fields)


def statement(subjects: Mapping[str, str], predicate: dict[str, Any]) -> bytes:
    """The Statement of a predicate, canonical.

    Args:
        subjects: SHA-256 in hexadecimal by file name.
        predicate: its fields.
    """
    whole = {
        "_type": STATEMENT_TYPE,
        "predicateType": PREDICATE_TYPE,
        "subject": [{"digest": {"sha256": subjects[name]}, "name": name} for name in sorted(subjects)],
        "predicate": predicate,
    }
    return canonical(whole, "evidence")


def software() -> dict[str, str]:
    """What computes here, by name."""
    found = {"radiolabel": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _digests(files: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for role, path in files.items():
        digest = digest_of(os.path.dirname(path) or ".", os.path.basename(path))
        if digest is None:
            raise Refused(f"{role}: {quoted(path)} does not exist, expected a regular file")
        found[role] = digest
    return found


def _key(plan: Plan, planned: PlannedKey, keys: Sequence[ValueKey | CoinKey | EpochKey]) -> AnyKey | None:
    """The disclosed key that a plan's key is, or None where its test needs none.

    Raises:
        Refused: it is not among those given.
    """
    if isinstance(plan.test, Twin | Accounts):
        if plan.test.coins == "stated":
            return None
        for key in keys:
            if isinstance(key, EpochKey) and key.id == planned.id:
                return key.coin_key()
            if isinstance(key, CoinKey) and key.path == f"{planned.path}/coin":
                return key
    for key in keys:
        if isinstance(key, ValueKey) and key.id == planned.id:
            return key
    raise Refused(f"no key has the id {planned.id[:16]}... of {planned.path}, expected its file with --key")


def _twice(names: Mapping[str, str]) -> str:
    values = list(names.values())
    return next(name for name in values if values.count(name) > 1)

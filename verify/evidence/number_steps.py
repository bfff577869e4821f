"""Steps about the numbers, and the words that follow from them. Normative text: docs/spec/evidence.md, section 9."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import msgspec

from verify.canonical import digest
from verify.errors import Error, InputError
from verify.evidence.case import Case
from verify.evidence.citations import citations
from verify.evidence.conformity import differences
from verify.evidence.decision import decide
from verify.evidence.envelope import read_envelope
from verify.evidence.equality import difference, measurements
from verify.evidence.folder import digest_of
from verify.evidence.predicate import Other, parse_predicate
from verify.evidence.roles import roles
from verify.measuring.planned import AnyKey, measure
from verify.plan_parts import Accounts, PlannedKey, Twin
from verify.steps import Step
from watermark.errors import Error as WatermarkError
from watermark.keys import CoinKey, ValueKey

_INPUTS: Final = "every input is the one that was signed"
_KEYS: Final = "the disclosed keys are the plan's"
_MEASURED: Final = "the counts and sums follow from the inputs and the keys"
_STOPPING: Final = "what was done is what the plan says"
_DERIVED: Final = "p-values, intervals and sentences follow from the counts and sums"
_DECISION: Final = "the decision follows the plan"
_OTHERS: Final = "the other evidence files say what is said of them"


def steps(case: Case) -> Iterator[tuple[str, Step]]:
    """All of this module, in order."""
    yield "inputs", _inputs(case)
    yield "keys", _keys(case)
    yield "measured", _measured(case)
    yield "stopping", _stopping(case)
    yield "derived", _derived(case)
    yield "decision", _decision(case)
    yield "others", _others(case)


def _inputs(case: Case) -> Step:
    given = case.given
    if given.wrong:
        return Step(_INPUTS, "failed", given.wrong[0])
    if given.missing:
        return Step.open(_INPUTS, f"{len(given.paths)} are, and these were not given: {', '.join(given.missing)}")
    return Step(_INPUTS, "ok", f"{len(given.paths)} files; that they are what the suspect gave is asserted")


def _key_of(case: Case, planned: PlannedKey) -> AnyKey | None:
    if case.predicate.plan.paired:
        path = f"{planned.path}/coin"
        return next((k for k in case.keys if isinstance(k, CoinKey) and k.path == path), None)
    return next((k for k in case.keys if isinstance(k, ValueKey) and k.id == planned.id), None)


def _keys(case: Case) -> Step:
    plan = case.predicate.plan
    found = [key for key in (_key_of(case, planned) for planned in plan.keys) if key is not None]
    known = {key.id for key in found}
    stray = [key for key in case.keys if key.id not in known]
    if stray:
        return Step(_KEYS, "failed", f"{stray[0].path} with id {stray[0].id[:16]}... is none of them")
    if isinstance(plan.test, Twin | Accounts) and plan.test.coins == "stated":
        return Step.open(_KEYS, "the plan takes the coins as they are stated: that nobody chose them is asserted")
    if len(found) < len(plan.keys):
        return Step.open(_KEYS, f"{len(found)} of {len(plan.keys)} were disclosed")
    coins = {key.id for key in found if isinstance(key, CoinKey)}
    stated = {getattr(result.measured, "coin_key", None) for result in case.predicate.results} - {None}
    if coins != (stated if coins else set()):
        return Step(_KEYS, "failed", "the node of coins is another than the one that was used")
    return Step(_KEYS, "ok", ", ".join(f"{key.path}, id {key.id[:16]}..." for key in found[:3]))


def _measured(case: Case) -> Step:
    plan = case.predicate.plan
    if case.given.wrong:
        return Step.open(_MEASURED, "an input is not the one that was signed")
    lacking = roles(plan)[0] - set(case.given.paths)
    if lacking:
        return Step.open(_MEASURED, f"these were not given: {', '.join(sorted(lacking))}")
    needs_key = not (isinstance(plan.test, Twin | Accounts) and plan.test.coins == "stated")
    for planned, result in zip(plan.keys, case.predicate.results, strict=True):
        key = _key_of(case, planned)
        if key is None and needs_key:
            return Step.open(_MEASURED, f"{planned.path} was not disclosed")
        try:
            found = measure(plan, case.given.paths, key, line=case.line, progress=case.progress)
        except (Error, WatermarkError) as error:
            return Step(_MEASURED, "failed", str(error))
        wrong = measurements(result.measured, found)
        if wrong is not None:
            return Step(_MEASURED, "failed", f"{planned.path}: {wrong}")
    changed = _changed(case)
    if changed:
        return Step(_MEASURED, "failed", f"{changed} changed while it was read")
    return Step(_MEASURED, "ok", f"computed again, {len(plan.keys)} of {len(plan.keys)} equal to the last digit")


def _changed(case: Case) -> str | None:
    for role, path in case.given.paths.items():
        name = os.path.basename(path)
        try:
            same = digest_of(os.path.dirname(path), name) == case.subjects[name]
        except InputError:
            same = False
        if not same:
            return role
    return None


def _stopping(case: Case) -> Step:
    for planned, result in zip(case.predicate.plan.keys, case.predicate.results, strict=True):
        for wrong in differences(case.predicate.plan, result.measured, case.digests()):
            return Step(_STOPPING, "failed", f"{planned.path}: {wrong}")
    return Step(_STOPPING, "ok", "answers, tokenizer, reference and options are the plan's")


def _derived(case: Case) -> Step:
    try:
        derived = case.derived
    except (Error, WatermarkError) as error:
        return Step(_DERIVED, "failed", str(error))
    for index, (result, follows) in enumerate(zip(case.predicate.results, derived, strict=True)):
        wrong = difference(result.derived, follows, f"results[{index}].derived")
        if wrong is not None:
            return Step(_DERIVED, "failed", wrong)
    return Step(_DERIVED, "ok", f"{len(case.predicate.results)} results, equal to the last digit")


def _decision(case: Case) -> Step:
    predicate = case.predicate
    try:
        decided = decide(predicate.plan, case.derived)
    except (Error, WatermarkError) as error:
        return Step(_DECISION, "failed", str(error))
    wrong = difference(msgspec.to_builtins(predicate.decision), msgspec.to_builtins(decided), "decision")
    if wrong is None and predicate.citations != citations(predicate.plan, [r.measured for r in predicate.results]):
        wrong = "citations: others follow"
    if wrong is not None:
        return Step(_DECISION, "failed", wrong)
    here, family = len(predicate.plan.own), len(predicate.plan.family.tests)
    rest = "" if here == family else f"; {family - here} tests of the family are not here, and count with p = 1"
    return Step(_DECISION, "ok", f"{predicate.decision.sentence}{rest}")


def _others(case: Case) -> Step:
    others = case.predicate.others
    if not others:
        return Step.open(_OTHERS, "there are none")
    registered = {entry.plan for entry in case.predicate.register}
    mine = {key.id for key in case.predicate.plan.keys}
    missing = []
    for other in others:
        if case.predicate.register and not other.exploratory and other.plan not in registered:
            return Step(_OTHERS, "failed", f"the plan of {other.file} is not in the register")
        if other.plan == case.predicate.plan.digest:
            return Step(_OTHERS, "failed", f"{other.file} is of this plan: it was carried out twice")
        if other.control and other.suspect == case.predicate.plan.suspect.name:
            return Step(_OTHERS, "failed", f"{other.file} is called a control, and it is of the suspect")
        if other.control and other.hypothesis != case.predicate.plan.hypothesis:
            return Step(_OTHERS, "failed", f"{other.file} is called a control, and it is of another test")
        try:
            found = None if case.folder is None else digest_of(case.folder, other.file)
            if found is None or case.folder is None:
                missing.append(other.file)
            else:
                _check_other(other, os.path.join(case.folder, other.file), found, case, mine)
        except Error as error:
            return Step(_OTHERS, "failed", f"{other.file}: {error}")
    if missing:
        return Step.open(_OTHERS, f"these were not given: {', '.join(missing[:5])}")
    controls = sum(other.control for other in others)
    asserted = f"; that {controls} are on models that never saw marked text is asserted" if controls else ""
    return Step(_OTHERS, "ok", f"{len(others)} files, signed by the same; check each by itself{asserted}")


def _check_other(other: Other, path: str, found: str, case: Case, keys: set[str]) -> None:
    """Raise for the first thing that is not as said."""
    if found != other.sha256:
        raise InputError(f"its digest is {found[:16]}..., and {other.sha256[:16]}... was signed")
    envelope = read_envelope(path)
    if not envelope.verify(bytes.fromhex(case.policy.signer)):
        raise InputError("it is not signed by the policy's signer")
    said = parse_predicate(envelope.statement(other.file)["predicate"], other.file)
    if digest(envelope.to_json()).removeprefix("sha256:") != found:
        raise InputError("it changed while it was read")
    if other.control and keys.isdisjoint(key.id for key in said.plan.keys):
        raise InputError("a control, and it is under other keys")
    if other.control and said.plan.alpha < case.predicate.plan.alpha:
        raise InputError("a control, and it was tested at a stricter level")
    stated = (said.plan.digest, said.plan.suspect.name, said.plan.hypothesis, said.exploratory, said.decision.tests)
    if stated != (other.plan, other.suspect, other.hypothesis, other.exploratory, other.tests):
        raise InputError("it says something else")

"""The numbered steps that check an evidence file, offline. Normative text: docs/spec/evidence.md, section 9.

1. envelope, signature, fields: it is one file of this kind, signed by whom the policy names.
2. plan, register, drawer, collection, before: what was fixed before looking, and that nothing waits in a drawer.
3. master, epoch, slot, log, release: that keys and logs were fixed before the suspect came out.
4. inputs, keys, measured: that the numbers are those of the inputs under the disclosed keys.
5. stopping, derived, decision, others: that the words follow from the numbers.

Nothing raises for a lie. What cannot be shown is "not checked", and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from verify.errors import Error, InputError
from verify.evidence import number_steps, record_steps
from verify.evidence.case import Case
from verify.evidence.envelope import parse_envelope
from verify.evidence.policy import Policy
from verify.evidence.predicate import parse_predicate
from verify.evidence.roles import check_roles
from verify.measuring.progress import Progress, silent
from verify.steps import Step, failed
from watermark.errors import Error as WatermarkError
from watermark.keys import CoinKey, ValueKey


@dataclass(frozen=True)
class Checked:
    """A step and its id."""

    id: str
    step: Step


def check(
    data: bytes,
    policy: Policy,
    *,
    name: str,
    folder: str | None = None,
    keys: Sequence[ValueKey | CoinKey] = (),
    progress: Progress = silent,
) -> list[Checked]:
    """Go through all steps, or to the one after which there is nothing to look at.

    Args:
        data: the whole file.
        policy: what is trusted.
        name: what errors call the file.
        folder: where inputs and other evidence files lie.
        keys: disclosed.
        progress: how far the measurement is.
    """
    steps: list[Checked] = []
    try:
        for checked in _steps(data, policy, name, folder, keys, progress):
            steps.append(checked)
    except (Error, WatermarkError) as error:  # no step lets one through; if one ever does, it is no "ok"
        steps.append(Checked("fields", Step("the file can be checked to its end", "failed", str(error))))
    return steps


def accepted(steps: Sequence[Checked], policy: Policy) -> bool:
    """Whether no step failed, and all that the policy requires are ok."""
    fine = {checked.id for checked in steps if checked.step.outcome == "ok"}
    return bool(steps) and not failed([checked.step for checked in steps]) and fine.issuperset(policy.required)


def _steps(
    data: bytes, policy: Policy, name: str, folder: str | None, keys: Sequence[ValueKey | CoinKey], progress: Progress
) -> Iterator[Checked]:
    what = "the file is a signed statement of this kind, in its one spelling"
    try:
        envelope = parse_envelope(data, name)
        statement = envelope.statement(name)
    except InputError as error:
        yield Checked("envelope", Step(what, "failed", str(error)))
        return
    yield Checked("envelope", Step(what, "ok", f"{len(data)} bytes"))
    what, holds = "the policy's signer signed it", envelope.verify(bytes.fromhex(policy.signer))
    other = f"key {envelope.keyid[:16]}... is another, or the signature is not of this payload"
    yield Checked("signature", Step.of(what, holds, f"Ed25519, key {envelope.keyid[:16]}...", other))
    if not holds:
        return
    what = "every field is of its type, and known"
    try:
        predicate = parse_predicate(statement["predicate"], name)
        subjects = {s["name"]: s["digest"]["sha256"] for s in statement["subject"]}
        _fit(predicate.inputs, subjects)
        check_roles(predicate.plan, predicate.inputs, "inputs")
        if [r.key for r in predicate.results] != [k.id for k in predicate.plan.keys]:
            raise InputError("results, expected one for each of the plan's keys, in its order")
        roots = policy.certificates()
    except InputError as error:
        yield Checked("fields", Step(what, "failed", str(error)))
        return
    unknown = ", ".join(sorted(predicate.unknown))
    if unknown:
        yield Checked("fields", Step.open(what, f"of another version, and not looked at: {unknown[:200]}"))
    else:
        yield Checked("fields", Step(what, "ok", f"{len(subjects)} inputs, {len(predicate.results)} results"))
    case = Case(predicate, subjects, policy, tuple(roots), folder, tuple(keys), progress)
    for part in (record_steps.steps, number_steps.steps):
        for id_, step in part(case):
            yield Checked(id_, step)


def _fit(inputs: dict[str, str], subjects: dict[str, str]) -> None:
    if sorted(inputs.values()) != sorted(subjects):
        raise InputError("inputs, expected every subject to have exactly one role")

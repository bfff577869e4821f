"""Steps about what was fixed, when, and before what. Normative text: docs/spec/evidence.md, section 9."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from verify import commitment_checks as commitments
from verify.collecting.settings import digest_of
from verify.collection_checks import IN_ORDER, NONCES, SETTINGS, check_answers, read_answers
from verify.commitments import EpochCommitment, LogCommitment
from verify.committing import read_raw_lines
from verify.errors import Error
from verify.evidence.case import Case
from verify.evidence.roles import ASKED, SERVED, answers_role
from verify.inputs import read_prompts
from verify.plan_parts import Endpoint, PlannedKey
from verify.register import check_register
from verify.steps import Step
from watermark.keys import CoinKey, ValueKey

Steps = Iterator[tuple[str, Step]]

REGISTER_STEPS: Final = 6
COLLECTION_STEPS: Final = 7
_DRAWER: Final = "every registered plan has its result here, or a reason why not"
_FAMILY: Final = "no other plan on this suspect or under these keys is outside the family"
_BEFORE: Final = "the plan came before the outputs"
_KEYS_BEFORE: Final = "the keys were committed before the suspect came out"
_LOGS_BEFORE: Final = "the logs were committed before the suspect came out"
_PROMPTS: Final = "the prompts are those of the plan"


def steps(case: Case) -> Steps:
    """All of this module, in order."""
    yield "plan", case.plan_stamp[0]
    yield from _numbered("register", _register(case))
    yield "drawer", _drawer(case)
    yield "family", _family(case)
    collected = list(_collection(case))
    yield from _numbered("collection", collected)
    yield "before", _before(case, collected)
    yield from _master_and_epoch(case)
    yield from _numbered("slot", _slots(case))
    yield from _numbered("log", _logs(case))
    yield "release.keys", _keys_released(case)
    yield "release.logs", _logs_released(case)


def _numbered(name: str, found: list[Step]) -> Steps:
    for number, step in enumerate(found, 1):
        yield f"{name}.{number}", step


def _register(case: Case) -> list[Step]:
    entries = case.predicate.register
    if not entries:
        return [Step.open("the plan stands in a register", "there is none")] * (0 if case.predicate.exploratory else 1)
    found = check_register(entries, case.roots, plan=case.predicate.plan, when=case.plan_stamp[1])
    return found[:REGISTER_STEPS]


def _drawer(case: Case) -> Step:
    predicate = case.predicate
    if not predicate.register:
        return Step.open(_DRAWER, "no register is in the file")
    known = {predicate.plan.digest} | {other.plan for other in predicate.others}
    stray = set(predicate.unrun) - {entry.plan for entry in predicate.register}
    if stray:
        return Step(_DRAWER, "failed", f"a reason is given for {min(stray)[:23]}..., which is not in the register")
    lost = [entry for entry in predicate.register if entry.plan not in known and entry.plan not in predicate.unrun]
    if lost:
        return Step(_DRAWER, "failed", f"number {lost[0].number} ({lost[0].plan[:23]}...) has neither")
    unrun = [entry.number for entry in predicate.register if entry.plan not in known]
    if unrun:
        numbers = ", ".join(map(str, unrun[:10])) + (", ..." if len(unrun) > 10 else "")
        return Step.open(_DRAWER, f"of {len(predicate.register)} plans, number {numbers}: the reason is asserted")
    return Step(_DRAWER, "ok", f"{len(predicate.register)} plans")


def _family(case: Case) -> Step:
    """Other tests on this suspect or under these keys: found in one of many separate plans, p means little."""
    predicate = case.predicate
    mine, accused = {key.id for key in predicate.plan.keys}, predicate.plan.suspect.name
    own = set(predicate.plan.family.tests) - set(predicate.plan.own)  # another plan of the same name is another test
    keys = {entry.plan: entry.keys for entry in predicate.register}
    beside = {
        other.plan: other
        for other in predicate.others
        if (not other.control or other.suspect == accused) and not {test.name for test in other.tests} <= own
    }
    outside = {plan for plan, other in beside.items() if other.suspect == accused}
    inside = {other.plan for other in predicate.others if other.plan not in beside} | {predicate.plan.digest}
    outside |= {plan for plan, ids in keys.items() if plan not in inside and not mine.isdisjoint(ids)}
    if outside:
        return Step.open(_FAMILY, f"{len(outside)} are, and nobody corrected for them")
    if not predicate.register:
        return Step.open(_FAMILY, "no register is in the file")
    return Step(_FAMILY, "ok", f"{len(predicate.plan.family.tests)} tests in the family")


def _collection(case: Case) -> Iterator[Step]:
    """The seven steps of docs/spec/plan.md, section 4; none if nobody was asked."""
    plan, role = case.predicate.plan, answers_role(case.predicate.plan)
    if role is None:
        return
    path, missing = case.given.paths.get(role), "the answers were not given"
    if case.predicate.exploratory:
        path, missing = None, "exploratory: no order and no nonces follow from a plan that was not committed"
    elif case.line is None:
        path, missing = None, "the plan has no line in the register, from which order and nonces follow"
    if path is None or case.line is None:
        yield Step.open("the answers were asked for under the plan", missing)
        return
    asked, wrong = _asked(case)
    if wrong is not None:
        yield wrong
        return
    try:
        yield from check_answers(plan, read_answers(path), line=case.line, prompts=asked, when=case.registered)
    except Error as error:
        yield Step("the answers were asked for under the plan", "failed", str(error))


def _asked(case: Case) -> tuple[list[str] | None, Step | None]:
    path, suspect = case.given.paths.get(ASKED), case.predicate.plan.suspect
    if path is None or not isinstance(suspect, Endpoint):
        return None, None
    try:
        prompts = read_prompts(path)
    except Error as error:
        return None, Step(_PROMPTS, "failed", str(error))
    found = digest_of(prompts)
    if found != suspect.prompts:
        return None, Step(
            _PROMPTS, "failed", f"their digest is {found[:23]}..., and {suspect.prompts[:23]}... is planned"
        )
    return prompts, None


def _before(case: Case, collected: list[Step]) -> Step:
    plan_step = case.plan_stamp[0]
    if case.predicate.exploratory:
        return Step.open(_BEFORE, "exploratory: nothing was fixed before looking")
    if plan_step.outcome == "failed":
        return Step(_BEFORE, "failed", "the plan's timestamp does not hold")
    if not isinstance(case.predicate.plan.suspect, Endpoint):
        reason = "files do not show when they came to be: that nobody had scored them under these keys is asserted"
        return Step.open(_BEFORE, reason)
    if any(step.outcome == "failed" for step in collected):
        return Step(_BEFORE, "failed", "the answers were not collected under the plan")
    shown = {step.name for step in collected if step.outcome == "ok"}
    if plan_step.outcome != "ok" or case.registered is None or not {SETTINGS, NONCES, IN_ORDER} <= shown:
        return Step.open(_BEFORE, "without the timestamps of plan and line, and the answers, nothing shows it")
    return Step(_BEFORE, "ok", "the answers' order and nonces follow from the timestamp of the plan's line")


def _master_and_epoch(case: Case) -> Steps:
    c, beacon = case.predicate.commitments, case.policy.beacon_bytes()
    if c.master is None:
        yield (
            "master.1",
            Step.open("the master key was committed before the beacon round", "no commitment is in the file"),
        )
    else:
        yield from _numbered("master", commitments.verify_master(c.master, case.roots))
    if c.epoch is None:
        yield "epoch.1", Step.open("the epoch's keys were committed", "no commitment is in the file")
    else:
        found = commitments.verify_epoch(c.epoch, case.roots, master=c.master, beacon_value=beacon)
        yield from _numbered("epoch", found)


def _slots(case: Case) -> list[Step]:
    found: list[Step] = []
    for key in case.predicate.plan.keys:
        found += _coins(case, key) if case.predicate.plan.paired else _slot(case, key)
    proofs, planned = case.predicate.commitments.slots, {key.path for key in case.predicate.plan.keys}
    stray = [proof.path for proof in proofs if proof.path not in planned]
    if stray or len({proof.path for proof in proofs}) != len(proofs):
        found.append(Step("every proof is of one of the plan's keys", "failed", "one is not, or is there twice"))
    return found


def _slot(case: Case, planned: PlannedKey) -> list[Step]:
    plan, epoch = case.predicate.plan, case.predicate.commitments.epoch
    name = f"{planned.path} was among the committed keys"
    proof = next((p for p in case.predicate.commitments.slots if p.path == planned.path), None)
    if proof is None or epoch is None:
        return [Step.open(name, "no proof is in the file" if proof is None else "no epoch commitment is in the file")]
    e = epoch.epoch
    same = proof.id == planned.id and (plan.scheme, plan.width, plan.shares) == (e.scheme, e.width, e.shares)
    first = Step.of(
        name, same, f"id {planned.id[:16]}...", "its id, scheme, width or shares are not the committed ones"
    )
    disclosed = next((k for k in case.keys if isinstance(k, ValueKey) and k.path == planned.path), None)
    return [first, *commitments.verify_slot(proof, epoch, disclosed)]


def _coins(case: Case, planned: PlannedKey) -> list[Step]:
    epoch, name = case.predicate.commitments.epoch, f"{planned.path} is the epoch that was committed"
    if epoch is None:
        return [Step.open(name, "no epoch commitment is in the file")]
    same = (epoch.epoch.path, epoch.epoch_id) == (planned.path, planned.id)
    found = [Step.of(name, same, f"id {planned.id[:16]}...", "its path or id is another")]
    stated = getattr(case.predicate.results[0].measured, "coin_key", None)
    if stated is not None:
        what = "the coins are of the node that was committed"
        found.append(Step.of(what, stated == epoch.coin_id, f"id {stated[:16]}...", f"{epoch.coin_id[:16]}... was"))
    coin = next((k for k in case.keys if isinstance(k, CoinKey)), None)
    return found if coin is None else [*found, commitments.verify_coin(epoch, coin)]


def _logs(case: Case) -> list[Step]:
    found: list[Step] = []
    for role, log in case.predicate.commitments.logs.items():
        if role not in case.predicate.inputs:
            found.append(Step("every log is an input", "failed", f"{role} is none"))
            continue
        path = case.given.paths.get(role)
        lines = None if path is None else read_raw_lines(path)
        try:
            steps = commitments.verify_log(log, case.roots, epoch=case.predicate.commitments.epoch, lines=lines)
        except Error as error:
            steps = [Step("the log can be read", "failed", str(error))]
        found += [Step(f"{role}: {step.name}", step.outcome, step.reason) for step in steps]
    return found


def _keys_released(case: Case) -> Step:
    epoch, plan = case.predicate.commitments.epoch, case.predicate.plan
    if epoch is None:
        return Step.open(_KEYS_BEFORE, "no commitment is in the file")
    proven = {proof.path for proof in case.predicate.commitments.slots} | {epoch.epoch.path}
    # An old commitment says nothing about keys that nobody shows to be in it.
    lacking = [key.path for key in plan.keys if key.path not in proven]
    if lacking:
        return Step.open(_KEYS_BEFORE, f"no proof that {lacking[0]} was among them is in the file")
    return _released(case, _KEYS_BEFORE, [epoch])


def _logs_released(case: Case) -> Step:
    logs = case.predicate.commitments.logs
    # A commitment of another file is no substitute for that of what the provider served.
    lacking = [role for role in SERVED if role in case.predicate.inputs and role not in logs]
    if not logs or lacking:
        of = f" of {lacking[0]}" if lacking else ""
        return Step.open(_LOGS_BEFORE, f"no commitment{of} is in the file")
    return _released(case, _LOGS_BEFORE, list(logs.values()))


def _released(case: Case, name: str, records: Sequence[EpochCommitment | LogCommitment]) -> Step:
    released = case.policy.released_at()
    if released is None:
        return Step.open(name, "the policy does not know when that was")
    latest = []
    for record in records:
        step, when = commitments.stamp(record, case.roots)
        if when is None:
            return Step(name, step.outcome, f"the timestamp: {step.reason}")
        latest.append(when.latest)
    late = max(latest)
    return Step.of(name, late < released, f"by {late}, released {released}", f"by {late}, and released {released}")

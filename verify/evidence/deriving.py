"""From a measurement to what it means, by arithmetic alone. Normative text: docs/spec/evidence.md, section 4."""

from __future__ import annotations

from math import isinf
from typing import Any

from verify import finding, linear_finding, sequential_finding, twin_finding
from verify.accounts import finding as accounts_finding
from verify.accounts.finding import AccountsFinding
from verify.errors import Refused
from verify.finding import Finding
from verify.linear_finding import LinearFinding
from verify.measured import (
    Measured,
    MeasuredAccounts,
    MeasuredClosed,
    MeasuredForm,
    MeasuredSequential,
    MeasuredTwin,
    from_fields,
    rounded,
    to_fields,
)
from verify.plan_parts import Accounts, Closed, ClosedReference, Open, Sequential, Twin
from verify.planned import Planned, UnsafeNoPlan
from verify.plans import Plan
from verify.sequential_finding import SequentialFinding
from verify.tested import Tested
from verify.twin_finding import TwinFinding
from watermark.schemes import parse

AnyFinding = Finding | LinearFinding | TwinFinding | AccountsFinding | SequentialFinding


def conclude(plan: Plan, index: int, measured: Measured) -> AnyFinding:
    """The Finding of one of a plan's keys.

    Args:
        plan: what was to be done.
        index: of the key.
        measured: what was; the numbers that are not integers are taken as evidence writes them.

    Raises:
        InputError: counts that do not add up.
        Refused: a measurement of another test, or too little of it.
    """
    measured = from_fields(to_fields(measured), "measured")
    key, test = plan.keys[index], plan.test
    use = Planned(plan, plan.name) if plan.timestamps else UnsafeNoPlan()
    options = {name: getattr(test, name, None) for name in ("prompt_windows", "token_ids")} | use.options
    if isinstance(test, Twin) and isinstance(measured, MeasuredTwin):
        return twin_finding.conclude(
            measured, missing=test.missing, statistic=test.statistic, alpha=plan.alpha, options=options
        )
    if isinstance(test, Accounts) and isinstance(measured, MeasuredAccounts):
        fdr = None if test.fdr == "none" else test.fdr
        return accounts_finding.conclude(measured, alpha=plan.alpha, level=plan.level, fdr=fdr, options=options)
    tested = None if plan.paired else Tested(key.id, key.path, parse(plan.scheme), plan.width)
    if isinstance(test, Closed) and isinstance(measured, MeasuredClosed) and tested:
        return finding.conclude(measured, tested, alpha=plan.alpha, tokenizer=test.tokenizer, options=options)
    if isinstance(test, Closed | ClosedReference | Open) and isinstance(measured, MeasuredForm) and tested:
        return linear_finding.conclude(measured, tested, alpha=plan.alpha, options=options)
    if isinstance(test, Sequential) and isinstance(measured, MeasuredSequential) and tested:
        return sequential_finding.conclude(measured, tested, alpha=plan.alpha, options=options)
    raise Refused(f"a {plan.hypothesis} plan, and another measurement, expected that of its test")


def derive(plan: Plan, index: int, measured: Measured) -> dict[str, Any]:
    """`derived` of a result; see `conclude`."""
    found = conclude(plan, index, measured)
    names = ["log10_p", "log10_p_stated", "log10_e", "found", "sentence"]
    extra: dict[str, Any] = {"assumptions": list(found.assumptions)}
    if isinstance(found, TwinFinding):
        names += ["log10_p_sign", "win_rate", "smallest_rate"]
        extra["win_low"], extra["win_high"] = found.win_interval
        logs = ("account", "log10_p", "log10_p_holm", "log10_e", "log10_e_bh")
        extra["accounts"] = [{name: getattr(a, name) for name in logs} for a in found.accounts]
    elif isinstance(found, AccountsFinding):
        names += ["named", "smallest_rate"]
        columns = ("log10_p", "log10_p_holm", "log10_e", "log10_e_bh")
        extra["accounts"] = {name: getattr(found.table, name).tolist() for name in columns}
        extra["groups"] = [group.to_dict() for group in found.groups]
        if found.fdr is not None:
            names.append("named_fdr")
    else:
        names.append("excess")
    if isinstance(found, LinearFinding):
        names += ["z", "smallest_excess"]
        extra["estimate_log10_p"] = found.log10_p_estimate
    if isinstance(found, Finding):
        names.append("smallest_share")
        extra["log10_p_decoys"] = found.decoys.log10_p if found.decoys else None
    if isinstance(found, Finding | LinearFinding):
        extra["excess_low"], extra["excess_high"] = found.excess_interval
    fields = {name: getattr(found, name) for name in names} | extra
    kept = {k: v for k, v in fields.items() if v is not None and not (isinstance(v, float) and isinf(v))}
    result: dict[str, Any] = rounded(kept)
    return result

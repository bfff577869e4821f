"""What is fixed before anybody looks, so that nothing that moves the number is chosen after.

Normative text: docs/spec/plan.md. No field has a default: a test needs all of its own fields and takes no others.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

import msgspec

from verify.canonical import canonical, parse_canonical, read_canonical
from verify.errors import InputError, quoted
from verify.inputs.streams import display_name
from verify.plan_parts import (
    PAIRED,
    WITHOUT_REFERENCE,
    Accounts,
    Closed,
    ClosedReference,
    Digest,
    Endpoint,
    Family,
    Name,
    Open,
    PlannedKey,
    Sequential,
    Texts,
    Twin,
    Weights,
)
from verify.stamped import Stamped, convert
from watermark.channels import CHANNELS, LEAF, Shares
from watermark.errors import Error
from watermark.keys import check_name
from watermark.prf import MAX_WIDTH
from watermark.schemes import parse

VERSION: Final = 1
MAX_QUESTIONS: Final = 1 << 20


class Plan(Stamped, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One test, or one test of several keys. The fields are those of docs/spec/plan.md, section 2."""

    what: ClassVar[str] = "plan"
    name: Name
    keys: Annotated[tuple[PlannedKey, ...], msgspec.Meta(min_length=1, max_length=1024)]
    scheme: Name
    width: Annotated[int, msgspec.Meta(ge=1, le=MAX_WIDTH)]
    shares: dict[str, Annotated[int, msgspec.Meta(ge=0)]]
    suspect: Weights | Texts | Endpoint
    test: Closed | ClosedReference | Open | Twin | Accounts | Sequential
    alpha: Annotated[float, msgspec.Meta(gt=0, le=0.5)]
    family: Family
    filters: Annotated[tuple[Name, ...], msgspec.Meta(max_length=64)]
    inputs: dict[Name, Digest]

    @property
    def hypothesis(self) -> str:
        """Which test."""
        return str(self.test.__struct_config__.tag)

    @property
    def paired(self) -> bool:
        """Whether served answers are compared with their twins: its key is an epoch's, for the coins."""
        return isinstance(self.test, PAIRED)

    @property
    def level(self) -> float:
        """Family-wise level of one of the family's tests, whatever the others give (Bonferroni)."""
        return self.alpha / len(self.family.tests)

    @property
    def own(self) -> tuple[str, ...]:
        """The plan's own tests, as the family names them."""
        return (self.name,) if len(self.keys) == 1 else tuple(f"{self.name}: {key.path}" for key in self.keys)

    @property
    def decision(self) -> str:
        """When a test is called found, in words."""
        number = "1/e, for the largest e-value so far," if self.hypothesis == "sequential" else "p"
        family, m = self.family, len(self.family.tests)
        if family.correction == "none":
            corrected = ""
        elif family.correction == "e-bh":
            number, corrected = "the smallest false discovery rate at which e-BH names it", f", over {m} tests"
        else:
            method = {"holm": "Holm", "bh": "Benjamini and Hochberg"}[family.correction]
            corrected = f", corrected after {method} for {m} tests"
        found = f"{', '.join(self.own)}: found if {number}{corrected} is at most {self.alpha:g}"
        if not isinstance(self.test, Accounts):
            return found
        n, fdr = self.test.accounts, self.test.fdr
        named = f"; an account is named if its own p, after Holm for {n:,} accounts, is at most {self.level:g}"
        return found + named + ("" if fdr == "none" else f", and at a false discovery rate of {fdr:g} by e-BH")

    def fields(self) -> dict[str, Any]:
        """The object of the file."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return {"radiolabel": self.what, "version": VERSION} | fields

    def to_json(self) -> bytes:
        """The whole file.

        Raises:
            InputError: a plan that a reader would refuse.
        """
        data = canonical(self.fields(), self.what) + b"\n"
        parse_plan(parse_canonical(data, self.what), self.what)
        return data


def read_plan(path: str) -> Plan:
    """The plan in a file.

    Raises:
        InputError: unreadable, not a plan, of another version, not canonical, or fields that do not fit together.
    """
    return parse_plan(read_canonical(path), display_name(path))


def parse_plan(value: dict[str, Any], name: str) -> Plan:
    """Check a decoded object; see `read_plan`."""
    if value.get("radiolabel") != "plan":
        raise InputError(f"{name}: radiolabel is {quoted(value.get('radiolabel'))}, expected 'plan'")
    plan: Plan = convert(value, name, "plan", Plan, VERSION)
    plan.check_tokens(name)
    _check_keys(plan, name)
    for holds, what in _fits(plan):
        if not holds:
            raise InputError(f"{name}: {what}")
    return plan


def _check_keys(plan: Plan, name: str) -> None:
    try:
        shares = Shares.from_mapping(plan.shares)
        known = parse(plan.scheme).spec == plan.scheme and shares.mapping() == plan.shares
        for key in plan.keys:
            kind, _, rest = key.path.partition("/")
            parts = rest.split("/")
            known = known and kind == "epoch" and all(map(check_name, parts))
            if plan.paired:
                known = known and len(parts) == 1 == len(plan.keys)
            else:
                channel = parts[1] if len(parts) > 1 else ""
                known = known and channel in CHANNELS[:LEAF] and channel in plan.shares
                known = known and len(parts) == (2 if channel == "fleet" else 3)
    except Error as error:
        raise InputError(f"{name}: {error}", hint=error.hint) from None
    if not known:
        expected = "one epoch key" if plan.paired else "value keys of channels with a share"
        raise InputError(f"{name}: keys, scheme or shares, expected {expected}, in canonical form")


def _already(plan: Plan) -> list[str]:
    """Inputs that are there before anybody looks, so that the plan fixes which they are."""
    test, found = plan.test, isinstance(plan.suspect, Texts)
    if plan.paired:
        return ["pairs", *(["answers"] if found else [])]
    if isinstance(test, ClosedReference) or (isinstance(test, Open) and test.records == "predictions"):
        return ["texts"]
    if isinstance(test, Closed):
        return [*(["input"] if found else []), *(["served"] if test.served else [])]
    return []


def _fits(plan: Plan) -> list[tuple[bool, str]]:
    """(whether it holds, what was found and expected) of all that types cannot say."""
    test, suspect, tests = plan.test, plan.suspect, plan.family.tests
    asked = suspect if isinstance(suspect, Endpoint) else None
    n = test.stopping.budget if isinstance(test, Sequential) else test.stopping.n
    rules = [
        (len({key.id for key in plan.keys}) == len(plan.keys), "a key is there twice, expected different keys"),
        (len(set(tests)) == len(tests), "a test of the family is there twice, expected different names"),
        (set(plan.own) <= set(tests), f"the family lacks a test of this plan, expected {quoted(plan.own)} in it"),
        ((plan.family.correction == "none") == (len(tests) == 1),
         f"correction is {plan.family.correction} for {len(tests)} tests, expected none for one and else another"),
        (set(plan.inputs) <= set(test.inputs), f"inputs, expected no names but {quoted(test.inputs)}"),
        (asked is None or n == asked.n_questions,
         f"the test stops at {n} answers, and {asked.n_questions if asked else 0} are asked for, expected the same"),
        (asked is None or n <= MAX_QUESTIONS, f"{n} questions, expected at most {MAX_QUESTIONS}"),
    ]  # fmt: skip
    if isinstance(test, Closed):
        without, counts = test.served or test.weights == "counts", test.weights == "counts"
        rules.append((not (without and test.decoys), "decoys, expected 0 with served or counts: there are none"))
        rules.append((not (test.served and counts), "served with counts, expected one or neither"))
    if isinstance(test, Open):
        without = test.rule in WITHOUT_REFERENCE
        rules.append(((test.reference == "none") == without,
                      f"rule is {test.rule} and reference is {quoted(test.reference)}, expected "
                      + ("'none'" if without else "a reference model")))  # fmt: skip
        rules.append((asked is None or (test.records == "answers" and asked.logprobs != "none"),
                      "an open test of an endpoint, expected records that are answers with logprobs"))  # fmt: skip
        rules.append((not isinstance(suspect, Texts), "an open test of found texts, expected weights or an endpoint"))
        rules.append((test.records == "predictions" or not test.served, "answers that were served, expected one"))
    if isinstance(test, ClosedReference):
        rules.append((asked is None, "a reference and an endpoint, expected found texts or weights"))
    if isinstance(test, Twin):
        rules.append((test.statistic == "sign" or plan.family.correction != "e-bh",
                      "ranks with e-bh, expected signs: the e-value is of them"))  # fmt: skip
    if isinstance(test, Accounts):
        rules.append((plan.family.correction in ("none", "holm"),
                      f"correction is {plan.family.correction}, expected none or holm for accounts"))  # fmt: skip
    if isinstance(test, Twin | Accounts):
        likely = test.scores == "likelihoods"
        rules.append((not likely or isinstance(suspect, Weights), "scores is likelihoods, expected weights"))
        rules.append((likely or test.reference == "none", f"scores is {test.scores}, expected reference 'none'"))
    if isinstance(test, Sequential):
        rules.append((asked is not None, "a sequential test, expected a suspect that is an endpoint"))
    rules += [(role in plan.inputs, f"inputs lack {role}, expected its digest: it is there already")
              for role in _already(plan)]  # fmt: skip
    return rules

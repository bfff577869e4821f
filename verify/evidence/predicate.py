"""What an evidence file says. Normative text: docs/spec/evidence.md, sections 3 to 7.

`Predicate` is the whole of it, every part in its own type; fields that this version does not know are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import msgspec

from verify import measured
from verify.beacons import time_of
from verify.canonical import canonical
from verify.commitments import EpochCommitment, LogCommitment, MasterCommitment, SlotInclusion, parse_record
from verify.errors import InputError, quoted
from verify.evidence.envelope import FileName
from verify.measured import Measured
from verify.plan_parts import Count, Digest, Hex32, Name, Positive
from verify.plans import Plan, parse_plan
from verify.register import RegisterEntry, parse_entry

_Role = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{1,20}\Z")]
_Long = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
_Log = Annotated[float, msgspec.Meta(ge=-1e12, le=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Time = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a predicate."""


class Decided(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One test after the correction of its family."""

    name: _Long
    found: bool
    log10_adjusted: _Log


class Decision(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the plan decides; see `verify.evidence.decision`."""

    tests: tuple[Decided, ...]
    sentence: str


class Other(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What another evidence file says, of a model tested under one of the same keys."""

    file: FileName
    sha256: Hex32
    plan: Digest
    suspect: Name
    hypothesis: Name
    control: bool
    exploratory: bool
    tests: tuple[Decided, ...]


class Rate(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often the method accused innocent models where that was measured."""

    method: _Long
    hypothesis: Literal["closed", "closed-reference", "open", "twin", "accounts", "sequential"]
    n_trials: Positive
    n_accused: Count
    n_independent: Positive
    alpha: Annotated[float, msgspec.Meta(gt=0, le=0.5)]
    low: _Share
    high: _Share
    source: _Long

    def check(self, where: str) -> None:
        """Refuse counts that cannot be."""
        if not (self.n_accused <= self.n_trials and self.n_independent <= self.n_trials and self.low <= self.high):
            raise InputError(f"{where}: counts or interval, expected some that can be")


class Times(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The one field in which two runs over the same inputs differ."""

    made: _Time


class _Result(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    key: Hex32
    measured: dict[str, Any]
    derived: dict[str, Any]


class _Commitments(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    master: dict[str, Any] | None = None
    epoch: dict[str, Any] | None = None
    slots: Annotated[tuple[dict[str, Any], ...], msgspec.Meta(max_length=1024)]
    logs: dict[_Role, dict[str, Any]]


class _Fields(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    plan: dict[str, Any]
    inputs: dict[_Role, FileName]
    register: tuple[dict[str, Any], ...]
    unrun: dict[Digest, _Long]
    commitments: _Commitments
    results: Annotated[tuple[_Result, ...], msgspec.Meta(min_length=1, max_length=1024)]
    decision: Decision
    others: Annotated[tuple[Other, ...], msgspec.Meta(max_length=1024)]
    rate: Rate | None = None
    citations: tuple[_Long, ...]
    software: dict[Name, Name]
    times: Times


KNOWN: Final = frozenset(_Fields.__struct_fields__)


@dataclass(frozen=True)
class Result:
    """One key: what was measured, and what follows.

    Attributes:
        key: id.
        measured: takes inputs and key.
        derived: follows from it and the plan; see `verify.evidence.deriving`.
    """

    key: str
    measured: Measured
    derived: dict[str, Any]

    def fields(self) -> dict[str, Any]:
        """The object of the file."""
        return {"key": self.key, "measured": measured.to_fields(self.measured), "derived": self.derived}


@dataclass(frozen=True)
class Commitments:
    """What shows when keys and logs were fixed.

    Attributes:
        master: commitment, or None.
        epoch: commitment, or None.
        slots: inclusion proofs of the plan's keys.
        logs: commitments of inputs, by role.
    """

    master: MasterCommitment | None = None
    epoch: EpochCommitment | None = None
    slots: tuple[SlotInclusion, ...] = ()
    logs: dict[str, LogCommitment] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        """The object of the file."""
        found: dict[str, Any] = {"slots": [s.fields() for s in self.slots]}
        found["logs"] = {role: c.fields() for role, c in self.logs.items()}
        found |= {name: c.fields() for name, c in (("master", self.master), ("epoch", self.epoch)) if c is not None}
        return found


@dataclass(frozen=True, kw_only=True)
class Predicate:
    """An evidence file's content; the fields are those of docs/spec/evidence.md, section 3.

    Attributes:
        unknown: fields of another version, kept as they are.
    """

    plan: Plan
    inputs: dict[str, str]
    register: tuple[RegisterEntry, ...]
    unrun: dict[str, str]
    commitments: Commitments
    results: tuple[Result, ...]
    decision: Decision
    others: tuple[Other, ...]
    rate: Rate | None
    citations: tuple[str, ...]
    software: dict[str, str]
    times: Times
    unknown: dict[str, Any] = field(default_factory=dict)

    @property
    def exploratory(self) -> bool:
        """Whether the plan was never committed."""
        return not self.plan.timestamps

    def fields(self) -> dict[str, Any]:
        """The object of the file."""
        found: dict[str, Any] = {
            "plan": self.plan.fields(),
            "inputs": self.inputs,
            "register": [entry.fields() for entry in self.register],
            "unrun": self.unrun,
            "commitments": self.commitments.fields(),
            "results": [r.fields() for r in self.results],
            "decision": msgspec.to_builtins(self.decision),
            "others": msgspec.to_builtins(self.others),
            "citations": list(self.citations),
            "software": self.software,
            "times": msgspec.to_builtins(self.times),
        }
        found |= {} if self.rate is None else {"rate": msgspec.to_builtins(self.rate)}
        return self.unknown | found


def parse_predicate(value: dict[str, Any], name: str) -> Predicate:
    """Check a decoded object.

    Args:
        value: the Statement's predicate.
        name: what errors call the file.

    Raises:
        InputError: a field that is missing or of another type, or, below the first level, unknown; parts that are not
            in their one spelling; counts that do not add up.
    """
    where = f"{name}: predicate"
    unknown = {k: v for k, v in value.items() if k not in KNOWN}
    try:
        raw = msgspec.convert({k: v for k, v in value.items() if k in KNOWN}, _Fields)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`", "")
        raise InputError(f"{where}: not valid: {reason[:1].lower()}{reason[1:]}") from None
    try:
        time_of(raw.times.made)
    except InputError as error:
        raise InputError(f"{where}: times: {error}") from None
    if raw.rate is not None:
        raw.rate.check(f"{where}: rate")
    files, digests = {other.file for other in raw.others}, {other.sha256 for other in raw.others}
    if not len(files) == len(digests) == len(raw.others):  # counted twice, one innocent model looks like two
        raise InputError(f"{where}: others has a file twice, expected each once")
    found = Predicate(
        plan=parse_plan(raw.plan, f"{where}: plan"),
        inputs=raw.inputs,
        register=tuple(parse_entry(v, f"{where}: register[{i}]") for i, v in enumerate(raw.register)),
        unrun=raw.unrun,
        commitments=_commitments(raw.commitments, f"{where}: commitments"),
        results=tuple(
            Result(r.key, measured.from_fields(r.measured, f"{where}: results[{i}].measured"), r.derived)
            for i, r in enumerate(raw.results)
        ),
        decision=raw.decision,
        others=raw.others,
        rate=raw.rate,
        citations=raw.citations,
        software=raw.software,
        times=raw.times,
        unknown=unknown,
    )
    if canonical(found.fields(), where) != canonical(value, where):
        raise InputError(f"{where}: a field is null or a number is written with more than 6 decimals")
    return found


def _commitments(raw: _Commitments, where: str) -> Commitments:
    def record(value: dict[str, Any] | None, kind: Any, what: str) -> Any:
        if value is None:
            return None
        found = parse_record(value, f"{where}.{what}")
        if not isinstance(found, kind):
            raise InputError(f"{where}.{what} is of kind {quoted(value.get('kind'))}, expected another")
        return found

    return Commitments(
        master=record(raw.master, MasterCommitment, "master"),
        epoch=record(raw.epoch, EpochCommitment, "epoch"),
        slots=tuple(record(v, SlotInclusion, f"slots[{i}]") for i, v in enumerate(raw.slots)),
        logs={role: record(v, LogCommitment, f"logs.{role}") for role, v in raw.logs.items()},
    )

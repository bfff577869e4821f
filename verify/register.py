"""The register of every plan that was committed under a key. Normative text: docs/spec/plan.md, section 3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Annotated, Any, ClassVar, Final

import msgspec

from verify.canonical import MAX_BYTES, canonical, digest, parse_canonical
from verify.commitment_checks import stamp
from verify.errors import InputError, Refused, quoted
from verify.inputs.streams import display_name
from verify.plan_parts import Count, Digest, Hex32
from verify.plans import Plan
from verify.stamped import MAX_TOKENS, Stamped, convert
from verify.steps import Step, failed
from verify.timestamps import Timestamp

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

VERSION: Final = 1
FIRST: Final = "sha256:" + "0" * 64


class RegisterEntry(Stamped, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line: a plan, and the line before.

    Attributes:
        number: from 0.
        previous: digest of the line before.
        plan: digest of the plan.
        keys: ids, in the plan's order.
        plan_tokens: digests of the plan's timestamp tokens, in its order.
    """

    what: ClassVar[str] = "registered"
    number: Count
    previous: Digest
    plan: Digest
    keys: Annotated[tuple[Hex32, ...], msgspec.Meta(min_length=1, max_length=1024)]
    plan_tokens: Annotated[tuple[Digest, ...], msgspec.Meta(min_length=1, max_length=MAX_TOKENS)]

    def fields(self) -> dict[str, Any]:
        """The object of the line."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return {"radiolabel": self.what, "version": VERSION} | fields

    def to_json(self) -> bytes:
        """The whole line."""
        return canonical(self.fields(), self.what) + b"\n"

    @property
    def head(self) -> str:
        """What the next line names: digest of this one with its timestamps."""
        return digest(self.to_json()[:-1])


def next_entry(entries: Sequence[RegisterEntry], plan: Plan) -> RegisterEntry:
    """The line of a plan, without timestamps of its own.

    Args:
        entries: so far.
        plan: with its timestamps.

    Raises:
        Refused: a plan that is registered.
    """
    known = next((entry.number for entry in entries if entry.plan == plan.digest), None)
    if known is not None:
        raise Refused(f"the plan is registered already, as number {known}, expected one that is not")
    return RegisterEntry(
        number=len(entries),
        previous=entries[-1].head if entries else FIRST,
        plan=plan.digest,
        keys=tuple(key.id for key in plan.keys),
        plan_tokens=tuple(map(digest, plan.tokens())),
    )


def line_of(entries: Sequence[RegisterEntry], plan: Plan) -> RegisterEntry | None:
    """The line of a plan, or None."""
    return next((entry for entry in entries if entry.plan == plan.digest), None)


def read_register(path: str) -> list[RegisterEntry]:
    """The lines of a register; whether they are a chain is for `check_register`.

    Raises:
        InputError: unreadable, or a line that is none.
    """
    name = display_name(path)
    try:
        with open(path, "rb") as file:
            return list(entries_in(file, name))
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{name}: cannot be read: {str(reason).lower()}, expected a readable file") from None


def entries_in(file: IO[bytes], name: str) -> Iterator[RegisterEntry]:
    """The lines of an open register; see `read_register`."""
    number = 0
    while line := file.readline(MAX_BYTES + 1):
        number += 1
        where = f"{name}:{number}"
        yield parse_entry(parse_canonical(line, where), where)


def parse_entry(value: dict[str, Any], where: str) -> RegisterEntry:
    """Check a decoded object.

    Raises:
        InputError: not a line of a register.
    """
    if value.get("radiolabel") != RegisterEntry.what:
        raise InputError(f"{where}: radiolabel is {quoted(value.get('radiolabel'))}, expected 'registered'")
    entry: RegisterEntry = convert(value, where, RegisterEntry.what, RegisterEntry, VERSION)
    entry.check_tokens(where)
    return entry


def check_register(
    entries: Sequence[RegisterEntry],
    roots: Sequence[Certificate],
    *,
    plan: Plan | None = None,
    when: Timestamp | None = None,
) -> list[Step]:
    """The numbered steps of docs/spec/plan.md, section 3.

    Args:
        entries: of the register.
        roots: certificates that are trusted.
        plan: to be looked up.
        when: the plan's timestamp, if it holds.
    """
    stamped, times = _stamps(entries, roots)
    steps = [*chain(entries), stamped, _forward(times)]
    if plan is None:
        return steps
    name = "the plan is registered, with its keys and timestamps"
    entry = line_of(entries, plan)
    if entry is None:
        return [*steps, Step(name, "failed", f"none of {len(entries)} entries is of {plan.digest}")]
    same = (entry.keys, entry.plan_tokens) == (tuple(k.id for k in plan.keys), tuple(map(digest, plan.tokens())))
    mine = set(entry.keys)
    shared = sum(not mine.isdisjoint(other.keys) for other in entries)
    place = f"number {entry.number} of {len(entries)}, of which {shared} under its keys"
    steps.append(Step.of(name, same, place, f"{place} has other keys or timestamps"))
    name = "the plan was timestamped before it was registered"
    if when is None or not times or failed(steps):
        return [*steps, Step.open(name, "there are no timestamps that hold")]
    registered = times[entry.number]
    holds = when.time - when.accuracy <= registered.latest
    return [*steps, Step.of(name, holds, f"registered {registered}", f"{when}, and registered {registered}")]


def chain(entries: Sequence[RegisterEntry]) -> list[Step]:
    """Is nothing missing, exchanged or there twice? The first two steps."""
    name, previous, wrong = "the lines are numbered, and each names the one before", FIRST, ""
    for number, entry in enumerate(entries):
        if (entry.number, entry.previous) != (number, previous):
            wrong = f"line {number + 1} does not follow the one before it"
            break
        previous = entry.head
    chained = Step.of(name, not wrong, f"{len(entries)} lines, head {previous}", wrong)
    once = len({entry.plan for entry in entries}) == len(entries)
    return [chained, Step.of("no plan is registered twice", once, f"{len(entries)} plans", "a plan is there twice")]


def _stamps(entries: Sequence[RegisterEntry], roots: Sequence[Certificate]) -> tuple[Step, list[Timestamp]]:
    name, times = "every line has timestamps by trusted authorities", []
    for number, entry in enumerate(entries, 1):
        step, when = stamp(entry, roots, name=name)
        if not entry.timestamps:
            return Step(name, "failed", f"line {number} has none"), []
        if when is None:
            return (Step(name, step.outcome, f"line {number}: {step.reason}") if roots else step), []
        times.append(when)
    return Step.of(name, bool(times), f"the last {times[-1]}" if times else "", "there is no line"), times


def _forward(times: Sequence[Timestamp]) -> Step:
    name = "the lines' times do not run backwards"
    if not times:
        return Step.open(name, "there are no timestamps that hold")
    reached = times[0].time - times[0].accuracy
    for number, when in enumerate(times, 1):
        if when.latest < reached:
            return Step(name, "failed", f"line {number} is of {when}, and one before it of a later time")
        reached = max(reached, when.time - when.accuracy)
    return Step(name, "ok", f"{times[0]} to {times[-1]}")

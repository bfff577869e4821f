"""The numbered steps that check commitments and inclusion proofs. Pure, without a network; nothing raises for a lie.

Normative text: docs/spec/commitment.md. What only the master key could show is "not checked", and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from verify.beacons import round_time, time_of
from verify.commitments import (
    EpochCommitment,
    LineInclusion,
    LogCommitment,
    MasterCommitment,
    SlotInclusion,
)
from verify.errors import Error, InputError, quoted
from verify.merkle import tree_of
from verify.stamped import Stamped
from verify.steps import Step
from verify.timestamps import Timestamp, check_token
from watermark.keys import CoinKey, ValueKey

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

STAMPED: Final = "every timestamp is of this commitment and by a trusted authority"
GIVEN: Final = "the commitment that it names is the one given"


def stamp(record: Stamped, roots: Sequence[Certificate], *, name: str = STAMPED) -> tuple[Step, Timestamp | None]:
    """Check all timestamps: (step, the earliest of them, or None if they do not hold).

    Args:
        record: whose.
        roots: certificates that are trusted; none given is none checked.
        name: of the step.
    """
    if not record.timestamps:
        return Step.open(name, "it has none: when it was made is asserted"), None
    if not roots:
        return Step.open(name, "no certificates of timestamp authorities were given"), None
    digest = bytes.fromhex(record.digest.removeprefix("sha256:"))
    found: list[Timestamp] = []
    for index, token in enumerate(record.tokens()):
        try:
            found.append(check_token(token, digest, roots))
        except Error as error:
            return Step(name, "failed", f"timestamp {index + 1}: {error}"), None
    earliest = min(found, key=lambda t: t.latest)
    return Step(name, "ok", str(earliest)), earliest


def verify_master(c: MasterCommitment, roots: Sequence[Certificate]) -> list[Step]:
    """Was the master, and how the epoch would be derived, fixed before the beacon was known?"""
    stamped, when = stamp(c, roots)
    name = "the beacon round comes when the commitment says"
    try:
        limit, scheduled = time_of(c.beacon.not_before), round_time(c.beacon.network, c.beacon.round)
    except InputError as error:
        return [stamped, Step(name, "failed", str(error))]
    round_ = f"round {c.beacon.round} of {c.beacon.network}"
    if scheduled is None:
        schedule = Step.open(name, f"the schedule of {c.beacon.network} is not known here: {limit} is asserted")
    else:
        schedule = Step.of(name, scheduled == limit, f"{round_} comes at {limit}", f"{round_} comes at {scheduled}")
    name = "the commitment came before the beacon round"
    if when is None:
        return [stamped, schedule, Step.open(name, "there is no timestamp that holds")]
    before = Step.of(name, when.latest < limit, f"by {when.latest}", f"by {when.latest}, and the round is at {limit}")
    return [stamped, schedule, before]


def verify_epoch(
    c: EpochCommitment,
    roots: Sequence[Certificate],
    *,
    master: MasterCommitment | None = None,
    beacon_value: bytes | None = None,
) -> list[Step]:
    """Were an epoch's keys fixed as the master commitment announced them?

    Args:
        c: the epoch's commitment.
        roots: certificates that are trusted.
        master: the master's commitment; its own steps are `verify_master`.
        beacon_value: of the round, as the checker got it from the network.
    """
    steps = []
    stamped, when = stamp(c, roots)
    steps.append(stamped)
    announced, after = "the epoch is the one that was announced", "the commitment came after the beacon round"
    if master is None:
        steps += [Step.open(name, "no master commitment was given") for name in (GIVEN, announced, after)]
    else:
        same = master.digest == c.master
        steps.append(Step.of(GIVEN, same, c.master, f"it names {c.master}, and {master.digest} was given"))
        steps.append(Step.of(announced, c.epoch == master.epoch, c.epoch.path, "path, parameters or slots differ"))
        steps.append(_after(after, master, when))
    name = "the beacon value is the round's"
    if beacon_value is None:
        steps.append(Step.open(name, f"{c.beacon_value[:16]}... is asserted: look the round up"))
    else:
        held = beacon_value.hex() == c.beacon_value
        steps.append(Step.of(name, held, "as given", f"{c.beacon_value[:16]}..., given {beacon_value.hex()[:16]}..."))
    steps.append(Step.open("the epoch key comes from the master and the beacon", "takes the master key: asserted"))
    return steps


def verify_slot(p: SlotInclusion, c: EpochCommitment, key: ValueKey | None) -> list[Step]:
    """Is this the value key that was committed for its slot?

    Args:
        p: the proof.
        c: the epoch's commitment; its own steps are `verify_epoch`.
        key: the disclosed value key.
    """
    steps = _place(p, c)
    name = "the slot is the one at this index"
    expected = c.epoch.path_of(p.index) if p.index < c.size else "none"
    steps.append(Step.of(name, p.path == expected, p.path, f"{quoted(p.path)}, and that of {p.index} is {expected}"))
    steps.append(_leads(p, c.root, p.leaf, c.size))
    name = "the disclosed key is the slot's"
    if key is None:
        return [*steps, Step.open(name, "no value key was given")]
    d, e = key.deployment, c.epoch
    if key.path != p.path:
        return [*steps, Step(name, "failed", f"it is {key.path}")]
    if (d.scheme.spec, d.width, d.shares.mapping()) != (e.scheme, e.width, e.shares):
        return [*steps, Step(name, "failed", "its scheme, width or shares are not those of the commitment")]
    other = f"its id is {key.id[:16]}..., and the slot's is {p.id[:16]}..."
    return [*steps, Step.of(name, key.id == p.id, f"id {key.id[:16]}... computed from it", other)]


def verify_log(
    c: LogCommitment,
    roots: Sequence[Certificate],
    *,
    epoch: EpochCommitment | None = None,
    lines: Iterable[bytes] | None = None,
) -> list[Step]:
    """Is this the log that was committed?

    Args:
        c: the log's commitment.
        roots: certificates that are trusted.
        epoch: the commitment of the epoch that served.
        lines: of the whole log.
    """
    steps = [stamp(c, roots)[0]]
    if c.epoch is None or epoch is None:
        missing = "it names none" if c.epoch is None else "no epoch commitment was given"
        steps.append(Step.open(GIVEN, missing))
    else:
        same = epoch.digest == c.epoch
        steps.append(Step.of(GIVEN, same, c.epoch, f"it names {c.epoch}, and {epoch.digest} was given"))
    name = "the log's lines are the ones committed"
    if lines is None:
        return [*steps, Step.open(name, "the whole log was not given")]
    tree = tree_of(lines)
    holds = tree.size == c.size and tree.root().hex() == c.root
    return [*steps, Step.of(name, holds, f"{c.size} lines", f"{tree.size} lines, or others, expected {c.size}")]


def verify_line(p: LineInclusion, c: LogCommitment, line: bytes) -> list[Step]:
    """Did this line stand in the log?"""
    return [*_place(p, c), _leads(p, c.root, line, c.size)]


def verify_coin(c: EpochCommitment, key: CoinKey) -> Step:
    """Is this the node that the epoch's coins come from?"""
    holds = (key.path, key.id) == (f"{c.epoch.path}/coin", c.coin_id)
    other = f"its id is {key.id[:16]}..., and {c.coin_id[:16]}... was committed"
    return Step.of("the disclosed coin node is the epoch's", holds, f"id {key.id[:16]}... computed from it", other)


def _after(name: str, master: MasterCommitment, when: Timestamp | None) -> Step:
    if when is None:
        return Step.open(name, "there is no timestamp that holds")
    try:
        limit = time_of(master.beacon.not_before)
    except InputError as error:
        return Step(name, "failed", str(error))
    return Step.of(name, when.latest >= limit, f"by {when.latest}", f"by {when.latest}, and the round is at {limit}")


def _place(p: SlotInclusion | LineInclusion, c: EpochCommitment | LogCommitment) -> list[Step]:
    return [Step.of(GIVEN, p.commitment == c.digest, c.digest, f"it names {p.commitment}, and {c.digest} was given")]


def _leads(p: SlotInclusion | LineInclusion, root: str, leaf: bytes, size: int) -> Step:
    holds = p.size == size and p.against(root).holds(leaf)
    return Step.of("the siblings lead to the root", holds, f"leaf {p.index} of {size}", "they do not")

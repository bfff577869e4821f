"""Making commitments and inclusion proofs from keys and logs. Normative text: docs/spec/commitment.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from verify.commitments import (
    EpochCommitment,
    LineInclusion,
    LogCommitment,
    MasterCommitment,
    SlotInclusion,
)
from verify.errors import InputError, Refused, quoted
from verify.inputs.streams import display_name, open_stream
from verify.merkle import Inclusion, Tree, tree_of
from verify.slots import Epoch, slot_leaf
from watermark.keys import EpochKey
from watermark.prf import PRF_ID

MAX_LINE_BYTES: Final = 256 << 20


def epoch_of(key: EpochKey, *, cohorts: int, accounts: int) -> Epoch:
    """What is public about an epoch key.

    Args:
        key: the epoch's.
        cohorts: see `Epoch`.
        accounts: see `Epoch`.
    """
    d = key.deployment
    return Epoch(
        path=key.path,
        prf=PRF_ID,
        scheme=d.scheme.spec,
        width=d.width,
        shares=d.shares.mapping(),
        cohorts=cohorts,
        accounts=accounts,
    )


def commit_epoch(key: EpochKey, master: MasterCommitment, beacon_value: bytes) -> EpochCommitment:
    """Commit every slot of an epoch.

    Args:
        key: derived as the master commitment says, with the beacon value.
        master: the master's commitment.
        beacon_value: what the round gave.

    Raises:
        Refused: a key of another epoch than the one that was announced.
    """
    epoch = epoch_of(key, cohorts=master.epoch.cohorts, accounts=master.epoch.accounts)
    if epoch != master.epoch:
        raise Refused(f"{key.path} is not as the master commitment announces it, expected the same parameters")
    return EpochCommitment(
        master=master.digest,
        beacon_value=beacon_value.hex(),
        epoch=epoch,
        epoch_id=key.id,
        coin_id=key.coin_key().id,
        size=epoch.size,
        root=tree_of(_leaves(key, epoch)).root().hex(),
    )


def prove_slot(key: EpochKey, commitment: EpochCommitment, path: str) -> SlotInclusion:
    """Show one slot of an epoch.

    Args:
        key: the epoch's.
        commitment: the epoch's.
        path: of the slot.

    Raises:
        Refused: a slot that was not committed, another epoch's key, or a commitment that is not of this key.
    """
    epoch = commitment.epoch
    index = epoch.index_of(path)
    if index is None:
        raise Refused(
            f"{quoted(path)} is no slot of the commitment, expected a path below {epoch.path}",
            hint=f"it has {epoch.cohorts} cohorts and {epoch.accounts} accounts, counted from 0",
        )
    inclusion = tree_of(_leaves(key, epoch), watch=index).inclusion() if key.id == commitment.epoch_id else None
    if inclusion is None or inclusion.root.hex() != commitment.root:
        raise Refused(
            f"the commitment is not of this epoch key, expected the one with id {commitment.epoch_id[:16]}..."
        )
    place = _place(commitment.digest, inclusion)
    return SlotInclusion(**place, path=path, id=key.value_key(*epoch.slot(index)).id)


def commit_log(path: str, epoch: EpochCommitment | None = None) -> LogCommitment:
    """Commit every line of a file.

    Args:
        path: of the file, or "-"; gzip and zstd are recognized.
        epoch: the commitment of the epoch that served, if any.

    Raises:
        InputError: an unreadable or empty file, or a line that is too long.
    """
    tree, first, line = Tree(), None, b""
    for line in read_raw_lines(path):
        first = line if first is None else first
        tree.add(line)
    if first is None:
        raise InputError(f"{display_name(path)}: empty file, expected at least one line")
    ordinals = _ordinal(first), _ordinal(line)
    begin, end = ordinals if None not in ordinals else (None, None)
    served = None if epoch is None else epoch.digest
    return LogCommitment(epoch=served, size=tree.size, root=tree.root().hex(), first=begin, last=end)


def prove_line(path: str, commitment: LogCommitment, index: int) -> LineInclusion:
    """Show one line of a log.

    Args:
        path: of the log.
        commitment: the log's.
        index: of the line, from 0.

    Raises:
        Refused: a line that was not committed, or another log.
    """
    if not 0 <= index < commitment.size:
        raise Refused(f"line {index + 1} is none of the commitment's, expected 1 to {commitment.size}")
    tree = tree_of(read_raw_lines(path), watch=index)
    if tree.size != commitment.size or tree.root().hex() != commitment.root:
        raise Refused(f"{display_name(path)}: not the file of the commitment, or changed since")
    return LineInclusion(**_place(commitment.digest, tree.inclusion()))


def read_raw_lines(path: str) -> Iterator[bytes]:
    """The lines of a file without their ends, decompressed.

    Raises:
        InputError: an unreadable file, or a line of more than `MAX_LINE_BYTES`.
    """
    with open_stream(path) as stream:
        while line := stream.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"{display_name(path)}: a line is longer than {MAX_LINE_BYTES} bytes")
            yield line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else line


def _leaves(key: EpochKey, epoch: Epoch) -> Iterable[bytes]:
    for channel, slot in epoch.slots():
        value = key.value_key(channel, slot)
        yield slot_leaf(value.path, value.id)


def _place(commitment: str, found: Inclusion) -> dict[str, Any]:
    siblings = tuple(s.hex() for s in found.siblings)
    return {"commitment": commitment, "index": found.index, "size": found.size, "siblings": siblings}


def _ordinal(line: bytes) -> int | None:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    ordinal = value.get("ordinal") if isinstance(value, dict) else None
    return ordinal if type(ordinal) is int and 0 <= ordinal < 1 << 53 else None

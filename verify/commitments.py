"""What is fixed before it is used, and the proofs that something was among it. Normative text: docs/spec/commitment.md.

Nothing in a record is secret. `verify.committing` makes them, `verify.commitment_checks` checks them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

import msgspec

from verify.beacons import Beacon
from verify.canonical import canonical, parse_canonical, read_canonical
from verify.errors import InputError, quoted
from verify.merkle import Inclusion
from verify.slots import Epoch, Text, slot_leaf
from verify.stamped import Stamped, convert

VERSION: Final = 1

_Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    what: ClassVar[str]

    def fields(self) -> dict[str, Any]:
        """The object of the file."""
        own = msgspec.to_builtins(self)
        return {"radiolabel": self.what, "version": VERSION} | {k: v for k, v in own.items() if v is not None}

    def to_json(self) -> bytes:
        """The whole file.

        Raises:
            InputError: a value that a reader would refuse.
        """
        data = canonical(self.fields(), self.what) + b"\n"
        _record(parse_canonical(data, self.what), self.what, self.what)
        return data

    def _check(self, where: str) -> None:
        """Refuse what types cannot."""


class _Commitment(_Record, Stamped, frozen=True, kw_only=True, forbid_unknown_fields=True):
    what: ClassVar[str] = "commitment"

    def _check(self, where: str) -> None:
        self.check_tokens(where)


class MasterCommitment(_Commitment, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="master"):
    """A master key, what it will derive, and the round of public randomness that it will be derived with.

    Attributes:
        master_id: public id.
        epoch: what will be derived.
        beacon: the round.
    """

    master_id: _Hex32
    epoch: Epoch
    beacon: Beacon

    def _check(self, where: str) -> None:
        super()._check(where)
        self.epoch.check(f"{where}: epoch")


class EpochCommitment(_Commitment, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="epoch"):
    """Every value key of an epoch.

    Attributes:
        master: digest of the master commitment.
        beacon_value: hexadecimal.
        epoch: as in the master commitment.
        epoch_id: public id of the epoch key.
        coin_id: public id of the node of its coins.
        size: number of slots.
        root: of their tree.
    """

    master: _Digest
    beacon_value: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){1,1024}\Z")]
    epoch: Epoch
    epoch_id: _Hex32
    coin_id: _Hex32
    size: _Count
    root: _Hex32

    def _check(self, where: str) -> None:
        super()._check(where)
        self.epoch.check(f"{where}: epoch")
        if self.size != self.epoch.size:
            raise InputError(f"{where}: size is {self.size}, expected one leaf for each of {self.epoch.size} slots")


class LogCommitment(_Commitment, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="log"):
    """Every line of a file.

    Attributes:
        epoch: digest of the commitment of the epoch that served, or None.
        size: number of lines.
        root: of their tree.
        first: ordinal of the first line, or None.
        last: ordinal of the last line, or None.
    """

    epoch: _Digest | None = None
    size: Annotated[int, msgspec.Meta(ge=1, le=(1 << 53) - 1)]
    root: _Hex32
    first: _Count | None = None
    last: _Count | None = None

    def _check(self, where: str) -> None:
        super()._check(where)
        if (self.first is None) != (self.last is None):
            raise InputError(f"{where}: first and last, expected both or neither")


class _Inclusion(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    what: ClassVar[str] = "inclusion"
    commitment: _Digest
    index: _Count
    size: _Count
    siblings: Annotated[tuple[_Hex32, ...], msgspec.Meta(max_length=64)]

    def against(self, root: str) -> Inclusion:
        """The place in a tree with this root."""
        return Inclusion(self.size, bytes.fromhex(root), self.index, tuple(map(bytes.fromhex, self.siblings)))


class SlotInclusion(_Inclusion, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="slot"):
    """One slot of an epoch, without the others.

    Attributes:
        commitment: digest of the epoch's commitment.
        index: of the leaf.
        size: of the tree.
        siblings: from the leaf up.
        path: of the slot.
        id: public id of its value key.
    """

    path: Text
    id: _Hex32

    @property
    def leaf(self) -> bytes:
        """What the tree holds."""
        return slot_leaf(self.path, self.id)


class LineInclusion(_Inclusion, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="line"):
    """One line of a log, without the others; see `SlotInclusion`."""


Commitment = MasterCommitment | EpochCommitment | LogCommitment
Record = Commitment | SlotInclusion | LineInclusion

_KINDS: Final[dict[str, Any]] = {"commitment": Commitment, "inclusion": SlotInclusion | LineInclusion}


def read_record(path: str) -> Record:
    """The commitment or inclusion proof in a file.

    Raises:
        InputError: unreadable, not one of these, of another version, not canonical, or something that cannot be.
    """
    from verify.inputs.streams import display_name

    return parse_record(read_canonical(path), display_name(path))


def parse_record(value: dict[str, Any], name: str) -> Record:
    """Check a decoded object; see `read_record`."""
    what = value.get("radiolabel")
    if not isinstance(what, str) or what not in _KINDS:
        raise InputError(f"{name}: radiolabel is {quoted(what)}, expected 'commitment' or 'inclusion'")
    return _record(value, name, what)


def _record(value: dict[str, Any], name: str, what: str) -> Record:
    record: Record = convert(value, name, what, _KINDS[what], VERSION)
    record._check(name)
    return record

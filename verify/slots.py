"""An epoch's key slots, in the order of their tree. Normative text: docs/spec/commitment.md, section 4."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec

from verify.canonical import canonical
from verify.errors import InputError, quoted
from watermark.channels import CHANNELS, LEAF, Shares
from watermark.errors import Error
from watermark.keys import check_name
from watermark.prf import MAX_WIDTH
from watermark.schemes import parse

MAX_SLOTS: Final = 1 << 24

Text = Annotated[str, msgspec.Meta(max_length=200)]
_Slots = Annotated[int, msgspec.Meta(ge=0, le=MAX_SLOTS)]


class Epoch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An epoch as it will be, or was, derived.

    Attributes:
        path: `epoch/NAME`.
        prf: the PRF's id.
        scheme: spec string.
        width: h.
        shares: parts per million of the channels that have any.
        cohorts: number of cohort slots.
        accounts: number of account slots.
    """

    path: Text
    prf: Literal["aes128-v1"]
    scheme: Text
    width: Annotated[int, msgspec.Meta(ge=1, le=MAX_WIDTH)]
    shares: dict[str, Annotated[int, msgspec.Meta(ge=0)]]
    cohorts: _Slots
    accounts: _Slots

    def check(self, where: str) -> None:
        """Refuse what no epoch can be.

        Raises:
            InputError: a path, scheme or share that is not, or not in canonical form; a wrong number of slots.
        """
        try:
            kind, _, name = self.path.partition("/")
            known = kind == "epoch" and check_name(name) and parse(self.scheme).spec == self.scheme
            known = known and Shares.from_mapping(self.shares).mapping() == self.shares
        except Error as error:
            raise InputError(f"{where}: {error}", hint=error.hint) from None
        if not known:
            raise InputError(f"{where}: path, scheme or shares are not in their canonical form")
        for channel, n in (("cohort", self.cohorts), ("account", self.accounts)):
            if (n == 0) != (channel not in self.shares) or n & (n - 1):
                expected = "a power of two" if channel in self.shares else "0, since the channel has no share"
                raise InputError(f"{where}: {channel}s is {n}, expected {expected}")
        if self.size == 0:
            raise InputError(f"{where}: shares is {quoted(self.shares)}, expected a channel that has keys of its own")

    @property
    def size(self) -> int:
        """Number of slots."""
        return ("fleet" in self.shares) + self.cohorts + self.accounts

    def slot(self, index: int) -> tuple[str, str]:
        """(channel, slot name) of a leaf, in the order of the tree."""
        for channel, n in zip(CHANNELS[:LEAF], ("fleet" in self.shares, self.cohorts, self.accounts), strict=True):
            if index < n:
                return channel, "" if channel == "fleet" else str(index)
            index -= n
        raise IndexError(index)

    def slots(self) -> Iterator[tuple[str, str]]:
        """All of them in order."""
        return map(self.slot, range(self.size))

    def index_of(self, path: str) -> int | None:
        """The leaf of a path, or None if it is no slot."""
        last = path.rpartition("/")[2]
        number = int(last) if re.fullmatch("[0-9]{1,8}", last) else 0
        fleet = "fleet" in self.shares
        places = (0, fleet + number, fleet + self.cohorts + number)
        return next((i for i in places if i < self.size and self.path_of(i) == path), None)

    def path_of(self, index: int) -> str:
        """The path of a leaf."""
        return "/".join((self.path, *filter(None, self.slot(index))))


def slot_leaf(path: str, key_id: str) -> bytes:
    """What an epoch's tree holds for one value key."""
    return canonical({"id": key_id, "path": path})

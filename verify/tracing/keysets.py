"""The keys that a trace looks at: those of one epoch and one channel that share its selector.

A window's channel follows from the selector, so that all keys of a set score the same pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from verify.errors import InputError, Refused, quoted
from watermark.errors import KeyFileError
from watermark.keyfile import read_key
from watermark.keys import EpochKey, ValueKey, check_name
from watermark.secret import Secret

MAX_KEYS: Final = 1 << 24
MAX_SLOTS_BYTES: Final = 1 << 30


@dataclass(frozen=True, eq=False)
class KeySet:
    """Keys of one channel of one epoch, derived when they are asked for.

    Attributes:
        epoch: such as `epoch/2026-q4`.
        channel: `account` or `cohort`.
        slots: (K,) whose keys they are.
        any_key: any key of the set: its selector says which windows belong to the channel, its deployment how they
            were marked.
    """

    epoch: str
    channel: str
    slots: tuple[str, ...]
    any_key: ValueKey
    _source: EpochKey | tuple[Secret, ...]

    def __len__(self) -> int:
        return len(self.slots)

    def path(self, index: int) -> str:
        """Such as `epoch/2026-q4/account/17`."""
        return f"{self.epoch}/{self.channel}/{self.slots[index]}"

    def keys(self, start: int, stop: int) -> Iterator[Secret]:
        """The value keys of `slots[start:stop]`."""
        if isinstance(self._source, EpochKey):
            return self._source.channel_keys(self.channel, self.slots[start:stop])
        return iter(self._source[start:stop])


def of_epoch(epoch: EpochKey, channel: str, slots: tuple[str, ...]) -> KeySet:
    """The keys of an epoch's slots.

    Raises:
        InputError: no slot, or one that is there twice.
        KeyFileError: the channel has no share in the epoch.
    """
    _check_slots(slots, epoch.path)
    return KeySet(epoch.path, channel, slots, epoch.value_key(channel, slots[0]), epoch)


def of_directory(folder: str, channel: str) -> list[KeySet]:
    """The value keys of a channel among a folder's `*.key` files, by epoch; other kinds and channels are passed over.

    Raises:
        InputError: no such file, or a folder that cannot be read.
        KeyFileError: a file that is no key file.
        Refused: two files of one slot, or keys of one epoch that do not share selector and deployment.
    """
    try:
        files = sorted(p for p in Path(folder).iterdir() if p.name.endswith(".key"))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}, expected a folder of key files") from None
    found: dict[str, list[ValueKey]] = {}
    for file in files:
        key = read_key(file)
        if isinstance(key, ValueKey) and key.channel == channel:
            found.setdefault(key.path.rsplit("/", 2)[0], []).append(key)
    if not found:
        raise InputError(
            f"{folder}: no value key of the {channel} channel among {len(files)} key files",
            hint="derive them with radiolabel key derive, or name the epoch key and --slots",
        )
    return [_of_values(epoch, channel, keys) for epoch, keys in sorted(found.items())]


def _of_values(epoch: str, channel: str, keys: list[ValueKey]) -> KeySet:
    first = keys[0]
    for key in keys:
        if key.selector != first.selector or key.deployment != first.deployment:
            raise Refused(
                f"{key.path} and {first.path} have another selector or deployment, expected one in an epoch",
                hint="were the epochs of the two derived with other options? Trace each by itself",
            )
    slots = tuple(key.path.rsplit("/", 1)[1] for key in keys)
    _check_slots(slots, epoch)
    return KeySet(epoch, channel, slots, first, tuple(key.value for key in keys))


def read_slots(spec: str) -> tuple[str, ...]:
    """Slots from a number N, which means 0 to N - 1, or from a file with one a line.

    Raises:
        InputError: neither, or a name that cannot be a slot.
    """
    if spec.isascii() and spec.isdigit():
        count = int(spec[:20])
        if not 1 <= count <= MAX_KEYS:
            raise InputError(f"{quoted(spec)} slots, expected 1 to {MAX_KEYS}")
        return tuple(map(str, range(count)))
    try:
        with open(spec, "rb") as file:
            raw = file.read(MAX_SLOTS_BYTES + 1)
        text = raw.decode("ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise InputError(f"{spec}: cannot be read: {reason}, expected a number or a file of slots") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if len(raw) > MAX_SLOTS_BYTES or len(lines) > MAX_KEYS:
        raise InputError(f"{spec}: more than {MAX_KEYS} slots")
    for number, line in enumerate(lines, 1):
        try:
            check_name(line)
        except KeyFileError as error:
            raise InputError(f"{spec}:{number}: {error}", hint=error.hint) from None
    return tuple(lines)


def _check_slots(slots: tuple[str, ...], where: str) -> None:
    if not slots:
        raise InputError(f"{where}: no slot, expected at least one")
    if len(set(slots)) != len(slots):
        seen: set[str] = set()
        twice = next(s for s in slots if s in seen or seen.add(s))  # type: ignore[func-returns-value]
        raise Refused(f"{where}: slot {quoted(twice)} is there twice, expected each once")

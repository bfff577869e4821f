"""What every mark that an engine embeds itself has in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from watermark.errors import KeyFileError
from watermark.native.laws import Scored
from watermark.secret import Secret

Ids = NDArray[np.uint32]
Inputs = TypeVar("Inputs")

MAX_WIDTH: Final = 16


class Mark(ABC, Generic[Inputs]):
    """One mark under one key: which pairs its PRF can tell apart, and what it scores them.

    Attributes:
        name: as `--scheme` names it.
        engine: which engine's configuration holds the key.
        prf: what the scores rest on, in words.
        state_bits: size of the narrowest state that key and window pass through: no p below 2^-state_bits, and inputs
            that differ may meet in it; None where the law is exact whatever the function is.
        marks_repeats: whether the engine also marks a window that an answer has used before.
        decoys: how many decoys cost little.
    """

    name: ClassVar[str]
    engine: ClassVar[str]
    prf: ClassVar[str]
    state_bits: ClassVar[int | None]
    marks_repeats: ClassVar[bool]
    decoys: ClassVar[int]

    @classmethod
    @abstractmethod
    def from_configuration(cls, configuration: dict[str, Any], parameters: dict[str, str]) -> Self:
        """Read the engine's own configuration.

        Args:
            configuration: a JSON object, as the engine takes it.
            parameters: what the engine knows from elsewhere, such as the size of the vocabulary.

        Raises:
            KeyFileError: not this mark's, or out of range. The message quotes no value, since it may be the key.
        """

    @classmethod
    @abstractmethod
    def key_length(cls) -> int:
        """Bytes that `from_bytes` takes for a new key."""

    @classmethod
    @abstractmethod
    def configuration(cls, key: bytes) -> dict[str, Any]:
        """The engine's configuration with a key made from `key_length()` random bytes."""

    @property
    @abstractmethod
    def secret(self) -> Secret:
        """All of the key."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Tokens before a token that the PRF reads."""

    @property
    @abstractmethod
    def key_bits(self) -> int:
        """How many bits the key has at most, judged by its own length."""

    @property
    @abstractmethod
    def decoy_bytes(self) -> int:
        """Bytes that `rekeyed` takes: as many as the key takes."""

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """What is public about it, for a report."""

    @abstractmethod
    def rekeyed(self, key: bytes) -> Self:
        """The same mark under a key made of `decoy_bytes` random bytes."""

    @abstractmethod
    def inputs(self, windows: Ids, tokens: Ids) -> Inputs:
        """What can be done with distinct pairs before a key is looked at: (n, h) and (n,) uint32."""

    @abstractmethod
    def score(self, inputs: Inputs) -> Scored:
        """Score them under this mark's key."""


def unsigned(value: object, what: str, most: int, least: int = 0) -> int:
    """A whole number of a configuration; the message does not quote it.

    Raises:
        KeyFileError: anything else.
    """
    if type(value) is not int or not least <= value <= most:
        raise KeyFileError(f"{what} is not a whole number in {least}..{most}")
    return value


def number(value: object, what: str) -> float:
    """A share of a configuration.

    Raises:
        KeyFileError: not a number in 0..1.
    """
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise KeyFileError(f"{what} is not a number in 0..1")
    return float(value)  # type: ignore[arg-type]


def refuse_unknown(configuration: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    """Refuse fields that the engine does not have, without their values.

    Raises:
        KeyFileError: there is one.
    """
    unknown = sorted(set(configuration) - set(known))
    if unknown:
        shown = re.sub(r"[0-9A-Fa-f]{8,}", "<hidden>", unknown[0])[:40]  # it may be a key in the wrong place
        raise KeyFileError(f"{what} has a field {shown!r} that is not known")


def byte_length(key: int) -> int:
    """Bytes that a key takes, at least 1."""
    return max(1, (key.bit_length() + 7) // 8)

"""What is added up of a ledger's records in one pass, or of its parts apart and then joined in their order."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections import Counter
from hashlib import blake2b
from typing import Final, Self

import numpy as np

from watermark.ledger.records import Record, Served

_DIGEST_BYTES: Final = 8  # of a request's name; a million names then meet by chance once in 10^7 ledgers
_SALT_BYTES: Final = blake2b.SALT_SIZE


class Fold(ABC):
    """A sum over records. Folds travel between processes, so that they must be picklable."""

    @abstractmethod
    def add(self, record: Record) -> None:
        """Take in one more record."""

    @abstractmethod
    def merge(self, part: Self) -> None:
        """Take in what another holds of the records that follow; both come from one `empty`."""

    @abstractmethod
    def empty(self) -> Self:
        """A fold of no records that can be merged into this one."""


class Nothing(Fold):
    """Of a walk whose head alone is asked for."""

    def add(self, record: Record) -> None:
        """See `Fold`."""

    def merge(self, part: Self) -> None:
        """See `Fold`."""

    def empty(self) -> Self:
        """See `Fold`."""
        return self


class Tally(Fold):
    """Records by kind, and requests that stand again in their epoch; 8 bytes an answer.

    Args:
        salt: 16 bytes, drawn if not given: names are compared by digests that nobody can make to meet beforehand.

    Attributes:
        kinds: records by their kind, as `served`.
    """

    def __init__(self, salt: bytes | None = None) -> None:
        self.kinds: Counter[str] = Counter()
        self._salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
        self._requests = bytearray()

    def add(self, record: Record) -> None:
        """See `Fold`."""
        self.kinds[type(record).__name__.lower()] += 1
        if isinstance(record, Served):
            name = f"{record.epoch or ''}/{record.request}"  # a name is never empty and has no slash
            self._requests += blake2b(name.encode(), digest_size=_DIGEST_BYTES, salt=self._salt).digest()

    def merge(self, part: Self) -> None:
        """See `Fold`."""
        self.kinds += part.kinds
        self._requests += part._requests

    def empty(self) -> Self:
        """See `Fold`."""
        return type(self)(self._salt)

    @property
    def used_again(self) -> int:
        """Answers whose request stood in the same epoch before."""
        digests = np.sort(np.frombuffer(self._requests, dtype=np.uint64))
        return int(np.count_nonzero(digests[1:] == digests[:-1]))

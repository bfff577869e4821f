"""The candidates of one position: what temperature and truncation left.

Symbols: V vocabulary, c candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from watermark.errors import Error
from watermark.schemes import Logits
from watermark.windows import Ids

# A row with at least this share of its vocabulary left is drawn from as it is: compacting it costs more.
MOST: Final = 0.25


@dataclass(frozen=True, eq=False)
class Row:
    """One row.

    Attributes:
        logits: (c,) of the candidates; or, without ids, (V,) with -inf for what was removed.
        ids: (c,) ascending, or None: all ids from 0 on.
        count: c.
    """

    logits: Logits
    ids: Ids | None
    count: int

    @classmethod
    def find(cls, logits: Logits) -> Row:
        """The candidates of (V,) logits."""
        left = logits != -np.inf  # NaN stays, for `check` to find
        count = int(np.count_nonzero(left))
        if count > MOST * len(logits):
            return cls(logits, None, count)
        ids = np.flatnonzero(left)
        return cls(logits[ids], ids.astype(np.uint32), count)

    def compact(self) -> tuple[Ids, Logits]:
        """(c,) ids, and their logits."""
        if self.ids is not None:
            return self.ids, self.logits
        if self.count == len(self.logits):
            return _all_ids(self.count), self.logits
        ids = np.flatnonzero(self.logits != -np.inf)
        return ids.astype(np.uint32), self.logits[ids]

    def check(self, request: str) -> None:
        """Refuse what cannot be drawn from.

        Raises:
            Error: NaN, +inf, or no candidate.
        """
        highest = self.logits.max(initial=-np.inf)  # NaN if there is one
        if not np.isfinite(highest):
            raise Error(
                f"the logits of request {request[:60]!r} hold "
                + ("no candidate" if highest == -np.inf else "NaN or +inf"),
                hint="the model or an earlier logits processor failed: nothing was drawn",
            )


@lru_cache(maxsize=8)
def _all_ids(vocabulary: int) -> Ids:
    return np.arange(vocabulary, dtype=np.uint32)

"""What a trace says: the accounts named, corrected for every text and every key that was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.hypotheses.multiplicity import e_bh, holm
from verify.tracing.keysets import KeySet
from verify.tracing.scan import Hits
from verify.tracing.texts import Texts

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trace:
    """All tests of all key sets, with their family.

    Attributes:
        texts: per key set, whose width may differ.
        keys: the key sets.
        hits: per key set.
        log10_p_holm: per key set, (m,) adjusted p.
        log10_e_bh: per key set, (m,) the smallest false discovery rate at which e-BH names the test.
    """

    texts: tuple[Texts, ...]
    keys: tuple[KeySet, ...]
    hits: tuple[Hits, ...]
    log10_p_holm: tuple[Floats, ...]
    log10_e_bh: tuple[Floats, ...]

    @property
    def n_tests(self) -> int:
        """The family: texts times keys."""
        return sum(h.n_tests for h in self.hits)

    def named(self, level: float, *, by: str) -> list[tuple[int, int]]:
        """(key set, hit) of the tests named at a level, by text and then the strongest first.

        Args:
            level: family-wise for `holm`, false discovery rate for `e-bh`.
            by: `holm` or `e-bh`.
        """
        adjusted = self.log10_p_holm if by == "holm" else self.log10_e_bh
        found = [(i, int(j)) for i, a in enumerate(adjusted) for j in np.flatnonzero(a <= log10(level))]
        return sorted(found, key=lambda at: (int(self.hits[at[0]].text[at[1]]), -self.hits[at[0]].log10_e[at[1]], at))

    def row(self, at: tuple[int, int]) -> dict[str, Any]:
        """One test as JSON fields; those of a finding have a finding's names."""
        i, j = at
        hits, keys = self.hits[i], self.keys[i]
        law, n = keys.any_key.deployment.scheme.law, int(hits.n[j])
        return {
            "text": self.texts[i].names[hits.text[j]],
            keys.channel: keys.slots[hits.key[j]],
            "key_path": keys.path(int(hits.key[j])),
            "n_scored": n,
            "score": int(hits.total[j]),
            "excess": (int(hits.total[j]) / law.unit - n * law.mean) / n if n else 0.0,
            "log10_p": float(hits.log10_p[j]),
            "log10_p_holm": float(self.log10_p_holm[i][j]),
            "log10_e": float(hits.log10_e[j]),
            "log10_e_bh": float(self.log10_e_bh[i][j]),
        }


def conclude(texts: Sequence[Texts], keys: Sequence[KeySet], hits: Sequence[Hits]) -> Trace:
    """Correct for all tests, those that were not kept included."""
    sizes = [len(h.log10_p) for h in hits]
    others = sum(h.n_tests for h in hits) - sum(sizes)
    p = holm(np.concatenate([h.log10_p for h in hits]), others=others)
    e = e_bh(np.concatenate([h.log10_e for h in hits]), others=others)
    return Trace(tuple(texts), tuple(keys), tuple(hits), tuple(_split(p, sizes)), tuple(_split(e, sizes)))


def _split(values: Floats, sizes: list[int]) -> Iterator[Floats]:
    start = 0
    for size in sizes:
        yield values[start : start + size]
        start += size

"""Sums -> the measurement that the closed test concludes from, as if all pairs had been in memory."""

from __future__ import annotations

import hashlib

from verify.measured import MeasuredClosed
from verify.scaling.counts import Counts, Sums


def measured(counts: Counts, sums: Sums) -> MeasuredClosed:
    """The measurement of a whole corpus."""
    dropped = {
        "first_h": counts.n_first_h,
        "repeated_window": counts.n_repeated_window,
        "copied_from_prompt": counts.n_copied_from_prompt,
    }
    duplicate = counts.n_seen - sum(dropped.values()) - sums.n_pairs
    return MeasuredClosed(
        n_documents=counts.n_documents,
        n_empty=counts.n_empty,
        n_seen=counts.n_seen,
        n_dropped=dropped | {"duplicate": duplicate, "other_channel": sums.n_pairs - sums.n},
        n_scored=sums.n,
        total=str(sums.total),
        total_squares=sums.total_squares,
    )


def digest_of(digests: list[str]) -> str:
    """The digest of one file; of several, SHA-256 of their digests in the order of the files, a line each."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()

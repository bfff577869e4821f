"""How many pairs a process may hold, from the memory that all processes may take together."""

from __future__ import annotations

import re
from typing import Final

from verify.errors import InputError, quoted

# Resident bytes of an idle process, with what all of them share counted in each (measured by benchmarks/billion.py).
PROCESS_BYTES: Final = 200 << 20
TOKENIZER_BYTES: Final = 300 << 20  # a vocabulary, and the batch that is tokenized
PAIR_BYTES: Final = 64  # of each pair held, at the worst moment: looking up which are distinct
MOST_PAIRS: Final = 1 << 23  # more make no difference
LEAST_PAIRS: Final = 1 << 18
_UNITS: Final = {"K": 10, "M": 20, "G": 30, "T": 40}


def parse_bytes(text: str) -> int:
    """Bytes of "2G", "512M" or "1000000": K, M, G and T are powers of 1,024.

    Raises:
        InputError: anything else.
    """
    match = re.fullmatch(r"([0-9]{1,15})([KMGT]?)(i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise InputError(f"memory {quoted(text)}, expected a size such as 2G or 512M")
    return int(match[1]) << _UNITS.get(match[2].upper(), 0)


def most_pairs(memory: int, *, jobs: int, tokenizer: bool) -> int:
    """Pairs that each process may hold at once.

    Args:
        memory: bytes that all processes may take together.
        jobs: how many of them work; with more than one, another waits for them.
        tokenizer: whether texts are tokenized.

    Raises:
        InputError: too little memory for so many processes.
    """
    idle = PROCESS_BYTES * (jobs + (jobs > 1)) + (TOKENIZER_BYTES * jobs if tokenizer else 0)
    found = (memory - idle) // jobs // PAIR_BYTES
    if found < LEAST_PAIRS:
        least = (idle + LEAST_PAIRS * PAIR_BYTES * jobs + (1 << 20) - 1) >> 20
        raise InputError(f"{memory >> 20}M of memory do not do for {jobs} jobs, expected at least {least}M")
    return int(min(found, MOST_PAIRS))

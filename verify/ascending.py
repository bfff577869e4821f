"""Lines in ascending order, in bounded memory."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import IO, Final

AT_ONCE: Final = 1 << 28  # bytes that are sorted in memory


def ascending(lines: Iterable[bytes], folder: str, *, at_once: int = AT_ONCE) -> Iterator[bytes]:
    """The lines in ascending order of their bytes.

    Args:
        lines: each with its LF.
        folder: where those that are too many for memory wait, in files that have no name and are their owner's.
        at_once: bytes that are sorted in memory.

    Raises:
        OSError: as the system says.
    """
    with ExitStack() as stack:
        runs: list[IO[bytes]] = []
        held: list[bytes] = []
        size = 0
        for line in lines:
            held.append(line)
            size += len(line)
            if size >= at_once:
                run = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                run.writelines(sorted(held))
                run.seek(0)
                runs.append(run)
                held, size = [], 0
        yield from heapq.merge(*runs, sorted(held))

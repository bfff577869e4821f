"""How long work is reported: nothing here knows a terminal."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int], None]  # what is done ("reading", "decoys"), and how much more of it was


def silent(what: str, more: int) -> None:
    """Report nothing."""

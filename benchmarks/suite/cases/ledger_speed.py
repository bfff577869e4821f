"""Appending to and checking the served log: `benchmarks.ledger_speed`."""

from __future__ import annotations

from typing import Any

from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.wrapping import wrapped

NAME = "ledger-speed"
ABOUT = "appends a second with fsync, and the check of a million records of the served log"
NEEDS = Needs(minutes={"full": 10})


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """The command."""
    return wrapped(context, "benchmarks.ledger_speed")

"""Scoring, decoys and draws on one core, each beside something named in the same run: `benchmarks.throughput`."""

from __future__ import annotations

from typing import Any, Final

from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.wrapping import wrapped

NAME = "throughput"
ABOUT = "scoring with distinct, decoys, draws: a core's rate, beside named yardsticks in the same run"
NEEDS = Needs(minutes={"quick": 1, "full": 5})

SIZES: Final = {"quick": ("--tokens", "1000000", "--repeats", "3"), "full": ("--tokens", "10000000", "--repeats", "5")}


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """The command, with the profile's sizes."""
    return wrapped(context, "benchmarks.throughput", *SIZES[profile])

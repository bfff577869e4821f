"""Time and memory from 10^4 to 10^9 tokens, end to end with exact distinct: `benchmarks.billion`."""

from __future__ import annotations

from typing import Any

from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.wrapping import wrapped

NAME = "billion"
ABOUT = "time and peak memory from 10^4 to 10^9 tokens of Parquet, exact distinct included"
NEEDS = Needs(minutes={"full": 60}, packages=("pyarrow",))


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """The command."""
    return wrapped(context, "benchmarks.billion")

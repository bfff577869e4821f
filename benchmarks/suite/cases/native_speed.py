"""Our scorers of engines' marks beside the engines' own detectors, on the same ids: `benchmarks.native_speed`."""

from __future__ import annotations

from typing import Any

from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.wrapping import named, wrapped

NAME = "native-speed"
ABOUT = "scorers of engines' marks beside the engines' own detectors on the same ids"
NEEDS = Needs(minutes={"full": 15}, environments=("vllm", "sglang", "transformers"))


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """The command, with the interpreters that are there."""
    return wrapped(context, "benchmarks.native_speed", *named(context, "vllm", "sglang", "transformers"))

"""The keyed draw by vocabulary, candidates and batch, beside peers' samplers: `benchmarks.draw_speed`."""

from __future__ import annotations

from typing import Any

from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.wrapping import named, wrapped

NAME = "draw-speed"
ABOUT = "the keyed draw by vocabulary, candidates and batch, beside peers' samplers"
NEEDS = Needs(minutes={"full": 15}, packages=("torch", "transformers"), environments=("vllm",))


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """The command, with the interpreters that are there."""
    return wrapped(context, "benchmarks.draw_speed", *named(context, "vllm"))

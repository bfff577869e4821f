"""A committed plan, its inputs and a key -> what was measured. The plan says everything; nothing here chooses."""

from __future__ import annotations

from collections.abc import Mapping

from verify.errors import Refused
from verify.measured import Measured
from verify.measuring.accounts import measure_accounts
from verify.measuring.closed import measure_closed
from verify.measuring.linear import measure_open, measure_reference
from verify.measuring.progress import Progress, silent
from verify.measuring.sequential import measure_sequential
from verify.measuring.twin import measure_twin
from verify.ordering import Ordering
from verify.plan_parts import Accounts, Closed, ClosedReference, Endpoint, Open, Twin
from verify.plans import Plan
from verify.register import RegisterEntry
from verify.tokenization import Tokenizer
from watermark.keys import CoinKey, ValueKey

AnyKey = ValueKey | CoinKey


def measure(
    plan: Plan,
    files: Mapping[str, str],
    key: AnyKey | None,
    *,
    line: RegisterEntry | None,
    progress: Progress = silent,
) -> Measured:
    """Do what a plan says with one of its keys.

    Args:
        plan: the plan.
        files: path by role (docs/spec/evidence.md, section 3.1); all that the test needs are there.
        key: one of the plan's value keys; for a twin test the epoch's node of coins, or None if coins are as stated.
        line: the plan's in the register, from which the order of questions follows; None of exploratory evidence.
        progress: how far it is.

    Raises:
        InputError: malformed inputs.
        Refused: inputs that cannot be tested, or no key.
    """
    test = plan.test
    questions = plan.suspect.n_questions if isinstance(plan.suspect, Endpoint) else 0
    if isinstance(test, Twin | Accounts):
        if isinstance(key, ValueKey) or (test.coins == "recomputed") != (key is not None):
            raise Refused(f"coins are {test.coins}, expected the node of coins with recomputed and no key else")
        if isinstance(test, Accounts):
            return measure_accounts(
                files["pairs"],
                accounts=test.accounts,
                likelihoods=files.get("likelihoods"),
                answers=files.get("answers"),
                groups=files.get("groups"),
                scores=test.scores,
                missing=test.missing,
                coins=key,
                progress=progress,
            )
        return measure_twin(
            files["pairs"],
            likelihoods=files.get("likelihoods"),
            answers=files.get("answers"),
            scores=test.scores,
            missing=test.missing,
            coins=key,
        )
    if not isinstance(key, ValueKey):
        raise Refused(f"a {plan.hypothesis} test needs the value key")
    tokenizer = Tokenizer.load(files["tokenizer"]) if "tokenizer" in files else None
    if isinstance(test, Closed):
        return measure_closed(
            files["input"],
            key,
            prompts=files.get("prompts"),
            served=files.get("served"),
            tokenizer=tokenizer,
            input_format=test.input_format,
            repeated_windows=test.repeated_windows,
            weights=test.weights,
            token_ids=test.token_ids,
            decoys=test.decoys,
            ids_alone=test.token_ids,
            accumulate=True,
            progress=progress,
        )
    if isinstance(test, ClosedReference):
        return measure_reference(
            files["predictions"],
            key,
            prompt_windows=test.prompt_windows,
            texts=files["texts"],
            progress=progress,
        )
    if isinstance(test, Open):
        return measure_open(
            files["predictions"],
            key,
            rule=test.rule,
            prompt_windows=test.prompt_windows,
            answers=tokenizer,
            order=Ordering.of(line).order(questions) if line and questions else None,
            texts=files.get("texts"),
            served=test.served,
            progress=progress,
        )
    assert tokenizer is not None
    return measure_sequential(
        files["input"],
        key,
        tokenizer=tokenizer,
        alpha=plan.alpha,
        order=Ordering.of(line).order(questions) if line else None,
        progress=progress,
    )

"""The measurement of tests on predictions: the open one, and the closed one with a reference model."""

from __future__ import annotations

from verify.answer_predictions import answer_predictions
from verify.hypotheses.open import score_predictions
from verify.hypotheses.reference import score_answers
from verify.linear_finding import measure
from verify.measured import MeasuredForm
from verify.measuring.progress import Progress, silent
from verify.predictions import read_predictions
from verify.tokenization import Tokenizer
from watermark.keys import ValueKey


def measure_open(
    path: str,
    key: ValueKey,
    *,
    rule: str | None,
    prompt_windows: str,
    answers: Tokenizer | None = None,
    tokenizer: str | None = None,
    progress: Progress = silent,
) -> MeasuredForm:
    """Score a model's predictions.

    Args:
        path: of the predictions, or of answers with log probabilities.
        key: the key.
        rule: see `verify.hypotheses.open.score_predictions`.
        prompt_windows: `count` or `ignore`.
        answers: `path` holds answers, and this is the provider's tokenizer.
        tokenizer: digest that the records must name.
        progress: of "scoring" (windows).

    Raises:
        InputError: malformed input.
        Refused: records that do not go together.
    """
    records = read_predictions(path, tokenizer=tokenizer) if answers is None else answer_predictions(path, answers)
    return measure(
        score_predictions(
            records,
            key,
            rule=rule,
            prompt_windows=prompt_windows == "count",
            progress=lambda n: progress("scoring", n),
        )
    )


def measure_reference(
    path: str, key: ValueKey, *, prompt_windows: str, tokenizer: str | None = None, progress: Progress = silent
) -> MeasuredForm:
    """Score a suspect's own answers with a reference model as control variate; see `measure_open`."""
    return measure(
        score_answers(
            read_predictions(path, tokenizer=tokenizer),
            key,
            prompt_windows=prompt_windows == "count",
            progress=lambda n: progress("scoring", n),
        )
    )

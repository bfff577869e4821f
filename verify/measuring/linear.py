"""The measurement of tests on predictions: the open one, and the closed one with a reference model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from verify.answer_predictions import answer_predictions
from verify.errors import Refused
from verify.hypotheses.open import score_predictions
from verify.hypotheses.reference import score_answers
from verify.inputs.lines import read_transcripts
from verify.linear_finding import measure
from verify.measured import MeasuredForm
from verify.measuring.progress import Progress, silent
from verify.predictions import Prediction, read_predictions
from verify.records import Transcript
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
    order: Sequence[int] | None = None,
    texts: str | None = None,
    served: bool | None = None,
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
        order: of answers, by the questions' numbers; else they stay as they are in the file. Which visit of a window is
            the first follows from the order, so that it must not be chosen with the key.
        texts: transcripts that the predictions must be of, one for one and in their order.
        served: whether the records must say that their texts were served.
        progress: of "scoring" (windows).

    Raises:
        InputError: malformed input.
        Refused: records that do not go together.
    """
    if answers is not None:
        records = _sorted(answer_predictions(path, answers), order)
    else:
        records = _follow(read_predictions(path, tokenizer=tokenizer), texts, served)
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
    path: str,
    key: ValueKey,
    *,
    prompt_windows: str,
    tokenizer: str | None = None,
    texts: str | None = None,
    progress: Progress = silent,
) -> MeasuredForm:
    """Score a suspect's own answers with a reference model as control variate; see `measure_open`."""
    return measure(
        score_answers(
            _follow(read_predictions(path, tokenizer=tokenizer), texts, served=False),
            key,
            prompt_windows=prompt_windows == "count",
            progress=lambda n: progress("scoring", n),
        )
    )


def _sorted(records: Iterator[Prediction], order: Sequence[int] | None) -> Iterator[Prediction]:
    if order is None:
        return records
    rank = {str(number): place for place, number in enumerate(order)}
    return iter(sorted(records, key=lambda p: (rank.get(p.id, len(rank)), p.id)))


def _follow(records: Iterator[Prediction], texts: str | None, served: bool | None) -> Iterator[Prediction]:
    """The records, each as soon as it is seen to be of the next text.

    Raises:
        Refused: it is of another, or not as many as there are texts.
    """
    if texts is None:
        yield from records
        return
    pairs = zip_longest(records, read_transcripts(texts))
    for number, (record, found) in enumerate(pairs, 1):
        if record is None or found is None or not _is_of(record, found[1]):
            raise Refused(
                f"record {number} is not of text {number} of {texts}, expected one of each, in the same order",
                hint="take what radiolabel probe --windows wrote for these texts",
            )
        if served is not None and record.served != served:
            raise Refused(f"record {number}: served is {record.served}, and the plan says {served}")
        yield record


def _is_of(record: Prediction, text: Transcript) -> bool:
    return record.id == text.id and text.token_ids is not None and record.token_ids.tolist() == list(text.token_ids)

"""The sequential test's measurement: the e-process again, over answers in the order in which they were kept."""

from __future__ import annotations

from collections.abc import Sequence

from verify.collection_checks import read_answers
from verify.corpus import summarize_documents
from verify.hypotheses.sequential import ClosedProcess
from verify.measured import MeasuredSequential, checkpoints
from verify.measuring.progress import Progress, silent
from verify.ordering import in_order
from verify.records import Document, Transcript
from verify.scoring import Summary
from verify.tokenization import Tokenizer
from watermark.keys import ValueKey


def summary_of(answer: Transcript, tokenizer: Tokenizer, width: int) -> Summary:
    """Of one answer's text: what the collector feeds the e-process with."""
    document = Document(name=f"answer {answer.id}", text=answer.response, prompt=answer.prompt)
    return summarize_documents([document], width, tokenizer=tokenizer)


def measure_sequential(
    path: str,
    key: ValueKey,
    *,
    tokenizer: Tokenizer,
    alpha: float,
    order: Sequence[int] | None = None,
    progress: Progress = silent,
) -> MeasuredSequential:
    """Run the e-process of a key over collected answers.

    Args:
        path: what `radiolabel collect` wrote.
        key: the key.
        tokenizer: the provider's.
        alpha: the e-process is enough at 1 / alpha.
        order: of the questions. Answers are taken in it, up to the first that is not there; what comes after is left
            out, so that nobody chooses which answers count or in what order. None takes them as they are in the file.
        progress: of "answers".

    Raises:
        InputError: malformed input.
    """
    process, marks = ClosedProcess(key), checkpoints(4)
    rows, due, enough = [], next(marks), None
    for answer in read_answers(path) if order is None else in_order(read_answers(path), order):
        evidence = process.add(summary_of(answer, tokenizer, key.deployment.width).pairs)
        if enough is None and evidence.enough(alpha):
            enough = evidence.n_answers
        if evidence.n_answers >= due:
            rows.append((evidence.n_answers, evidence.n_scored, str(evidence.total)))
            due = next(mark for mark in marks if mark > evidence.n_answers)
        progress("answers", 1)
    last = process.evidence
    if last.n_answers and (not rows or rows[-1][0] != last.n_answers):
        rows.append((last.n_answers, last.n_scored, str(last.total)))
    return MeasuredSequential(
        n_answers=last.n_answers,
        n_scored=last.n_scored,
        total=str(last.total),
        log10_e_max=last.log10_e_max,
        enough_after=enough,
        accumulation=tuple(rows),
    )

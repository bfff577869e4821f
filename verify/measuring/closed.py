"""The closed test's measurement: a corpus of answers under a value key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from verify import finding, linear_finding
from verify.corpus import summarize_documents
from verify.errors import Refused
from verify.hypotheses.counted import Counted
from verify.hypotheses.decoys import rank
from verify.inputs import open_documents
from verify.measured import MeasuredClosed, MeasuredForm
from verify.measuring.accumulation import Accumulation
from verify.measuring.progress import Progress, silent
from verify.records import Document
from verify.scoring import Summary, score
from verify.served import served_mask
from verify.tokenization import Tokenizer
from watermark.keys import ValueKey


def measure_closed(
    source: str,
    key: ValueKey,
    *,
    prompts: str | None,
    served: str | None,
    tokenizer: Tokenizer | None,
    input_format: str,
    repeated_windows: str,
    weights: str,
    token_ids: bool,
    decoys: int,
    ids_alone: bool = True,
    accumulate: bool = False,
    progress: Progress = silent,
) -> MeasuredClosed | MeasuredForm:
    """Read a corpus and score it.

    Args:
        source: answers, a file or "-".
        key: the key.
        prompts: what was asked, in the order of the answers.
        served: score only windows that stand in these served transcripts, or in this file of hashed windows.
        tokenizer: the provider's.
        input_format: see `verify.inputs.open_documents`.
        repeated_windows: `skip` or `score`.
        weights: `distinct`, or `counts` for a linear form.
        token_ids: trust the input's token ids also where it has text.
        decoys: how many to rank the key among; none where they are not valid.
        ids_alone: take records that have token ids and no text. Whoever made the ids chose how the text is split,
            perhaps with the key in hand.
        accumulate: keep the score as the text goes on; takes a second scoring.
        progress: of "reading", "served" (tokens) and "decoys" (keys).

    Raises:
        InputError: unreadable or malformed input, or no tokenizer where one is needed.
        Refused: another tokenizer, or a record without a text where ids alone are not taken.
    """
    counted = Counted(key) if weights == "counts" else None
    going = Accumulation(key) if accumulate and not counted and served is None else None
    taker = counted or going

    def advance(part: Summary) -> None:
        progress("reading", part.n_seen)

    documents = open_documents(source, format=input_format, prompts=prompts)
    summary = summarize_documents(
        documents if ids_alone else _with_text(documents),
        key.deployment.width,
        tokenizer=tokenizer,
        trust_ids=token_ids,
        skip_repeated=repeated_windows == "skip",
        take=taker.add if taker else lambda pairs: None,
        progress=advance,
    )
    if counted:
        return linear_finding.measure(counted.scored(summary, tokenizer=tokenizer.digest if tokenizer else None))
    pairs, n_not_served = summary.pairs, None
    if served is not None:
        mask = served_mask(served, summary.pairs, tokenizer=tokenizer, progress=lambda done: progress("served", done))
        pairs = summary.pairs[mask]
        n_not_served = len(summary.pairs) - len(pairs)
    scored, ranked = score(pairs, key), None
    if decoys and served is None and scored.n >= finding.MIN_SCORED:
        ranked = rank(summary.pairs, key, n=decoys, progress=lambda done: progress("decoys", done))
    rows = going.rows() if going else ()
    return finding.measure(summary, scored, decoys=ranked, n_not_served=n_not_served, accumulation=rows)


def _with_text(documents: Iterable[Document]) -> Iterator[Document]:
    for document in documents:
        if document.text is None:
            raise Refused(
                f"{document.name}: token ids and no text, and the plan does not trust ids",
                hint="a text has many tokenizations, and some of them score high: take records with their text",
            )
        yield document

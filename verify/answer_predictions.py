"""Transcripts with an endpoint's log probabilities -> predictions, for the open test of a suspect behind an endpoint.

An endpoint names tokens by their text. A token is known if exactly one id of the tokenizer has that text, byte for
byte; an answer is used up to its first unknown token, and unknown candidates are left out: rules that see no key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from verify.errors import InputError, Refused, quoted
from verify.inputs.lines import read_transcripts
from verify.logprobs import Candidate, TokenLogprob
from verify.predictions import Prediction
from verify.records import Transcript
from verify.tokenization import Tokenizer

MOST_CANDIDATES: Final = 1 << 12  # of one position; endpoints give 20


def answer_predictions(path: str, tokenizer: Tokenizer) -> Iterator[Prediction]:
    """The predictions in a file of transcripts with `logprobs`, in order; answers without a known token are left out.

    Args:
        path: a file, or "-" for standard input; gzip and zstd are recognized.
        tokenizer: the provider's, which must be the suspect's too: another one shows as unknown tokens.

    Raises:
        InputError: unreadable or malformed input, or no transcript with log probabilities.
        Refused: more than half of the answers' tokens are none of this tokenizer.
    """
    ids = tokenizer.ids_by_text()
    tokens = known = 0
    for ordinal, (where, transcript) in enumerate(read_transcripts(path)):
        if transcript.logprobs is None:
            continue
        drawn = [_id(token, ids) for token in transcript.logprobs]
        usable = drawn.index(None) if None in drawn else len(drawn)
        tokens, known = tokens + len(drawn), known + sum(token is not None for token in drawn)
        if usable:
            yield _prediction(transcript, where, ordinal, transcript.logprobs[:usable], ids, tokenizer)
    if not tokens:
        raise InputError(
            f"{path}: no transcript with logprobs, expected answers with them",
            hint="ask for them: radiolabel collect --logprobs 20",
        )
    if 2 * known < tokens:
        raise Refused(
            f"{path}: only {known} of {tokens} tokens are tokens of this tokenizer",
            hint="the open test needs a suspect with the provider's tokenizer; use test twin --answers instead",
        )


def _prediction(
    transcript: Transcript,
    where: str,
    ordinal: int,
    logprobs: tuple[TokenLogprob, ...],
    ids: dict[bytes, int],
    tokenizer: Tokenizer,
) -> Prediction:
    rows = []
    for token in logprobs:
        row = {ids[text]: c.logprob for c in (token, *token.top) if (text := _text(c)) in ids}
        if len(row) > MOST_CANDIDATES:
            raise InputError(f"{where}: {len(row)} candidates at one position, expected at most {MOST_CANDIDATES}")
        rows.append(row)
    width = max(map(len, rows))
    candidates = np.empty((len(rows), width), dtype=np.uint32)
    log_p = np.full((len(rows), width), -np.inf, dtype=np.float32)
    for place, row in enumerate(rows):
        # Ids that the endpoint did not name fill a short row, with probability 0: they carry no coefficient.
        spare = (token for token in range(len(row) + width) if token not in row)
        candidates[place] = [*row, *(next(spare) for _ in range(width - len(row)))]
        log_p[place, : len(row)] = list(row.values())
    (prompt,) = tokenizer.encode_batch([transcript.prompt])
    return Prediction(
        id=transcript.id,
        ordinal=ordinal,
        served=False,
        prompt_ids=prompt,
        token_ids=np.array([ids[_text(token)] for token in logprobs], dtype=np.uint32),
        tokenizer=tokenizer.digest,
        at=np.arange(len(rows)),
        candidates=candidates,
        log_p=log_p,
        log_q=None,
        suspect=transcript.model or "unnamed",
    )


def _id(token: Candidate, ids: dict[bytes, int]) -> int | None:
    return ids.get(_text(token))


def _text(token: Candidate) -> bytes:
    if token.bytes is not None:
        return bytes(token.bytes)
    try:
        return token.token.encode()
    except UnicodeEncodeError:
        raise InputError(f"token {quoted(token.token)} holds a lone surrogate, expected unicode text") from None

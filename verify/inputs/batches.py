"""Documents as Arrow record batches, for work that is spread over processes or machines.

A batch never ends inside a conversation. Columns, a row for each response:

* `place`: its name, such as "answers.jsonl:17";
* `text`, `prompt`, `tokenizer`: as in `Document`, or null;
* `token_ids`: large_list<uint32>, checked, or null;
* `said`: the turns that came between the response before it and this one;
* `continues`: whether it goes on with the conversation of the row before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from verify.errors import InputError
from verify.records import Document
from watermark.windows import TokenBatch

SCHEMA: Final = pa.schema(
    [
        ("place", pa.string()),
        ("text", pa.string()),
        ("token_ids", pa.large_list(pa.uint32())),
        ("prompt", pa.string()),
        ("tokenizer", pa.string()),
        ("said", pa.list_(pa.string())),
        ("continues", pa.bool_()),
    ]
)
# Tokenizing needs some 110 bytes a character at once.
BATCH_CHARACTERS: Final = 1 << 20
CHARACTERS_PER_ID: Final = 4
CHARACTERS_PER_DOCUMENT: Final = 256


def to_batches(documents: Iterable[Document]) -> Iterator[pa.RecordBatch]:
    """Batches of about `BATCH_CHARACTERS`; a conversation stays whole.

    Raises:
        InputError: a text that is not valid unicode.
    """
    rows: list[dict[str, Any]] = []
    size, previous = 0, None
    for document in documents:
        continues = previous is not None and document.continues(previous)
        if size >= BATCH_CHARACTERS and not continues:
            yield _batch(rows)
            rows, size = [], 0
        said = document.turns[previous.n_shown if previous and continues else 0 : document.n_shown]
        ids = document.token_ids
        rows.append(
            {
                "place": document.name,
                "text": document.text,
                "token_ids": ids,
                "prompt": document.prompt,
                "tokenizer": document.tokenizer,
                "said": said,
                "continues": continues,
            }
        )
        size += CHARACTERS_PER_DOCUMENT + len(document.text or "") + len(document.prompt or "") + sum(map(len, said))
        size += CHARACTERS_PER_ID * (0 if ids is None else len(ids))
        previous = document
    if rows:
        yield _batch(rows)


def _batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    try:
        return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
    except UnicodeEncodeError:
        for row in rows:
            for text in (row["text"], row["prompt"], *row["said"]):
                try:
                    (text or "").encode()
                except UnicodeEncodeError as error:
                    raise InputError(
                        f"{row['place']}: lone surrogate {text[error.start]!r} at character {error.start}, "
                        "expected unicode text"
                    ) from None
        raise


def token_batch(batch: pa.RecordBatch) -> TokenBatch | None:
    """The ids of a batch that has nothing else, without a copy; None if it has texts, prompts or tokenizers."""
    others = (batch.column(name) for name in ("text", "prompt", "tokenizer"))
    ids = batch.column("token_ids")
    if (
        any(column.null_count < len(batch) for column in others)
        or ids.null_count
        or batch.column("said").null_count < len(batch)
    ):
        return None
    offsets = ids.offsets.to_numpy()
    return TokenBatch(ids.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0])


def to_documents(batch: pa.RecordBatch) -> Iterator[Document]:
    """The documents of a batch, those of one conversation with one object as their turns."""
    ids = batch.column("token_ids")
    offsets, values, known = ids.offsets.to_numpy(), ids.values.to_numpy(), ids.is_valid().to_pylist()
    columns = [batch.column(name).to_pylist() for name in ("place", "text", "prompt", "tokenizer", "said", "continues")]
    rows = list(zip(*columns, strict=True))
    start = 0
    while start < len(rows):
        end = start + 1
        while end < len(rows) and rows[end][5]:
            end += 1
        turns = tuple(turn for row in rows[start:end] for turn in row[4] or ())
        n_shown = 0
        for at in range(start, end):
            place, text, prompt, tokenizer, said, _ = rows[at]
            n_shown += len(said or ())
            yield Document(
                name=place,
                text=text,
                token_ids=values[offsets[at] : offsets[at + 1]].astype(np.uint32, copy=False) if known[at] else None,
                prompt=prompt,
                turns=turns,
                n_shown=n_shown,
                tokenizer=tokenizer,
            )
        start = end

"""Documents -> Summary, streaming: the loop around `verify.scoring.summarize`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from verify.errors import InputError
from verify.records import Document
from verify.scoring import Summary, merge, summarize
from verify.tokenization import Tokenizer
from watermark.windows import Ids, TokenBatch

# Characters tokenized at once: enough for all cores, little enough to stay small beside the distinct pairs.
BATCH_CHARACTERS: Final = 1 << 22
CHARACTERS_PER_ID: Final = 4


def summarize_documents(
    documents: Iterable[Document],
    width: int,
    *,
    tokenizer: Tokenizer | None,
    retokenize: bool = False,
    skip_repeated: bool = True,
    progress: Callable[[Summary], None] = lambda summary: None,
) -> Summary:
    """Summarize a corpus.

    Args:
        documents: responses with their prompts.
        width: h.
        tokenizer: for documents without token ids, and for prompts.
        retokenize: ignore token ids where there is text.
        skip_repeated: see `summarize`.
        progress: called with the Summary of each batch.

    Raises:
        InputError: a document that needs a tokenizer, and there is none.
        Refused: a document that was made with another tokenizer.
    """

    def parts() -> Iterator[Summary]:
        for batch in _batches(documents):
            for document in batch:
                if tokenizer is not None:
                    tokenizer.check(document)
            use_text = [d.text is not None and (retokenize or d.token_ids is None) for d in batch]
            texts = _encode(tokenizer, [d for d, text in zip(batch, use_text, strict=True) if text], "text")
            shown = _encode(tokenizer, [d for d in batch if d.prompt], "prompt")
            responses = [next(texts) if text else _ids(d) for d, text in zip(batch, use_text, strict=True)]
            prompts = [next(shown) if d.prompt else np.empty(0, dtype=np.uint32) for d in batch]
            part = summarize(
                TokenBatch.from_documents(responses),
                width,
                prompts=TokenBatch.from_documents(prompts) if any(map(len, prompts)) else None,
                skip_repeated=skip_repeated,
            )
            progress(part)
            yield part

    return merge(parts(), width)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch, size = [], 0
    for document in documents:
        batch.append(document)
        size += len(document.text or "") + len(document.prompt or "")
        size += CHARACTERS_PER_ID * (0 if document.token_ids is None else len(document.token_ids))
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode(tokenizer: Tokenizer | None, documents: list[Document], field: str) -> Iterator[Ids]:
    if documents and tokenizer is None:
        raise InputError(
            f"{documents[0].name} has a {field} and needs a tokenizer",
            hint="name the provider's tokenizer.json with --tokenizer",
        )
    if tokenizer is None:
        return iter(())
    return iter(tokenizer.encode_batch([getattr(document, field) for document in documents]))


def _ids(document: Document) -> Ids:
    ids = () if document.token_ids is None else document.token_ids
    return np.asarray(ids, dtype=np.uint32)

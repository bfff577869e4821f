"""Documents -> Summary, streaming: the loop around `verify.scoring.summarize`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np

from verify.errors import InputError
from verify.records import Document
from verify.scoring import Shown, Summary, merge, summarize
from verify.tokenization import Tokenizer
from watermark.windows import Ids, TokenBatch

# Characters tokenized at once: enough for all cores, little enough to stay small beside the distinct pairs.
BATCH_CHARACTERS: Final = 1 << 22
CHARACTERS_PER_ID: Final = 4
CHARACTERS_PER_DOCUMENT: Final = 256  # what an empty one costs, so that batches of millions stay bounded


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
            texts = _encode(
                tokenizer, [(d, d.text or "") for d, text in zip(batch, use_text, strict=True) if text], "text"
            )
            responses = [next(texts) if text else _ids(d) for d, text in zip(batch, use_text, strict=True)]
            part = summarize(
                TokenBatch.from_documents(responses),
                width,
                shown=_shown(tokenizer, batch),
                skip_repeated=skip_repeated,
            )
            progress(part)
            yield part

    return merge(parts(), width)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in order; a conversation stays together, so that its turns are tokenized once."""
    batch: list[Document] = []
    previous, size = None, 0
    for document in documents:
        if size >= BATCH_CHARACTERS and not (previous and document.continues(previous)):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += CHARACTERS_PER_DOCUMENT + len(document.text or "") + sum(map(len, document.shown_after(previous)))
        size += CHARACTERS_PER_ID * (0 if document.token_ids is None else len(document.token_ids))
        previous = document
    if batch:
        yield batch


def _shown(tokenizer: Tokenizer | None, batch: list[Document]) -> Shown | None:
    texts: list[tuple[Document, str]] = []
    before, conversation = [], []
    previous = None
    for index, document in enumerate(batch):
        new = document.shown_after(previous)
        texts += [(document, text) for text in new]
        before += [index] * len(new)
        conversation.append(conversation[-1] if previous and document.continues(previous) else index)
        previous = document
    if not texts:
        return None
    encoded = TokenBatch.from_documents(list(_encode(tokenizer, texts, "prompt")))
    return Shown(encoded, np.array(before, dtype=np.int64), np.array(conversation, dtype=np.int64))


def _encode(tokenizer: Tokenizer | None, texts: list[tuple[Document, str]], field: str) -> Iterator[Ids]:
    if texts and tokenizer is None:
        raise InputError(
            f"{texts[0][0].name} has a {field} and needs a tokenizer",
            hint="name the provider's tokenizer.json with --tokenizer",
        )
    if tokenizer is None:
        return iter(())
    return iter(tokenizer.encode_batch([text for _, text in texts]))


def _ids(document: Document) -> Ids:
    ids = () if document.token_ids is None else document.token_ids
    return np.asarray(ids, dtype=np.uint32)

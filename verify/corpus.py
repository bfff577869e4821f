"""Documents -> Summary, streaming: the loop around `verify.scoring.summarize`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from verify.distinct import Pairs
from verify.errors import InputError, Refused
from verify.records import Document
from verify.scoring import Shown, Summary, merge, summarize
from verify.tokenization import Tokenizer, comparable
from watermark.windows import Ids, Keys, TokenBatch, window_keys, windowed

# Characters tokenized at once: enough for all cores, little enough to stay small beside the distinct pairs.
BATCH_CHARACTERS: Final = 1 << 22
CHARACTERS_PER_ID: Final = 4
CHARACTERS_PER_DOCUMENT: Final = 256  # what an empty one costs, so that batches of millions stay bounded


def summarize_documents(
    documents: Iterable[Document],
    width: int,
    *,
    tokenizer: Tokenizer | None,
    trust_ids: bool = False,
    skip_repeated: bool = True,
    take: Callable[[Pairs], None] = lambda pairs: None,
    progress: Callable[[Summary], None] = lambda summary: None,
) -> Summary:
    """Summarize a corpus.

    Args:
        documents: responses with their prompts.
        width: h.
        tokenizer: for documents without token ids, and for prompts.
        trust_ids: use token ids also where there is text. Whoever made the ids chose the tokenization, perhaps with
            the key in hand: the same text has many, and some of them score high.
        skip_repeated: see `summarize`.
        take: see `summarize`.
        progress: called with the Summary of each batch.

    Raises:
        InputError: a document that needs a tokenizer, and there is none.
        Refused: a document that was made with another tokenizer.
    """

    def parts() -> Iterator[Summary]:
        for tokens, shown in tokenized(documents, width, tokenizer=tokenizer, trust_ids=trust_ids):
            part = summarize(tokens, width, shown=shown, skip_repeated=skip_repeated, take=take)
            progress(part)
            yield part

    return merge(parts(), width)


def tokenized(
    documents: Iterable[Document], width: int, *, tokenizer: Tokenizer | None, trust_ids: bool
) -> Iterator[tuple[TokenBatch, Shown | None]]:
    """Batches of responses as ids, with what the model was shown before each, if anything.

    Args:
        documents: responses with their prompts.
        width: h.
        tokenizer: see `summarize_documents`, as the rest.
        trust_ids: likewise.
    """
    stated: str | None = None  # the tokenizer that the documents so far name
    for batch in _batches(documents):
        for document in batch:
            if tokenizer is not None:
                tokenizer.check(document)
            elif document.tokenizer is not None and document.tokenizer != (stated := stated or document.tokenizer):
                raise Refused(
                    f"{document.name}: made with another tokenizer than the documents before it",
                    hint="test documents of one tokenizer at a time",
                )
        use_text = [d.text is not None and (d.token_ids is None or not trust_ids) for d in batch]
        texts = _encode(tokenizer, [(d, d.text or "") for d, text in zip(batch, use_text, strict=True) if text], "text")
        responses = [next(texts) if text else _ids(d) for d, text in zip(batch, use_text, strict=True)]
        yield TokenBatch.from_documents(responses), _shown(tokenizer, batch, responses, width)


def served_windows(
    documents: Iterable[Document],
    width: int,
    *,
    tokenizer: Tokenizer | None,
    progress: Callable[[int], None] = lambda tokens: None,
) -> Keys:
    """The windows that a sampler came to in what it served: distinct, ascending, (n,) uint64.

    Those after a last token are among them: whether the answer went on there was drawn under the key.

    Args:
        documents: what was served, with the token ids that were drawn.
        width: h.
        tokenizer: the provider's, if the ids are to be checked against it.
        progress: called with the number of tokens of each batch.

    Raises:
        InputError: an id that the tokenizer does not have.
        Refused: a document without token ids, or of another tokenizer. A text has many tokenizations, and the windows
            must be those that the sampler had.
    """
    found: Keys = np.empty(0, dtype=np.uint64)
    for batch in _batches(documents):
        for document in batch:
            if document.token_ids is None:
                raise Refused(
                    f"{document.name}: served without token_ids, and its windows must be as the sampler had them",
                    hint="take the transcripts that embed wrote",
                )
            if tokenizer is not None:
                tokenizer.check(document)
        tokens = TokenBatch.from_documents([_ids(d) for d in batch])
        # A position is a window's if the window ends before it, in the same document: an end counts as a position.
        starts, ends = tokens.offsets[:-1], tokens.offsets[1:]
        at = np.concatenate([windowed(tokens, width), ends[ends - starts >= width]])
        found = np.union1d(found, window_keys(tokens.ids, at, width))
        progress(tokens.ids.size)
    return found


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


def _shown(tokenizer: Tokenizer | None, batch: list[Document], responses: list[Ids], width: int) -> Shown | None:
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
    assert tokenizer is not None
    echoes = _echoes(tokenizer, batch, responses, width)
    return Shown(encoded, np.array(before, dtype=np.int64), np.array(conversation, dtype=np.int64), echoes)


def _echoes(tokenizer: Tokenizer, batch: list[Document], responses: list[Ids], width: int) -> NDArray[np.bool_]:
    """Which tokens end a pair whose text stands in what the model was shown, however that is tokenized: (T,) bool."""
    letters, parts = tokenizer.letters, []
    previous, shown = None, ""
    for document, response in zip(batch, responses, strict=True):
        kept = shown if previous and document.continues(previous) else ""
        # A line break cannot stand in comparable text: nothing matches across two turns.
        shown = "\n".join([kept, *map(comparable, document.shown_after(previous))])
        previous = document
        echo = np.zeros(len(response), dtype=bool)
        if len(shown) > 1:
            texts = [letters[token] for token in response.tolist()]
            for end in range(width, len(texts)):
                echo[end] = "".join(texts[end - width : end + 1]) in shown
        parts.append(echo)
    return np.concatenate(parts)


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

"""Which windows were served: from transcripts, or from a file of hashed windows.

Of hashed windows the file streams: memory goes with the distinct windows that are looked up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from verify.corpus import served_windows
from verify.distinct import Pairs
from verify.errors import Refused, quoted
from verify.hashed_windows import MAX_HEADER_BYTES, HashedWindows, Hashes, read_hashes, read_head
from verify.inputs import open_documents
from verify.inputs.streams import display_name, open_stream
from verify.records import Document
from verify.tokenization import Tokenizer


def hash_served(
    documents: Iterable[Document], width: int, *, salt: bytes, progress: Callable[[int], None] = lambda tokens: None
) -> tuple[HashedWindows, Hashes]:
    """The windows of what was served: (first line, hashes in ascending order).

    Args:
        documents: with the token ids that were drawn.
        width: h.
        salt: 16 bytes.
        progress: called with the number of tokens of each batch.

    Raises:
        Refused: a document without token ids, or of another tokenizer than one before it.
    """
    stated: set[str] = set()

    def named() -> Iterator[Document]:
        for document in documents:
            stated.add(document.tokenizer or "unknown")
            if len(stated) > 1:
                raise Refused(
                    f"{document.name}: made with another tokenizer than the documents before it",
                    hint="make a file of windows for each tokenizer",
                )
            yield document

    windows = served_windows(named(), width, tokenizer=None, progress=progress)
    head = HashedWindows(width=width, n=len(windows), salt=salt.hex(), tokenizer=(*stated, "unknown")[0])
    hashes = np.unique(head.hashes(windows))
    return msgspec.structs.replace(head, n=len(hashes)), hashes


def served_mask(
    path: str,
    pairs: Pairs,
    *,
    tokenizer: Tokenizer | None,
    progress: Callable[[int], None] = lambda done: None,
) -> NDArray[np.bool_]:
    """Which pairs have a window that was served: (n,) bool.

    Args:
        path: transcripts with the token ids that were drawn, a file or "-"; or a file of hashed windows.
        pairs: of the suspect; they say h.
        tokenizer: the provider's, if the ids are to be checked against it.
        progress: called with the number of tokens, or of hashed windows, of each batch.

    Raises:
        InputError: malformed input.
        Refused: transcripts without ids, windows of another width, or another tokenizer.
    """
    keys = pairs.window_keys()
    if not _is_hashed(path):
        known = served_windows(open_documents(path), pairs.width, tokenizer=tokenizer, progress=progress)
        return np.isin(keys, known)
    name = display_name(path)
    with open_stream(path) as stream:
        head = read_head(stream, name)
        if head.width != pairs.width:
            raise Refused(f"{name}: windows of width {head.width}, expected {pairs.width}, which the key has")
        if tokenizer is not None and head.tokenizer not in ("unknown", tokenizer.digest):
            raise Refused(
                f"{name}: windows of another tokenizer: {quoted(head.tokenizer)}, expected {quoted(tokenizer.digest)}",
                hint="name the tokenizer.json that the provider published for these windows",
            )
        distinct, which = np.unique(keys, return_inverse=True)
        hashes = head.hashes(distinct)
        order = np.argsort(hashes)
        found = np.zeros(len(distinct), dtype=np.bool_)
        found[order] = _among(hashes[order], read_hashes(stream, head, name), progress)
        return found[which]


def _among(wanted: Hashes, chunks: Iterable[Hashes], progress: Callable[[int], None]) -> NDArray[np.bool_]:
    """Which of the ascending `wanted` are in the chunks, which ascend throughout."""
    found, at = np.zeros(len(wanted), dtype=np.bool_), 0
    for chunk in chunks:
        end = int(np.searchsorted(wanted, chunk[-1], side="right"))
        places = np.searchsorted(chunk, wanted[at:end])
        found[at:end] = chunk[places] == wanted[at:end]
        at = end
        progress(len(chunk))
    return found


def _is_hashed(path: str) -> bool:
    """Whether a file says that it is one; a pipe is not looked into, for it could not be read again."""
    if not os.path.isfile(path):
        return False
    with open_stream(path) as stream:
        return b'"radiolabel":"windows"' in stream.readline(MAX_HEADER_BYTES)

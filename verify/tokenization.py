"""A pinned tokenizer: text -> ids, and the digest that says which tokenizer it was."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from typing import Final, final

import numpy as np
import tokenizers
from numpy.typing import NDArray

from verify.decoding import excerpt, printable
from verify.errors import InputError, Refused, quoted
from verify.records import Document
from watermark.windows import MAX_ID

MAX_TOKENIZER_BYTES: Final = 256 << 20  # the largest that is published has some 34 MB
# Per call: tokenizers needs some 110 bytes a character, and Ctrl-C waits for the end of a call.
BATCH_CHARACTERS: Final = 1 << 22
PIECE_CHARACTERS: Final = 1 << 20  # `docs/spec/marking.md`, section 3, has the three rules of a cut
CUT_CHARACTERS: Final = 1 << 16


def comparable(text: str) -> str:
    """Text without case, white space and replacement characters, which tokenizers and quoting change."""
    return "".join(text.casefold().replace("\ufffd", "").split())


@final
class Tokenizer:
    """A Hugging Face `tokenizer.json`, without special tokens, truncation and padding.

    Attributes:
        digest: "sha256:" and the hexadecimal digest of the file's bytes.
        vocab_size: one more than the largest id, added tokens included.
    """

    def __init__(self, data: bytes, *, name: str) -> None:
        """Read the bytes of a `tokenizer.json`.

        Args:
            data: the file.
            name: what errors call it.

        Raises:
            InputError: not a tokenizer.
            Refused: its ids do not fit the PRF.
        """
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(data)
            vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        except BaseException as error:
            # A panic of the Rust side is a BaseException.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            reason = str(error).encode(errors="replace")
            begins = excerpt(data, 0, 40)
            raise InputError(
                f"{name}: not a tokenizer: begins with {begins}, expected a tokenizer.json of Hugging Face tokenizers",
                hint=f"tokenizers {tokenizers.__version__} says: {excerpt(reason, 0, len(reason))}",
            ) from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        if self.vocab_size > MAX_ID + 1:
            raise Refused(f"{name}: largest token id is {self.vocab_size - 1}, expected at most {MAX_ID}")

    @classmethod
    def load(cls, path: str) -> Tokenizer:
        """Read a `tokenizer.json`, or the one in a directory.

        Raises:
            InputError: the file cannot be read, is over 256 MiB or is not a tokenizer.
            Refused: its ids do not fit the PRF.
        """
        file = os.path.join(path, "tokenizer.json") if os.path.isdir(path) else path
        name = printable(file)
        try:
            with open(file, "rb") as stream:
                data = stream.read(MAX_TOKENIZER_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = str((isinstance(error, OSError) and error.strerror) or error).lower()
            raise InputError(f"{name}: cannot be read: {reason}, expected a tokenizer.json") from None
        if len(data) > MAX_TOKENIZER_BYTES:
            raise InputError(f"{name}: more than {MAX_TOKENIZER_BYTES} bytes, expected a tokenizer.json")
        return cls(data, name=name)

    def __repr__(self) -> str:
        return f"Tokenizer(digest={self.digest!r}, vocab_size={self.vocab_size})"

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Token ids of each text, on all cores.

        A text of more than `PIECE_CHARACTERS` is encoded in pieces of at most that many: each ends after the last
        newline of its last `CUT_CHARACTERS`, else after the last space there, else at the limit.
        The ids of a text are those of its pieces end to end, whatever the other texts are.

        Args:
            texts: B texts.

        Returns:
            B arrays (T_b,) uint32.

        Raises:
            InputError: a text that is not valid unicode, or that the tokenizer has no ids for.
        """
        cut = [list(_pieces(text)) for text in texts]
        found = (
            ids for batch in _batches([piece for pieces in cut for piece in pieces]) for ids in self._encode(batch)
        )
        return [_joined(list(itertools.islice(found, len(pieces)))) for pieces in cut]

    def _encode(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        try:
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            for text in texts:
                _check_unicode(text)
            raise InputError(f"the tokenizer failed: {quoted(str(error))}, expected ids for every text") from None
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]

    @cached_property
    def letters(self) -> list[str]:
        """The text of each id as `comparable` leaves it: of (vocab_size,) ids."""
        ids = [[token] for token in range(self.vocab_size)]
        return [comparable(text) for text in self._tokenizer.decode_batch(ids, skip_special_tokens=False)]

    def ids_by_text(self) -> dict[bytes, int]:
        """The id of each text that exactly one id stands for, as bytes: a token may be a part of a character."""
        decoded = self._tokenizer.decode_batch([[i] for i in range(self.vocab_size)], skip_special_tokens=False)
        found: dict[bytes, int] = {}
        ambiguous = set()
        for i, text in enumerate(decoded):
            token = self._tokenizer.id_to_token(i)
            if token is None:
                continue
            name = _token_bytes(token, text)
            if name in found:
                ambiguous.add(name)
            found[name] = i
        return {name: i for name, i in found.items() if name not in ambiguous}

    def check(self, document: Document) -> None:
        """Make sure that a document's ids, if it has any, are of this tokenizer.

        Raises:
            Refused: the document carries another digest.
            InputError: an id that this tokenizer does not have.
        """
        if document.tokenizer is not None and document.tokenizer != self.digest:
            raise Refused(
                f"{document.name}: transcripts were made with another tokenizer: "
                f"{document.tokenizer!r}, expected {self.digest!r}",
                hint="name the tokenizer.json that the provider published for these transcripts",
            )
        ids = document.token_ids
        if ids is not None and ids.size and int(ids.max()) >= self.vocab_size:
            at = int(np.argmax(ids >= self.vocab_size))
            raise InputError(
                f"{document.name}: token_ids[{at}] is {int(ids[at])}, "
                f"expected an id below the tokenizer's vocabulary size {self.vocab_size}",
            )


@cache
def _byte_of() -> dict[str, int]:
    """The byte that each letter of byte-level vocabularies stands for (Radford et al. 2019, the code of GPT-2)."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _token_bytes(token: str, decoded: str) -> bytes:
    """What a token stands for, from its name in the vocabulary and what it decodes to by itself."""
    letters = _byte_of()
    if all(letter in letters for letter in token):
        whole = bytes(letters[letter] for letter in token)
        if whole.decode(errors="replace") == decoded:
            return whole
    spaced = token.replace("\u2581", " ")  # how SentencePiece spells a space; it drops the first when it decodes
    return (spaced if spaced.lstrip(" ") == decoded.lstrip(" ") else decoded).encode()


def _pieces(text: str) -> Iterator[str]:
    begin = 0
    while len(text) - begin > PIECE_CHARACTERS:
        end = begin + PIECE_CHARACTERS
        cuts = (text.rfind(after, end - CUT_CHARACTERS, end) for after in "\n ")
        end = next((cut + 1 for cut in cuts if cut >= 0), end)
        yield text[begin:end]
        begin = end
    yield text[begin:]


def _joined(pieces: list[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Texts in order, those of a batch with at most `BATCH_CHARACTERS`, or one."""
    begin, size = 0, 0
    for end, text in enumerate(texts):
        if size and size + len(text) > BATCH_CHARACTERS:
            yield texts[begin:end]
            begin, size = end, 0
        size += len(text)
    if texts:
        yield texts[begin:]


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        near = quoted(text[max(error.start - 10, 0) : error.start + 10])
        raise InputError(
            f"lone surrogate {quoted(text[error.start])} at character {error.start}, near {near}, expected unicode text"
        ) from None

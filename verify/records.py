"""The file formats. Normative pages: `docs/spec/transcript.md`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from verify.decoding import ANY, decode
from verify.errors import InputError, listed, quoted
from verify.logprobs import EXPECTED as EXPECTED_LOGPROBS
from verify.logprobs import TokenLogprob, check_logprobs
from watermark.windows import MAX_ID

KIND: Final = "transcript"
VERSION: Final = 1
MAX_TOKENS: Final = 1 << 24  # of one response
DIGEST: Final = r"^sha256:[0-9a-f]{64}$"

Digest = Annotated[str, msgspec.Meta(pattern=DIGEST)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Document(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One response to test, wherever it came from.

    Attributes:
        name: file and line, such as "answers.jsonl:17", or "answers.jsonl:17[2]" for the second of a record.
        text: the response; "" if there was none to read, None if only token ids are known.
        token_ids: (T,) uint32 ids of the response, or None.
        prompt: what the model saw before this response and that is not in `turns`, joined by newlines, or None.
        turns: the turns of the conversation: one object, which all its responses share.
        n_shown: how many of `turns` came before this response; it grows from response to response.
        tokenizer: digest of the tokenizer that `token_ids` are of ("sha256:<hex>"), or None.
    """

    name: str
    text: str | None = None
    token_ids: NDArray[np.uint32] | None = None
    prompt: str | None = None
    turns: tuple[str, ...] = ()
    n_shown: int = 0
    tokenizer: str | None = None

    def shown_after(self, previous: Document | None) -> list[str]:
        """Texts the model saw before this response, less those of `turns` that `previous` has seen already.

        Args:
            previous: the response before this one, of any conversation.
        """
        known = previous.n_shown if previous is not None and self.continues(previous) else 0
        return [text for text in (self.prompt, *self.turns[known : self.n_shown]) if text]

    def continues(self, previous: Document) -> bool:
        """Whether both are of one conversation."""
        return bool(self.turns) and self.turns is previous.turns


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """One served response: a line of a transcript file.

    Attributes:
        id: names the response within its file.
        prompt: everything the model saw before the response, joined by newlines.
        response: the text that was served.
        token_ids: the ids that were sampled.
        tokenizer: digest of the `tokenizer.json` that the ids are of.
        model: the model that answered.
        request: the request, as the served log names it.
        account: who asked.
        marked: positions by what became of them, such as "marked", "repeat", "start".
        logprobs: of the response's tokens, as an endpoint gave them.
        meta: anything else that JSON can hold.
        extra: fields of the file that this version does not know, as they were spelled there.
    """

    id: str
    prompt: str
    response: str
    token_ids: tuple[int, ...] | None = None
    tokenizer: Digest | None = None
    model: str | None = None
    request: str | None = None
    account: str | None = None
    marked: dict[str, Count] | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    meta: dict[str, Any] | None = None
    extra: dict[str, msgspec.Raw] = {}

    def to_json(self) -> bytes:
        """The transcript as one line without its end; absent fields are left out, unknown ones follow the known.

        Raises:
            InputError: a value that JSON cannot hold, or that `transcript` would refuse.
        """
        name = f"transcript {quoted(self.id)}"
        record: dict[str, object] = {"radiolabel": KIND, "version": VERSION}
        record |= {field: value for field in FIELDS if (value := getattr(self, field)) is not None}
        record |= {field: value for field, value in self.extra.items() if field not in _KNOWN}
        try:
            line = msgspec.json.encode(record)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(f"{name}: cannot be written as JSON: {error}") from None
        transcript(decode(line, ANY, name=name, line=None), name)
        return line


FIELDS: Final = tuple(field for field in Transcript.__struct_fields__ if field != "extra")

_KNOWN: Final = frozenset({"radiolabel", "version", *FIELDS})
_EXPECTED: Final = {
    "tokenizer": "'sha256:' and 64 hexadecimal digits in lower case",
    "marked": "an object of counts",
    "logprobs": EXPECTED_LOGPROBS,
    "meta": "an object",
    "version": f"the integer {VERSION}",
}
_PATH: Final = re.compile(r"at `\$\.(\w+)")
_RAW: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def transcript(record: object, where: str) -> Transcript:
    """Check a decoded JSON value.

    Args:
        record: the value.
        where: what errors call it, such as "answers.jsonl:17".

    Raises:
        InputError: not a transcript, or one of a later version.
    """
    if not isinstance(record, dict) or record.get("radiolabel") != KIND:
        kind = record.get("radiolabel") if isinstance(record, dict) else record
        raise InputError(f"{where}: radiolabel is {quoted(kind)}, expected {quoted(KIND)}")
    version = record.get("version")
    if type(version) is int and version > VERSION:
        raise InputError(
            f"{where}: transcript version is {quoted(version)}, expected at most {VERSION}",
            hint="a later radiolabel wrote this: pip install --upgrade radiolabel",
        )
    if type(version) is not int or version < 1:
        raise InputError(f"{where}: version is {quoted(version)}, expected {_EXPECTED['version']}")
    missing = [field for field in ("id", "prompt", "response") if field not in record]
    if missing:
        raise InputError(f"{where}: transcript without {listed(missing)}, expected 'id', 'prompt' and 'response'")
    ids = record.get("token_ids")
    token_ids = None if ids is None else tuple(token_ids_of(ids, where).tolist())
    others = {field: record[field] for field in FIELDS if field in record and field != "token_ids"}
    try:
        checked = msgspec.convert(others, Transcript)
    except msgspec.ValidationError as error:
        match = _PATH.search(str(error))
        field = match[1] if match else "record"
        value, expected = quoted(record.get(field)), _EXPECTED.get(field, "a string")
        raise InputError(f"{where}: {field} is {value}, expected {expected}") from None
    check_logprobs(checked.logprobs or (), where)
    return msgspec.structs.replace(checked, token_ids=token_ids)


def transcript_from_json(line: bytes, where: str) -> Transcript:
    """Read one line of a transcript file; fields that are not known are kept in `extra`.

    Raises:
        InputError: not a transcript, or one of a later version.
    """
    checked = transcript(decode(line, ANY, name=where, line=None), where)
    extra = {field: value.copy() for field, value in _RAW.decode(line).items() if field not in _KNOWN}
    return msgspec.structs.replace(checked, extra=extra)


def token_ids_of(value: object, where: str) -> NDArray[np.uint32]:
    """(T,) uint32 token ids.

    Raises:
        InputError: not a list, one of more than `MAX_TOKENS`, or an item that is not an integer in 0..`MAX_ID`.
    """
    if not isinstance(value, list):
        raise InputError(f"{where}: token_ids is {quoted(value)}, expected a list of integers")
    if len(value) > MAX_TOKENS:
        raise InputError(f"{where}: token_ids has {len(value)} items, expected at most {MAX_TOKENS}")
    if set(map(type, value)) <= {int}:  # bool is a type of its own
        try:
            ids = np.array(value, dtype=np.uint32)
        except OverflowError:
            pass
        else:
            if not ids.size or int(ids.max()) <= MAX_ID:
                return ids
    for index, item in enumerate(value):
        if type(item) is not int or not 0 <= item <= MAX_ID:
            raise InputError(
                f"{where}: token_ids[{index}] is {quoted(item)}, expected an integer from 0 to {MAX_ID}",
            )
    raise AssertionError("one of the two checks of token ids is wrong")

"""Prediction file: what a suspect model (p) and a reference model (q) predict inside known texts.

Symbols: T tokens of a text, n recorded positions, k candidates, p and q next-token probabilities.
Normative text: docs/spec/prediction.md. One text is one line, and is read whole; texts stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from verify.decoding import ANY, decode
from verify.errors import InputError, Refused, quoted
from verify.inputs.containers import lines, start
from verify.inputs.streams import display_name, open_stream
from verify.records import MAX_TOKENS, Digest
from watermark.windows import MAX_ID, Ids

KIND: Final = "prediction"
VERSION: Final = 1
MAX_LINE_BYTES: Final = 256 << 20  # 16 million candidates with both models
MAX_ORDINAL: Final = (1 << 53) - 1  # every JSON reader holds it exactly
MAX_SUM: Final = 1 + 1e-3  # probabilities come from models that compute in half precision

Logs = NDArray[np.float32]
_Id = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]
_IdList = Annotated[list[_Id], msgspec.Meta(max_length=MAX_TOKENS)]
_PATH: Final = re.compile(r"at `\$\.(\w+)((?:\[\d+\])?)")


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """One text with what the models predict at some of its positions.

    Attributes:
        id: names the text within its file.
        ordinal: its place in the file; of served text, the place in serving order.
        served: whether the provider's sampler drew this text: then the windows themselves depend on its keys.
        prompt_ids: (S,) uint32, what the model was shown before the text.
        token_ids: (T,) uint32, the text.
        tokenizer: digest of the tokenizer that all ids are of ("sha256:<hex>").
        at: (n,) int64 ascending, positions t in 0..T-1 whose next-token law is recorded: that of `token_ids[t]`
            given the prompt and `token_ids[:t]`; of served text also T, what would follow its last token.
        candidates: (n, k) uint32, distinct in a row, chosen without any key.
        log_p: (n, k) float32, ln p of each candidate under the suspect; None if nobody ran it.
        log_q: (n, k) float32, ln q under the reference; None if there is none. One of the two is there.
        suspect: names the suspect model.
        reference_model: names the reference, or None.
    """

    id: str
    ordinal: int
    served: bool
    prompt_ids: Ids
    token_ids: Ids
    tokenizer: str
    at: NDArray[np.int64]
    candidates: Ids
    log_p: Logs | None
    log_q: Logs | None
    suspect: str
    reference_model: str | None = None

    def ascending(self) -> Prediction:
        """The same with the candidates of each row in ascending order."""
        if (self.candidates[:, 1:] > self.candidates[:, :-1]).all():
            return self
        order = np.argsort(self.candidates, axis=1)

        def ordered(logs: Logs | None) -> Logs | None:
            return None if logs is None else np.take_along_axis(logs, order, 1)

        candidates = np.take_along_axis(self.candidates, order, 1)
        return replace(self, candidates=candidates, log_p=ordered(self.log_p), log_q=ordered(self.log_q))

    def to_json(self) -> bytes:
        """The record as one line without its end; in each row the candidates are put in ascending order.

        Raises:
            InputError: a value that a reader would refuse.
        """
        rows = self.ascending()

        def packed(values: Ids | Logs | None, dtype: str) -> bytes | None:
            return None if values is None else values.astype(dtype).tobytes()

        record = {"radiolabel": KIND, "version": VERSION, "id": self.id, "ordinal": self.ordinal}
        record |= {"served": self.served, "prompt_ids": self.prompt_ids.tolist(), "token_ids": self.token_ids.tolist()}
        record |= {"tokenizer": self.tokenizer, "at": self.at.tolist(), "k": self.candidates.shape[1]}
        record |= {"candidates": packed(rows.candidates, "<u4"), "log_p": packed(rows.log_p, "<f4")}
        record |= {"log_q": packed(rows.log_q, "<f4"), "suspect": self.suspect, "reference_model": self.reference_model}
        line = msgspec.json.encode({name: value for name, value in record.items() if value is not None})
        prediction_from_json(line, f"prediction {quoted(self.id)}")
        return line


def read_predictions(path: str, *, tokenizer: str | None = None) -> Iterator[Prediction]:
    """The texts of a file in order, one in memory at a time.

    Args:
        path: a file, or "-" for standard input; gzip and zstd are recognized.
        tokenizer: the digest that every text must name; if None, that of the first text.

    Raises:
        InputError: unreadable or malformed input, texts out of order, repeated ids.
        Refused: a text of another tokenizer.
    """
    name, last, seen = display_name(path), -1, set[str]()
    with open_stream(path) as stream:
        begin = start(stream, name, "prediction", max_line_bytes=MAX_LINE_BYTES, max_file_bytes=MAX_LINE_BYTES)
        for number, line in lines(begin):
            if line.isspace():
                continue
            where = f"{name}:{number}"
            found = prediction_from_json(line, where)
            if found.ordinal <= last:
                raise InputError(f"{where}: ordinal is {found.ordinal} after {last}, expected a larger one")
            if found.id in seen:
                raise InputError(f"{where}: id {quoted(found.id)} stands in the file twice, expected distinct ids")
            tokenizer = tokenizer or found.tokenizer
            if found.tokenizer != tokenizer:
                raise Refused(
                    f"{where}: tokenizer is {found.tokenizer[:19]}..., expected {tokenizer[:19]}...",
                    hint="the windows of two tokenizers have nothing in common: test one tokenizer at a time",
                )
            last = found.ordinal
            seen.add(found.id)
            yield found


class _Line(msgspec.Struct, kw_only=True):
    radiolabel: str
    version: int
    id: str
    ordinal: Annotated[int, msgspec.Meta(ge=0, le=MAX_ORDINAL)]
    served: bool
    prompt_ids: _IdList
    token_ids: _IdList
    tokenizer: Digest
    at: list[Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]]
    k: Annotated[int, msgspec.Meta(ge=1, le=MAX_ID + 1)]
    candidates: bytes
    log_p: bytes | None = None
    log_q: bytes | None = None
    suspect: str
    reference_model: str | None = None


_ID_TEXT: Final = f"an integer from 0 to {MAX_ID}"
_BASE64_TEXT: Final = "base64"
_EXPECTED: Final = {
    "ordinal": f"an integer from 0 to {MAX_ORDINAL}",
    "served": "true or false",
    "prompt_ids": f"a list of integers from 0 to {MAX_ID}",
    "token_ids": f"a list of integers from 0 to {MAX_ID}",
    "tokenizer": "'sha256:' and 64 hexadecimal digits in lower case",
    "at": "a list of positions",
    "k": f"an integer from 1 to {MAX_ID + 1}",
    "candidates": _BASE64_TEXT,
    "log_p": _BASE64_TEXT,
    "log_q": _BASE64_TEXT,
}


def prediction_from_json(line: bytes, where: str) -> Prediction:
    """Read one line of a prediction file.

    Args:
        line: the line.
        where: what errors call it, such as "windows.jsonl:17".

    Raises:
        InputError: not a prediction, one of a later version, or one whose numbers cannot be probabilities.
    """
    r = _fields(line, where)
    at, shape = np.array(r.at, dtype=np.int64), (len(r.at), r.k)
    end = len(r.token_ids) + r.served
    if at.size and (at[-1] >= end or (at[1:] <= at[:-1]).any()):
        raise InputError(f"{where}: at is {quoted(r.at)}, expected ascending positions below {end}")
    candidates = _unpack(r.candidates, np.dtype("<u4"), shape, f"{where}: candidates")
    _check_candidates(candidates, at, where)
    logs: dict[str, Logs | None] = {"log_p": None, "log_q": None}
    for name, data in (("log_p", r.log_p), ("log_q", r.log_q)):
        if data is not None:
            found: Logs = _unpack(data, np.dtype("<f4"), shape, f"{where}: {name}")
            _check_logs(found, at, f"{where}: {name}")
            logs[name] = found
    if r.log_p is r.log_q is None:
        raise InputError(f"{where}: neither log_p nor log_q, expected the predictions of at least one model")
    return Prediction(
        id=r.id,
        ordinal=r.ordinal,
        served=r.served,
        prompt_ids=np.array(r.prompt_ids, dtype=np.uint32),
        token_ids=np.array(r.token_ids, dtype=np.uint32),
        tokenizer=r.tokenizer,
        at=at,
        candidates=candidates,
        suspect=r.suspect,
        reference_model=r.reference_model,
        **logs,
    )


def _fields(line: bytes, where: str) -> _Line:
    try:
        found = _DECODER.decode(line)  # straight from the base64, in two thirds of the time
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if found is not None and (found.radiolabel, found.version) == (KIND, VERSION):
        return found
    raise _reason(decode(line, ANY, name=where, line=None), where)


def _reason(record: object, where: str) -> InputError:
    """Why a JSON value is not a prediction."""
    if not isinstance(record, dict) or record.get("radiolabel") != KIND:
        kind = record.get("radiolabel") if isinstance(record, dict) else record
        return InputError(f"{where}: radiolabel is {quoted(kind)}, expected {quoted(KIND)}")
    version = record.get("version")
    if type(version) is not int or version != VERSION:
        return InputError(f"{where}: version is {quoted(version)}, expected {VERSION}")
    try:
        msgspec.convert(record, _Line)
    except msgspec.ValidationError as error:
        match = _PATH.search(str(error))
        if match is None:
            missing = [name for name in _Line.__struct_fields__ if name not in record and name not in _OPTIONAL]
            return InputError(f"{where}: prediction without {', '.join(map(quoted, missing))}")
        field, index = match[1], match[2]
        value = record[field][int(index[1:-1])] if index else record[field]
        expected = "an integer in range" if index and field == "at" else _ID_TEXT if index else None
        return InputError(
            f"{where}: {field}{index} is {quoted(value)}, expected {expected or _EXPECTED.get(field, 'a string')}"
        )
    raise AssertionError("one of the two checks of predictions is wrong")


_DECODER: Final = msgspec.json.Decoder(_Line)
_OPTIONAL: Final = frozenset({"log_p", "log_q", "reference_model"})


def _unpack(data: bytes, dtype: np.dtype[Any], shape: tuple[int, int], what: str) -> NDArray[Any]:
    expected = shape[0] * shape[1] * dtype.itemsize
    if len(data) != expected:
        raise InputError(f"{what} has {len(data)} bytes, expected {expected}: {shape[0]} positions by k = {shape[1]}")
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _check_candidates(candidates: Ids, at: NDArray[np.int64], where: str) -> None:
    if candidates.size and int(candidates.max()) > MAX_ID:
        row, column = np.argwhere(candidates > MAX_ID)[0]
        raise InputError(f"{where}: candidate {candidates[row, column]} at position {at[row]}, expected {_ID_TEXT}")
    if not (candidates[:, 1:] > candidates[:, :-1]).all():  # sorting costs ten times as much as looking
        ordered = np.sort(candidates, axis=1)
        same = ordered[:, 1:] == ordered[:, :-1]
        if same.any():
            row, column = np.argwhere(same)[0]
            token = ordered[row, column]
            raise InputError(f"{where}: candidate {token} at position {at[row]} twice, expected distinct candidates")


def _check_logs(logs: Logs, at: NDArray[np.int64], what: str) -> None:
    with np.errstate(all="ignore"):
        sums = np.exp(logs).sum(axis=1)
    bad = np.flatnonzero(~(sums <= MAX_SUM))  # a NaN or +inf among the terms ends here too
    if bad.size:
        row = logs[bad[0]]
        position = at[bad[0]]
        if not (row < np.inf).all():
            value = row[~(row < np.inf)][0]
            raise InputError(f"{what} holds {value} at position {position}, expected logarithms of probabilities")
        raise InputError(
            f"{what} at position {position}: probabilities add up to {sums[bad[0]]:.6g}, expected at most {MAX_SUM}",
            hint="are these natural logarithms after the softmax, and not logits?",
        )

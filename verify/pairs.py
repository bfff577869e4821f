"""Pairs of twins, and how likely a suspect holds each member. Normative text: docs/spec/pair.md.

Who made a pair recorded which member was served; who probes a suspect never looks; `join` brings both together.
`verify.redaction` has pairs without their texts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import msgspec

from verify.decoding import ANY, decode
from verify.errors import InputError, Refused, quoted
from verify.inputs.lines import read_lines
from verify.records import MAX_TOKENS, Count, Digest
from watermark.errors import KeyFileError
from watermark.keys import CoinKey
from watermark.windows import MAX_ID

if TYPE_CHECKING:
    from verify.redaction import RedactedPair

PAIR: Final = "pair"
REDACTED: Final = "redacted-pair"
LIKELIHOOD: Final = "likelihood"
VERSION: Final = 1

_Ids = Annotated[tuple[Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)], ...], msgspec.Meta(max_length=MAX_TOKENS)]
_Log = Annotated[float, msgspec.Meta(ge=-1e300, le=0)]  # differences stay finite
Record = TypeVar("Record", "Pair", "RedactedPair", "Likelihood")
_T = TypeVar("_T", "Pair", "RedactedPair", "Pair | RedactedPair", "Likelihood")
AnyPair = TypeVar("AnyPair", "Pair", "RedactedPair", "Pair | RedactedPair")


class Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the two answers.

    Attributes:
        text: what was or would have been served.
        token_ids: what was drawn, or None.
    """

    text: str
    token_ids: _Ids | None = None

    def digest(self, prompt: str) -> str:
        """SHA-256 of the canonical JSON of prompt, text and ids."""
        whole = {"prompt": prompt, "text": self.text, "token_ids": self.token_ids}
        return "sha256:" + hashlib.sha256(msgspec.json.encode(whole, order="sorted")).hexdigest()


class Pair(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Two answers that the sampler could equally have given to one prompt.

    Attributes:
        id: unique in the file; the request id of the second draw, whose coin says which member was served.
        prompt: what was asked.
        account: who asked.
        conversation: pairs of one conversation share it.
        model: the model that answered.
        tokenizer: digest of the tokenizer that the ids are of.
        request: the request id of the first draw.
        members: in the order drawn, or, if one was drawn later, in an order that the coin gives.
        served: the index of the member that was served.
        drawn: when the other member was drawn.
        digests: of each member with the prompt.
        replayed: whether the served member came out token for token when it was drawn again; None if it was not.
    """

    id: str
    prompt: str
    account: str | None = None
    conversation: str | None = None
    model: str | None = None
    tokenizer: Digest | None = None
    request: str | None = None
    members: tuple[Member, Member]
    served: Literal[0, 1]
    drawn: Literal["serving", "later"]
    digests: tuple[Digest, Digest]
    replayed: bool | None = None

    @property
    def equal(self) -> bool:
        """Whether both members have the same text: a tie, whatever the numbers say."""
        return self.members[0].text == self.members[1].text

    @classmethod
    def of(cls, *, prompt: str, members: tuple[Member, Member], **others: Any) -> Pair:
        """A pair with the digests of its members."""
        first, second = members
        digests = (first.digest(prompt), second.digest(prompt))
        return cls(prompt=prompt, members=members, digests=digests, **others)

    def to_json(self) -> bytes:
        """The record as one line without its end.

        Raises:
            InputError: a value that a reader would refuse.
        """
        return line_of(self, PAIR, pair)


class Likelihood(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How likely each member of a pair is under a suspect, and under a reference model.

    Attributes:
        id: of the pair.
        digests: of the members that were scored.
        tokens: how many tokens of the suspect's tokenizer each member has.
        log_likelihood: nats, the sum over each member's tokens given the prompt.
        reference: the same under the reference model, with its own tokenizer, or None.
        suspect: names the suspect.
        reference_model: names the reference model, or None.
    """

    id: str
    digests: tuple[Digest, Digest]
    tokens: tuple[Count, Count]
    log_likelihood: tuple[_Log, _Log]
    reference: tuple[_Log, _Log] | None = None
    suspect: str
    reference_model: str | None = None

    @property
    def alike(self) -> bool:
        """Whether both members have the same numbers, as a probe writes of equal texts."""
        return all(v is None or v[0] == v[1] for v in (self.tokens, self.log_likelihood, self.reference))

    def to_json(self) -> bytes:
        """The record as one line without its end.

        Raises:
            InputError: a value that a reader would refuse.
        """
        return line_of(self, LIKELIHOOD, likelihood)


def pair(record: object, where: str) -> Pair:
    """Check a decoded JSON value.

    Raises:
        InputError: not a pair, one of a later version, or digests that are not its members'.
    """
    if isinstance(record, dict) and record.get("radiolabel") == REDACTED:
        raise Refused(
            f"{where}: a redacted pair, expected one with its prompt and its texts",
            hint="only radiolabel test twin --likelihoods does without; take the file that this one was made from",
        )
    found = convert(record, where, PAIR, Pair)
    if len({member.token_ids is None for member in found.members}) == 2:
        raise InputError(f"{where}: one member has token_ids and the other has none, expected both or neither")
    for index, (member, digest) in enumerate(zip(found.members, found.digests, strict=True)):
        actual = member.digest(found.prompt)
        if actual != digest:
            raise InputError(
                f"{where}: digests[{index}] is {digest[:19]}..., and the member's is {actual[:19]}...",
                hint="the prompt, a text or the ids were changed after the pair was made",
            )
    return found


def likelihood(record: object, where: str) -> Likelihood:
    """Check a decoded JSON value.

    Raises:
        InputError: not a likelihood, one of a later version, or numbers that no model gives.
    """
    found = convert(record, where, LIKELIHOOD, Likelihood)
    if (found.reference is None) != (found.reference_model is None):
        raise InputError(f"{where}: reference and reference_model, expected both or neither")
    for index, (tokens, value) in enumerate(zip(found.tokens, found.log_likelihood, strict=True)):
        if tokens == 0 and value != 0:
            raise InputError(f"{where}: log_likelihood[{index}] is {value} over 0 tokens, expected 0")
    return found


def read_pairs(path: str) -> Iterator[Pair]:
    """The pairs of a file in order.

    Args:
        path: a file, or "-" for standard input; gzip and zstd are recognized.

    Raises:
        InputError: unreadable or malformed input, or an id that stands in the file twice.
        Refused: an answer that stands in two pairs, by its request id; a redacted pair.
    """
    yield from apart((where, pair(record, where)) for where, record in read_lines(path, PAIR))


def apart(records: Iterable[tuple[str, AnyPair]]) -> Iterator[AnyPair]:
    """The pairs of a file, no two of the same id, and none of an answer that another has; see `read_pairs`."""
    drawn: set[str] = set()
    for found in _unique(records):
        requests = {found.id, found.request or found.id}
        if not drawn.isdisjoint(requests):
            raise Refused(
                f"pair {quoted(found.id)}: an answer to request {quoted(min(drawn & requests))} is in another pair too",
                hint="pairs that share an answer are not independent: keep either those drawn while serving or later",
            )
        drawn |= requests
        yield found


def check_coins(pairs: Iterable[AnyPair], coins: CoinKey) -> Iterator[AnyPair]:
    """The pairs, each as soon as its coin was computed again.

    Raises:
        Refused: a pair whose `served` is not the coin of its id under this key.
    """
    for found in pairs:
        try:
            coin = coins.coin(found.id)
        except KeyFileError as error:
            raise Refused(f"pair {quoted(found.id)}: {error}", hint="this key tossed no coin of that name") from None
        if coin != found.served:
            raise Refused(
                f"pair {quoted(found.id)}: served is {found.served}, and the coin of this key is {coin}",
                hint="is this the epoch key that served, and are these the pairs as they were made?",
            )
        yield found


def read_likelihoods(path: str) -> Iterator[Likelihood]:
    """The likelihoods of a file in order; see `read_pairs`."""
    return _unique((where, likelihood(record, where)) for where, record in read_lines(path, LIKELIHOOD))


_AT: Final = re.compile(r" - at `\$(.*)`$")
_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
_TWO_DIGESTS: Final = "two of 'sha256:' and 64 hexadecimal digits in lower case"
_TWO_LOGS: Final = "two numbers from -1e300 to 0"
_EXPECTED: Final = {
    "served": "0 or 1",
    "drawn": "'serving' or 'later'",
    "replayed": "true or false",
    "equal": "true or false",
    "members": "two objects with text",
    "token_ids": f"at most {MAX_TOKENS} integers from 0 to {MAX_ID}",
    "tokenizer": "'sha256:' and 64 hexadecimal digits in lower case",
    "digests": _TWO_DIGESTS,
    "tokens": "two counts",
    "log_likelihood": _TWO_LOGS,
    "reference": _TWO_LOGS,
}


def line_of(record: Pair | RedactedPair | Likelihood, kind: str, check: Callable[[object, str], object]) -> bytes:
    """A record as one line without its end: the fields that it has, in the order of their table.

    Raises:
        InputError: what `check`, the reader, refuses.
    """
    name = f"{kind} {quoted(record.id)}"
    fields = {"radiolabel": kind, "version": VERSION} | msgspec.structs.asdict(record)
    try:
        line = msgspec.json.encode({field: value for field, value in fields.items() if value is not None})
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name}: cannot be written as JSON: {error}") from None
    check(decode(line, ANY, name=name, line=None), name)
    return line


def convert(record: object, where: str, kind: str, type_: type[Record]) -> Record:
    """The record that a decoded JSON value is.

    Raises:
        InputError: of another kind or version, or a field that is missing or of another type.
    """
    if not isinstance(record, dict) or record.get("radiolabel") != kind:
        found = record.get("radiolabel") if isinstance(record, dict) else record
        raise InputError(f"{where}: radiolabel is {quoted(found)}, expected {quoted(kind)}")
    version = record.get("version")
    if type(version) is not int or version != VERSION:
        raise InputError(f"{where}: {kind} version is {quoted(version)}, expected {VERSION}")
    try:
        return msgspec.convert({k: v for k, v in record.items() if k not in ("radiolabel", "version")}, type_)
    except msgspec.ValidationError as error:
        reason = str(error)
    path = found[1] if (found := _AT.search(reason)) else ""
    if "missing required" in reason:
        raise InputError(f"{where}: {kind}{path} without {reason.split('`')[1]!r}")
    if "unknown field" in reason:
        raise InputError(f"{where}: {kind} has {quoted(reason.split('`')[1])}, expected the fields of its table alone")
    value: Any = record
    steps = _STEP.findall(path)
    for name, index in steps:
        value = value[name] if name else value[int(index)]
    field = next(name for name, _ in reversed(steps) if name)
    raise InputError(f"{where}: {path[1:]} is {quoted(value)}, expected {_EXPECTED.get(field, 'a string')}")


def _unique(records: Iterable[tuple[str, _T]]) -> Iterator[_T]:
    seen: set[str] = set()
    for where, record in records:
        if record.id in seen:
            raise InputError(f"{where}: id {quoted(record.id)} stands in the file twice, expected distinct ids")
        seen.add(record.id)
        yield record

"""How a served answer was drawn, as far as its transcript says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from verify.errors import Refused, quoted
from verify.records import Transcript

if TYPE_CHECKING:
    from watermark.decoding import Decoding
    from watermark.sampling import Request, Sampler

_ALLOWED: Final[dict[str, tuple[str, tuple[type, ...], Callable[[Any], bool]]]] = {
    "temperature": ("a number above 0", (int, float), lambda x: x > 0),
    "top_p": ("a number above 0 and at most 1", (int, float), lambda x: 0 < x <= 1),
    "top_k": ("an integer of at least 0", (int,), lambda x: x >= 0),
    "max_tokens": ("an integer of at least 1", (int,), lambda x: x >= 1),
}


def check_complete(t: Transcript, where: str) -> None:
    """Refuse a transcript that does not say which request, ids or tokenizer it is of."""
    for field in ("request", "token_ids", "tokenizer"):
        if getattr(t, field) is None:
            raise Refused(
                f"{where}: transcript without {field}, which twins need", hint="take the file that embed wrote"
            )


def request_of(t: Transcript, where: str, cohort: str, *, suffix: str = "") -> Request:
    """For whom an answer was drawn, or its twin.

    Args:
        t: the served answer.
        where: what errors call it.
        cohort: its cohort if `meta` does not say.
        suffix: of the request's id.

    Raises:
        Refused: a name that is no part of a key path, or another cohort in `meta`.
    """
    from watermark.errors import KeyFileError
    from watermark.sampling import Request

    stated = (t.meta or {}).get("cohort", cohort)
    if not isinstance(stated, str) or (cohort and stated != cohort):
        raise Refused(f"{where}: meta.cohort is {quoted(stated)}, expected {quoted(cohort) if cohort else 'a slot'}")
    try:
        return Request(f"{t.request}{suffix}", account=t.account or "", cohort=stated)
    except KeyFileError as error:
        raise Refused(f"{where}: {error}", hint=error.hint) from None


def decoding_of(t: Transcript, where: str, given: dict[str, float | None]) -> Decoding:
    """How an answer was sampled.

    Args:
        t: the served answer.
        where: what errors call it.
        given: settings for transcripts whose `meta` does not say.

    Raises:
        Refused: a setting that nobody states, that cannot be, or that is stated twice and not alike.
    """
    from watermark.decoding import Decoding

    settings: dict[str, Any] = {}
    for name, (expected, types, allows) in _ALLOWED.items():
        option, flag = given[name], "--" + name.replace("_", "-")
        value = settings[name] = (t.meta or {}).get(name, option)
        if value is None:
            raise Refused(f"{where}: meta has no {name}, which twins need", hint=f"give {flag} as it was then")
        if type(value) not in types or not allows(value):
            raise Refused(f"{where}: meta.{name} is {quoted(value)}, expected {expected}")
        if option is not None and value != option:
            raise Refused(f"{where}: meta.{name} is {quoted(value)} and {flag} is {option}, expected the same")
    return Decoding(**settings)


def check_key(t: Transcript, where: str, sampler: Sampler, cohort: str) -> None:
    """Refuse a transcript that another epoch's key drew, as far as its counts by channel tell.

    Which channel a position has follows from the ids before it and the selector key alone.
    """
    marked, ids = t.marked or {}, t.token_ids or ()
    response = sampler.start(request_of(t, where, cohort))
    for token in ids:
        response.take(token, sampler.fates([response])[0])
    full = dict(response.counts)
    ended = dict(response.counts + Counter(sampler.fates([response])))  # by a token that is no part of the ids
    if sum(marked.values()) in (len(ids), len(ids) + 1) and marked not in (full, ended):
        raise Refused(
            f"{where}: marked is {quoted(marked)}, and under this key it would be {quoted(full)}",
            hint="is this the epoch key that served?",
        )

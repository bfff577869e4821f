"""Log probabilities of an answer's tokens, as an endpoint gave them. Normative page: `docs/spec/transcript.md`."""

from __future__ import annotations

from math import exp
from typing import Annotated, Final

import msgspec

from verify.errors import InputError, quoted

EXPECTED: Final = "tokens with a log probability of at most 0 each"
MAX_SUM: Final = 1 + 1e-3  # probabilities of one position: endpoints round them

LogProbability = Annotated[float, msgspec.Meta(le=0)]
Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token that could have come.

    Attributes:
        token: as the endpoint spells it.
        bytes: of its text; a token may be a part of a character.
        logprob: nats.
    """

    token: str
    bytes: tuple[Byte, ...] | None = None
    logprob: LogProbability


class TokenLogprob(Candidate, frozen=True, kw_only=True, omit_defaults=True):
    """The token that came, and the likeliest at its place.

    Attributes:
        top: the likeliest tokens, in the endpoint's order; may hold the token itself, or be empty.
    """

    top: tuple[Candidate, ...] = ()


def check_logprobs(logprobs: tuple[TokenLogprob, ...], where: str) -> None:
    """Make sure that the likeliest tokens of each position can be a distribution.

    Raises:
        InputError: their probabilities sum to more than `MAX_SUM`.
    """
    for index, token in enumerate(logprobs):
        total = sum(exp(candidate.logprob) for candidate in token.top)
        if total > MAX_SUM:
            raise InputError(
                f"{where}: logprobs[{index}].top has probabilities that sum to {quoted(total)}, expected at most 1"
            )

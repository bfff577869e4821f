"""One request to `POST BASE/chat/completions`, and what became of it.

The key is sent to the base URL and to nothing else: redirects are not followed. It is in no message and no `repr`.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

import httpx

from verify.collecting.answers import FILTERED, Answer, Unusable, answer_of, error_of
from verify.errors import InputError, quoted
from watermark import __version__
from watermark.secret import Secret

MAX_BODY_BYTES: Final = 16 << 20
RETRIED: Final = frozenset({408, 409, 425, 429})  # and 5xx
SAID: Final = 200  # characters of an endpoint's own words that an error quotes
HINTS: Final = {
    401: "the key is missing or wrong: put it into the environment variable that --api-key-env names",
    403: "the key may not use this model",
}
OTHER_HINT: Final = "see that --base-url is the whole address before /chat/completions, such as https://host/v1"
SHORT_KEY: Final = 8  # a placeholder such as "EMPTY" may stand in any text


class Transient(Exception):
    """No answer, but the same request may get one later.

    Args:
        reason: what happened.
        after: seconds that the endpoint asked to wait, or None.
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


def base_url(text: str) -> str:
    """Check a base URL, such as "https://host/v1".

    Raises:
        InputError: not http or https, or with a user, a query or a fragment, where secrets hide.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.userinfo or url.query or url.fragment:
        raise InputError(
            "the base url has a user, a query or a fragment, expected none: a key goes into the environment"
        )
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"the base url is {quoted(text)}, expected one such as https://host/v1")
    return text.rstrip("/")


def key_from(variable: str) -> Secret | None:
    """The API key in an environment variable, or None if it is not set or empty.

    Raises:
        InputError: not a variable's name, or a value that cannot stand in a header; neither is quoted.
    """
    if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", variable) is None:
        raise InputError("that is no name of an environment variable, expected one such as OPENAI_API_KEY")
    value = os.environ.get(variable, "").strip()
    if not (value.isascii() and value.isprintable()):
        raise InputError(f"the value of {variable} has characters that no key has, expected printable ASCII")
    return Secret(value.encode()) if value else None


def holds(key: Secret | None, data: bytes) -> bool:
    """Whether the key stands in the data; never for one too short to be a secret."""
    return key is not None and len(key) >= SHORT_KEY and key.reveal() in data


@dataclass(frozen=True)
class Endpoint:
    """Where requests go.

    Attributes:
        url: of chat completions.
        body: of every request, without its messages.
        key: sent as a bearer token.
        timeout: seconds for a request and its whole answer.
        client: open for the life of this object.
    """

    url: str
    body: dict[str, Any]
    key: Secret | None
    timeout: float
    client: httpx.AsyncClient

    async def ask(self, messages: list[dict[str, str]]) -> Answer:
        """Send one request.

        Raises:
            Transient: it may work later.
            InputError: it never will.
        """
        try:
            async with asyncio.timeout(self.timeout):
                status, headers, body = await self._exchange(messages)
        except TimeoutError:
            raise Transient(f"no answer within {self.timeout:g} seconds") from None
        except httpx.RequestError as error:
            raise Transient(self._hidden(f"{type(error).__name__}: {error}")[:SAID]) from None
        if status == 200:
            try:
                return answer_of(body)
            except Unusable as error:
                # What it quotes may begin inside the key.
                raise Transient("no answer, and it holds the key" if holds(self.key, body) else str(error)) from None
        code, message = error_of(body)
        if status == 400 and code == FILTERED:  # how some gateways refuse a prompt
            return Answer(text="", finish_reason=FILTERED)
        if status in RETRIED or status >= 500:
            raise Transient(f"status {status}", _retry_after(headers.get("retry-after")))
        # What comes with 401 and 403 tends to quote the key in part.
        said = None if status in (401, 403) or not message else f"it says {self._hidden(message)[:SAID]!r}"
        raise InputError(
            f"{self.url} answered with status {status}, expected 200", hint=said or HINTS.get(status, OTHER_HINT)
        )

    async def _exchange(self, messages: list[dict[str, str]]) -> tuple[int, httpx.Headers, bytes]:
        async with self.client.stream("POST", self.url, json=self.body | {"messages": messages}) as response:
            # A few bytes can decompress to gigabytes in one step; requests ask for none of this.
            encoding = response.headers.get("content-encoding", "identity")
            if encoding != "identity":
                raise Transient(f"content-encoding is {quoted(encoding)}, expected none")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise Transient(f"an answer of more than {MAX_BODY_BYTES} bytes")
            return response.status_code, response.headers, bytes(body)

    def _hidden(self, text: str) -> str:
        return text.replace(self.key.reveal().decode(), "<key hidden>") if self.key is not None else text


@asynccontextmanager
async def open_endpoint(
    base: str, body: dict[str, Any], key: Secret | None, *, timeout: float, connections: int
) -> AsyncIterator[Endpoint]:
    """An endpoint whose connections are closed at the end."""
    headers = {"user-agent": f"radiolabel/{__version__}", "accept-encoding": "identity"}
    if key is not None:
        headers["authorization"] = f"Bearer {key.reveal().decode()}"
    limits = httpx.Limits(max_connections=connections)
    # No timeouts of httpx: they are for each read, and an endpoint that drips a byte a second would never meet one.
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=None, follow_redirects=False) as client:  # noqa: S113
        yield Endpoint(f"{base}/chat/completions", body, key, timeout, client)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, section 10.2.3), or None if it says nothing."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if isfinite(seconds) else None

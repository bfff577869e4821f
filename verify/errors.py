"""The one error base of this package, and how a refused value is quoted.

Messages are lower case without a full stop: where (`file:line`), what, the quoted value, what was expected.
No foreign exception (JSON, unicode, operating system, gzip, zstd, tokenizers) leaves a parser as itself.
"""

from __future__ import annotations

import re
import reprlib
from typing import ClassVar, Final

QUOTED_LENGTH: Final = 60


class Error(Exception):
    """Something the caller can mend.

    Args:
        message: where, what, the quoted value, what was expected; `str` of the error is this alone.
        hint: what to do about it; the command line prints it on a line of its own.

    Attributes:
        exit_code: the exit status of a command that ends with this error.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(Error):
    """Unreadable or malformed input, wrong usage, a failed read or write."""

    exit_code = 2


class Refused(Error):
    """Valid input that cannot be used, such as ids of another tokenizer."""

    exit_code = 3


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = QUOTED_LENGTH


_SHORT: Final = _Short()


def quoted(value: object) -> str:
    """The value's `repr` in at most `QUOTED_LENGTH` characters, at a cost that does not grow with the value."""
    text = re.sub(r"[0-9A-Fa-f]{24,}", "<hex hidden>", _SHORT.repr(value))  # a key given in the wrong place
    return text if len(text) <= QUOTED_LENGTH else text[: QUOTED_LENGTH - 3] + "..."


def listed(names: list[str], *, most: int = 8) -> str:
    """Quoted names with commas between, the first `most` of them, for an error text."""
    text = ", ".join(quoted(name) for name in names[:most])
    return (text or "none") + (f" and {len(names) - most} more" if len(names) > most else "")

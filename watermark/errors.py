"""The one error base of this package."""


class Error(Exception):
    """Something the caller can mend.

    Args:
        message: what was wrong, with the quoted value and what was expected.
        hint: what to do about it, for a line of its own.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class KeyFileError(Error):
    """A key file, key path or key parameter that cannot be used."""

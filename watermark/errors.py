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


class LedgerError(Error):
    """A served log that cannot be read, written or opened."""


class TicketError(Error):
    """A ticket that is not accepted.

    Args:
        message: see `Error`.
        reason: `malformed`, `unknown_epoch`, `forged`, `expired` or `far_future`.
        hint: see `Error`.
    """

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class SettingsError(Error):
    """A configuration of the serving side that cannot be used."""


class SelfTestError(Error):
    """A key whose mark is not found again: nothing may be served with it."""


class Refused(Error):
    """An answer that may not be drawn.

    Args:
        message: see `Error`.
        reason: a ticket's (see `TicketError`), `no_ticket` or `bad_slot`.
        hint: see `Error`.
    """

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason

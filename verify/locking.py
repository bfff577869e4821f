"""One writer at a time, for files that grow as answers or records come."""

from __future__ import annotations

import errno
from typing import IO, Any

from verify.errors import Refused


def lock(file: IO[Any], name: str, command: str) -> None:
    """Keep other processes that ask from writing a file, until it is closed or this process ends.

    Args:
        file: open.
        name: what errors call it.
        command: who writes such files.

    Raises:
        Refused: another process has it.
        OSError: as the system says.
    """
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise Refused(
            f"{name}: another {command} writes this file", hint="wait for it, or choose another output"
        ) from None

"""What every command prints with: format, progress, and files that are whole or not there."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

FORMAT = click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json", "jsonl"]),
    help="Output format.  [default: text on a terminal, else json]",
)


def print_record(record: dict[str, Any], text: Callable[[], str], output_format: str | None) -> None:
    """Print one result to stdout."""
    chosen = output_format or ("text" if sys.stdout.isatty() else "json")
    if chosen == "text":
        click.echo(text())
    else:
        click.echo(json.dumps(record, indent=2 if chosen == "json" else None, allow_nan=False))


@contextmanager
def new_file(path: str, *, force: bool) -> Iterator[IO[str]]:
    """A file that appears under its name only when it is complete.

    Raises:
        click.UsageError: the path exists and `force` is not set.
        OSError: as the system says.
    """
    target = Path(path)
    if target.exists() and not force:
        raise click.UsageError(f"{path} exists: choose another name, or give --force")
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        Path(temporary).unlink(missing_ok=True)

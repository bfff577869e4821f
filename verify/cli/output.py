"""What every command prints with: format, progress, and files that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
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


PLAN = click.option(
    "--plan",
    "plan_file",
    type=click.Path(),
    help="Committed plan that this test follows; without one it is exploratory.",
)


def print_record(record: dict[str, Any], text: Callable[[], str], output_format: str | None) -> None:
    """Print one result to stdout."""
    chosen = output_format or ("text" if sys.stdout.isatty() else "json")
    if chosen == "text":
        click.echo(shown(text()))
    else:
        click.echo(json.dumps(record, indent=2 if chosen == "json" else None, allow_nan=False))


def shown(text: str) -> str:
    """Text for a terminal: control characters of a hostile name or message are escaped."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def counted(n: int, noun: str) -> str:
    """A count with its noun: "1 answer", "2,000 answers"."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


@contextmanager
def bars(**units: str) -> Iterator[Callable[[str, int], None]]:
    """Progress on a terminal, silence elsewhere: one bar for each thing that is done, when it begins.

    Args:
        units: by the name of what is done, with the total if it is known: `reading=" tokens"`, `decoys=" keys/1000"`.
    """
    from tqdm import tqdm

    shown: dict[str, tqdm[Any]] = {}

    def advance(what: str, more: int) -> None:
        if what not in shown:
            for bar in shown.values():
                bar.close()
            unit, _, total = units[what].partition("/")
            # disable=None: a bar on a terminal only.
            shown[what] = tqdm(
                total=int(total) if total else None,
                unit=unit, unit_scale=True, desc=what, disable=None, leave=False,
            )  # fmt: skip
        shown[what].update(more)

    try:
        yield advance
    finally:
        for bar in shown.values():
            bar.close()


def finite(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse NaN, which click's ranges let through; None is an option that was not given."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number", ctx=context, param=parameter)
    return value


def is_given(name: str) -> bool:
    """Whether an option stands on the command line, rather than its default."""
    return click.get_current_context().get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


def check_new_file(path: str, *, force: bool) -> None:
    """Find out before the work, not after it, that an output cannot be made.

    Raises:
        click.UsageError: the path exists and `force` is not set, or its folder does not.
    """
    target = Path(path)
    if target.is_dir() or (target.is_file() and not force):
        raise click.UsageError(f"{path} exists: choose another name" + ("" if target.is_dir() else ", or give --force"))
    if target.is_file() and _is_key(target):
        raise click.UsageError(f"{path} is a key file, and those are never replaced: choose another name")
    if not target.absolute().parent.is_dir():
        raise click.UsageError(f"{path} cannot be made: its folder does not exist")


def _is_key(path: Path) -> bool:
    """Whether a file begins as key files do, ours or PEM: gone, nothing brings it back."""
    try:
        with open(path, "rb") as file:
            begin = file.read(4096)
    except OSError:
        return False
    return b"PRIVATE KEY-----" in begin or bool(re.search(rb'"radiolabel"\s*:\s*"key"', begin))


def check_distinct(inputs: dict[str, str | None], outputs: dict[str, str | None]) -> None:
    """Refuse an output that would replace an input or another output, whatever its name and `--force` say.

    Args:
        inputs: path by the name of the argument or option, or None.
        outputs: likewise.

    Raises:
        click.UsageError: two of the paths lead to one file.
    """
    used: dict[object, str] = {}
    for group in (inputs, outputs):
        for name, path in group.items():
            if path is None or (path == "-" and group is inputs) or (os.path.exists(path) and not os.path.isfile(path)):
                continue  # standard input, a folder, or a device that takes everything
            file = path if path == "-" else _identity(path)
            if group is outputs and file in used:
                raise click.UsageError(f"{used[file]} and {name} are the same file")
            used[file] = name


def _identity(path: str) -> object:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


@contextmanager
def new_file(path: str, *, force: bool, secret: bool = False) -> Iterator[IO[str]]:
    """A file that appears under its name only when it is complete; a device or pipe is written as it is.

    Args:
        path: its name.
        force: whether a file of this name is replaced.
        secret: whether only its owner may read it, whatever the umask or the replaced file's mode.

    Raises:
        click.UsageError: see `check_new_file`.
        OSError: as the system says.
    """
    check_new_file(path, force=force)
    if Path(path).exists() and not Path(path).is_file():
        with open(path, "w", encoding="utf-8") as file:
            yield file
        return
    target = Path(path).resolve()
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~_umask()
    mode = 0o600 if secret else mode
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def digests(files: dict[str, str | None]) -> dict[str, str | None]:
    """Digest by name of the files that were given; to be taken before they are read, see `check_unchanged`."""
    return {name: sha256(path) for name, path in files.items() if path}


def check_unchanged(files: dict[str, str | None], before: dict[str, str | None]) -> None:
    """Refuse a result whose digests may not be those of what was read.

    Raises:
        Refused: a file is not what it was.
    """
    from verify.errors import Refused
    from verify.inputs.streams import display_name

    for name, digest in digests(files).items():
        if digest != before[name]:
            raise Refused(
                f"{display_name(str(files[name]))}: changed while it was read",
                hint="test a copy that nothing writes to",
            )


def sha256(path: str) -> str | None:
    """Digest of a regular file's bytes as they lie on disk, or None for anything else."""
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

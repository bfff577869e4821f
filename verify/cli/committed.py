"""What the subcommands of `radiolabel commit` share: options, and records as files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from verify.cli.output import check_new_file, new_file, print_record

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from verify.commitments import Record
    from verify.stamped import Stamped

_S = TypeVar("_S", bound="Stamped")

OUTPUT = click.option("-o", "--output", required=True, type=click.Path(), help="New file.")
FORCE = click.option("--force", is_flag=True, help="Replace the output if it exists.")
CERTS = click.option("--tsa-certs", type=click.Path(), help="PEM file of the authorities' root certificates.")


def read_as(path: str, kind: Any, expected: str) -> Any:
    """The record in a file.

    Raises:
        InputError: unreadable or not a record.
        click.UsageError: a record of another kind.
    """
    from verify.commitments import read_record

    record = read_record(path)
    if not isinstance(record, kind):
        raise click.UsageError(f"{path} is not {expected}")
    return record


def key_as(path: str, kind: Any, expected: str) -> Any:
    """The key in a file; see `read_as`."""
    from watermark.keyfile import read_key

    key = read_key(path)
    if not isinstance(key, kind):
        raise click.UsageError(f"{path} is not the file of {expected}")
    return key


def hexadecimal(text: str) -> bytes:
    """The bytes of --beacon-value."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if not 1 <= len(value) <= 1024:
        raise click.UsageError("--beacon-value is not 1 to 1024 bytes in hexadecimal")
    return value


def roots_in(certs: str | None) -> list[Certificate]:
    """The certificates of --tsa-certs, none if it was not given."""
    try:
        import httpx  # noqa: F401
        import rfc3161_client  # noqa: F401
    except ModuleNotFoundError as error:
        raise click.UsageError(f"{error.name} is not installed: pip install radiolabel[evidence]") from None
    from verify.timestamps import load_roots

    return [] if certs is None else load_roots(certs)


def stamped(record: _S, urls: tuple[str, ...], certs: str | None) -> _S:
    """The record with a token of every authority, checked if certificates are given.

    Raises:
        InputError: no token was had.
        Refused: its signer is not trusted.
    """
    if not urls:
        return record
    from verify.timestamps import check_token, request_token

    roots = roots_in(certs)
    for url in urls:
        token = request_token(record.body(), url)
        if roots:
            check_token(token, bytes.fromhex(record.digest.removeprefix("sha256:")), roots)
        record = record.stamped(token)
    return record


def write_record(record: Record, output: str, force: bool, output_format: str | None) -> None:
    """Write a new file, and print what names it."""
    from verify.commitments import Commitment

    data = record.to_json().decode()
    check_new_file(output, force=force)
    with new_file(output, force=force) as file:
        file.write(data)
    summary: dict[str, Any] = {"file": output, "kind": record.fields()["kind"]}
    if isinstance(record, Commitment):
        summary |= {"digest": record.digest, "timestamps": len(record.timestamps)}
        if not record.timestamps:
            click.echo("not timestamped: nothing shows when it was made; see radiolabel commit stamp --help", err=True)
    print_record(summary, lambda: "\n".join(f"{k}: {v}" for k, v in summary.items()), output_format)

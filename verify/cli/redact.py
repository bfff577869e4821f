"""`radiolabel redact`: what a test needs, without the texts that it does not need."""

from __future__ import annotations

import os
import re
import secrets
from typing import TYPE_CHECKING, Any

import click

from verify.cli.output import FORMAT, bars, check_distinct, check_new_file, new_file, print_record

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command()
@click.argument("source", metavar="INPUT|-")
@click.option("--windows", "width", type=click.IntRange(1, 3), metavar="WIDTH",
              help="INPUT is served transcripts: write their windows, hashed; as wide as the key's.")  # fmt: skip
@click.option("--salt", help="With --windows: 32 hexadecimal digits, for the same bytes again.  [default: random]")
@click.option("--aliases", "sealed_file", type=click.Path(), metavar="SEALED",
              help="Call accounts and conversations as this file does: radiolabel aliases new.")  # fmt: skip
@click.option("--keep-texts", is_flag=True, help="With --aliases: change names alone, for a test that needs texts.")
@click.option("--groups", is_flag=True, help="With --aliases: INPUT is groups of accounts.")
@click.option("-o", "--output", required=True, type=click.Path(), help="New file.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@FORMAT
def redact(
    source: str,
    width: int | None,
    salt: str | None,
    sealed_file: str | None,
    keep_texts: bool,
    groups: bool,
    output: str,
    force: bool,
    output_format: str | None,
) -> None:
    """Take customers' texts out of INPUT, which are pairs, or with --windows served transcripts.

    Redacted pairs are enough for radiolabel test twin --likelihoods. They keep ids, accounts and digests: whoever can
    guess a whole pair sees that the guess is right. A pair that is opened later gives its redacted line again, byte
    for byte, so commit the redacted file with radiolabel commit log.

    With --aliases accounts are numbers, and conversations have new names; who is who stands in the sealed file alone.
    Ids stay, since the coins follow from them, and are refused where they hold an account's name. The lines stand in
    the order of their ids: that of INPUT could be the order of the names.

    Hashed windows are enough for radiolabel verify --served. They hide who asked what, order and counts. They do not
    hide which windows were served from anybody who tries them all, and windows that overlap can be put together
    again. See docs/spec/pair.md and docs/spec/windows.md.

    \b
    Examples:
      radiolabel redact pairs.jsonl -o redacted.jsonl
      radiolabel redact pairs.jsonl --aliases sealed.json -o redacted.jsonl
      radiolabel redact cards.jsonl --aliases sealed.json --groups -o groups.jsonl
      radiolabel redact served.jsonl --windows 2 -o windows.txt
    """
    if salt is not None and width is None:
        raise click.UsageError("--salt goes with --windows: redacted pairs have none")
    if sealed_file is None and (keep_texts or groups):
        raise click.UsageError("--keep-texts and --groups go with --aliases")
    if (sealed_file is not None and width is not None) or (keep_texts and groups):
        raise click.UsageError("--windows, --keep-texts and --groups are for different inputs, give one of them")
    check_distinct({"INPUT": source, "--aliases": sealed_file}, {"--output": output})
    check_new_file(output, force=force)
    if width is not None:
        summary = _windows(source, width, _salt(salt), output, force)
    elif sealed_file is None:
        summary = _pairs(source, output, force)
    elif groups:
        summary = _groups(source, sealed_file, output, force)
    else:
        summary = _aliased(source, sealed_file, output, force, keep_texts=keep_texts)
    print_record(summary, lambda: "\n".join(f"{k}: {v}" for k, v in summary.items()), output_format)


def _pairs(source: str, output: str, force: bool) -> dict[str, Any]:
    from verify.errors import InputError
    from verify.pairs import read_pairs
    from verify.redaction import redacted

    n = n_equal = 0
    with bars(redacting=" pairs") as progress, new_file(output, force=force) as file:
        try:
            for pair in read_pairs(source):
                file.write(redacted(pair).to_json().decode() + "\n")
                n, n_equal = n + 1, n_equal + pair.equal
                progress("redacting", 1)
        except InputError as error:
            wrong_kind = n == 0 and "radiolabel is" in error.message
            raise InputError(error.message, hint="transcripts need --windows" if wrong_kind else error.hint) from None
    return {"file": output, "kind": "redacted-pair", "n": n, "equal": n_equal}


def _aliased(source: str, sealed_file: str, output: str, force: bool, *, keep_texts: bool) -> dict[str, Any]:
    from verify.accounts.sealing import read_sealed
    from verify.ascending import ascending
    from verify.pairs import Pair, read_pairs
    from verify.redaction import aliased, read_twins, redacted

    sealed, seen = read_sealed(sealed_file), set[str]()

    def lines() -> Iterator[bytes]:
        for pair in read_pairs(source) if keep_texts else read_twins(source):
            named = aliased(pair, sealed)
            if named.account is not None:
                seen.add(named.account)
            yield (named if keep_texts or not isinstance(named, Pair) else redacted(named)).to_json() + b"\n"
            progress("redacting", 1)

    n = 0
    with bars(redacting=" pairs") as progress, new_file(output, force=force) as file:
        # A file is often in the order of its accounts: the id comes first in a line, and is public anyway.
        for line in ascending(lines(), os.path.dirname(os.path.abspath(output))):
            file.write(line.decode())
            n += 1
    kind = "pair" if keep_texts else "redacted-pair"
    return {"file": output, "kind": kind, "n": n, "accounts": len(seen), "root": sealed.root}


def _groups(source: str, sealed_file: str, output: str, force: bool) -> dict[str, Any]:
    import json

    from verify.accounts.groups import read_groups
    from verify.accounts.sealing import alias, read_sealed
    from verify.errors import Refused

    sealed, groups = read_sealed(sealed_file), read_groups(source)
    if any(sealed.betrays(member, name) for name, members in groups.items() for member in members):
        raise Refused("a group is called after an account in it, expected names that name nobody")
    with new_file(output, force=force) as file:
        for name, members in groups.items():
            for number in sorted(sealed.number(member) for member in members):  # their order could say who is who
                file.write(json.dumps({"account": alias(number), "group": name}, separators=(",", ":")) + "\n")
    return {"file": output, "kind": "groups", "n": len(groups), "root": sealed.root}


def _windows(source: str, width: int, salt: bytes, output: str, force: bool) -> dict[str, Any]:
    from verify.hashed_windows import lines_of
    from verify.inputs import open_documents
    from verify.served import hash_served

    with bars(reading=" tokens") as progress:
        head, hashes = hash_served(
            open_documents(source), width, salt=salt, progress=lambda tokens: progress("reading", tokens)
        )
    with new_file(output, force=force) as file:
        for part in lines_of(head, hashes):
            file.write(part.decode())
    return {"file": output, "kind": head.what, "n": head.n} | {
        name: getattr(head, name) for name in ("width", "salt", "tokenizer")
    }


def _salt(text: str | None) -> bytes:
    if text is None:
        return secrets.token_bytes(16)
    if not re.fullmatch("[0-9a-f]{32}", text):
        raise click.UsageError("--salt is not 32 digits of 0-9a-f; take that of the first line of the file to repeat")
    return bytes.fromhex(text)

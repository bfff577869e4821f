"""`radiolabel ledger check | head | coverage`: what everybody can see of a ledger, without a key."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from verify.cli.ledger_parts import JOBS, Parallel, cores
from verify.cli.output import FORMAT, bars, check_new_file, counted, new_file, print_record

if TYPE_CHECKING:
    from watermark.ledger import Coverage, Damage, Head, Walk
    from watermark.ledger.coverage import Cell
    from watermark.ledger.folds import Fold
    from watermark.ledger.walking import Entered

SHOWN = 20
LISTED = 1000  # damages that JSON lists
FILES = click.argument("files", nargs=-1, required=True, metavar="LEDGER...", type=click.Path())


def head_of(text: str) -> Head:
    """A head as people name it: COUNT:HASH, or a head file.

    Raises:
        LedgerError: neither.
        InputError: the file cannot be read.
    """
    from verify.canonical import read_bytes
    from watermark.ledger import Head

    if ":" in text and not os.path.exists(text):
        return Head.parse(text)
    return Head.from_json(read_bytes(text, 4096), text)


def entered(files: tuple[str, ...], walk: Walk, parallel: Parallel | None = None) -> Iterator[Entered]:
    """The records of the files of one chain, with progress on a terminal.

    Args:
        files: their names; `-` is standard input.
        walk: goes through them.
        parallel: takes in what it can of long files; those records are not given out here.

    Raises:
        InputError: a file cannot be read.
    """
    from verify.errors import InputError
    from verify.inputs.streams import display_name, open_stream

    if files.count("-") > 1:
        raise click.UsageError("standard input can be one of the files")
    with bars(reading=" records") as progress:
        for path in files:
            name = display_name(path)
            if path != "-" and os.path.exists(path) and not os.path.isfile(path):
                raise InputError(f"{name}: not a regular file, expected a ledger", hint="a pipe is read as -")
            over = nullcontext() if parallel is None else parallel.over(path, progress)
            with open_stream(path) as stream, over as leap:
                for found in walk.through(stream, name, leap=leap):
                    yield found
                    progress("reading", 1)
    walk.finish()


def folded(files: tuple[str, ...], walk: Walk, fold: Fold, *, noted: Head | None = None, jobs: int | None) -> None:
    """Walk through the files of one chain and add up all of their records.

    Raises:
        InputError: a file cannot be read.
    """
    for found in entered(files, walk, Parallel(fold, noted, jobs or cores())):
        fold.add(found.record)


@click.command()
@FILES
@click.option("--head", "head_text", metavar="HEAD", help="Head noted earlier, as COUNT:HASH or a file.")
@click.option("--commitment", type=click.Path(),
              help="Log commitment of the ledger's first lines; with --head, of the head file.")  # fmt: skip
@JOBS
@FORMAT
def check(
    files: tuple[str, ...], head_text: str | None, commitment: str | None, jobs: int | None, output_format: str | None
) -> int:
    """Check the chain of LEDGER, given as one file or as several in their order; exit code 1 if it does not hold.

    Found and located: a bit that was changed, a record that was removed, repeated, moved or replaced. That the end
    was cut off, or that all was written again, shows only against a head or a commitment made earlier.

    \b
    Examples:
      radiolabel ledger check served.jsonl
      radiolabel ledger check november.jsonl december.jsonl --head head.json
    """
    from verify.cli.ledger_committed import committed
    from watermark.ledger import Walk
    from watermark.ledger.folds import Tally

    if commitment is not None and head_text is None and len(files) > 1:
        raise click.UsageError("--commitment of lines goes with one file")
    noted = None if head_text is None else head_of(head_text)
    damages: list[Damage] = []
    on_line, compare = (None, None) if commitment is None else committed(commitment, noted, files[0])
    walk = Walk(on_damage=damages.append, on_line=on_line, noted=noted)
    tally = Tally()
    # A commitment of lines needs each of them, in order.
    folded(files, walk, tally, noted=noted, jobs=jobs if on_line is None else 1)
    damages += filter(None, [compare() if compare else None])
    record: dict[str, Any] = {
        "files": list(files),
        "holds": not damages,
        "first": walk.first,
        "count": walk.head.count,
        "hash": walk.head.hash,
        "answers": tally.kinds["served"],
        "assigned": tally.kinds["assigned"],
        "requests_used_again": tally.used_again,
        "unfinished_bytes": walk.unfinished,
        "head_compared": None if noted is None else str(noted),
        "commitment_compared": commitment is not None,
        "holds_up_to": None if walk.sound is None else str(walk.sound),
        "n_damages": len(damages),
        "damages": [_damage(d) for d in damages[:LISTED]],
    }
    print_record(record, lambda: _check_text(record, damages), output_format)
    return 1 if damages else 0


def _damage(d: Damage) -> dict[str, Any]:
    from msgspec import to_builtins

    fields: dict[str, Any] = to_builtins(d)
    return fields


def _check_text(record: dict[str, Any], damages: list[Damage]) -> str:
    rows = [
        ("records", f"{record['count'] - (record['first'] or 0):,}"
                    + (f", from record {record['first']:,}" if record["first"] else "")),
        ("answers", f"{record['answers']:,}"),
        ("head", f"{record['count']}:{record['hash'][:40]}..."),
        ("compared", _compared(record)),
    ]  # fmt: skip
    if record["requests_used_again"]:
        rows.append(("used again", f"{counted(record['requests_used_again'], 'request id')}: such answers may share "
                                   "leaf keys"))  # fmt: skip
    if record["unfinished_bytes"]:
        rows.append(("unfinished", f"{record['unfinished_bytes']:,} bytes at the end, never acknowledged"))
    if not damages:
        sentence = "The chain holds." if record["head_compared"] or record["commitment_compared"] else (
            "The chain holds. Whether its end was cut off, or all of it written again, shows only against an earlier "
            "head or commitment.")  # fmt: skip
    else:
        sentence = f"The chain does not hold: {counted(len(damages), 'damage')}."
        rows.append(("holds up to", f"{record['holds_up_to'] or 'nothing'}"[:60] + "..."))
    parts = [textwrap.fill(sentence, 78), "\n".join(f"{name:<13}{value}" for name, value in rows)]
    if damages:
        lines = [textwrap.fill(str(d), 78, subsequent_indent="  ") for d in damages[:SHOWN]]
        if len(damages) > SHOWN:
            lines.append(f"and {len(damages) - SHOWN:,} more: --format json lists them")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _compared(record: dict[str, Any]) -> str:
    with_head, with_commitment = record["head_compared"], record["commitment_compared"]
    if not with_head:
        return "with a commitment" if with_commitment else "with nothing noted earlier"
    count = int(with_head.split(":")[0])
    return f"with a head of {counted(count, 'record')}" + (", and that with a commitment" if with_commitment else "")


@click.command()
@FILES
@click.option("-o", "--output", type=click.Path(), help="New head file, to commit and to keep elsewhere.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@JOBS
@FORMAT
def head(files: tuple[str, ...], output: str | None, force: bool, jobs: int | None, output_format: str | None) -> None:
    """Check LEDGER and print its head, which fixes all of its records.

    \b
    Example:
      radiolabel ledger head served.jsonl -o head.json
      radiolabel commit log head.json --tsa https://tsa.example -o commitment.json
    """
    from watermark.ledger import Walk
    from watermark.ledger.folds import Nothing
    from watermark.ledger.walking import refuse

    if output is not None:
        check_new_file(output, force=force)
    walk = Walk(on_damage=refuse)
    folded(files, walk, Nothing(), jobs=jobs)
    found = walk.head
    if output is not None:
        with new_file(output, force=force) as file:
            file.write(found.to_json().decode())
    print_record({"count": found.count, "hash": found.hash}, lambda: str(found), output_format)


@click.command()
@FILES
@JOBS
@FORMAT
def coverage(files: tuple[str, ...], jobs: int | None, output_format: str | None) -> None:
    """Tell which share of the served tokens of LEDGER carries a mark, and why the rest does not.

    By account and epoch, and altogether. A damaged ledger is refused.

    \b
    Example: radiolabel ledger coverage served.jsonl
    """
    from watermark.ledger import Walk
    from watermark.ledger.coverage import Sums
    from watermark.ledger.walking import refuse

    walk = Walk(on_damage=refuse)
    sums = Sums()
    folded(files, walk, sums, jobs=jobs)
    found = sums.coverage()
    record = {
        "first": walk.first,
        "head": {"count": walk.head.count, "hash": walk.head.hash},
        "total": found.total.to_dict(),
        "epochs": [cell.to_dict() for cell in found.epochs],
        "accounts": [cell.to_dict() for cell in found.cells],
    }
    if walk.first:
        click.echo(f"records before {walk.first:,} were not given, and are not counted", err=True)
    print_record(record, lambda: _coverage_text(found), output_format)


def _coverage_text(found: Coverage) -> str:
    total = found.total
    if not total.tokens:
        return f"{counted(total.answers, 'answer')}, no tokens."
    sentence = (
        f"{_share(total)} of {counted(total.tokens, 'token')} in {counted(total.answers, 'answer')} carry a mark. "
        f"Twins that were withheld: {total.twins:,}."
    )
    why = [f"{'why the others do not':<44}{'tokens':>16}{'share':>10}"]
    why += [f"{reason:<44}{count:>16,}{count / total.tokens:>10.2%}" for reason, count in total.reasons().items()]
    epochs = [_header("epoch"), *(_row(cell, cell.epoch) for cell in found.epochs)]
    low = sorted(found.cells, key=lambda c: (c.covered is None, c.covered, c.epoch or "", c.account or ""))
    accounts = [_header("epoch and account, least covered first")]
    accounts += [_row(cell, f"{cell.epoch or '(none)'} {cell.account or '(none)'}") for cell in low[:SHOWN]]
    if len(low) > SHOWN:
        accounts.append(f"and {len(low) - SHOWN:,} more: --format json has all")
    tables = (why, epochs, accounts)
    return "\n\n".join([textwrap.fill(sentence, 78), *("\n".join(table) for table in tables)])


def _header(name: str) -> str:
    return f"{name:<40}{'answers':>9}{'tokens':>12}{'marked':>8}  mostly"


def _row(cell: Cell, name: str | None) -> str:
    from verify.decoding import printable

    name = printable(name or "(none)")
    name = name if len(name) <= 39 else name[:36] + "..."
    reason = next(iter(cell.reasons()), "")[:9]
    return f"{name:<40}{cell.answers:>9,}{cell.tokens:>12,}{_share(cell):>8}  {reason}".rstrip()


def _share(cell: Cell) -> str:
    return "none" if cell.covered is None else f"{cell.covered:.1%}"

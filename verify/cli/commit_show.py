"""`radiolabel commit prove | show`: what is shown later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from verify.cli.committed import CERTS, FORCE, OUTPUT, hexadecimal, key_as, read_as, roots_in, write_record
from verify.cli.output import FORMAT, check_new_file, print_record

if TYPE_CHECKING:
    from verify.commitments import Record
    from verify.steps import Step


@click.command()
@click.argument("commitment", type=click.Path())
@click.option("--key", "key_file", type=click.Path(), help="Epoch key, for a slot.")
@click.option("--path", help="The slot, such as epoch/NAME/account/17.")
@click.option("--log", "log_file", type=click.Path(), help="The log, for a line.")
@click.option("--line", type=click.IntRange(min=1), help="The line, counted from 1.")
@OUTPUT
@FORCE
@FORMAT
def prove(
    commitment: str,
    key_file: str | None,
    path: str | None,
    log_file: str | None,
    line: int | None,
    output: str,
    force: bool,
    output_format: str | None,
) -> None:
    """Show that one slot, or one line, was among what COMMITMENT fixed, and show none of the others.

    \b
    Examples:
      radiolabel commit prove e.json --key epoch.key --path epoch/q4/account/17 -o proof.json
      radiolabel commit prove log.json --log answers.jsonl --line 17 -o proof.json
    """
    from verify.commitments import EpochCommitment, LogCommitment
    from verify.committing import prove_line, prove_slot
    from watermark.keys import EpochKey

    check_new_file(output, force=force)
    if key_file is not None and path is not None and log_file is None and line is None:
        committed = read_as(commitment, EpochCommitment, "an epoch commitment")
        write_record(
            prove_slot(key_as(key_file, EpochKey, "an epoch key"), committed, path), output, force, output_format
        )
    elif log_file is not None and line is not None and key_file is None and path is None:
        committed = read_as(commitment, LogCommitment, "a log commitment")
        write_record(prove_line(log_file, committed, line - 1), output, force, output_format)
    else:
        raise click.UsageError("give either --key and --path, or --log and --line")


@click.command()
@click.argument("file", type=click.Path())
@click.option("--against", type=click.Path(),
              help="The commitment that it names: an epoch's is the master's, a slot's the epoch's.")  # fmt: skip
@CERTS
@click.option("--beacon-value", help="For an epoch: what the round gave, as you looked it up, in hexadecimal.")
@click.option("--key", "key_file", type=click.Path(), help="Disclosed key file: of a slot, or of an epoch's coins.")
@click.option(
    "--log", "log_file", type=click.Path(), help="For a log: its file; for a line: a file that begins with it."
)
@FORMAT
def show(
    file: str,
    against: str | None,
    tsa_certs: str | None,
    beacon_value: str | None,
    key_file: str | None,
    log_file: str | None,
    output_format: str | None,
) -> None:
    """Print a commitment or an inclusion proof, and check what can be checked with what is given; no network.

    The exit code is 1 if a step failed. What was not checked says what it takes.

    \b
    Examples:
      radiolabel commit show e.json --against m.json --tsa-certs roots.pem
      radiolabel commit show proof.json --against e.json --key fleet.key
    """
    from verify.commitments import Commitment, read_record
    from verify.steps import failed

    record = read_record(file)
    steps = _steps(record, against, tsa_certs, beacon_value, key_file, log_file)
    fields = record.fields()
    if isinstance(record, Commitment):
        fields |= {"timestamps": len(record.timestamps), "digest": record.digest}
    printed = fields | {"steps": [{"name": s.name, "outcome": s.outcome, "reason": s.reason} for s in steps]}
    print_record(printed, lambda: _text(fields, steps), output_format)
    if failed(steps):
        raise click.exceptions.Exit(1)


def _steps(
    record: Record,
    against: str | None,
    tsa_certs: str | None,
    beacon_value: str | None,
    key_file: str | None,
    log_file: str | None,
) -> list[Step]:
    from verify import commitment_checks as checks
    from verify.commitments import EpochCommitment, LineInclusion, LogCommitment, MasterCommitment
    from verify.committing import read_raw_lines
    from watermark.keys import CoinKey, ValueKey

    roots = roots_in(tsa_certs)
    if isinstance(record, MasterCommitment):
        return checks.verify_master(record, roots)
    if isinstance(record, EpochCommitment):
        announced = None if against is None else read_as(against, MasterCommitment, "a master commitment")
        value = None if beacon_value is None else hexadecimal(beacon_value)
        steps = checks.verify_epoch(record, roots, master=announced, beacon_value=value)
        if key_file is not None:
            steps.append(checks.verify_coin(record, key_as(key_file, CoinKey, "a coin node")))
        return steps
    if isinstance(record, LogCommitment):
        epoch = None if against is None else read_as(against, EpochCommitment, "an epoch commitment")
        lines = None if log_file is None else read_raw_lines(log_file)
        return checks.verify_log(record, roots, epoch=epoch, lines=lines)
    if against is None:
        raise click.UsageError("a proof needs --against, the commitment that it names")
    if isinstance(record, LineInclusion):
        if log_file is None:
            raise click.UsageError("the proof of a line needs --log, a file that begins with the line")
        line = next(read_raw_lines(log_file), b"")
        return checks.verify_line(record, read_as(against, LogCommitment, "a log commitment"), line)
    key = None if key_file is None else key_as(key_file, ValueKey, "a value key")
    return checks.verify_slot(record, read_as(against, EpochCommitment, "an epoch commitment"), key)


def _text(fields: dict[str, object], steps: list[Step]) -> str:
    lines = []
    for name, value in fields.items():
        nested = value.items() if isinstance(value, dict) else None
        lines += [f"{name}.{k}: {v}" for k, v in nested] if nested is not None else [f"{name}: {value}"]
    lines += [f"{i}. {s.outcome}: {s.name} ({s.reason})" for i, s in enumerate(steps, 1)]
    return "\n".join(lines)

"""`radiolabel commit master | epoch | log | stamp`: what is made before keys or logs are used."""

from __future__ import annotations

from typing import Any

import click

from verify.cli.committed import CERTS, FORCE, OUTPUT, hexadecimal, key_as, read_as, stamped, write_record
from verify.cli.output import FORMAT, check_new_file
from watermark import defaults

TSA = click.option("--tsa", multiple=True, metavar="URL",
                   help="Timestamp authority (RFC 3161) to ask; may be repeated.")  # fmt: skip


@click.command()
@click.argument("key_file", type=click.Path())
@click.option("--path", required=True, help="epoch/NAME, which will be derived.")
@click.option("--scheme", default=defaults.SCHEME, show_default=True, help="Marking scheme and its parameters.")
@click.option("--width", type=int, default=defaults.WIDTH, show_default=True, help="Tokens in a window, 1 to 3.")
@click.option("--shares", default=defaults.SHARES, show_default=True, help="Windows per channel.")
@click.option("--cohorts", type=click.IntRange(min=0), default=0, help="Cohort slots, a power of two.")
@click.option("--accounts", type=click.IntRange(min=0), default=0, help="Account slots, a power of two.")
@click.option("--network", help="Whose public randomness.  [default: drand's quicknet]")
@click.option("--round", "number", required=True, type=click.IntRange(min=1), help="Round that is not yet published.")
@click.option("--not-before", metavar="TIME",
              help="When that is, such as 2026-10-01T00:00:00Z, if the network is not drand's.")  # fmt: skip
@TSA
@CERTS
@OUTPUT
@FORCE
@FORMAT
def master(
    key_file: str,
    path: str,
    scheme: str,
    width: int,
    shares: str,
    cohorts: int,
    accounts: int,
    network: str | None,
    number: int,
    not_before: str | None,
    tsa: tuple[str, ...],
    tsa_certs: str | None,
    output: str,
    force: bool,
    output_format: str | None,
) -> None:
    """Commit the master key in KEY_FILE to an epoch and a round of public randomness to come.

    Name, scheme, width and shares are fixed here too: they enter the keys.

    \b
    Example:
      radiolabel commit master master.key --path epoch/q4 --round 50000000 --tsa https://tsa.example -o m.json
    """
    from datetime import UTC, datetime

    from verify.beacons import QUICKNET, beacon, time_of
    from verify.commitments import MasterCommitment
    from verify.committing import epoch_of
    from verify.errors import Refused
    from watermark.deployment import Deployment
    from watermark.keys import EpochKey, MasterKey, derive

    check_new_file(output, force=force)
    key = key_as(key_file, MasterKey, "a master key")
    round_ = beacon(network or QUICKNET, number, not_before)
    if time_of(round_.not_before) <= datetime.now(UTC):
        raise Refused(
            f"round {number} comes at {round_.not_before}, expected a time to come",
            hint="a key that is bound to a value already known proves nothing",
        )
    planned = derive(key, path, deployment=Deployment.parse(scheme=scheme, width=width, shares=shares))
    if not isinstance(planned, EpochKey):
        raise click.UsageError("--path is that of a value key, expected epoch/NAME")
    epoch = epoch_of(planned, cohorts=cohorts, accounts=accounts)
    made = MasterCommitment(master_id=key.id, epoch=epoch, beacon=round_)
    write_record(stamped(made, tsa, tsa_certs), output, force, output_format)


@click.command()
@click.argument("key_file", type=click.Path())
@click.option("--master", "master_file", required=True, type=click.Path(), help="The master's commitment.")
@click.option("--beacon-value", required=True, help="What the round gave, in hexadecimal; of drand, the randomness.")
@TSA
@CERTS
@OUTPUT
@FORCE
@FORMAT
def epoch(
    key_file: str,
    master_file: str,
    beacon_value: str,
    tsa: tuple[str, ...],
    tsa_certs: str | None,
    output: str,
    force: bool,
    output_format: str | None,
) -> None:
    """Commit every value key of the epoch that the master commitment announced; KEY_FILE is the master key.

    The same inputs give the same digest, so that whoever is trusted with the master key can repeat this.

    \b
    Example:
      radiolabel commit epoch master.key --master m.json --beacon-value 9f2e.. --tsa https://tsa.example -o e.json
    """
    from verify.commitments import MasterCommitment
    from verify.committing import commit_epoch
    from verify.errors import Refused
    from watermark.channels import Shares
    from watermark.deployment import Deployment
    from watermark.keys import MasterKey
    from watermark.schemes import parse

    check_new_file(output, force=force)
    key = key_as(key_file, MasterKey, "a master key")
    announced = read_as(master_file, MasterCommitment, "a master commitment")
    if key.id != announced.master_id:
        raise Refused(f"{key_file} is not the master key of {master_file}")
    e = announced.epoch
    deployment = Deployment(parse(e.scheme), e.width, Shares.from_mapping(e.shares))
    value = hexadecimal(beacon_value)
    derived = key.epoch(e.path.removeprefix("epoch/"), deployment=deployment, beacon=value)
    made = commit_epoch(derived, announced, value)
    write_record(stamped(made, tsa, tsa_certs), output, force, output_format)


@click.command()
@click.argument("file", type=click.Path())
@click.option("--epoch", "epoch_file", type=click.Path(), help="Commitment of the epoch that served.")
@TSA
@CERTS
@OUTPUT
@FORCE
@FORMAT
def log(
    file: str,
    epoch_file: str | None,
    tsa: tuple[str, ...],
    tsa_certs: str | None,
    output: str,
    force: bool,
    output_format: str | None,
) -> None:
    """Commit every line of FILE: a served log, transcripts, pairs ("-" is standard input).

    \b
    Example:
      radiolabel commit log answers.jsonl --epoch e.json --tsa https://tsa.example -o log.json
    """
    from verify.commitments import EpochCommitment
    from verify.committing import commit_log

    check_new_file(output, force=force)
    served = None if epoch_file is None else read_as(epoch_file, EpochCommitment, "an epoch commitment")
    write_record(stamped(commit_log(file, served), tsa, tsa_certs), output, force, output_format)


@click.command()
@click.argument("commitment", type=click.Path())
@click.option("--tsa", multiple=True, required=True, metavar="URL", help="Timestamp authority; may be repeated.")
@CERTS
@OUTPUT
@FORCE
@FORMAT
def stamp(
    commitment: str, tsa: tuple[str, ...], tsa_certs: str | None, output: str, force: bool, output_format: str | None
) -> None:
    """Add timestamps to COMMITMENT, on a machine that has a network and no key; the digest stays the same.

    \b
    Example:
      radiolabel commit stamp m.json --tsa https://tsa.example -o stamped.json
    """
    from verify.commitments import Commitment

    check_new_file(output, force=force)
    record: Any = read_as(commitment, Commitment, "a commitment")
    write_record(stamped(record, tsa, tsa_certs), output, force, output_format)

"""`radiolabel ledger key | new | append | assign`: what is made before and while answers are served."""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import click

from verify.cli.ledger_check import head_of
from verify.cli.output import FORMAT, counted, print_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from verify.pairs import Pair
    from verify.records import Transcript
    from watermark.keys import EpochKey
    from watermark.ledger import Entry

BATCH = 256  # records that one fsync serves
HEADER = ["slot", "name"]
MAX_ROW_BYTES = 64 * 1024


@click.command()
@click.option("-o", "--output", required=True, type=click.Path(), help="New key file; never overwritten.")
def key(output: str) -> None:
    """Make the key that opens sealed contents, and print its public half, which seals.

    The file is an X25519 private key in PEM, as openssl genpkey writes it. Keep it where the ledger is not.

    \b
    Example: radiolabel ledger key -o sealing.pem
    """
    from watermark.ledger import new_sealing_key

    click.echo(new_sealing_key(output).public)


@click.command()
@click.argument("ledger", type=click.Path())
@click.option("--seal", metavar="KEY", help="Public key, 64 hexadecimal digits: contents are sealed for its holder.")
@click.option("--contents", type=click.Choice(["clear", "off"]), help="Instead: keep contents readable, or not at all.")
@click.option("--after", metavar="HEAD", help="Head, as COUNT:HASH or a file, of the chain that this file takes up.")
@FORMAT
def new(ledger: str, seal: str | None, contents: str | None, after: str | None, output_format: str | None) -> None:
    """Begin a ledger, or its next file.

    \b
    Examples:
      radiolabel ledger new served.jsonl --seal 5f0c...
      radiolabel ledger new december.jsonl --seal 5f0c... --after head.json
    """
    from watermark.ledger import Keeping, Ledger
    from watermark.ledger.lines import START

    if (seal is None) == (contents is None):
        raise click.UsageError("give either --seal or --contents")
    keeping = Keeping("sealed", seal) if seal is not None else Keeping("clear" if contents == "clear" else "off")
    begin = START if after is None else head_of(after)
    with Ledger.create(ledger, keeping=keeping, after=begin) as made:
        now = made.head()
    record = {"file": ledger, "contents": keeping.contents, "count": now.count, "hash": now.hash}
    print_record(record, lambda: "\n".join(f"{name}: {value}" for name, value in record.items()), output_format)


@click.command()
@click.argument("ledger", type=click.Path())
@click.argument("transcripts", default="-", metavar="[TRANSCRIPTS|-]")
@click.option("--key", "key_file", type=click.Path(), help="Epoch key file that drew the answers.")
@click.option("--pairs", "pairs_file", type=click.Path(), help="Twins of some of them, as radiolabel embed writes.")
@click.option("--cohort", default="", help="Cohort slot, where a transcript does not say.")
@click.option("--seal", metavar="KEY", help="Refuse a ledger that does not seal for this public key.")
@FORMAT
def append(
    ledger: str,
    transcripts: str,
    key_file: str | None,
    pairs_file: str | None,
    cohort: str,
    seal: str | None,
    output_format: str | None,
) -> None:
    """Log answers that were served, from transcripts with the ids that were drawn.

    Which tokens are marked is worked out from ids and key. A transcript that states other counts is refused.

    \b
    Example:
      radiolabel ledger append served.jsonl a.jsonl --key epoch.key --pairs pairs.jsonl
    """
    from verify.inputs.lines import read_transcripts
    from verify.pairs import read_pairs
    from watermark.keyfile import read_key
    from watermark.keys import EpochKey

    if transcripts == "-" and pairs_file == "-":
        raise click.UsageError("standard input can be one of the files")
    epoch = None if key_file is None else read_key(key_file)
    if epoch is not None and not isinstance(epoch, EpochKey):
        raise click.UsageError(f"{key_file} is not an epoch key: expected the one that drew the answers")
    if pairs_file is not None and epoch is None:
        raise click.UsageError("--pairs needs --key, which tossed their coins")
    twins = {} if pairs_file is None else {_served_request(pair): pair for pair in read_pairs(pairs_file)}
    n_twins = len(twins)
    entries = (_entry(t, where, epoch, twins, cohort) for where, t in read_transcripts(transcripts))
    _append(ledger, seal, entries, output_format)
    if twins:
        click.echo(f"{len(twins):,} of {n_twins:,} pairs have no transcript and were not logged", err=True)


@click.command()
@click.argument("ledger", type=click.Path())
@click.argument("slots", default="-", metavar="[FILE|-]")
@click.option("--epoch", required=True, help="Epoch of the slots, by its name.")
@click.option("--channel", type=click.Choice(["account", "cohort"]), default="account", show_default=True,
              help="Whose slots they are.")  # fmt: skip
@click.option("--seal", metavar="KEY", help="Refuse a ledger that does not seal for this public key.")
@FORMAT
def assign(
    ledger: str, slots: str, epoch: str, channel: Literal["account", "cohort"], seal: str | None,
    output_format: str | None,
) -> None:  # fmt: skip
    """Log who has which slot, from CSV with the header slot,name.

    One account or cohort a line, each slot once. The names are kept as the ledger keeps contents. The whole file is
    checked before the first record is written. Whether a slot was assigned before is not looked at.

    \b
    Examples:
      radiolabel ledger assign served.jsonl accounts.csv --epoch 2026-q4
      radiolabel ledger assign served.jsonl - --epoch 2026-q4 --channel cohort
    """
    from watermark.keys import check_name
    from watermark.ledger import assignment

    check_name(epoch)
    rows = list(_slots(slots))
    _append(ledger, seal, (assignment(epoch, channel, slot, name=name) for slot, name in rows), output_format)


def _append(ledger: str, seal: str | None, entries: Iterable[Entry], output_format: str | None) -> None:
    """Append in batches, and print the head."""
    from watermark.ledger import Ledger

    entries, acknowledged = iter(entries), False
    with Ledger.open(ledger, sealing=seal) as opened:
        while batch := list(islice(entries, BATCH)):
            acknowledged = bool(opened.append_many(batch))
        head = opened.head()
    record = {"file": ledger, "count": head.count, "hash": head.hash, "acknowledged": acknowledged}
    print_record(record, lambda: f"records {head.count:,}\nhead    {head}", output_format)


def _slots(path: str) -> Iterator[tuple[str, str]]:
    """(slot, name) of each line. No error quotes a name, which may be a customer's.

    Raises:
        InputError: not CSV of these two columns, or a slot twice.
        Refused: a slot or a name that no record can hold.
    """
    from verify.errors import InputError, Refused, quoted
    from verify.inputs.streams import display_name, open_stream
    from watermark.errors import KeyFileError
    from watermark.keys import check_name

    file, lines = display_name(path), dict[str, int]()
    with open_stream(path) as stream:
        header = _row(stream.readline(MAX_ROW_BYTES + 1).removeprefix(BOM_UTF8), f"{file}:1")
        if header != HEADER:
            raise InputError(f"{file}:1: the header is not slot,name, expected these two columns in this order")
        for number, raw in enumerate(iter(lambda: stream.readline(MAX_ROW_BYTES + 1), b""), 2):
            where = f"{file}:{number}"
            row = _row(raw, where)
            if not row:
                continue
            if len(row) != len(HEADER):
                raise InputError(f"{where}: a line of {counted(len(row), 'field')}, expected a slot and a name",
                                 hint="a name with a comma stands in quotes")  # fmt: skip
            slot, name = row
            try:
                check_name(slot)
            except KeyFileError as error:
                # Of a file with its columns swapped this would be a name.
                raise Refused(f"{where}: the slot cannot be part of a key path", hint=error.hint) from None
            if not name.strip() or not name.isprintable():
                raise Refused(f"{where}: slot {quoted(slot)} has a name that is blank or has characters that do not "
                              "print")  # fmt: skip
            if slot in lines:
                raise InputError(f"{where}: slot {quoted(slot)} stands in line {lines[slot]} too, expected it once")
            lines[slot] = number
            yield slot, name


def _row(raw: bytes, where: str) -> list[str]:
    """The fields of one line; none of a blank one."""
    from verify.errors import InputError

    if len(raw) > MAX_ROW_BYTES:
        raise InputError(f"{where}: line is longer than {MAX_ROW_BYTES} bytes, expected one slot and its name")
    try:
        return next(csv.reader([raw.decode().rstrip("\r\n")], strict=True), []) if raw.strip() else []
    except UnicodeDecodeError:
        raise InputError(f"{where}: not utf-8, expected CSV in utf-8") from None
    except csv.Error as error:
        raise InputError(f"{where}: not CSV: {error}", hint="a quote ends in its own line; one in a name is doubled"
                         ) from None  # fmt: skip


def _served_request(pair: Pair) -> str:
    return pair.id if pair.served == 1 else pair.request or ""


def _entry(t: Transcript, where: str, epoch: EpochKey | None, twins: dict[str, Pair], cohort: str) -> Entry:
    from verify.cli.serving import check_key, request_of
    from verify.errors import Refused
    from watermark.channels import CHANNELS
    from watermark.ledger import Assigned, Content, Withheld, answer_record
    from watermark.sampling import Sampler

    for name in ("request", "token_ids"):
        if getattr(t, name) is None:
            raise Refused(f"{where}: transcript without {name}, which the ledger needs",
                          hint="take the file that the sampler wrote")  # fmt: skip
    marked = t.marked or {}
    others = set(marked) - {*CHANNELS, "first_h", "repeated"}
    if len(others) > 1 or (others and len(marked) > 1):
        raise Refused(f"{where}: marked has {sorted(others)[0][:40]!r} beside others, expected one such reason alone")
    reason = others.pop() if others else None
    if epoch is not None and reason is None:
        check_key(t, where, Sampler(epoch), cohort)
    elif epoch is None and reason is None:
        raise Refused(f"{where}: neither a key nor a reason in marked why no token is", hint="give --key")
    content = Content(prompt=t.prompt, response=t.response, token_ids=t.token_ids or ())
    pair = twins.pop(t.request or "", None)
    withheld = None
    if pair is not None:
        if pair.drawn != "serving":
            raise Refused(f"{where}: pair {pair.id[:60]!r} was drawn later, and the log is of what was drawn to serve",
                          hint="pairs drawn later are tested from their own file")  # fmt: skip
        member, other = pair.members[pair.served], pair.members[1 - pair.served]
        if (pair.prompt, member.text, member.token_ids) != (t.prompt, t.response, t.token_ids):
            raise Refused(f"{where}: pair {pair.id[:60]!r} says that another answer was served")
        withheld = Withheld(Content(prompt=t.prompt, response=other.text, token_ids=other.token_ids or ()))
    entry = answer_record(
        request_of(t, where, cohort),
        content,
        epoch=epoch,
        reason=reason,
        twin=withheld,
        decoding=dict(_settings(t.meta or {})) or None,
        conversation=None if pair is None else pair.conversation,
        tokenizer=t.tokenizer,
        model=t.model,
    )
    twin = None if isinstance(entry.record, Assigned) else entry.record.twin
    if pair is not None and twin is not None and (twin.id, twin.first) != (pair.id, pair.request):
        raise Refused(f"{where}: pair {pair.id[:60]!r} of request {(pair.request or '')[:60]!r}, expected "
                      f"{twin.id!r} of {twin.first!r}")  # fmt: skip
    return entry


def _settings(meta: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Of what a transcript says beside, the sampling parameters."""
    from watermark.decoding import Decoding

    names = Decoding.__dataclass_fields__
    for name, value in meta.items():
        if name in names and type(value) in (int, float):
            yield name, value

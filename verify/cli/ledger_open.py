"""`radiolabel ledger served | pairs`: contents of a ledger, for the tests that need them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from verify.cli.ledger_check import FILES, entered
from verify.cli.output import check_distinct, check_new_file, counted, new_file

if TYPE_CHECKING:
    from verify.pairs import Pair
    from verify.records import Transcript
    from watermark.ledger import Content, SealingKey, Served
    from watermark.ledger.lost import LostPairs

KEY = click.option("--key", "key_file", type=click.Path(), help="Private key that opens, from radiolabel ledger key.")
OUTPUT = click.option("-o", "--output", required=True, type=click.Path(), help="New file; its owner's alone.")
FORCE = click.option("--force", is_flag=True, help="Replace the output if it exists.")
EPOCH = click.option("--epoch", help="Of this epoch only, by its name.")
ACCOUNT = click.option("--account", multiple=True, help="Of this account's slot only; may be repeated.")


@click.command()
@FILES
@KEY
@EPOCH
@ACCOUNT
@OUTPUT
@FORCE
def served(
    files: tuple[str, ...],
    key_file: str | None,
    epoch: str | None,
    account: tuple[str, ...],
    output: str,
    force: bool,
) -> None:
    """Open what was served, in its order, as transcripts with the ids that were drawn.

    They are what radiolabel probe --windows --served and radiolabel test open --served read.

    \b
    Example: radiolabel ledger served served.jsonl --key sealing.pem -o answers.jsonl
    """
    n = _write(output, force, files, key_file, (
        _transcript(record, content) for record, content, _ in _opened(files, key_file, epoch, account)
    ))  # fmt: skip
    click.echo(f"{counted(n, 'answer')} written", err=True)


@click.command()
@FILES
@KEY
@EPOCH
@ACCOUNT
@click.option("--coins", "coins_file", type=click.Path(),
              help="Epoch key, or its epoch/NAME/coin: also count the pairs that were lost.")  # fmt: skip
@OUTPUT
@FORCE
def pairs(
    files: tuple[str, ...],
    key_file: str | None,
    epoch: str | None,
    account: tuple[str, ...],
    coins_file: str | None,
    output: str,
    force: bool,
) -> None:
    """Open the answers that have a twin, as pairs.

    They are what radiolabel probe --pairs, test twin and accounts read. The file holds withheld answers and coins,
    and is to be kept secret until the evidence is given.

    \b
    Example: radiolabel ledger pairs served.jsonl --key sealing.pem -o pairs.jsonl
    """
    lost = None if coins_file is None else _lost(coins_file)
    n = _write(output, force, files, key_file, (
        _pair(record, content, twin)
        for record, content, twin in _opened(files, key_file, epoch, account, twins=True, lost=lost)
        if twin is not None
    ))  # fmt: skip
    click.echo(f"{counted(n, 'pair')} written", err=True)
    if lost is not None:
        click.echo(f"{counted(lost.count(), 'pair')} lost: chosen, and not in the log", err=True)


def _lost(path: str) -> LostPairs:
    from watermark.keyfile import read_key
    from watermark.keys import CoinKey, EpochKey
    from watermark.ledger.lost import LostPairs

    key = read_key(path)
    if not isinstance(key, EpochKey | CoinKey):
        raise click.UsageError(f"{path} is not an epoch key or its node of coins, expected one that served")
    return LostPairs(key.coin_key() if isinstance(key, EpochKey) else key)


def _write(
    output: str, force: bool, files: tuple[str, ...], key_file: str | None, records: Iterator[Transcript | Pair]
) -> int:
    check_new_file(output, force=force)
    inputs: dict[str, str | None] = {f"LEDGER {n}": path for n, path in enumerate(files, 1)}
    check_distinct(inputs | {"--key": key_file}, {"--output": output})
    n = 0
    with new_file(output, force=force, secret=True) as file:
        for record in records:
            file.write(record.to_json().decode() + "\n")
            n += 1
    return n


def _opened(
    files: tuple[str, ...],
    key_file: str | None,
    epoch: str | None,
    accounts: tuple[str, ...],
    *,
    twins: bool = False,
    lost: LostPairs | None = None,
) -> Iterator[tuple[Served, Content, Content | None]]:
    """(record, its answer, the withheld one if that is asked for) of the answers that were asked for.

    Raises:
        Refused: a content that cannot be opened, or was not kept.
    """
    from verify.errors import Refused
    from watermark.errors import LedgerError
    from watermark.ledger import Served, Walk, opened, read_sealing_key
    from watermark.ledger.walking import refuse

    key: SealingKey | None = None if key_file is None else read_sealing_key(key_file)
    for found in entered(files, Walk(on_damage=refuse)):
        record = found.record
        if not isinstance(record, Served) or (epoch is not None and record.epoch != epoch):
            continue
        if accounts and record.account not in accounts:
            continue
        if lost is not None:
            lost.add(record)
        if twins and record.twin is None:
            continue
        try:
            answer = opened(record.content, record.digest, record.place, key=key)
            withheld = None
            if twins and record.twin is not None:
                withheld = opened(record.twin.content, record.twin.digest, record.twin_place, key=key)
            for content, tokens in ((answer, record.tokens), (withheld, record.twin.tokens if record.twin else 0)):
                if content is not None and len(content.token_ids) != tokens:
                    raise LedgerError(f"the record counts {tokens} tokens, and the content has "
                                      f"{len(content.token_ids)}")  # fmt: skip
        except LedgerError as error:
            hint = error.hint if key_file else error.hint or "give --key, the private key"
            raise Refused(f"{found.file}:{found.line}: {error}", hint=hint) from None
        yield record, answer, withheld


def _transcript(record: Served, content: Content) -> Transcript:
    from verify.records import Transcript

    meta: dict[str, Any] = dict(record.decoding or {})
    if record.cohort is not None:
        meta["cohort"] = record.cohort
    return Transcript(
        id=record.request,
        prompt=content.prompt,
        response=content.response,
        token_ids=content.token_ids,
        tokenizer=record.tokenizer,
        model=record.model,
        request=record.request,
        account=record.account,
        marked={str(fate): n for fate, n in (*record.marked.items(), *record.unmarked.items())},
        meta=meta or None,
    )


def _pair(record: Served, content: Content, withheld: Content) -> Pair:
    from verify.errors import Refused
    from verify.pairs import Member, Pair

    twin = record.twin
    if twin is None or withheld.prompt != content.prompt:
        raise Refused(f"request {record.request[:60]!r}: its twin answers another prompt")
    members = [Member(text=c.response, token_ids=c.token_ids) for c in (content, withheld)]
    first, second = members if twin.coin == 0 else members[::-1]
    return Pair.of(
        id=twin.id,
        prompt=content.prompt,
        account=record.account,
        conversation=record.conversation,
        model=record.model,
        tokenizer=record.tokenizer,
        request=twin.first,
        members=(first, second),
        served=twin.coin,
        drawn="serving",
    )

"""`radiolabel trace`: whose channel is in a text?"""

from __future__ import annotations

import json
import sys
import textwrap
from math import ceil
from typing import TYPE_CHECKING, Any

import click

from verify.cli.output import (
    FORMAT,
    bars,
    check_distinct,
    check_new_file,
    check_unchanged,
    counted,
    digests,
    finite,
    new_file,
    print_record,
)

if TYPE_CHECKING:
    from verify.tracing.answer import Trace
    from verify.tracing.keysets import KeySet
    from verify.tracing.texts import Texts

SHOWN = 20
ASSUMPTIONS = (
    "the text was not chosen by looking at the keys",
    "all keys and all texts that were looked at are here: the correction is for them and no others",
    "a named account is one in whose channel the text was drawn, or whose answers somebody copied or trained on; it "
    "says nothing of who did so",
)


@click.command()
@click.argument("source", metavar="[INPUT|-]", default="-")
@click.option("--keys", "key_files", required=True, multiple=True, type=click.Path(),
              help="Epoch key file, or a folder of value key files. May be given more than once.")  # fmt: skip
@click.option("--slots", help="With an epoch key: a number N for slots 0 to N - 1, or a file with one a line.")
@click.option("--channel", type=click.Choice(["account", "cohort"]), default="account", show_default=True,
              help="Whose keys.")  # fmt: skip
@click.option("--documents", is_flag=True, help="Test every document by itself, and not all of them as one text.")
@click.option("--tokenizer", "tokenizer_file", type=click.Path(), help="The provider's tokenizer.json.")
@click.option("--prompts", type=click.Path(), help="What was asked, in the order of the answers.")
@click.option("--input-format", type=click.Choice(["auto", "text", "jsonl", "openai", "sharegpt"]), default="auto",
              show_default=True, help="How to read INPUT.")  # fmt: skip
@click.option("--token-ids", is_flag=True, help="Trust the input's token ids also where it has text.")
@click.option("--fwer", type=click.FloatRange(0, 0.5, min_open=True), callback=finite, default=1e-3,
              show_default=True, help="Chance of naming anybody falsely, over all texts and keys (Holm).")  # fmt: skip
@click.option("--fdr", type=click.FloatRange(0, 0.5, min_open=True), callback=finite, default=0.01,
              show_default=True, help="Expected share of false names (e-BH).")  # fmt: skip
@click.option("--marks-out", type=click.Path(),
              help="Write the finding of every key, as accounts --marks reads them: not with --documents.")  # fmt: skip
@click.option("--exit-code", is_flag=True, help="Exit with 1 if nobody is named.")
@FORMAT
def trace(
    source: str,
    key_files: tuple[str, ...],
    slots: str | None,
    channel: str,
    documents: bool,
    tokenizer_file: str | None,
    prompts: str | None,
    input_format: str,
    token_ids: bool,
    fwer: float,
    fdr: float,
    marks_out: str | None,
    exit_code: bool,
    output_format: str | None,
) -> int:
    """Name the accounts or cohorts whose channel is in INPUT, or say that it is none of them.

    INPUT is what radiolabel verify reads. The text is read once for all keys. Every key is tested, and the result is
    corrected for all keys and all texts; a text may be of several accounts.

    A test for a court has a plan: trace finds whom to ask about, radiolabel verify --plan tests it on other text.

    \b
    Examples:
      radiolabel trace --keys epoch.key --slots 25000 --tokenizer tokenizer.json a.jsonl
      radiolabel trace --keys epoch.key --slots accounts.txt --documents a.jsonl --tokenizer tokenizer.json
      radiolabel trace --keys account-keys/ --tokenizer tokenizer.json leaked.txt
    """
    from verify.inputs import open_documents
    from verify.tokenization import Tokenizer
    from verify.tracing import texts
    from verify.tracing.answer import conclude
    from verify.tracing.scan import ALL_KEPT, scan

    keys = _key_sets(key_files, slots, channel)
    n_keys = sum(map(len, keys))
    files: dict[str, str | None] = {"input": source, "prompts": prompts, "tokenizer": tokenizer_file}
    if [source, prompts].count("-") > 1:
        raise click.UsageError("standard input can be one of the files")
    if marks_out is not None:
        if documents or n_keys > ALL_KEPT:
            raise click.UsageError(
                "--marks-out has one finding of each key: not with --documents, nor with more than a million keys"
            )
        check_new_file(marks_out, force=False)
        check_distinct(files, {"--marks-out": marks_out})
    widths = sorted({k.any_key.deployment.width for k in keys})
    if source == "-" and len(widths) > 1:
        raise click.UsageError("keys of two widths read the input twice: save it to a file first")
    before = digests(files)
    tokenizer = Tokenizer.load(tokenizer_file) if tokenizer_file else None
    if source == "-" and sys.stdin.isatty():
        click.echo("reading standard input; end with Ctrl-D", err=True)
    gather = texts.one_by_one if documents else texts.corpus
    with bars(reading=" tokens", keys=f" keys/{n_keys}") as progress:
        read: dict[int, Texts] = {
            width: gather(
                open_documents(source, format=input_format, prompts=prompts),
                width,
                tokenizer=tokenizer,
                trust_ids=token_ids,
                progress=lambda n: progress("reading", n),
            )
            for width in widths
        }
        per_key = [read[k.any_key.deployment.width] for k in keys]
        hits = [scan(t, k, progress=lambda n: progress("keys", n)) for t, k in zip(per_key, keys, strict=True)]
    check_unchanged(files, before)
    found = conclude(per_key, keys, hits)
    if marks_out is not None:
        with new_file(marks_out, force=False) as file:
            for i, h in enumerate(found.hits):
                file.writelines(json.dumps(found.row((i, j))) + "\n" for j in range(len(h.text)))
    record = _record(found, per_key[0], fwer, fdr, documents) | {"sha256": before}
    print_record(record, lambda: _text(record, channel), output_format)
    return 1 if exit_code and not record["named_fwer"] else 0


def _key_sets(key_files: tuple[str, ...], slots: str | None, channel: str) -> list[KeySet]:
    from pathlib import Path

    from verify.tracing.keysets import of_directory, of_epoch, read_slots
    from watermark.keyfile import read_key
    from watermark.keys import EpochKey

    found: list[KeySet] = []
    for name in key_files:
        if Path(name).is_dir():
            found += of_directory(name, channel)
            continue
        key = read_key(name)
        if not isinstance(key, EpochKey):
            raise click.UsageError(
                f"{name} is not an epoch key: derive one with radiolabel key derive --path epoch/NAME, or name a "
                "folder of value key files"
            )
        if slots is None:
            raise click.UsageError("an epoch key needs --slots: a number, or a file with one slot a line")
        found.append(of_epoch(key, channel, read_slots(slots)))
    if len({k.epoch for k in found}) < len(found):
        raise click.UsageError("two of --keys are of one epoch: the same key would be tested twice")
    return found


def _record(found: Trace, read: Texts, fwer: float, fdr: float, documents: bool) -> dict[str, Any]:
    holm, e_bh = found.named(fwer, by="holm"), found.named(fdr, by="e-bh")
    named = {read.names[found.hits[i].text[j]] for i, j in holm}
    record: dict[str, Any] = {
        "n_texts": len(read.names),
        "by_document": documents,
        "n_tokens": int(read.n_tokens.sum()),
        "n_keys": sum(map(len, found.keys)),
        "n_tests": found.n_tests,
        "epochs": [k.epoch for k in found.keys],
        "fwer": fwer,
        "fdr": fdr,
        "named_fwer": [found.row(at) for at in holm],
        "named_fdr": [found.row(at) for at in e_bh],
        "none_of_them": [name for name in read.names if name not in named],
        "assumptions": list(ASSUMPTIONS),
        "exploratory": True,
    }
    record["sentence"] = _sentence(record)
    return record


def _sentence(record: dict[str, Any]) -> str:
    looked = f"{counted(record['n_keys'], 'key')} and {counted(record['n_texts'], 'text')}"
    named, more = len(record["named_fwer"]), len(record["named_fdr"])
    if not named:
        first = f"None of them: of {looked}, nobody is named at a family-wise level of {record['fwer']:g}."
    else:
        verb = "name is" if named == 1 else "names are"
        first = (
            f"Of {looked}, {named:,} {verb} given: the chance that any name is given to a text that does not depend "
            f"on that account's key is at most {record['fwer']:g}."
        )
    return (
        f"{first} At a false discovery rate of {record['fdr']:g}, {more:,}. Not named does not mean not used. "
        "Exploratory: no plan was committed before looking."
    )


def _text(record: dict[str, Any], channel: str) -> str:
    from verify.decoding import printable

    parts = [textwrap.fill(record["sentence"], 78)]
    read = f"{counted(record['n_tokens'], 'token')} in {counted(record['n_texts'], 'text')}"
    rows = [("read", read), ("tests", f"{record['n_tests']:,} in {', '.join(record['epochs'])}"[:66])]
    parts.append("\n".join(f"{name:<8}{value}" for name, value in rows))
    shown = record["named_fwer"] or record["named_fdr"]
    lines = [f"{'text':<26}{channel:<18}{'pairs':>8}{'excess':>8}{'log10 p':>10}{'Holm':>10}"]
    for row in shown[:SHOWN]:
        lines.append(
            f"{printable(row['text'])[-25:]:<26}{printable(row[channel])[:17]:<18}{row['n_scored']:>8,}"
            f"{row['excess']:>8.2f}{_up(row['log10_p']):>10}{_up(row['log10_p_holm']):>10}"
        )
    if len(shown) > SHOWN:
        lines.append(f"and {len(shown) - SHOWN:,} more: --format json has all")
    if shown:
        parts.append("\n".join(lines))
    if record["by_document"]:
        parts.append(f"None of them: {counted(len(record['none_of_them']), 'text')}.")
    holds = [textwrap.fill(a, 78, initial_indent="- ", subsequent_indent="  ") for a in record["assumptions"]]
    return "\n\n".join([*parts, "This holds if\n" + "\n".join(holds)])


def _up(log10_p: float) -> str:
    """Two decimals, never shown as stronger than it is."""
    return f"{ceil(log10_p * 100) / 100:.2f}"

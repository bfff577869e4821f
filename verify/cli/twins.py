"""`radiolabel twins`: second answers to prompts that were served, from the pinned teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from verify.cli.output import check_distinct, check_new_file, counted, finite, new_file

if TYPE_CHECKING:
    from verify.records import Transcript
    from watermark.decoding import Decoding
    from watermark.sampling import Request

SUFFIX = "-later-twin"


def _unless_absent(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    return value if value is None else finite(context, parameter, value)


@click.command()
@click.argument("transcripts", type=click.Path())
@click.option("--model", required=True, help="The teacher as it served: a .gguf file, a directory, or a hub name.")
@click.option("--key", "key_file", required=True, type=click.Path(), help="Epoch key file that served.")
@click.option("-o", "--output", required=True, type=click.Path(), help="Pairs, JSONL.")
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True), callback=_unless_absent,
              help="Where a transcript's meta does not say.")  # fmt: skip
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), callback=_unless_absent, help="Likewise.")
@click.option("--top-k", type=click.IntRange(min=0), help="Likewise; 0 keeps all.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Likewise.")
@click.option("--cohort", default="", help="Likewise: the cohort slot they were served to.")
@click.option("--replay", is_flag=True,
              help="Draw the served answers again too, and record which come out token for token.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), default=24, show_default=True, help="Answers at a time.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
def twins(
    transcripts: str,
    model: str,
    key_file: str,
    output: str,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    max_tokens: int | None,
    cohort: str,
    replay: bool,
    batch_size: int,
    force: bool,
) -> None:
    """Answer the prompts of TRANSCRIPTS again, so that each served answer has a twin that was not served.

    The same channel keys, account and decoding settings as then, and a leaf key of its own for each twin; a coin
    derived from the epoch key says which place of the pair the served answer takes. Twins that were drawn while
    serving (radiolabel embed --twins) are better evidence: these here may differ from what was served by a changed
    model, library or machine. --replay tests that, at twice the work: the same teacher with the same settings and
    leaf key draws the served answer itself once more.

    The pairs hold withheld answers and coins: only the file's owner may read it, and it is to be kept secret until the
    evidence is given.
    Needs the lab extra: pip install radiolabel[lab].

    \b
    Example:
      radiolabel twins answers.jsonl --model smollm2 --key epoch.key -o p.jsonl
    """
    from dataclasses import replace
    from itertools import groupby

    from tqdm import tqdm

    from verify.cli.serving import check_complete, check_key, decoding_of, request_of
    from verify.errors import Refused, quoted
    from verify.inputs.lines import read_transcripts
    from verify.pairs import Member, Pair
    from watermark.keyfile import read_key
    from watermark.keys import EpochKey
    from watermark.sampling import Sampler

    check_new_file(output, force=force)
    check_distinct({"TRANSCRIPTS": transcripts, "--key": key_file, "--model": model}, {"--output": output})
    key = read_key(key_file)
    if not isinstance(key, EpochKey):
        raise click.UsageError(
            f"{key_file} is not an epoch key: derive one with radiolabel key derive --path epoch/NAME"
        )
    sampler = Sampler(key)
    given = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens}
    served: list[tuple[Transcript, Request, Decoding]] = []
    names: dict[str, str] = {}
    for where, t in read_transcripts(transcripts):
        check_complete(t, where)
        check_key(t, where, sampler, cohort)
        twin = request_of(t, where, cohort, suffix=SUFFIX)
        if twin.id in names:
            raise Refused(
                f"{where}: request {quoted(t.request)} is that of {names[twin.id]}, expected one answer a request"
            )
        names[twin.id] = where
        served.append((t, twin, decoding_of(t, where, given)))

    try:
        from watermark.engines.models import answer, load
    except ModuleNotFoundError as error:
        raise click.UsageError(f"{error.name} is not installed: pip install radiolabel[lab]") from None
    with tqdm(desc=f"loading {model}", bar_format="{desc}", disable=None, leave=False):
        teacher = load(model)
    for (t, *_), where in zip(served, names.values(), strict=True):
        if t.tokenizer != teacher.digest:
            raise Refused(
                f"{where}: tokenizer is {str(t.tokenizer)[:19]}..., and that of {model} is {teacher.digest[:19]}...",
                hint="twins come from the very model that served",
            )
        if teacher.tokenizer.decode(t.token_ids, skip_special_tokens=True) != t.response:
            raise Refused(
                f"{where}: response is not the text of token_ids",
                hint="a text that was edited after it was drawn has no equal among fresh ones",
            )
    drawn: dict[int, Member] = {}
    replayed: dict[int, bool] = {}
    total = (1 + replay) * sum(decoding.max_tokens for *_, decoding in served)
    with tqdm(total=total, unit=" tokens", desc="answering", disable=None, leave=False) as bar:
        by_decoding = sorted(range(len(served)), key=lambda i: repr(served[i][2]))
        for decoding, group in groupby(by_decoding, key=lambda i: served[i][2]):
            rows = list(group)
            requests = [served[row][1] for row in rows]
            if replay:
                requests += [replace(served[row][1], id=str(served[row][0].request)) for row in rows]
            answers = answer(
                teacher,
                [served[row][0].prompt for row in rows] * (1 + replay),
                decoding,
                requests=requests,
                sampler=sampler,
                batch_size=batch_size,
                progress=bar.update,
            )
            for a in answers:
                row, ids = rows[a.index % len(rows)], tuple(a.token_ids)
                if a.index < len(rows):
                    drawn[row] = Member(text=a.text, token_ids=ids)
                else:
                    replayed[row] = ids == served[row][0].token_ids
    if replay:
        came = f"{sum(replayed.values()):,} of {counted(len(served), 'served answer')}"
        click.echo(f"drawn again, {came} came out token for token", err=True)
    with new_file(output, force=force, secret=True) as file:
        for row, (t, twin, _) in enumerate(served):
            coin = key.coin(twin.id)
            members = Member(text=t.response, token_ids=t.token_ids), drawn[row]
            pair = Pair.of(
                id=twin.id,
                prompt=t.prompt,
                account=t.account,
                model=model,
                tokenizer=t.tokenizer,
                request=t.request,
                members=members if coin == 0 else members[::-1],
                served=coin,
                drawn="later",
                replayed=replayed.get(row),
            )
            file.write(pair.to_json().decode() + "\n")

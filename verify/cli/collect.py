"""`radiolabel collect`: a suspect's answers, from an OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import textwrap
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import click

from verify.cli.output import FORMAT, counted, finite, print_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verify.collecting.settings import Settings
    from verify.hypotheses.sequential import ClosedProcess
    from verify.ordering import Ordering
    from verify.records import Transcript


@click.command()
@click.argument("prompts", metavar="[PROMPTS|-]", default="-")
@click.option("--base-url", required=True, help="Such as https://host/v1.")
@click.option("--model", required=True, help="As the endpoint calls it.")
@click.option("-o", "--output", required=True, type=click.Path(), help="Answers, JSONL; continued if it exists.")
@click.option("--system", help="System message.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Per answer.  [default: the endpoint's]")
@click.option("--temperature", type=click.FloatRange(min=0), callback=finite, help="[default: the endpoint's]")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), callback=finite,
              help="[default: the endpoint's]")  # fmt: skip
@click.option("--logprobs", type=click.IntRange(min=0), metavar="K",
              help="Ask for the log probabilities of the K likeliest tokens.")  # fmt: skip
@click.option("--repeat", type=click.IntRange(min=1), default=1, show_default=True, help="Ask each prompt so often.")
@click.option("--max-requests", type=click.IntRange(min=1),
              help="Budget of requests for the whole output, retries included.")  # fmt: skip
@click.option("--token-budget", type=click.IntRange(min=1),
              help="Budget of answered tokens for the whole output; requests in flight may pass it.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1, 1024), default=4, show_default=True, help="Requests in flight.")
@click.option("--retries", type=click.IntRange(min=0), default=5, show_default=True, help="Per prompt.")
@click.option("--backoff", type=click.FloatRange(min=0), callback=finite, default=1.0, show_default=True,
              help="Seconds before the first retry, at most; doubles.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), callback=finite, default=120.0,
              show_default=True, help="Seconds for a request and its answer.")  # fmt: skip
@click.option("--api-key-env", default="OPENAI_API_KEY", show_default=True, metavar="NAME",
              help="Environment variable with the endpoint's key; it is sent to --base-url.")  # fmt: skip
@click.option("--key", "key_file", type=click.Path(), help="Value key file: stop as soon as its mark is found.")
@click.option("--tokenizer", "tokenizer_file", type=click.Path(), help="With --key: the provider's tokenizer.json.")
@click.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True), callback=finite, default=1e-6,
              show_default=True, help="With --key: stop when the e-value reaches 1/alpha.")  # fmt: skip
@click.option("--plan", "plan_file", type=click.Path(), help="Committed plan: ask in its order, with its settings.")
@click.option("--register", "register_file", type=click.Path(), help="With --plan: the register that it stands in.")
@FORMAT
def collect(
    prompts: str,
    base_url: str,
    model: str,
    output: str,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    logprobs: int | None,
    repeat: int,
    max_requests: int | None,
    token_budget: int | None,
    concurrency: int,
    retries: int,
    backoff: float,
    timeout: float,
    api_key_env: str,
    key_file: str | None,
    tokenizer_file: str | None,
    alpha: float,
    plan_file: str | None,
    register_file: str | None,
    output_format: str | None,
) -> int:
    """Ask a suspect PROMPTS and keep its answers as transcripts, which radiolabel verify reads.

    PROMPTS is a file, or - for standard input: plain text with one prompt a line, or JSONL of strings or objects
    with prompt. Answers are written as they come. Run the same command again to continue after a stop or a crash:
    what was answered is not asked again; only requests in flight at a kill are.

    With --key an e-value is computed as answers arrive, and asking stops when it is enough. The e-value is valid
    whenever one stops: p is at most 1 over its maximum. It is valid if the prompts were chosen without looking at the
    key.

    With --plan the order of asking and a nonce for every answer follow from the timestamp of the plan's line in the
    register, which shows that the answers were written down after it. Prompts, settings and stopping rule must be the
    plan's. With a sequential plan the e-value takes answers in that order, up to the first that is not there yet.

    Needs the collect extra: pip install radiolabel[collect].

    \b
    Example:
      radiolabel collect --base-url https://host/v1 --model suspect \\
        prompts.txt -o answers.jsonl
    """
    if (key_file is None) != (tokenizer_file is None):
        raise click.UsageError("--key and --tokenizer go together")
    if (plan_file is None) != (register_file is None):
        raise click.UsageError("--plan and --register go together")
    try:
        import httpx  # noqa: F401
    except ModuleNotFoundError:
        raise click.UsageError("httpx is not installed: pip install radiolabel[collect]") from None
    from tqdm import tqdm

    from verify.collecting import endpoint
    from verify.collecting.collector import Collector
    from verify.collecting.journal import open_journal
    from verify.collecting.settings import Limits, Settings, Tally, digest_of
    from verify.decoding import printable
    from verify.inputs import read_prompts

    api_key = endpoint.key_from(api_key_env)
    asked = read_prompts(prompts)
    settings = Settings(
        base_url=endpoint.base_url(base_url),
        model=model,
        prompts=digest_of(asked),
        system=system,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        logprobs=logprobs,
    )
    limits = Limits(
        concurrency=concurrency,
        retries=retries,
        backoff=backoff,
        timeout=timeout,
        max_requests=max_requests,
        token_budget=token_budget,
    )
    ordering, fixed = None, settings.to_dict()
    if plan_file is not None and register_file is not None:
        ordering = _ordering(plan_file, register_file, settings, repeat, concurrency, key_file, tokenizer_file, alpha)
        fixed["plan"] = ordering.plan
    order = None if ordering is None else ordering.order(len(asked) * repeat)
    process, enough = None, _never
    if key_file and tokenizer_file:
        process, enough = _process(key_file, tokenizer_file, alpha, order)
    with (
        open_journal(output, fixed) as journal,
        tqdm(total=len(asked) * repeat, unit=" answers", desc="asking", disable=None, leave=False) as bar,
    ):

        def advance(tally: Tally) -> None:
            if process is not None:
                bar.set_postfix_str(f"log10 e {process.evidence.log10_e:.1f}", refresh=False)
            bar.update(tally.n_answers - bar.n)

        collector = Collector(
            *(asked, repeat, settings, limits, journal),
            key=api_key,
            ordering=ordering,
            enough=enough,
            progress=advance,
        )
        bar.initial = bar.n = collector.tally.n_answers
        try:
            tally = asyncio.run(collector.run())
        except KeyboardInterrupt:
            kept = counted(collector.tally.n_answers, "answer")
            click.echo(f"{kept} kept: run the same command again to continue", err=True)
            raise
    record = vars(tally) | {"output": output, "settings": fixed, "sequential": None}
    if process is not None:
        record["sequential"] = _sequential(process, alpha)
    print_record(record, lambda: _text(record), output_format)
    if tally.n_given_up:
        click.echo(
            f"no answer to {counted(tally.n_given_up, 'prompt')}, the last because: "
            f"{printable(str(tally.last_error))}\n"
            "hint: run the same command again to ask them",
            err=True,
        )
    return 2 if tally.n_given_up else 0


def _ordering(
    path: str,
    register: str,
    settings: Settings,
    repeat: int,
    concurrency: int,
    key_file: str | None,
    tokenizer_file: str | None,
    alpha: float,
) -> Ordering:
    """What follows from a committed plan, which these settings and this stopping rule must be those of."""
    from verify.errors import Refused, quoted
    from verify.ordering import Ordering
    from verify.plan_parts import Endpoint
    from verify.planned import read_committed
    from verify.register import line_of, read_register
    from verify.tokenization import Tokenizer
    from watermark.keyfile import read_key

    use = read_committed(path)
    suspect = use.plan.suspect
    if not isinstance(suspect, Endpoint):
        raise Refused(f"{path}: the plan asks no endpoint, expected one that does")
    used = settings.to_dict() | {"repeat": repeat, "concurrency": concurrency}
    planned = suspect.settings() | {"repeat": suspect.repeat, "concurrency": suspect.concurrency}
    for name in planned | used:
        if planned.get(name) != used.get(name):
            raise Refused(f"{name} is {quoted(used.get(name))}, and {path} says {quoted(planned.get(name))}")
    if (key_file is not None) != (use.plan.hypothesis == "sequential"):
        raise Refused(f"{path} is for a {use.plan.hypothesis} test, expected --key with sequential and never else")
    if key_file is not None and tokenizer_file is not None:
        tokenizer = Tokenizer.load(tokenizer_file).digest
        use.require(hypothesis="sequential", key=read_key(key_file).id, tokenizer=tokenizer, alpha=alpha)
    line = line_of(read_register(register), use.plan)
    if line is None:
        raise Refused(f"{register} has no line of {path}, expected the register that it was committed to")
    return Ordering.of(line)


def _never(record: Transcript) -> bool:
    return False


def _process(
    key_file: str, tokenizer_file: str, alpha: float, order: Sequence[int] | None
) -> tuple[ClosedProcess, Any]:
    """The e-process of a key, and what feeds it an answer and says whether it is enough."""
    from verify.hypotheses.sequential import ClosedProcess
    from verify.measuring.sequential import summary_of
    from verify.ordering import InOrder
    from verify.tokenization import Tokenizer
    from watermark.keyfile import read_key
    from watermark.keys import ValueKey

    key = read_key(key_file)
    if not isinstance(key, ValueKey):
        raise click.UsageError(
            f"{key_file} is not a value key: derive one with radiolabel key derive --path epoch/NAME/fleet"
        )
    tokenizer, process = Tokenizer.load(tokenizer_file), ClosedProcess(key)

    ordered = None if order is None else InOrder(order)

    def enough(record: Transcript) -> bool:
        for answer in [record] if ordered is None else ordered.add(record):
            process.add(summary_of(answer, tokenizer, key.deployment.width).pairs)
        return process.evidence.enough(alpha)

    return process, enough


def _sequential(process: ClosedProcess, alpha: float) -> dict[str, Any]:
    evidence, remaining = process.evidence, process.remaining(alpha)
    return vars(evidence) | {
        "log10_p": evidence.log10_p,
        "alpha": alpha,
        "enough": evidence.enough(alpha),
        "key_id": process.key.id,
        "key_path": process.key.path,
        "remaining": remaining.to_dict() if remaining else None,
    }


def _text(record: dict[str, Any]) -> str:
    reasons = {
        "done": "every prompt has its answer" if not record["n_given_up"] else "every prompt was asked",
        "enough": "the e-process says enough",
        "requests": "the budget of requests is spent",
        "tokens": "the budget of tokens is spent",
    }
    rows = [
        ("answers", f"{record['n_answers']:,}, of which {record['n_before']:,} from before"),
        *((f"  {name}", f"{record[field]:,}") for name, field in SHOWN if record[field]),
        ("tokens", f"{record['completion_tokens']:,}"),
        ("requests", f"{record['n_requests']:,}, of which {record['n_retries']:,} to retry"),
        ("stopped", reasons[record["stopped"]]),
    ]
    s, sentence = record["sequential"], ""
    if s is not None:
        rows += [
            ("key", s["key_path"]),
            ("scored", f"{s['n_scored']:,} distinct (window, token) pairs"),
            ("log10 e-value", f"{_down(s['log10_e'])}, at most {_down(s['log10_e_max'])} so far"),
            ("log10 p", f"{ceil(s['log10_p'] * 1e4) / 1e4:.4f}, whenever one stops"),
        ]
        sentence = "\n\n" + textwrap.fill(_needed(s), 78)
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows) + sentence


SHOWN = (
    ("empty", "n_empty"),
    ("filtered", "n_filtered"),
    ("without logprobs", "n_without_logprobs"),
    ("given up", "n_given_up"),
)


def _needed(s: dict[str, Any]) -> str:
    """How many more answers, in words."""
    if s["enough"]:
        return f"The e-value has reached 1/{s['alpha']:g}: no further answers are needed."
    if s["remaining"] is None:
        return (
            "No growth was seen yet: nothing says how many more answers would be needed, or that any number would do."
        )
    low, high = s["remaining"]["interval"]
    bound = "no bound" if high is None else f"{high:,}"
    return (
        f"About {counted(s['remaining']['answers'], 'further answer')} would reach 1/{s['alpha']:g} "
        f"(95 % interval {low:,} to {bound}), if like these."
    )


def _down(value: float) -> str:
    """Four decimals, never shown as stronger than it is."""
    return f"{floor(value * 1e4) / 1e4:.4f}"

"""`radiolabel verify`: is the mark of this key in these outputs?"""

from __future__ import annotations

import sys
import textwrap
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import click

from verify.cli import native, scaled
from verify.cli.output import FORMAT, PLAN, bars, check_unchanged, counted, digests, finite, is_given, print_record

if TYPE_CHECKING:
    from verify.finding import Finding


@click.command()
@click.argument("sources", metavar="[INPUT...|-]", nargs=-1)
@click.option("--key", "key_file", type=click.Path(), help="Value key file.  [required]")
@click.option("--tokenizer", "tokenizer_file", type=click.Path(), help="The provider's tokenizer.json.")
@click.option("--prompts", type=click.Path(), help="What was asked, in the order of the answers.")
@click.option("--served", type=click.Path(), help="Served transcripts, or their hashed windows: score only these.")
@click.option(
    "--input-format",
    type=click.Choice(["auto", "text", "jsonl", "openai", "sharegpt"]),
    default="auto",
    show_default=True,
    help="How to read INPUT.",
)
@click.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True), callback=finite, default=1e-6, show_default=True,
              help="Call the mark found if p is at most this.")  # fmt: skip
@click.option("--decoys", type=click.IntRange(min=0), default=1000, show_default=True,
              help="Decoy keys to rank the true key among.")  # fmt: skip
@click.option("--repeated-windows", type=click.Choice(["skip", "score"]), default="skip", show_default=True,
              help="What to do where an answer uses a window again: our sampler does not mark there.")  # fmt: skip
@click.option("--weights", type=click.Choice(["distinct", "counts"]), default="distinct", show_default=True,
              help="Count each pair once, or weigh it by how often it comes: choose before looking.")  # fmt: skip
@click.option("--token-ids", is_flag=True, help="Trust the input's token ids also where it has text.")
@scaled.reading
@native.options
@PLAN
@click.option("--exit-code", is_flag=True, help="Exit with 1 if the mark is not found.")
@FORMAT
def verify(
    sources: tuple[str, ...],
    key_file: str | None,
    tokenizer_file: str | None,
    prompts: str | None,
    served: str | None,
    input_format: str,
    alpha: float,
    decoys: int,
    repeated_windows: str,
    weights: str,
    token_ids: bool,
    width: int | None,
    native_scheme: str | None,
    native_key: str | None,
    plan_file: str | None,
    exit_code: bool,
    output_format: str | None,
    **parts: Any,
) -> int:
    """Test INPUT for the mark of a key.

    INPUT is a file, or - for standard input: plain text (one document), JSONL with text, response or token_ids,
    OpenAI chat completions, or ShareGPT conversations; gzip and zstd are recognized.

    Several files, a quoted pattern, Parquet, or a URL that fsspec opens are read in parts, in bounded memory and with
    --jobs processes; there are no decoys then. With --work a run that was ended goes on where it stopped. With --shard
    many machines share the reading, which takes no key; radiolabel merge ends it.

    The p-value bounds the chance that text independent of the key scores as high. It is valid if the text was chosen
    without looking at the key. The decoy rank compares the key with random keys on the same text: 1 is the top.

    For answers of a student use --weights counts: what it says often it has learned well, and distinct pairs are
    mostly chance. Every pair still has one score, and p is Chernoff's bound.

    With --native-key the mark is one that an engine embeds itself (docs/native.md), and the key is the engine's.

    With --served a student's trace is less diluted. It takes transcripts with the token ids that were drawn. Which
    windows were served depends on the key, so that p is then 1 / e-value, and there is no decoy rank.

    \b
    Examples:
      radiolabel verify --key fleet.key --tokenizer tokenizer.json a.jsonl
      radiolabel verify --scheme vllm-gumbel --native-key watermark.yaml a.jsonl
      zcat a.gz | radiolabel verify --key fleet.key --tokenizer tokenizer.json
      radiolabel verify --key fleet.key --jobs 8 --work DIR 'crawl/*.parquet'
    """
    from verify import finding, linear_finding
    from verify.cli.test_open import linear_text
    from verify.measured import MeasuredForm
    from verify.measuring.closed import measure_closed
    from verify.planned import plan_use
    from verify.tested import Tested
    from verify.tokenization import Tokenizer
    from watermark.keyfile import read_key
    from watermark.keys import ValueKey

    sources = sources or ("-",)
    if native.wanted(native_scheme, native_key):
        return native.verify_native(
            sources,
            scheme=str(native_scheme),
            native_key=str(native_key),
            tokenizer_file=tokenizer_file,
            prompts=prompts,
            input_format=input_format,
            alpha=alpha,
            decoys=decoys,
            repeated_windows=repeated_windows,
            token_ids=token_ids,
            exit_code=exit_code,
            output_format=output_format,
            refused={
                "--key": key_file is not None,
                "--served": served is not None,
                "--plan": plan_file is not None,
                "--weights counts": weights == "counts",
                "reading in parts": scaled.wanted(sources, parts),
            },
        )
    if scaled.wanted(sources, parts):
        return scaled.verify_in_parts(
            sources,
            key_file=key_file,
            tokenizer_file=tokenizer_file,
            input_format=input_format,
            repeated_windows=repeated_windows,
            token_ids=token_ids,
            width=width,
            alpha=alpha,
            plan_file=plan_file,
            exit_code=exit_code,
            output_format=output_format,
            memory_only={
                "--prompts": prompts is not None,
                "--served": served is not None,
                "--weights counts": weights == "counts",
                "--decoys": bool(decoys) and is_given("decoys"),
            },
            **parts,
        )
    if key_file is None:
        raise click.UsageError("missing option '--key'")
    source, key = sources[0], read_key(key_file)
    if not isinstance(key, ValueKey):
        raise click.UsageError(
            f"{key_file} is not a value key: derive one with radiolabel key derive --path epoch/NAME/fleet"
        )
    if [source, prompts, served].count("-") > 1:
        raise click.UsageError("standard input can be one of the files")
    if weights == "counts" and served is not None:
        raise click.UsageError(
            "--weights counts is not valid with --served: how often a window comes depends on the key"
        )
    files = {"input": source, "prompts": prompts, "tokenizer": tokenizer_file, "served": served}
    before = digests(files)
    tokenizer = Tokenizer.load(tokenizer_file) if tokenizer_file else None
    options = {
        "input_format": input_format,
        "repeated_windows": repeated_windows,
        "weights": weights,
        "token_ids": token_ids,
        "prompts": prompts is not None,
        "served": served is not None,
        "sha256": before,
    }
    use = plan_use(plan_file)
    use.require(
        hypothesis="closed",
        key=key.id,
        alpha=alpha,
        tokenizer=tokenizer.digest if tokenizer else None,
        inputs=before,
        decoys=0 if served is not None or weights == "counts" else decoys,
        **{name: value for name, value in options.items() if name != "sha256"},
    )
    options |= use.options
    if source == "-" and sys.stdin.isatty():
        click.echo("reading standard input; end with Ctrl-D", err=True)
    with bars(reading=" tokens", served=" tokens", decoys=f" keys/{decoys}") as progress:
        measured = measure_closed(
            source,
            key,
            prompts=prompts,
            served=served,
            tokenizer=tokenizer,
            input_format=input_format,
            repeated_windows=repeated_windows,
            weights=weights,
            token_ids=token_ids,
            decoys=decoys,
            ids_alone=token_ids or plan_file is None,
            progress=progress,
        )
    check_unchanged(files, before)
    tested, digest = Tested.of(key), tokenizer.digest if tokenizer else None
    if isinstance(measured, MeasuredForm):
        use.require(n=measured.n_texts)
        weighed = linear_finding.conclude(measured, tested, alpha=alpha, options=options)
        print_record(weighed.to_dict(), lambda: linear_text(weighed), output_format)
        return 1 if exit_code and not weighed.found else 0
    use.require(n=measured.n_documents)
    result = finding.conclude(measured, tested, alpha=alpha, tokenizer=digest, options=options)
    print_record(result.to_dict(), lambda: finding_text(result), output_format)
    return 1 if exit_code and not result.found else 0


def finding_text(f: Finding) -> str:
    """A Finding as people read it."""
    from verify.finding import percent

    reasons = {
        "first_h": "no full window yet",
        "repeated_window": "window used before in the answer",
        "copied_from_prompt": "could be copied from the prompt",
        "duplicate": "seen before in the corpus",
        "other_channel": "belongs to another channel",
        "not_served": "window was never served",
    }
    low, high = f.excess_interval
    rows = [
        ("key", f"{f.key_path}  ({f.scheme}, width {f.width})"),
        ("key id", f"{f.key_id[:32]}..."),
        (
            "read",
            f"{counted(f.n_seen, 'token')} in {counted(f.n_documents, 'answer')}"
            + (f", {f.n_empty:,} empty" if f.n_empty else ""),
        ),
        *((f"  {reasons[name]}", f"-{count:,}") for name, count in f.n_dropped.items() if count),
        ("scored", f"{f.n_scored:,} distinct (window, token) pairs"),
        ("log10 p", f"{ceil(f.log10_p * 1e4) / 1e4:.4f}"),  # neither is ever shown as stronger than it is
        ("log10 e-value", f"{floor(f.log10_e * 1e4) / 1e4:.4f}"),
        ("excess per pair", f"{_signed(f.excess)}  (95 % interval {_signed(low)} to {_signed(high)})"),
    ]
    if f.decoys:
        rows.append(("rank among decoys", f"{f.decoys.rank:,} of {f.decoys.n + 1:,}"))
    if not f.found and f.smallest_share is not None and f.smallest_share <= 1:
        rows.append(("detection limit", f"{percent(f.smallest_share)} of the text, at full strength"))
    chosen = ", ".join(
        f"{name}={value}" for name, value in f.options.items() if name not in ("sha256", "plan", "decision") and value
    )
    width = max(len(name) for name, _ in rows) + 2
    indent = " " * width
    rows.append(("options", textwrap.fill(chosen, 80, initial_indent=indent, subsequent_indent=indent).strip()))
    table = "\n".join(f"{name:<{width}}{value}" for name, value in rows)
    holds = "\n".join(textwrap.fill(a, 78, initial_indent="- ", subsequent_indent="  ") for a in f.assumptions)
    return f"{textwrap.fill(f.sentence, 78)}\n\n{table}\n\nThis holds if\n{holds}"


def _signed(value: float) -> str:
    """A signed score with four decimals."""
    return f"{value:+.4f}"

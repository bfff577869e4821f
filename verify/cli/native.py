"""`radiolabel verify --native-key`: the marks that engines embed themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar

import click

from verify.cli.output import bars, check_unchanged, counted, digests, is_given, print_record

if TYPE_CHECKING:
    from verify.native.finding import NativeFinding

Command = TypeVar("Command", bound=Callable[..., Any])


def options(command: Command) -> Command:
    """Add `--scheme` and `--native-key`."""
    key = click.option("--native-key", type=click.Path(),
                       help="An engine's own configuration with its key, instead of --key.")  # fmt: skip
    scheme = click.option("--scheme", "native_scheme",
                          help="With --native-key: vllm-gumbel, vllm-dual-key-gumbel, sglang-gumbel, synthid, or "
                          "transformers-greenlist:vocabulary=N.")  # fmt: skip
    return scheme(key(command))


def wanted(native_scheme: str | None, native_key: str | None) -> bool:
    """Whether the options ask for an engine's own mark.

    Raises:
        click.UsageError: one of the two is missing.
    """
    if (native_scheme is None) != (native_key is None):
        raise click.UsageError("--scheme and --native-key go together")
    return native_key is not None


def verify_native(
    sources: tuple[str, ...],
    *,
    scheme: str,
    native_key: str,
    tokenizer_file: str | None,
    prompts: str | None,
    input_format: str,
    alpha: float,
    decoys: int,
    repeated_windows: str,
    token_ids: bool,
    exit_code: bool,
    output_format: str | None,
    refused: dict[str, bool],
) -> int:
    """Test an input for an engine's own mark; arguments are those of `verify`.

    Args:
        sources: one file, or "-"; several are read in parts, which is refused.
        scheme: names the mark.
        native_key: the engine's configuration.
        tokenizer_file: likewise, as all that follow.
        prompts: likewise.
        input_format: likewise.
        alpha: likewise.
        decoys: likewise; marks that cost much have none unless they are asked for.
        repeated_windows: likewise; unless it is given, as the engine marks.
        token_ids: likewise.
        exit_code: likewise.
        output_format: likewise.
        refused: by name, which options were given that do not go with an engine's mark.
    """
    from verify.inputs import open_documents
    from verify.native import decoys as decoy_keys
    from verify.native.finding import check_alpha, conclude
    from verify.native.pairs import read_corpus
    from verify.tokenization import Tokenizer
    from watermark.native import read_mark

    for name, given in refused.items():
        if given:
            raise click.UsageError(f"{name} does not go with --native-key")
    source = sources[0]
    if source == prompts == "-":
        raise click.UsageError("standard input can be one of the files")
    mark = read_mark(scheme, native_key)
    check_alpha(mark, alpha)
    decoys = decoys if is_given("decoys") else mark.decoys
    skip = repeated_windows == "skip" if is_given("repeated_windows") else not mark.marks_repeats
    files = {"input": source, "prompts": prompts, "tokenizer": tokenizer_file}
    before = digests(files)
    tokenizer = Tokenizer.load(tokenizer_file) if tokenizer_file else None
    with bars(reading=" tokens", decoys=f" keys/{decoys}") as progress:
        corpus = read_corpus(
            open_documents(source, format=input_format, prompts=prompts),
            mark.width,
            tokenizer=tokenizer,
            trust_ids=token_ids,
            skip_repeated=skip,
            progress=lambda done: progress("reading", done),
        )
        scored = mark.score(mark.inputs(corpus.windows, corpus.tokens))
        ranked = None
        if decoys and len(corpus.rows):
            ranked = decoy_keys.rank(corpus, mark, n=decoys, progress=lambda done: progress("decoys", done))
    check_unchanged(files, before)
    chosen = {"input_format": input_format, "repeated_windows": "skip" if skip else "score", "token_ids": token_ids,
              "prompts": prompts is not None, "sha256": before}  # fmt: skip
    digest = tokenizer.digest if tokenizer else None
    result = conclude(corpus, mark, scored, alpha=alpha, decoys=ranked, tokenizer=digest, options=chosen)
    print_record(result.to_dict(), lambda: _text(result), output_format)
    return 1 if exit_code and not result.found else 0


def _text(f: NativeFinding) -> str:
    reasons = {
        "first_h": "no full window yet",
        "repeated_window": "window used before in the answer",
        "copied_from_prompt": "could be copied from the prompt",
        "duplicate": "seen before in the corpus",
        "same_input": "same to the engine's function",
        "keyless": "same score under every key",
    }
    low, high = f.excess_interval
    chosen = ", ".join(f"{k}={v}" for k, v in f.options.items() if k != "sha256" and v)
    rows = [
        ("mark", f"{f.scheme}  ({', '.join(f'{k} {v}' for k, v in f.parameters.items())})"),
        ("function", f.prf),
        ("read", f"{counted(f.n_seen, 'token')} in {counted(f.n_documents, 'answer')}"
         + (f", {f.n_empty:,} empty" if f.n_empty else "")),
        *((f"  {reasons[name]}", f"-{count:,}") for name, count in f.n_dropped.items() if count),
        ("scored", f"{f.n_scored:,} distinct inputs"),
        ("log10 p, ideal", f"{ceil(f.log10_p * 1e4) / 1e4:.4f}"),  # neither is ever shown as stronger than it is
        ("log10 p, stated", f"{ceil(f.log10_p_stated * 1e4) / 1e4:.4f}"),
        ("excess", f"{f.excess:+.4f} {f.unit}  (95 % {low:+.4f} to {high:+.4f})"),
        *([("rank among decoys", f"{f.decoys.rank:,} of {f.decoys.n + 1:,}")] if f.decoys else []),
        ("options", chosen),
    ]  # fmt: skip
    width = max(len(name) for name, _ in rows) + 2
    indent = " " * width
    table = "\n".join(
        textwrap.fill(f"{name:<{width}}{value}", 80, subsequent_indent=indent, replace_whitespace=False)
        for name, value in rows
    )

    def listed(texts: tuple[str, ...]) -> str:
        return "\n".join(textwrap.fill(t, 78, initial_indent="- ", subsequent_indent="  ") for t in texts)

    parts = [textwrap.fill(f.sentence, 78), table]
    parts += [f"What the engine's function cannot carry\n{listed(f.warnings)}"] if f.warnings else []
    return "\n\n".join([*parts, f"This holds if\n{listed(f.assumptions)}"])

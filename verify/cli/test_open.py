"""`radiolabel test open` and `radiolabel test closed`: predictions under a key."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from functools import partial
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import click

from verify.cli.output import FORMAT, PLAN, bars, check_unchanged, counted, digests, finite, print_record

if TYPE_CHECKING:
    from verify.linear_finding import LinearFinding
    from verify.measured import MeasuredForm

# As `verify.hypotheses.open` has them: that module is too heavy for --help. A test compares the two.
RULE_NAMES = ("difference", "root", "soft", "top1", "hellinger", "log-ratio")

_SHARED: tuple[Callable[[Any], Any], ...] = (
    click.argument("predictions"),
    click.option("--key", "key_file", required=True, type=click.Path(), help="Value key file."),
    click.option("--tokenizer", help="Digest that the records must name (sha256:...)."),
    click.option("--prompt-windows", type=click.Choice(["count", "ignore"]), default="count", show_default=True,
                 help="Whether a window in a prompt counts as seen: ignore assumes no prompt held marked text."),
    click.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True), callback=finite, default=1e-6,
                 show_default=True, help="Call the dependence found if p is at most this."),
    click.option("--texts", type=click.Path(), help="Transcripts that PREDICTIONS are of, one for one: checked."),
    PLAN,
    click.option("--exit-code", is_flag=True, help="Exit with 1 if none is found."),
    FORMAT,
)  # fmt: skip


def _shared(command: Callable[..., int]) -> Callable[..., int]:
    for decorate in reversed(_SHARED):
        command = decorate(command)
    return command


@click.command("open")
@click.option(
    "--answers",
    "tokenizer_file",
    type=click.Path(),
    help="PREDICTIONS are answers with logprobs, from collect; this is the provider's tokenizer.json.",
)
@click.option("--rule", type=click.Choice(RULE_NAMES),
              help="From predictions to coefficients.  [default: root with a reference, else soft]")  # fmt: skip
@_shared
def open_command(predictions: str, rule: str | None, tokenizer_file: str | None, **shared: Any) -> int:
    """Test a model's PREDICTIONS for a key.

    PREDICTIONS holds next-token probabilities of a suspect, best with those of a reference model, inside texts:
    what radiolabel probe --windows writes; - is standard input.

    In text that was served, records stand in serving order, each window counts at its first visit, and the e-value
    decides. In other text p bounds the chance that a model without the key does as well.

    With --answers, PREDICTIONS are a suspect's answers with the log probabilities of its likeliest tokens, as
    radiolabel collect --logprobs writes them.

    \b
    Examples:
      radiolabel test open windows.jsonl --key fleet.key
      radiolabel test open w.jsonl.gz --key fleet.key --rule soft --alpha 1e-3
      radiolabel test open answers.jsonl --answers tokenizer.json --key fleet.key
    """
    from verify.measuring.linear import measure_open
    from verify.tokenization import Tokenizer

    answers = None if tokenizer_file is None else Tokenizer.load(tokenizer_file)
    used = {"hypothesis": "open", "rule": rule, "records": "predictions" if answers is None else "answers"}
    return _run(predictions, partial(measure_open, rule=rule, answers=answers), used, **shared)


@click.command("closed")
@_shared
def closed_command(predictions: str, **shared: Any) -> int:
    """Test a model's answers for a key, with a reference model as control variate.

    PREDICTIONS holds the suspect's own answers with the reference's next-token probabilities in them (log_q).
    Tokens that the reference expected count little: the same answers show more than with radiolabel verify.

    \b
    Example:
      radiolabel test closed answers-reference.jsonl --key fleet.key
    """
    from verify.measuring.linear import measure_reference

    return _run(predictions, measure_reference, {"hypothesis": "closed-reference"}, **shared)


def _run(
    path: str,
    measure: Callable[..., MeasuredForm],
    used: dict[str, Any],
    *,
    key_file: str,
    tokenizer: str | None,
    prompt_windows: str,
    alpha: float,
    texts: str | None,
    plan_file: str | None,
    exit_code: bool,
    output_format: str | None,
) -> int:
    from verify.linear_finding import conclude
    from verify.planned import plan_use
    from verify.tested import Tested
    from watermark.keyfile import read_key
    from watermark.keys import ValueKey

    key = read_key(key_file)
    if not isinstance(key, ValueKey):
        raise click.UsageError(
            f"{key_file} is not a value key: derive one with radiolabel key derive --path epoch/NAME/fleet"
        )
    files: dict[str, str | None] = {"predictions": path, "texts": texts}
    if texts is not None and (texts == "-" or used.get("records") == "answers"):
        raise click.UsageError("--texts is a file, and goes with predictions")
    before = digests(files)
    use = plan_use(plan_file)
    use.require(**used, key=key.id, alpha=alpha, prompt_windows=prompt_windows, inputs=before)
    with bars(scoring=" windows") as progress:
        measured = measure(
            path, key, prompt_windows=prompt_windows, tokenizer=tokenizer, texts=texts, progress=progress
        )
    check_unchanged(files, before)
    use.require(reference=measured.reference_model or "none", tokenizer=measured.tokenizer, n=measured.n_texts)
    if used["hypothesis"] == "open":
        use.require(served=measured.served)
    options = {"prompt_windows": prompt_windows, "sha256": before["predictions"]} | use.options
    result = conclude(measured, Tested.of(key), alpha=alpha, options=options)
    print_record(result.to_dict(), lambda: linear_text(result), output_format)
    return 1 if exit_code and not result.found else 0


def linear_text(f: LinearFinding) -> str:
    """A finding for people."""
    from verify.decoding import printable

    reasons = {
        "first_h": "no full window yet",
        "visited": "window visited before",
        "repeated_window": "window used before in the answer",
        "in_prompt": "window stood in a prompt",
        "copied_from_prompt": "could be copied from the prompt",
        "other_channel": "belongs to another channel",
    }
    low, high = f.excess_interval
    rows = [
        ("suspect", printable(f.suspect)),
        ("reference", printable(f.reference_model or "none")),
        ("key", f"{f.key_path}  ({f.scheme}, width {f.width})"),
        ("key id", f"{f.key_id[:32]}..."),
        (
            "read",
            f"{counted(f.n_positions, 'position')} in {counted(f.n_texts, 'served text' if f.served else 'text')}",
        ),
        *((f"  {reasons[name]}", f"-{count:,}") for name, count in f.n_dropped.items() if count),
        ("scored", f"{f.n_scored:,} distinct windows, {counted(f.n_terms, '(window, token) pair')}"),
        ("rule", f.rule),
        ("log10 p", f"{ceil(f.log10_p * 1e4) / 1e4:.4f}  (upper bound{', 1/e' if f.served else ''})"),
        ("log10 e-value", f"{floor(f.log10_e * 1e4) / 1e4:.4f}"),
        *([] if f.log10_p_estimate is None else [("log10 p, estimate", f"{f.log10_p_estimate:.4f}  (no bound)")]),
        ("z", f"{f.z:+.2f}"),
        ("excess per window", f"{f.excess:+.4f}  (95 % interval {low:+.4f} to {high:+.4f})"),
        ("detection limit", f"{f.smallest_excess:.4f} per window"),
    ]
    width = max(len(name) for name, _ in rows) + 2
    table = "\n".join(f"{name:<{width}}{value}" for name, value in rows)
    holds = "\n".join(textwrap.fill(a, 78, initial_indent="- ", subsequent_indent="  ") for a in f.assumptions)
    return f"{textwrap.fill(f.sentence, 78)}\n\n{table}\n\nThis holds if\n{holds}"

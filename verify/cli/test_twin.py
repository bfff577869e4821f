"""`radiolabel test twin`: does the suspect prefer what was served to what was not?"""

from __future__ import annotations

import textwrap
from math import ceil, floor
from typing import TYPE_CHECKING

import click

from verify.cli.output import FORMAT, PLAN, check_unchanged, digests, finite, print_record

if TYPE_CHECKING:
    from verify.twin_finding import TwinFinding

SHOWN_ACCOUNTS = 20


@click.command()
@click.argument("pairs", type=click.Path())
@click.option("--likelihoods", type=click.Path(), help="What radiolabel probe --pairs wrote: open weights.")
@click.option("--answers", type=click.Path(), help="The suspect's answers to the pairs' prompts: text only.")
@click.option("--key", "key_file", type=click.Path(),
              help="Epoch key file that served, or its epoch/NAME/coin: compute the coins again.")  # fmt: skip
@click.option("--measure", type=click.Choice(["ngram", "subsequence"]), default="ngram", show_default=True,
              help="With --answers: how likeness is measured.")  # fmt: skip
@click.option("--statistic", type=click.Choice(["sign", "rank"]), default="sign", show_default=True,
              help="What p is of; choose before looking.")  # fmt: skip
@click.option("--missing", type=click.Choice(["loss", "drop"]), default="loss", show_default=True,
              help="What pairs without a score count as.")  # fmt: skip
@click.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True), callback=finite, default=1e-6, show_default=True,
              help="Call the preference found if p is at most this.")  # fmt: skip
@PLAN
@click.option("--exit-code", is_flag=True, help="Exit with 1 if it is not found.")
@FORMAT
def twin(
    pairs: str,
    likelihoods: str | None,
    answers: str | None,
    key_file: str | None,
    measure: str,
    statistic: str,
    missing: str,
    alpha: float,
    plan_file: str | None,
    exit_code: bool,
    output_format: str | None,
) -> int:
    """Test whether a suspect prefers the served member of PAIRS to its twin.

    PAIRS comes from radiolabel embed --twins or radiolabel twins. A model that does not depend on what was served
    prefers either member with equal chance, whatever else it is.

    With --key the coins of the pairs are computed again instead of assumed.

    sign counts the pairs in which the served member wins. rank also weighs by how much (signed ranks), and needs one
    pair a conversation. Both are exact.

    \b
    Examples:
      radiolabel test twin pairs.jsonl --likelihoods suspect.jsonl
      radiolabel test twin pairs.jsonl --answers answers.jsonl --key epoch.key
    """
    from verify.measuring.twin import LIKELIHOODS, measure_twin
    from verify.planned import plan_use
    from verify.twin_finding import conclude
    from watermark.keyfile import read_key
    from watermark.keys import CoinKey, EpochKey

    if (likelihoods is None) == (answers is None):
        raise click.UsageError("give either --likelihoods or --answers")
    if [pairs, likelihoods, answers].count("-") > 1:
        raise click.UsageError("standard input can be one of the files")
    key = read_key(key_file) if key_file else None
    if key is not None and not isinstance(key, EpochKey | CoinKey):
        raise click.UsageError(f"{key_file} is not an epoch key or its node of coins, expected one that served")
    coins = key.coin_key() if isinstance(key, EpochKey) else key
    files = {"pairs": pairs, "likelihoods": likelihoods, "answers": answers}
    before = digests(files)
    use = plan_use(plan_file)
    scores = measure if likelihoods is None else LIKELIHOODS
    use.require(hypothesis="twin", scores=scores, statistic=statistic, missing=missing, alpha=alpha, inputs=before)
    use.require(coins="recomputed" if key else "stated", **({"key": key.id} if isinstance(key, EpochKey) else {}))
    measured = measure_twin(
        pairs, likelihoods=likelihoods, answers=answers, scores=scores, missing=missing, coins=coins
    )
    check_unchanged(files, before)
    use.require(reference=measured.reference_model or "none", n=measured.n_pairs)
    options = {"statistic": statistic, "missing": missing, "scored_by": measured.scored_by}
    options["coins"] = f"recomputed from node {coins.id}" if coins else "as the pairs state them"
    options |= {"sha256": before} | use.options
    result = conclude(measured, missing=missing, statistic=statistic, alpha=alpha, options=options)
    print_record(result.to_dict(), lambda: _text(result), output_format)
    return 1 if exit_code and not result.found else 0


def _text(f: TwinFinding) -> str:
    from verify.decoding import printable

    low, high = f.win_interval
    rows = [
        ("pairs", f"{f.n_pairs:,}" + (f", {f.n_missing:,} without a score ({f.missing})" if f.n_missing else "")),
        ("scored by", printable(f.scored_by)),
        ("wins", f"{f.signs.wins:,} of {f.signs.wins + f.signs.losses:,}, ties {f.signs.ties:,}"),
        ("win rate", f"{f.win_rate:.3f}  (95 % interval {low:.3f} to {high:.3f})"),
        ("log10 p, signs", f"{ceil(f.log10_p_sign * 1e4) / 1e4:.4f}" + " *" * (f.statistic == "sign")),
    ]
    if f.log10_p_rank is not None:
        rows.append(("log10 p, ranks", f"{ceil(f.log10_p_rank * 1e4) / 1e4:.4f}" + " *" * (f.statistic == "rank")))
    if f.n_drawn_again:
        rows.insert(1, ("drawn again", f.replay))
    rows.append(("log10 e-value", f"{floor(f.log10_e * 1e4) / 1e4:.4f}"))
    table = "\n".join(f"{name:<17}{value}" for name, value in rows)
    parts = [textwrap.fill(f.sentence, 78), table + "\n* the one that decides, chosen before looking"]
    if f.accounts:
        best = sorted(f.accounts, key=lambda a: (a.log10_p, a.account))
        lines = [f"{'account':<28}{'pairs':>7}{'wins':>7}{'log10 p':>10}{'Holm':>10}{'e-BH':>10}"]
        lines += [
            f"{printable(a.account)[:27]:<28}{a.signs.wins + a.signs.losses + a.signs.ties:>7,}{a.signs.wins:>7,}"
            f"{a.log10_p:>10.2f}{a.log10_p_holm:>10.2f}{a.log10_e_bh:>10.2f}"
            for a in best[:SHOWN_ACCOUNTS]
        ]
        if len(best) > SHOWN_ACCOUNTS:
            lines.append(f"and {len(best) - SHOWN_ACCOUNTS:,} more: --format json has them all")
        parts.append("\n".join(lines))
    holds = [textwrap.fill(a, 78, initial_indent="- ", subsequent_indent="  ") for a in f.assumptions]
    return "\n\n".join([*parts, "This holds if\n" + "\n".join(holds)])

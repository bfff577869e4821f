"""`radiolabel accounts`: through which accounts did the answers reach a student?"""

from __future__ import annotations

import textwrap
from math import ceil
from typing import TYPE_CHECKING, Any

import click

from verify.cli.output import FORMAT, PLAN, bars, check_unchanged, counted, digests, finite, print_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verify.accounts.groups import Group
    from verify.accounts.table import Table
    from verify.planned import PlanUse

SHOWN = 20
MARKED = (
    "the marks, of {:,} of {:,} accounts, are of this suspect's own text, and whose were looked at was settled before "
    "anybody saw one"
)


@click.command()
@click.argument("pairs", type=click.Path())
@click.option("--likelihoods", type=click.Path(), help="What radiolabel probe --pairs wrote: open weights.")
@click.option("--answers", type=click.Path(), help="The suspect's answers to the pairs' prompts: text only.")
@click.option("--key", "key_file", type=click.Path(),
              help="Epoch key file that served, or its epoch/NAME/coin: compute the coins again.")  # fmt: skip
@click.option("--measure", type=click.Choice(["ngram", "subsequence"]), default="ngram", show_default=True,
              help="With --answers: how likeness is measured.")  # fmt: skip
@click.option("--missing", type=click.Choice(["loss", "drop"]), default="loss", show_default=True,
              help="What pairs without a score count as.")  # fmt: skip
@click.option("--groups", "groups_file", type=click.Path(), help="JSONL of account and group: who belongs together.")
@click.option("--marks", "marks_file", type=click.Path(),
              help="JSONL of findings under account keys, joined with the twins.")  # fmt: skip
@click.option("--fwer", type=click.FloatRange(0, 0.5, min_open=True), callback=finite, default=1e-3,
              show_default=True, help="Chance of naming any account falsely (Holm).")  # fmt: skip
@click.option("--fdr", type=click.FloatRange(0, 0.5, min_open=True), callback=finite, default=0.01,
              show_default=True, help="Expected share of false names (e-BH).")  # fmt: skip
@PLAN
@FORMAT
def accounts(
    pairs: str,
    likelihoods: str | None,
    answers: str | None,
    key_file: str | None,
    measure: str,
    missing: str,
    groups_file: str | None,
    marks_file: str | None,
    fwer: float,
    fdr: float,
    plan_file: str | None,
    output_format: str | None,
) -> None:
    """Name the accounts of PAIRS whose answers a suspect prefers to their withheld twins.

    PAIRS comes from radiolabel embed --twins, with account; redacted pairs will do with --likelihoods. Accounts are
    tested one by one and corrected for all of them, in one pass over both files.

    With --groups each group is tested as a whole, and of every group it is said at least how many of its accounts
    were used; that holds for all groups at once.

    An account that published its answers is named too, if somebody trained on them.

    \b
    Examples:
      radiolabel accounts pairs.jsonl --likelihoods suspect.jsonl
      radiolabel accounts pairs.jsonl --likelihoods suspect.jsonl --groups cards.jsonl --key coin.key
    """
    from verify.accounts.finding import ASSUMPTIONS
    from verify.accounts.groups import group_results, read_groups
    from verify.accounts.marks import read_marks
    from verify.accounts.scores import Scores
    from verify.accounts.sealing import alias
    from verify.accounts.table import table_of
    from verify.errors import Refused
    from verify.measuring.twin import LIKELIHOODS, Comparison
    from verify.plan_parts import Accounts
    from verify.planned import Planned, plan_use
    from watermark.keyfile import read_key
    from watermark.keys import CoinKey, EpochKey

    if (likelihoods is None) == (answers is None):
        raise click.UsageError("give either --likelihoods or --answers")
    key = read_key(key_file) if key_file else None
    if key is not None and not isinstance(key, EpochKey | CoinKey):
        raise click.UsageError(f"{key_file} is not an epoch key or its node of coins, expected one that served")
    coins = key.coin_key() if isinstance(key, EpochKey) else key
    files = {"pairs": pairs, "likelihoods": likelihoods, "answers": answers}
    files |= {"groups": groups_file, "marks": marks_file}
    if list(files.values()).count("-") > 1:
        raise click.UsageError("standard input can be one of the files")
    before = digests(files)
    use = plan_use(plan_file)
    scores_by = measure if likelihoods is None else LIKELIHOODS
    use.require(**_test(use, fdr), scores=scores_by, missing=missing, alpha=fwer, inputs=before)
    use.require(coins="recomputed" if key else "stated", **({"key": key.id} if isinstance(key, EpochKey) else {}))
    plan = use.plan if isinstance(use, Planned) else None
    chosen = [name for name in ("groups", "marks") if files[name] and plan and name not in plan.inputs]
    if chosen:
        raise Refused(f"--{chosen[0]}, and the plan fixes none", hint="what was not planned could be chosen by looking")
    level = fwer if plan is None else plan.level  # the family of a plan may be more than this test
    groups = read_groups(groups_file) if groups_file else {}
    marks = read_marks(marks_file) if marks_file else {}
    comparison = Comparison(pairs, likelihoods=likelihoods, answers=answers, scores=scores_by, coins=coins)
    with bars(pairs=" pairs") as progress:
        scores = Scores.of(comparison, progress=lambda n: progress("pairs", n))
    check_unchanged(files, before)
    use.require(reference=comparison.reference_model or "none", n=len(scores.account))
    if not scores.names:
        raise Refused(f"no pair of {len(scores.account)} names an account", hint="embed takes --account")
    names, signs = scores.names, scores.signs(missing)
    if plan is not None and isinstance(plan.test, Accounts):  # its family, and not what is in the file
        m = plan.test.accounts
        names, signs = tuple(map(alias, range(1, m + 1))), scores.by_number(m, missing)
    table = table_of(names, signs, alone=scores.alone, marks=marks)
    found = group_results(table, groups, level=level, alone=scores.alone)
    holm, e_bh = table.named(level, by="holm").tolist(), table.named(fdr, by="e-bh").tolist()
    record: dict[str, Any] = {
        "n_accounts": len(table.names),
        "n_pairs": len(scores.account),
        "n_missing": int((scores.difference != scores.difference).sum()),
        "n_without_account": int((scores.account < 0).sum()),
        "suspect": comparison.suspect,
        "scored_by": comparison.scored_by,
        "drawn": scores.drawn,
        "missing": missing,
        "coins": f"recomputed from node {coins.id}" if coins else "as the pairs state them",
        "fwer": level,
        "fdr": fdr,
        "named_fwer": [table.names[i] for i in holm],
        "named_fdr": [table.names[i] for i in e_bh],
        "accounts": [table.row(i) for i in range(len(table.names))],
        "groups": [group.to_dict() for group in found],
        "assumptions": [*ASSUMPTIONS, *([MARKED.format(len(marks.keys() & set(names)), len(names))] if marks else [])],
        "sha256": before,
    } | use.options
    record["sentence"] = _sentence(record)
    print_record(record, lambda: _text(record, table, holm or e_bh, found), output_format)


def _test(use: PlanUse, fdr: float) -> dict[str, Any]:
    """What a plan has to say: of all accounts, or of the twin test, which says nothing of them."""
    if getattr(getattr(use, "plan", None), "hypothesis", "") == "accounts":
        return {"hypothesis": "accounts", "fdr": fdr}
    return {"hypothesis": "twin", "statistic": "sign"}


def _sentence(record: dict[str, Any]) -> str:
    from verify.planned import plan_sentence

    n, named, more = counted(record["n_accounts"], "account"), len(record["named_fwer"]), len(record["named_fdr"])
    return (
        f"Of {n}, {named:,} named: the chance of naming any account whose answers did not reach the suspect is at "
        f"most {record['fwer']:g}. At a false discovery rate of {record['fdr']:g}, {more:,}. Not named does not mean "
        f"not used.{plan_sentence(record)}"
    )


def _text(record: dict[str, Any], table: Table, best: list[int], groups: Sequence[Group]) -> str:
    from verify.decoding import printable

    parts = [textwrap.fill(record["sentence"], 78)]
    rows = [
        ("pairs", f"{record['n_pairs']:,}, {record['n_missing']:,} without a score ({record['missing']})"),
        ("scored by", printable(record["scored_by"])),
        ("coins", record["coins"][:60]),
    ]
    parts.append("\n".join(f"{name:<12}{value}" for name, value in rows))
    shown = best or table.named(0.5, by="e-bh").tolist()
    lines = [f"{'account':<24}{'pairs':>7}{'win rate':>10}{'log10 p':>10}{'Holm':>9}{'log10 e':>10}{'e-BH':>8}"]
    for row in map(table.row, shown[:SHOWN]):
        lines.append(
            f"{printable(row['account'])[:23]:<24}{row['pairs']:>7,}{row['win_rate']:>10.3f}{_up(row['log10_p']):>10}"
            f"{_up(row['log10_p_holm']):>9}{row['log10_e']:>10.1f}{_up(row['log10_e_bh']):>8}"
        )
    if len(shown) > SHOWN:
        lines.append(f"and {len(shown) - SHOWN:,} more: --format json has all")
    parts.append("\n".join(lines) if shown else "No account stands out.")
    if groups:
        lines = [f"{'group':<30}{'accounts':>10}{'wins':>16}{'Holm':>10}{'used, at least':>14}"]
        for g in sorted(groups, key=lambda g: (g.log10_p_holm, g.name))[:SHOWN]:
            wins = f"{g.wins:,} of {g.wins + g.losses:,}"
            lines.append(
                f"{printable(g.name)[:29]:<30}{g.n_accounts:>10,}{wins:>16}{_up(g.log10_p_holm):>10}{g.at_least:>14,}"
            )
        parts.append("\n".join(lines))
    holds = [textwrap.fill(a, 78, initial_indent="- ", subsequent_indent="  ") for a in record["assumptions"]]
    return "\n\n".join([*parts, "This holds if\n" + "\n".join(holds)])


def _up(log10_p: float) -> str:
    """Two decimals, never shown as stronger than it is."""
    return f"{ceil(log10_p * 100) / 100:.2f}"

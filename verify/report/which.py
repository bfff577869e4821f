"""The page that says which accounts: who is named, the others beside them, and what a name means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from verify.accounts.sealing import alias
from verify.measured import MeasuredAccounts
from verify.report.answer import NOT_COMPUTED, UNCHECKED
from verify.report.checks import Check
from verify.report.crowd import crowd
from verify.report.document import Block, Commands, Facts, Items, Notice, Section, Text
from verify.report.fields import AccountColumns, Derived
from verify.report.source import Outcome, Source
from verify.report.standing import condition
from verify.report.tables import capped
from verify.report.words import counted, level, number, plain
from verify.twin_finding import wilson

LOW: Final = 0.05  # the level at which the control is counted
MEANS: Final = (
    "A name says that the suspect depends on which answers this account was served. It does not say by whom or how "
    "they came to the suspect.",
    "An account that published its answers, or whose answers somebody else passed on, is named as well if somebody "
    "trained on them. Whether an account and the suspect belong together is for other evidence.",
    "Not named does not mean not used.",
)


def sections(source: Source, check: Check | None) -> Iterator[Section]:
    """The page, if the test was of accounts, and the file was not refused."""
    result = source.outcomes[0]
    measured, columns = result.measured, result.derived.accounts
    if not isinstance(measured, MeasuredAccounts) or not isinstance(columns, AccountColumns):
        return
    if check is not None and not check.accepted:
        text = "The evidence file was not accepted: no account is named here."
        yield Section("named", "Named accounts", (Notice(text),))
        return
    yield _control(source, check, result, measured, columns)
    if result.derived.named or result.derived.named_fdr:
        yield _named(result.derived, measured, columns)
    if measured.groups:
        yield _groups(source, result.derived)
    yield _means(source, result.derived)


def _said(source: Source, check: Check | None, derived: Derived, m: int) -> str:
    """How many are named, and what that promises."""
    named, more, fdr = derived.named or (), derived.named_fdr or (), getattr(source.plan.test, "fdr", "none")
    stated = UNCHECKED if check is None else "" if check.recomputed else NOT_COMPUTED
    chance = f"{condition(source, check)}the chance that even one account is named whose answers did not reach the "
    text = (
        f"{stated}{len(named):,} of {counted(m, 'account')} {'is' if len(named) == 1 else 'are'} named. "
        f"{chance[0].upper()}{chance[1:]}suspect is at most {level(source.plan.level)}."
    )
    if fdr != "none":
        text += (
            f" A weaker rule, by which at most {100 * fdr:g} % of the names are false on average, names {len(more):,}."
        )
    return text


def _named(derived: Derived, measured: MeasuredAccounts, columns: AccountColumns) -> Section:
    """Every name, also those of the weaker rule."""
    named, more = set(derived.named or ()), set(derived.named_fdr or ())
    shown = sorted({*named, *more}, key=lambda i: (columns.log10_p_holm[i - 1], -columns.log10_e[i - 1], i))
    of = {i: group.group for group in reversed(measured.groups) for i in group.accounts}
    rows = (
        (
            alias(i),
            *((plain(of.get(i, "none")),) if measured.groups else ()),
            *_wins(measured.accounts[i - 1]),
            number(columns.log10_p_holm[i - 1], 2),
            number(columns.log10_e_bh[i - 1], 2),
            "yes" if i in named else "by the weaker rule",
        )
        for i in shown
    )
    group = ("group",) if measured.groups else ()
    heads = ("account", *group, "wins of untied pairs", "share of wins, 95 % interval", "log10 p, Holm", "log10, e-BH")
    return Section("named", "Named accounts", (capped("The strongest first", (*heads, "named"), rows),))


def _wins(signs: tuple[int, int, int]) -> tuple[str, str]:
    wins, losses, _ = signs
    low, high = wilson(wins, wins + losses)
    share = f"{wins / (wins + losses):.3f}" if wins + losses else "-"
    return f"{wins:,} of {wins + losses:,}", f"{share} ({low:.3f} to {high:.3f})"


def _control(
    source: Source, check: Check | None, result: Outcome, measured: MeasuredAccounts, columns: AccountColumns
) -> Section:
    """Accounts of the same campaign, side by side."""
    named = set(result.derived.named or ())
    rest = [i for i in range(1, len(measured.accounts) + 1) if i not in named]
    kinds: list[tuple[str, Sequence[int]]] = [("named", sorted(named)), ("not named", rest)]
    kinds += [(plain(group.group), group.accounts) for group in measured.groups]
    rows = []
    for label, own in kinds:
        signs = [measured.accounts[i - 1] for i in own]
        small = sum(10 ** columns.log10_p[i - 1] <= LOW for i in own)
        total = (sum(s[0] for s in signs), sum(s[1] for s in signs), 0)
        if not own:
            continue
        below = f"{small:,} ({100 * small / len(own):.1f} %)"
        rows.append((label, f"{len(own):,}", f"{len(named.intersection(own)):,}", *_wins(total), below))
    columns_ = (
        "accounts",
        "count",
        "named",
        "wins of untied pairs",
        "share of wins, 95 % interval",
        f"p at most {LOW:g}",
    )
    drawn = crowd(source, result)
    text = (
        "All accounts were served by the same model at the same time, and went through the same test. Those whose "
        "answers did not reach the suspect are its control: their served answers win against their twins as often as "
        f"they lose, and on average at most {100 * LOW:g} % of them have a p of {LOW:g} or less. Those not named may "
        "hold accounts that were used too little to be named, and so lie a little higher."
    )
    said = (
        " Which groups there are, and what they are called, was fixed in the plan. What a group is called is the "
        "provider's word, and not a result of this test."
    )
    first = _said(source, check, result.derived, len(measured.accounts))
    blocks: list[Block] = [Text(first), Text(text + (said if measured.groups else ""))]
    blocks += [drawn] if drawn is not None else []
    blocks.append(capped("The accounts side by side", columns_, rows))
    return Section("control", "Those named, and the other accounts beside them", tuple(blocks))


def _groups(source: Source, derived: Derived) -> Section:
    rows = (
        (plain(g.name), f"{g.at_least:,} of {g.n_accounts:,}", f"{g.wins:,} of {g.wins + g.losses:,}",
         number(g.log10_p, 2), number(g.log10_p_holm, 2))
        for g in derived.groups
    )  # fmt: skip
    heads = ("group", "used, at least", "wins of untied pairs", "log10 p of the whole group", "after Holm over groups")
    text = (
        f"At least so many accounts of each group were used. All these bounds hold together, with probability "
        f"1 - {source.plan.level:g}, also for groups that somebody thinks of after looking."
    )
    return Section("groups", "Groups of accounts", (Text(text), capped("At least so many", heads, rows)))


def _means(source: Source, derived: Derived) -> Section:
    limit = ""
    if derived.smallest_rate is not None:
        limit = (
            f" An account with as many pairs as the middle one would have been named in 95 of 100 cases at a share of "
            f"wins of {derived.smallest_rate:.3f}."
        )
    items = (*MEANS[:-1], MEANS[-1] + limit)
    alias_text = (
        "Accounts have numbers instead of names. Who is who was fixed before the test; the provider can show it of one "
        "account without the others, and anybody can check that. That all pairs under a number are of one account is "
        "asserted. How many pairs an account has is not hidden."
    )
    commands = Commands(("radiolabel aliases check opening.json --evidence " + plain(source.file[:80]),))
    root = Facts((("What fixes who is who", f"root {getattr(source.plan.test, 'aliases', '')} in the plan"),))
    return Section("means", "What a name means", (Items(items), Text(alias_text), root, commands))

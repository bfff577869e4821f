"""The numbers of a report's second part: results, counts, drops, accounts, and the decision over the family."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from verify.evidence.predicate import Rate
from verify.measured import MeasuredAccounts, MeasuredClosed, MeasuredForm, MeasuredSequential, MeasuredTwin
from verify.report.document import Block, Facts, Quotation, Section, Table
from verify.report.fields import AccountColumns
from verify.report.figures import accounts, decoys, growth
from verify.report.source import Outcome, Source
from verify.report.words import called, counted, number, plain, yes

MOST: Final = 50  # rows of a table, and keys with a section of their own
_COUNTS: Final = {
    "n_documents": "answers read",
    "n_empty": "of these without a token",
    "n_seen": "tokens read",
    "n_scored": "distinct pairs scored",
    "n_texts": "texts read",
    "n_positions": "positions with a record",
    "n_ends": "texts whose end was seen",
    "n_cut": "texts that were cut",
    "n_answers": "answers read",
    "enough_after": "answers after which the rule said stop",
    "n_pairs": "pairs",
    "n_missing": "pairs without a score",
    "wins": "wins (served answer scored higher)",
    "losses": "losses",
    "ties": "ties",
    "n_drawn_again": "served answers drawn again",
    "n_replayed": "of these the same, token for token",
}
_SUMS: Final = ("total", "total_squares", "log10_e_max", "log10_p_rank")
_SAID: Final = ("rule", "suspect", "reference_model", "tokenizer", "served", "drawn", "scored_by", "alone", "coin_key")


def capped(caption: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    """A table of at most `MOST` rows, that says how many it leaves out."""
    whole = list(rows)
    return Table(caption, columns, tuple(whole[:MOST]), max(len(whole) - MOST, 0))


def results(source: Source) -> Iterator[Section]:
    """One section for each key."""
    for index, result in enumerate(source.outcomes[:MOST]):
        drawn = (growth(source, result), decoys(source, result), accounts(result))
        blocks: list[Block] = [_numbers(result)]
        blocks += [figure for figure in drawn if figure is not None]
        blocks += [_counts(result), _drops(result), *_accounts(result)]
        said = (result.derived.sentence,)
        blocks.append(Quotation(tuple(map(plain, said))))
        yield Section(f"result-{index + 1}", f"Result for key {called(result.path)}", tuple(blocks))
    if len(source.outcomes) > MOST:
        rows = ((plain(result.path), number(result.derived.log10_p)) for result in source.outcomes[MOST:])
        table = Table("The other keys", ("key", "log10 p"), tuple(rows))
        yield Section("results-rest", "Results for the other keys", (table,))


def _numbers(result: Outcome) -> Table:
    names = {
        "log10_p": "log10 p, which decides",
        "log10_p_stated": "log10 p with the cipher's bound",
        "log10_p_sign": "log10 p of the sign test",
        "log10_p_decoys": "log10 p of the rank among decoys",
        "estimate_log10_p": "log10 p, estimated by saddle point; no bound, and not for decisions",
        "log10_e": "log10 e-value",
        "z": "standard score z",
        "excess": "excess, natural unit",
        "excess_low": "excess, low end of 95 % interval",
        "excess_high": "excess, high end of 95 % interval",
        "win_rate": "share of wins among untied pairs",
        "win_low": "share of wins, low end of 95 % interval",
        "win_high": "share of wins, high end of 95 % interval",
        "smallest_share": "smallest share of marked text that would have been found",
        "smallest_excess": "smallest excess that would have been found",
        "smallest_rate": "smallest share of wins that would have been found",
    }
    stated = [(text, getattr(result.derived, name)) for name, text in names.items()]
    rows = [(text, number(value, 6)) for text, value in stated if value is not None]
    rows.append(("found, for this test alone", "yes" if result.derived.found else "no"))
    return Table("Derived numbers", ("number", "value"), tuple(rows))


def _counts(result: Outcome) -> Table:
    measured = result.measured
    rows = [("key id", result.key)]
    for name, text in _COUNTS.items():
        value = getattr(measured, name, None)
        if value is not None:
            rows.append((text, f"{value:,}"))
    if isinstance(measured, MeasuredAccounts):
        rows.append(("accounts", f"{len(measured.accounts):,}"))
    for name in (*_SUMS, *_SAID):
        value = getattr(measured, name, None)
        if value is not None:
            rows.append((name, yes(value)))
    if isinstance(measured, MeasuredForm):
        names = ("n_windows", "n_terms", "total", "sum_coefficients", "sum_squares")
        rows += [(f"form: {name}", str(getattr(measured.form, name))) for name in names]
    return Table("Measured counts and sums", ("what", "value"), tuple(rows))


def _drops(result: Outcome) -> Table:
    measured = result.measured
    dropped = measured.n_dropped if isinstance(measured, MeasuredClosed | MeasuredForm) else {}
    rows = [(plain(reason), f"{n:,}") for reason, n in dropped.items()]
    if isinstance(measured, MeasuredClosed):
        rows.append(("scored", f"{measured.n_scored:,}"))
        rows.append(("together", f"{measured.n_scored + sum(dropped.values()):,}"))
    if isinstance(measured, MeasuredTwin):
        rows.append(("ties, which say nothing", f"{measured.ties:,}"))
    if isinstance(measured, MeasuredAccounts):
        rows.append(("ties, which say nothing", f"{sum(ties for _, _, ties in measured.accounts):,}"))
        rows.append(("pairs that name no account", f"{measured.n_unnamed:,}"))
    if isinstance(measured, MeasuredSequential):
        rows.append(("not stated by this test", "-"))
    return capped("What was not scored, by reason", ("reason", "count"), rows)


def _accounts(result: Outcome) -> list[Table]:
    measured, derived = result.measured, result.derived
    if not isinstance(measured, MeasuredTwin) or isinstance(derived.accounts, AccountColumns):
        return []
    pairs = sorted(zip(measured.accounts, derived.accounts, strict=True), key=lambda pair: pair[1].log10_p)
    rows = (
        (
            plain(count.account), f"{count.wins:,}", f"{count.losses:,}", f"{count.ties:,}",
            *(number(value) for value in (numbers.log10_p, numbers.log10_p_holm, numbers.log10_e, numbers.log10_e_bh)),
        )
        for count, numbers in pairs
    )  # fmt: skip
    columns = ("account", "wins", "losses", "ties", "log10 p", "Holm", "log10 e", "e-BH")
    return [capped("Accounts, the smallest p first", columns, rows)]


def decision(source: Source) -> Section:
    """Every test of the family."""
    own = {test.name: test for test in source.predicate.decision.tests}
    rows = [(plain(t.name), "yes" if t.found else "no", number(t.log10_adjusted)) for t in own.values()]
    rows += [
        (plain(name), "not in this file, counted as p = 1", "0") for name in source.plan.family.tests if name not in own
    ]
    facts = Facts(
        (
            ("Level", f"{source.plan.alpha:g}"),
            ("Correction", f"{source.plan.family.correction}, for {counted(len(source.plan.family.tests), 'test')}"),
            ("Rule", plain(source.plan.decision[:1000])),
        )
    )
    table = capped("Tests of the family", ("test", "found", "log10 after correction"), rows)
    quoted = Quotation((plain(source.predicate.decision.sentence),))
    return Section("decision", "Decision", (facts, table, quoted))


def rate(stated: Rate) -> Table:
    """The rate, as the file states it."""
    rows = (
        ("what was measured", plain(stated.method)),
        ("test", stated.hypothesis),
        ("trials", f"{stated.n_trials:,}"),
        ("called found", f"{stated.n_accused:,}"),
        ("independent trials, effectively", f"{stated.n_independent:,}"),
        ("level", f"{stated.alpha:g}"),
        ("95 % interval of the rate", f"{stated.low:.6g} to {stated.high:.6g}"),
        ("source", plain(stated.source)),
    )
    return Table("Rate of false accusations, as the maker states it", ("what", "value"), rows)

"""The measurement of the test of accounts: signs by alias, in one pass over the pairs."""

from __future__ import annotations

import numpy as np

from verify.accounts.groups import read_groups
from verify.accounts.scores import Scores
from verify.accounts.sealing import number_of
from verify.measured import AccountGroup, MeasuredAccounts
from verify.measuring.progress import Progress, silent
from verify.measuring.twin import Comparison
from watermark.keys import CoinKey


def measure_accounts(
    pairs: str,
    *,
    accounts: int,
    likelihoods: str | None,
    answers: str | None,
    groups: str | None,
    scores: str,
    missing: str,
    coins: CoinKey | None,
    progress: Progress = silent,
) -> MeasuredAccounts:
    """Compare served answers with their twins, account by account.

    Args:
        pairs: see `Comparison`, as are `likelihoods`, `answers`, `scores` and `coins`; accounts are aliases.
        accounts: how many aliases there are; one without a pair counts with none.
        likelihoods: see there.
        answers: see there.
        groups: file of groups of aliases, or None.
        scores: see there.
        missing: `loss` or `drop`.
        coins: see there.
        progress: how far it is.

    Raises:
        InputError: malformed input.
        Refused: a name that is no alias.
    """
    comparison = Comparison(pairs, likelihoods=likelihoods, answers=answers, scores=scores, coins=coins)
    found = Scores.of(comparison, progress=lambda n: progress("pairs", n))
    signs = found.by_number(accounts, missing)
    stated = read_groups(groups) if groups else {}
    return MeasuredAccounts(
        n_pairs=len(found.account),
        n_missing=int(np.isnan(found.difference).sum()),
        n_unnamed=int((found.account < 0).sum()),
        alone=found.alone,
        drawn=found.drawn,  # type: ignore[arg-type]  # readers refuse other words
        n_drawn_again=found.n_drawn_again,
        n_replayed=found.n_replayed,
        scored_by=comparison.scored_by,
        suspect=comparison.suspect,
        reference_model=comparison.reference_model,
        coin_key=coins.id if coins else None,
        accounts=tuple((wins, losses, ties) for wins, losses, ties in signs.tolist()),
        groups=tuple(
            AccountGroup(group=name, accounts=tuple(sorted(number_of(member, accounts) for member in members)))
            for name, members in stated.items()
        ),
    )

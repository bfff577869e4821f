"""Groups of accounts: those that signed up together, paid alike, came from one network.

A group is tested as a whole by all its accounts' pairs together, and of every group it is said at least how many of
its accounts were used (`verify.hypotheses.discoveries`): both bounds hold for all groups at once, also for groups that
were thought of after looking at the accounts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from verify.accounts.table import Table, sign_tests
from verify.errors import InputError
from verify.hypotheses.discoveries import discoveries
from verify.hypotheses.multiplicity import holm
from verify.inputs.lines import read_lines

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


class _Membership(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account: _Name
    group: _Name


@dataclass(frozen=True)
class Group:
    """One group.

    Attributes:
        name: of the group.
        n_accounts: accounts of it that have a pair.
        n_unknown: accounts that it names and that have none.
        wins: pairs of all its accounts in which the served member scores higher.
        losses: in which its twin does.
        log10_p: of the sign test on all its pairs.
        log10_p_holm: adjusted for all groups.
        at_least: so many of its accounts were used at least, at the family-wise level, for all groups at once.
    """

    name: str
    n_accounts: int
    n_unknown: int
    wins: int
    losses: int
    log10_p: float
    log10_p_holm: float
    at_least: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON fields."""
        return dict(vars(self))


def read_groups(path: str) -> dict[str, list[str]]:
    """Accounts by group, from JSONL of objects with `account` and `group`; an account may be in several.

    Raises:
        InputError: malformed input, or an account that is in a group twice.
    """
    found: dict[str, dict[str, None]] = {}
    for where, record in read_lines(path, "membership"):
        try:
            one = msgspec.convert(record, _Membership)
        except msgspec.ValidationError as error:
            reason = str(error).replace("`", "")
            raise InputError(f"{where}: {reason[:1].lower()}{reason[1:]}, expected account and group") from None
        members = found.setdefault(one.group, {})
        if one.account in members:
            raise InputError(f"{where}: the account is in this group already, expected it once")
        members[one.account] = None
    return {name: list(members) for name, members in found.items()}


def group_results(table: Table, groups: Mapping[str, Sequence[str]], *, level: float, alone: bool) -> tuple[Group, ...]:
    """Test every group.

    Args:
        table: of all accounts that were tested.
        groups: accounts by group.
        level: family-wise, of `at_least`.
        alone: whether no conversation has two pairs.
    """
    place = {name: index for index, name in enumerate(table.names)}
    rows = [[place[account] for account in accounts if account in place] for accounts in groups.values()]
    signs = np.array([table.signs[own].sum(axis=0) for own in rows], dtype=np.int64).reshape(-1, 3)
    log10_p, _ = sign_tests(signs, alone=alone)
    adjusted = holm(log10_p)

    def made() -> Iterator[Group]:
        for index, (name, accounts) in enumerate(groups.items()):
            own = np.array(rows[index], dtype=np.intp)
            yield Group(
                name=name,
                n_accounts=len(own),
                n_unknown=len(accounts) - len(own),
                wins=int(signs[index, 0]),
                losses=int(signs[index, 1]),
                log10_p=float(log10_p[index]),
                log10_p_holm=float(adjusted[index]),
                at_least=discoveries(table.log10_p, own, level),
            )

    return tuple(made())

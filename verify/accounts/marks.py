"""What the mark of an account's own channel says of the account, beside its twins.

Two e-values of one account may be multiplied if one is an e-value given all that the other depends on. The twin test's
e-value has mean at most 1 over the coins, given keys, pairs and suspect. So it multiplies with an e-value that is a
function of the account's key and the suspect and no coin: of the suspect's own answers, or of its predictions in
public text. In served text the windows themselves depend on the coins: there the two are averaged, which is always
valid (Vovk & Wang 2021, Ann. Statist. 49).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from verify.errors import InputError, Refused, quoted
from verify.inputs.lines import read_lines

_LARGEST: Final = 1e12  # of a logarithm, as in evidence


@dataclass(frozen=True)
class Mark:
    """An account's mark.

    Attributes:
        log10_e: of the e-value.
        served: whether it was computed on served text.
    """

    log10_e: float
    served: bool

    def joined(self, log10_e_twin: float) -> float:
        """log10 of the two e-values' product, or of their mean where only that is valid."""
        if not self.served:
            return self.log10_e + log10_e_twin
        return float(np.logaddexp(self.log10_e * np.log(10), log10_e_twin * np.log(10)) / np.log(10) - np.log10(2))


def read_marks(path: str) -> dict[str, Mark]:
    """Findings of `radiolabel verify`, `test open` or `trace` under account keys, by account: JSONL.

    Which accounts have one must not be chosen by looking at any: the e-value of one chosen is none.

    Raises:
        InputError: a line that is no such finding.
        Refused: an account that is there twice: choosing among tests is for a plan.
    """
    found: dict[str, Mark] = {}
    for where, record in read_lines(path, "finding"):
        fields = record if isinstance(record, dict) else {}
        key: Any = fields.get("key_path")
        log10_e: Any = fields.get("log10_e")
        parts = key.split("/") if isinstance(key, str) else []
        number = isinstance(log10_e, int | float) and not isinstance(log10_e, bool) and abs(log10_e) <= _LARGEST
        if len(parts) != 4 or parts[2] != "account" or not number:
            raise InputError(f"{where}: expected a finding with key_path epoch/NAME/account/SLOT and log10_e")
        dropped = fields.get("n_dropped")
        served = fields.get("served") is True or (isinstance(dropped, dict) and "not_served" in dropped)
        if parts[3] in found:
            raise Refused(f"{where}: account {quoted(parts[3])} is there twice, expected one finding of each")
        found[parts[3]] = Mark(float(log10_e), served)
    return found

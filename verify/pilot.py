"""What a plan takes from a pilot's finding: the JSON that `radiolabel verify` and `radiolabel test` print."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from verify.decoding import ANY, decode
from verify.errors import InputError
from verify.inputs.containers import start
from verify.inputs.streams import display_name, open_stream

MAX_BYTES: Final = 64 << 20  # a finding lists every account
HINT: Final = "give the JSON that radiolabel verify, test open, test closed or test twin printed"

_Amount = Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]
_Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Excess = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class Twin(msgspec.Struct, frozen=True):
    """Of a twin test; see `verify.twin_finding.TwinFinding`."""

    win_rate: _Rate
    win_interval: tuple[_Rate, _Rate]
    log10_p_rank: float | None = 0.0

    @property
    def by_e(self) -> bool:
        """Whether p is 1 / e: a conversation has more than one pair, and ranks are not valid there."""
        return self.log10_p_rank is None


class Linear(msgspec.Struct, frozen=True):
    """Of an open test, or a closed one with a reference; see `verify.linear_finding.LinearFinding`."""

    test: Literal["open", "closed"]
    z: Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
    n_scored: _Amount
    served: bool = False

    @property
    def by_e(self) -> bool:
        """Whether p is 1 / e: the texts were served."""
        return self.served


class Closed(msgspec.Struct, frozen=True):
    """Of a closed test; see `verify.finding.Finding`."""

    excess: _Excess
    excess_interval: tuple[_Excess, _Excess]
    scheme: str
    n_scored: _Amount
    n_documents: _Amount
    n_dropped: dict[str, int] = {}

    @property
    def by_e(self) -> bool:
        """Whether p is 1 / e: only served windows were scored."""
        return "not_served" in self.n_dropped


def read(path: str) -> Twin | Linear | Closed:
    """The finding in a file, or in standard input for "-".

    Raises:
        InputError: unreadable input, no finding, or numbers that no test gives.
    """
    name = display_name(path)
    with open_stream(path) as stream:
        begin = start(stream, name, "finding", max_line_bytes=MAX_BYTES, max_file_bytes=MAX_BYTES)
        record: Any = decode(begin.rest(), ANY, name=name, line=begin.line)
    fields = record if isinstance(record, dict) else {}
    kind: type[Twin] | type[Linear] | type[Closed] = Closed
    if "win_rate" in fields or "rule" in fields:
        kind = Twin if "win_rate" in fields else Linear
    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{name}: not a finding that a plan can start from: {error}", hint=HINT) from None

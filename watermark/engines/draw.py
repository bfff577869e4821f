"""The tokens of a batch whose answers may belong to several epochs. Nothing here imports an engine."""

from __future__ import annotations

from collections.abc import Sequence

from watermark.candidates import Row as Candidates
from watermark.engines.rows import Row
from watermark.errors import Error
from watermark.sampling import Sampler


def draw(rows: Sequence[Row], found: Sequence[Candidates]) -> list[int]:
    """The token of each row, and for a row that has no candidate the one that ends the answer.

    Args:
        rows: B marked answers.
        found: the candidates of each, after temperature and truncation.
    """
    tokens = [row.asked.end for row in rows]
    of: dict[Sampler, list[int]] = {}
    for index, row in enumerate(rows):
        assert row.sampler is not None
        of.setdefault(row.sampler, []).append(index)
    for sampler, mine in of.items():
        try:
            drawn = _propose(sampler, rows, found, mine)
        except Error:
            # One request's own options can leave it nothing to draw: that is no reason to end the others.
            mine = [index for index in mine if _can_draw(found[index])]
            drawn = _propose(sampler, rows, found, mine)
        for index, (token, fate) in zip(mine, drawn, strict=True):
            rows[index].propose(token, fate)
            tokens[index] = token
    return tokens


def _propose(
    sampler: Sampler, rows: Sequence[Row], found: Sequence[Candidates], mine: Sequence[int]
) -> list[tuple[int, str]]:
    responses = [response for index in mine if (response := rows[index].response)]
    return sampler.propose_rows(responses, [found[index] for index in mine])


def _can_draw(left: Candidates) -> bool:
    try:
        left.check("")
    except Error:
        return False
    return True

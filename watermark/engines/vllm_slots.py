"""The request slots of vLLM's Model Runner V2. Nothing here imports an engine.

A slot is handed over without a word when its answer ended or was interrupted. The tokens are on the device: each step
shows the last one of every row, and the whole answer can be read if that is not enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from watermark.engines.rows import Asked, Desk, Drawing, Row


class Slots:
    """Which answer is in which slot.

    Args:
        desk: opens and parks answers.
        tally: counts tokens by status.
        read: the first n tokens of the answer in a slot, from the device.
    """

    def __init__(self, desk: Desk, tally: Counter[str], read: Callable[[int, int], list[int]]) -> None:
        self._desk, self._tally, self._read = desk, tally, read
        self.slots: dict[int, tuple[Row, list[int]]] = {}

    def add(self, slot: int, asked: Asked, tokens: Sequence[int], *, now: float) -> None:
        """An answer enters a slot.

        Args:
            slot: its slot; whoever was there has left.
            asked: what its request asks for.
            tokens: what it holds already, if it was interrupted.
            now: Unix time in seconds.
        """
        if slot in self.slots:
            row, known = self.slots.pop(slot)
            row.finish(self._tally)
            self._desk.park(row, known)
        others = [row for row, _ in self.slots.values()]
        row = self._desk.open(asked, tokens, now=now, others=others)
        row.follow(tokens, self._tally)
        self.slots[slot] = row, list(tokens)

    def follow(self, steps: Iterable[tuple[int, int, int]]) -> Drawing:
        """Record the tokens that the engine took.

        Args:
            steps: for each row of logits its slot, how many tokens its answer holds, and the last of all tokens. A
                negative slot is none, and a negative number of tokens a prompt that is still being read.

        """
        drawing = Drawing()
        for index, (slot, length, last) in enumerate(steps):
            if slot not in self.slots or length < 0:
                continue
            row, known = self.slots[slot]
            if length == len(known) + 1:
                known.append(last)
            elif length != len(known):
                known[:] = self._read(slot, length)
            drawing.add(index, row, known=row.follow(known, self._tally))
        return drawing

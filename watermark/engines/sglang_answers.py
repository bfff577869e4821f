"""Which answer SGLang draws in which row. Nothing here imports an engine.

SGLang keeps one request object from queue to end, also over a retraction, and appends what it took to `output_ids`.
Under overlap scheduling a step is drawn before the tokens of the step before it are appended. They are known all the
same: they were drawn here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from watermark.engines.rows import Asked, Desk, Drawing, Row


@dataclass
class _Held:
    """An answer, and its tokens as this side knows them: taken, then drawn."""

    row: Row
    tokens: list[int] = field(default_factory=list)


class Answers:
    """The answers in flight.

    Args:
        desk: opens answers.
        tally: counts tokens by status.
        asked: what a request object asks for.
    """

    def __init__(self, desk: Desk, tally: Counter[str], asked: Callable[[Any], Asked]) -> None:
        self._desk, self._tally, self._asked = desk, tally, asked
        # A request that is dropped from the queue goes without a word, and takes its answer with it.
        self._held: WeakKeyDictionary[Any, _Held] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._held)

    def follow(self, steps: Sequence[tuple[Any, int]], *, now: float) -> Drawing:
        """Record what the engine took.

        Args:
            steps: for each row of logits its request, and how many tokens its answer holds; negative for a prompt
                that is still being read, whose draw the engine throws away.
            now: Unix time in seconds.
        """
        self._let_go({id(request) for request, _ in steps})
        drawing = Drawing()
        for index, (request, length) in enumerate(steps):
            if length < 0:
                continue
            held = self._held.get(request)
            if held is None:
                held = self._held[request] = _Held(self._desk.open(self._asked(request), now=now))
            shown = list(request.output_ids[:length])
            shown += held.tokens[len(shown) : length]
            shown += [-1] * (length - len(shown))
            held.tokens = shown
            drawing.add(index, held.row, known=held.row.follow(shown, self._tally))
        return drawing

    def drew(self, drawn: Iterable[tuple[Any, int]]) -> None:
        """Remember each request's token, until the engine shows it."""
        for request, token in drawn:
            self._held[request].tokens.append(token)

    def _let_go(self, present: set[int]) -> None:
        """Count the last tokens of the answers that ended."""
        for request, held in list(self._held.items()):
            if request.finished() and id(request) not in present:
                held.row.follow(list(request.output_ids), self._tally)
                del self._held[request]

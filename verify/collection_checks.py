"""The numbered steps that check answers against the plan they were asked under.

Normative text: docs/spec/plan.md, section 4. Streams: what is kept of an answer is its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final

from verify.committing import read_raw_lines
from verify.errors import Refused
from verify.inputs.streams import display_name
from verify.ordering import Ordering
from verify.plan_parts import Endpoint, Sequential
from verify.plans import Plan
from verify.records import Transcript, transcript_from_json
from verify.register import RegisterEntry
from verify.steps import Step
from verify.timestamps import Timestamp

CLOCK: Final = timedelta(seconds=300)  # that an endpoint's clock may be wrong by

SETTINGS: Final = "every answer was asked for with the plan's settings, under this plan"
QUESTIONS: Final = "every answer is to a question of the plan, and none is there twice"
PROMPTS: Final = "every prompt is the one that the question's number names"
NONCES: Final = "every nonce comes from the timestamp token of the plan's line"
IN_ORDER: Final = "questions were asked in the token's order, none left out"
COMPLETE: Final = "as many answers as the plan's stopping rule wants"
LATER: Final = "no answer is older than the plan's line, as the endpoint states its time"


def read_answers(path: str) -> Iterator[Transcript]:
    """The transcripts of a file.

    Raises:
        InputError: unreadable, or a line that is none.
    """
    name = display_name(path)
    for number, line in enumerate(read_raw_lines(path), 1):
        if line.strip():
            yield transcript_from_json(line, f"{name}:{number}")


def check_answers(
    plan: Plan,
    answers: Iterable[Transcript],
    *,
    line: RegisterEntry,
    prompts: Sequence[str] | None = None,
    when: Timestamp | None = None,
) -> list[Step]:
    """Were these answers asked for under the plan, after it was timestamped?

    Args:
        plan: with its timestamps.
        answers: in file order.
        line: the plan's in the register, whose first token gives order and nonces.
        prompts: of the plan, checked against its digest by the caller.
        when: the line's timestamp, if it holds.

    Raises:
        Refused: a line without a timestamp or of another plan, or a plan that asks nobody.
    """
    suspect = plan.suspect
    if not isinstance(suspect, Endpoint):
        raise Refused(f"the plan's suspect is known by its {type(suspect).__name__.lower()}, expected an endpoint")
    if line.plan != plan.digest:
        raise Refused("the line of the register is another plan's")
    ordering, n = Ordering.of(line), suspect.n_questions
    settings, queue = suspect.settings() | {"plan": plan.digest}, _Queue(ordering.order(n), suspect.concurrency)
    wrong: dict[str, str] = {}
    seen, times = set(), 0

    def note(name: str, holds: bool, reason: str) -> None:
        if not holds:
            wrong.setdefault(name, reason)

    for place, answer in enumerate(answers, 1):
        meta, where = answer.meta or {}, f"answer {place}"
        note(SETTINGS, meta.get("settings") == settings, f"{where} has others")
        question = int(answer.id) if re.fullmatch("0|[1-9][0-9]{0,17}", answer.id) else n
        known = question < n and question not in seen
        note(QUESTIONS, known, f"{where} is to none, or to one that has an answer")
        if not known:
            continue
        seen.add(question)
        if prompts is not None:
            asked = prompts[question % suspect.n_prompts]
            # The system message stands before it, and only its digest is known.
            held = answer.prompt == asked or (suspect.system != "none" and answer.prompt.endswith(f"\n{asked}"))
            note(PROMPTS, held, f"{where} is to another")
        note(NONCES, meta.get("nonce") == ordering.nonce(question), f"{where} has another, or none")
        note(IN_ORDER, queue.served(question), f"{where} came before {suspect.concurrency} that were due earlier")
        created = meta.get("created")
        if type(created) is int:
            times += 1
            if when is not None:
                begin = (when.time - when.accuracy - CLOCK).timestamp()
                note(LATER, created >= begin, f"{where} is of {created} seconds since 1970, and the line of {when}")
    found = f"{len(seen)} of {n} questions have an answer"
    note(COMPLETE, isinstance(plan.test, Sequential) or len(seen) == n, found)
    unchecked = {} if prompts is not None else {PROMPTS: "the prompts were not given"}
    if when is None or not times:
        unchecked[LATER] = "no answer states one" if when is not None else "the plan's line has no timestamp that holds"
    reasons = {COMPLETE: found, NONCES: "so they were written down after it", LATER: f"{times} state one"}
    steps = []
    for name in (SETTINGS, QUESTIONS, PROMPTS, NONCES, IN_ORDER, COMPLETE, LATER):
        if name in unchecked:
            steps.append(Step.open(name, unchecked[name]))
        else:
            steps.append(
                Step.of(name, name not in wrong, reasons.get(name, f"{len(seen)} answers"), wrong.get(name, ""))
            )
    return steps


class _Queue:
    """Who may be served next, if at most `concurrency` are asked at a time and in order."""

    def __init__(self, order: Sequence[int], concurrency: int) -> None:
        self._rank = {question: rank for rank, question in enumerate(order)}
        self._most = concurrency - 1
        self._next, self._waiting = 0, set[int]()  # all ranks below `_next` have an answer or wait for one

    def served(self, question: int) -> bool:
        """Whether this answer could come now; once False, what follows means nothing."""
        rank = self._rank[question]
        if rank < self._next:
            self._waiting.discard(rank)
            return True
        if rank - self._next + len(self._waiting) > self._most:
            return False
        self._waiting.update(range(self._next, rank))
        self._next = rank + 1
        return True

"""The bookkeeping of the vLLM plugin, without vLLM: rows follow the engine's changes, leaf keys are never shared."""

from collections import Counter

import numpy as np
import pytest

from tests.conftest import make_epoch
from watermark.engines.rows import Asked, Batch, Desk, Row
from watermark.engines.vllm_slots import Slots
from watermark.errors import Error
from watermark.keyfile import write_key
from watermark.keys import MasterKey
from watermark.sampling import Request
from watermark.secret import Secret
from watermark.serving.admission import Marked
from watermark.serving.metrics import Silent
from watermark.serving.service import Service
from watermark.serving.settings import Settings
from watermark.serving.tickets import Ticket, mint

EPOCH = make_epoch(5, shares="fleet=0.5,account=0.25,leaf=0.25")
NOW = 1_000_000.0


@pytest.fixture
def service(tmp_path):
    write_key(EPOCH, tmp_path / "e.key")
    settings = Settings(keys=str(tmp_path), mode="enforce", reload_seconds=0, self_test=False)
    return Service.start(settings, metrics=Silent())


def asked(request: str, account: str = "a") -> Asked:
    text = mint(EPOCH.gateway_key(), Ticket(epoch=EPOCH.name, request=request, account=account, expires=int(NOW) + 600))
    return Asked(ticket=text, greedy=False, rule=None, end=0)


def change(batch: Batch, *, removed=(), added=(), moved=()) -> None:
    batch.update(removed=removed, added=added, moved=moved, now=NOW)


@pytest.mark.parametrize("seed", range(8))
def test_rows_hold_the_requests_that_the_engine_holds(service, seed):
    """Random adds, removals, moves and swaps, against a plain table of who is where."""
    rng, tally = np.random.default_rng(seed), Counter()
    batch, where, number = Batch(Desk(service, salt="s"), tally), {}, 0
    for _ in range(120):
        removed = [i for i in where if rng.random() < 0.1]
        for index in removed:
            del where[index]
        added = []
        for index in range(64):
            if rng.random() < (0.03 if index in where else 0.1):  # an occupied row is replaced
                tokens: list[int] = []
                added.append((index, asked(f"r{number}", f"acct-{number % 16}"), tokens))
                where[index] = (f"r{number}", f"acct-{number % 16}", tokens)
                number += 1
        moved = []
        for _ in range(int(rng.integers(4))):
            if where:
                source, target, swapped = int(rng.choice(list(where))), int(rng.integers(64)), bool(rng.random() < 0.5)
                if source == target:
                    continue
                moved.append((source, target, swapped))
                coming, going = where.pop(source), where.pop(target, None)
                where[target] = coming
                if swapped and going:
                    where[source] = going
        change(batch, removed=removed, added=added, moved=moved)
        assert batch.rows.keys() == where.keys()
        for index, (request, account, tokens) in where.items():
            row, held = batch.rows[index]
            assert row.response.request == Request(request, account=account)
            assert held is tokens
            tokens.append(int(rng.integers(1000)))
        drawing = batch.follow()
        assert drawing.placeholders == 0
        assert [index for index, _ in drawing.rows] == sorted(where)
        for index, row in drawing.rows:
            assert row.response.tracker.tokens == where[index][2]
    assert number > 300


def test_an_answer_that_leaves_and_enters_in_one_change_keeps_its_leaf_key(service):
    batch, tokens, other = Batch(Desk(service, salt="s"), Counter()), [5, 6], [9]
    mine = asked("mine")
    change(batch, added=[(0, mine, tokens), (1, asked("other"), other)])
    batch.follow()
    # Its old row is filled by a move and is not listed as removed, as vLLM's batch does it.
    change(batch, added=[(2, mine, tokens)], moved=[(1, 0, False)])
    assert batch.rows[2][0].response.request.id == "mine"
    assert batch.rows[0][0].response.request.id == "other"
    change(batch, removed=[2])
    change(batch, added=[(5, mine, [5, 6])])
    assert batch.rows[5][0].response.request.id == "mine"


def test_one_ticket_twice_has_two_leaf_keys(service):
    batch, twice = Batch(Desk(service, salt="s"), Counter()), asked("two")
    change(batch, added=[(0, twice, []), (1, twice, [])])
    assert [batch.rows[i][0].response.request.id for i in (0, 1)] == ["two", "two.1"]


def test_engines_side_by_side_count_apart(service):
    rows = [Desk(service, salt="s", rank=rank, ranks=2).open(asked("r"), now=NOW) for rank in (0, 1)]
    assert rows[0].response.request.id != rows[1].response.request.id
    desk = Desk(service, salt="s", rank=1, ranks=2)
    assert [desk.open(asked("q"), now=NOW).response.request.id for _ in range(3)] == ["q.1", "q.3", "q.5"]


def test_the_ranks_of_one_engine_draw_as_the_first_one_decides(service, tmp_path):
    """Each rank has a clock and a key directory's state of its own; the first one's decisions go to all."""
    late = MasterKey(Secret(bytes(32))).epoch("late", deployment=EPOCH.deployment)
    settings = Settings(keys=str(tmp_path), mode="enforce", reload_seconds=0, self_test=False)
    follower, sent = Service.start(settings, metrics=Silent()), []
    write_key(late, tmp_path / "late.key")
    service.look()  # the first rank only
    first = Desk(service, salt="s", agree=lambda decision: sent.append(decision) or decision)
    other = Desk(follower, salt="s", agree=lambda decision: sent.pop(0), leads=False)
    expires = int(NOW) + 600
    text = mint(late.gateway_key(), Ticket(epoch="late", request="r", account="a", expires=expires))
    refused = Asked(ticket="rl1.nonsense", greedy=False, rule=None, end=0)
    for question in (Asked(ticket=text, greedy=False, rule=None, end=0), asked("q"), asked("q"), refused):
        one, two = first.open(question, now=NOW), other.open(question, now=NOW + 10_000)
        assert one.status == two.status
        if one.response is not None:
            assert one.response.request == two.response.request
            assert one.sampler.epoch.id == two.sampler.epoch.id
    assert two.status == "forced"


def test_a_rank_without_the_key_stops_instead_of_drawing_under_another(service, tmp_path):
    first = Desk(service, salt="s")
    status, epoch, _, request = first._decide(asked("r"), NOW)
    with pytest.raises(Error, match="the first process"):
        Desk(service, salt="s", agree=lambda _: (status, epoch, "0" * 64, request), leads=False).open(
            asked("r"), now=NOW
        )


def test_however_many_short_answers_are_alike_little_is_kept(service):
    desk = Desk(service, salt="s")
    for number in range(500):
        row = desk.open(asked("r"), now=NOW)
        assert row.response.request.id == (f"r.{number}" if number else "r")
        desk.park(row, [7])
    assert sum(map(len, desk._parked.values())) == 2
    assert desk.open(asked("r"), [7], now=NOW).response.request.id == "r.500"  # of many none is resumed


def test_of_two_that_hold_the_same_tokens_neither_key_is_used_twice(service):
    batch, twice = Batch(Desk(service, salt="s"), Counter()), asked("two")
    change(batch, added=[(0, twice, [4]), (1, twice, [4])])
    batch.follow()
    change(batch, removed=[0, 1])
    change(batch, added=[(0, twice, [4]), (1, twice, [4])])
    names = {batch.rows[i][0].response.request.id for i in (0, 1)}
    assert len(names) == 2
    assert not names & {"two", "two.1"}


def test_a_draw_counts_once_and_only_if_it_was_taken():
    sampler = service_free_sampler()
    row, tally = Row(asked("x"), Marked(sampler, Request("x", account="a"))), Counter()
    row.propose(7, "fleet")
    assert row.follow([], tally)  # thrown away
    row.propose(8, "leaf")
    assert row.follow([8], tally)
    assert row.follow([8], tally)
    row.propose(9, "fleet")
    assert row.follow([8, 10], tally)  # overruled
    assert tally == {"leaf": 1, "unmarked": 1}
    assert row.response.tracker.tokens == [8, 10]
    assert row.follow([8, 11, 12], tally)  # the engine took a token back
    assert row.response.tracker.tokens == [8, 11, 12]
    assert not row.follow([8, 11, 12, -1], tally)
    assert row.response.tracker.tokens == [8, 11, 12]
    assert sum(tally.values()) == 3


def service_free_sampler():
    from watermark.sampling import Sampler

    return Sampler(EPOCH)


def test_a_slot_whose_answer_goes_on_elsewhere_is_recognized(service):
    tally: Counter = Counter()
    slots = Slots(Desk(service, salt="s"), tally, read=lambda slot, length: [])
    mine = asked("mine")
    slots.add(0, mine, [], now=NOW)
    assert len(slots.follow([(0, 0, 1)]).rows) == 1
    slots.follow([(0, 1, 40)])
    slots.add(3, mine, [40, 41], now=NOW)  # its slot was freed, and nobody took it
    assert slots.slots[3][0].response.request.id == "mine"
    slots.add(0, asked("new"), [], now=NOW)
    assert slots.slots[3][0].response.tracker.tokens == [40, 41]
    ((index, row),) = slots.follow([(-1, 0, 0), (9, 1, 1), (3, 2, 41), (0, -1, 0)]).rows
    assert (index, row.response.request.id) == (2, "mine")

"""Records: one spelling, fields that go together, fates that are worked out and not believed."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import make_epoch
from tests.ledgers import EPOCH, NOON, content, drawn, entry, walked
from watermark.decoding import Decoding
from watermark.errors import Error, LedgerError
from watermark.ledger import Content, Keeping, Ledger, Withheld, answer_record, assignment, coverage, fates_of
from watermark.ledger.records import decode
from watermark.sampling import Request, Sampler

CLEAR = Keeping("clear")


def changed(**fields):
    record = json.loads(entry(1, twin=True).kept(CLEAR)) | fields
    return json.dumps({k: v for k, v in record.items() if v is not ...}, separators=(",", ":")).encode()


def test_a_record_reads_back():
    made = entry(1, twin=True)
    data = made.kept(CLEAR)
    record = decode(data)
    assert changed() == data
    assert (record.content, record.twin.content) == (made.content, made.withheld)
    assert record.keys == {c: EPOCH.value_key(c, s).id for c, s in (("fleet", ""), ("account", "a1"))}
    assert (record.epoch_id, record.scheme, record.width) == (EPOCH.id, "gumbel", 2)
    assert record.time == "2026-10-01T12:00:00Z"


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2},
        {"version": True},
        {"version": 1.0},
        {"radiolabel": "closed"},
        {"time": "2026-10-01T12:00:00"},
        {"time": "2026-10-01T12:00:00Z\n"},
        {"request": "a b"},
        {"request": "a\n"},
        {"request": ""},
        {"request": "x" * 129},
        {"request": "r2"},
        {"account": None},
        {"account": 3},
        {"tokens": 41},
        {"tokens": -1},
        {"tokens": 1 << 53},
        {"marked": {"leaf": 40}},
        {"marked": {"fleet": 0}},
        {"unmarked": {"Greedy": 40}},
        {"unmarked": []},
        {"forced": 41},
        {"forced": 0},
        {"epoch": ...},
        {"keys": ...},
        {"keys": {"fleet": "0" * 63}},
        {"width": 4},
        {"decoding": {"temperature": [1]}},
        {"decoding": {"x" * 3 + str(i): i for i in range(33)}},
        {"model": "x" * 257},
        {"digest": "sha256:" + "0" * 63},
        {"digest": "md5:" + "0" * 64},
        {"digest": ...},
        {"content": 3},
        {"content": {"prompt": "", "response": "", "token_ids": [1 << 20], "salt": "0" * 32}},
        {"content": {"prompt": "", "response": "", "token_ids": [True], "salt": "0" * 32}},
        {"content": {"prompt": "", "response": "", "token_ids": []}},
        {"twin": {"id": "r1-twin"}},
        {"secret": "x"},
    ],
    ids=str,
)
def test_what_no_reader_takes(fields):
    with pytest.raises(LedgerError):
        decode(changed(**fields))


def test_a_coin_says_which_draw_was_served():
    record = json.loads(entry(1, twin=True).kept(CLEAR))
    for change in ({"coin": 1 - record["twin"]["coin"]}, {"id": "r2-twin"}, {"id": "r1"}, {"coin": 2}):
        with pytest.raises(LedgerError):
            decode(changed(twin=record["twin"] | change))


@pytest.mark.parametrize(
    "spell",
    [
        lambda s: s.replace(b":", b": ", 1),
        lambda s: s + b" ",
        lambda s: s.replace(b'"version":1,', b'"version":1,"version":1,'),
        lambda s: s.replace(b'"teacher"', b'"te\\u0061cher"'),
        lambda s: s.replace(b'"top_k":50', b'"top_k":5e1'),
        lambda s: s.replace(b"0.7", b"0.70"),
        lambda s: s.replace(b'"version":1,', b'"version":1,"cohort":null,'),
        lambda s: s.replace(b'"fleet":', b'"fleet":1,"fleet":', 1),
    ],
)
def test_another_spelling_is_refused(spell):
    data = entry(1).kept(CLEAR)
    assert spell(data) != data
    with pytest.raises(LedgerError):
        decode(spell(data))


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("shares", ["fleet=1", "leaf=1", "fleet=0.25,cohort=0.25,account=0.25,leaf=0.25"])
def test_fates_are_those_that_the_sampler_counts(width, shares):
    epoch = make_epoch(11, width=width, shares=shares)
    sampler, rng = Sampler(epoch), np.random.default_rng(0)
    for length in (0, 1, width, width + 1, 300):
        response = sampler.start(Request("r", account="a", cohort="c"))
        logits = rng.normal(size=(1, 12))
        for _ in range(length):
            sampler.draw([response], logits)
        assert fates_of(epoch, response.tracker.tokens) == dict(response.counts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 3))
def test_fates_of_any_ids_are_those_that_the_sampler_would_count(ids, width):
    epoch = make_epoch(12, width=width)
    sampler = Sampler(epoch)
    response = sampler.start(Request("r"))
    for token in ids:
        response.take(token, sampler.fates([response])[0])
    assert fates_of(epoch, ids) == dict(response.counts)


def test_a_record_takes_its_counts_from_ids_and_key():
    ids = drawn(Request("r1", account="a"))
    record = answer_record(Request("r1", account="a"), content(ids), epoch=EPOCH, decoding=Decoding()).record
    fates = fates_of(EPOCH, ids)
    assert {**record.marked, **record.unmarked} == fates
    assert set(record.marked) == {"fleet", "account"}
    assert record.decoding == {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_tokens": 200}


def test_what_nothing_could_mark_has_a_reason():
    ids = (1, 2, 3)
    for epoch, reason in ((EPOCH, "greedy"), (None, "no_ticket")):
        record = answer_record(Request("r1", account="a"), content(ids), epoch=epoch, reason=reason).record
        assert (record.marked, record.unmarked) == ({}, {reason: 3})
        assert (record.epoch is None) == (epoch is None)
    assert answer_record(Request("r1"), content(()), epoch=None, reason="no_ticket").record.unmarked == {}
    with pytest.raises(LedgerError, match="neither a key nor a reason"):
        answer_record(Request("r1"), content(ids), epoch=None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": "No Ticket"},
        {"forced": 1, "reason": "greedy"},
        {"forced": -1},
        {"forced": 1000},
        {"model": "\ud800"},
        {"decoding": {"temperature": float("nan")}},
        {"tokenizer": "md5:0"},
    ],
    ids=str,
)
def test_a_wrong_record_is_refused_before_it_is_written(wrong):
    with pytest.raises(LedgerError):
        answer_record(Request("r1", account="a"), content((1, 2, 3, 4)), **({"epoch": EPOCH} | wrong))


def test_a_request_has_the_slots_of_its_channels():
    with pytest.raises(LedgerError, match="needs a slot"):
        answer_record(Request("r1"), content((1, 2, 3)), epoch=EPOCH)


@pytest.mark.parametrize("ids", [(-1, 2, 3), (1, 1 << 20), (1 << 70,)])
def test_ids_that_no_vocabulary_has(ids):
    with pytest.raises(Error):
        answer_record(Request("r1", account="a"), Content(prompt="", response="", token_ids=ids), epoch=EPOCH)


def test_the_withheld_answer_is_the_one_that_the_coin_withheld():
    seen = set()
    for number in range(12):
        served = entry(number, twin=True).record
        coin = EPOCH.coin(f"r{number}-twin")
        seen.add(coin)
        assert (served.twin.coin, served.request) == (coin, f"r{number}-twin" if coin else f"r{number}")
        other = Request(f"r{number}" if coin else f"r{number}-twin", account="a")
        with pytest.raises(LedgerError, match="the coin of"):
            answer_record(other, content((1, 2, 3)), epoch=EPOCH, twin=Withheld(content((1, 2, 3))))
    assert seen == {0, 1}
    with pytest.raises(LedgerError, match="no key that tossed"):
        answer_record(Request("r"), content(()), epoch=None, reason="no_ticket", twin=Withheld(content(())))


def test_an_assignment_is_kept_like_a_content(tmp_path):
    with Ledger.create(tmp_path / "l", keeping=CLEAR, time=NOON) as ledger:
        ledger.append(assignment("q4", "account", "17", name="Anna"))
    _, damages, found = walked((tmp_path / "l").read_bytes())
    assert not damages
    assert (found[1].record.slot, found[1].record.content.name) == ("17", "Anna")
    assert b"Anna" not in assignment("q4", "account", "17", name="Anna").kept(Keeping("off"))
    with pytest.raises(LedgerError):
        assignment("q4", "fleet", "17", name="Anna")


def test_coverage_adds_up_to_what_was_served():
    entries = [entry(number, twin=number % 4 == 0) for number in range(9)]
    entries += [
        answer_record(Request(f"g{n}", account="a1"), content((1,) * 10), epoch=EPOCH, reason="greedy")
        for n in range(2)
    ]
    entries += [
        answer_record(Request("n"), content((1,) * 7), epoch=None, reason="no_ticket"),
        answer_record(Request("f", account="a2"), content(tuple(range(20))), epoch=EPOCH, forced=5),
    ]
    records = [e.record for e in entries]
    found = coverage(records)
    assert found.total.tokens == sum(r.tokens for r in records) == 9 * 40 + 20 + 7 + 20
    assert (found.total.answers, found.total.twins) == (13, 3)
    marked = sum(sum(r.marked.values()) for r in records) - 5
    assert found.total.n_marked == marked
    reasons = found.total.reasons()
    assert (reasons["greedy"], reasons["no_ticket"], reasons["forced"]) == (20, 7, 5)
    assert marked + sum(reasons.values()) == found.total.tokens
    assert list(reasons.values()) == sorted(reasons.values(), reverse=True)
    assert [(c.epoch, c.account) for c in found.cells] == [
        (None, None), ("test", "a0"), ("test", "a1"), ("test", "a2"),
    ]  # fmt: skip
    assert sum(c.tokens for c in found.cells) == sum(c.tokens for c in found.epochs) == found.total.tokens
    assert found.epochs[0].covered == 0.0
    empty = coverage([])
    assert (empty.total.covered, empty.cells) == (None, ())


def test_text_that_is_no_text_is_refused_and_not_quoted():
    """A client can send half a surrogate in JSON."""
    for wrong in ({"prompt": "private \ud800"}, {"response": "private \udfff"}):
        fields = {"prompt": "why?", "response": "because", "token_ids": (1, 2)} | wrong
        with pytest.raises(LedgerError, match="content cannot be written") as caught:
            answer_record(Request("r"), Content(**fields), epoch=None, reason="greedy")
        assert "private" not in str(caught.value)


def test_ids_of_another_type_are_refused():
    for ids in (("1", "2"), (1.5, 2), tuple(np.array([1, 2]))):
        for how in ({"epoch": EPOCH}, {"epoch": None, "reason": "greedy"}):
            with pytest.raises(LedgerError):
                answer_record(Request("r", account="a"), Content(prompt="", response="", token_ids=ids), **how)


def test_a_printed_entry_shows_nothing_that_is_sealed():
    shown = repr(entry(1, twin=True)) + str(entry(1, twin=True).content) + repr(decode(entry(1).kept(CLEAR)))
    assert "why?" not in shown
    assert entry(1).content.salt not in shown
    assert "hunter2" not in repr(assignment("e", "account", "a1", name="hunter2"))


@pytest.mark.parametrize("channel", ["fleet", "account", "cohort"])
def test_a_channel_is_no_reason(channel):
    """It would count tokens as marked that nothing marked."""
    with pytest.raises(LedgerError, match="is a channel, expected why"):
        answer_record(Request("r", account="a"), content((1, 2, 3)), epoch=EPOCH, reason=channel)

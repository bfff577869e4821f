"""The gateway's side: which requests get a twin, under which ids, who is served, and what is logged."""

import json
import time
from itertools import chain
from math import ceil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import make_epoch
from tests.ledgers import content, walked
from verify.cli import main
from watermark.errors import Error, LedgerError
from watermark.keyfile import write_key
from watermark.keys import MasterKey
from watermark.ledger import Keeping, Ledger
from watermark.ledger.records import TWIN_SUFFIX
from watermark.sampling import Request, Sampler
from watermark.serving.gateway import MAX_ANSWERS, MAX_GIVEN, Exchange, Gateway
from watermark.serving.tickets import MAX_LIFETIME, read

NOW = 1_790_000_000.25
EPOCH = make_epoch(31, shares="fleet=0.5,account=0.25,leaf=0.25")
KEYS = {"test": EPOCH.gateway_key()}
ALL = Gateway(EPOCH, twin_share=1_000_000)


def draws(exchange):
    return list(exchange.draws)


def drawn(exchange):
    return [answer(draw) for draw in exchange.draws]


def answer(draw, *, prompt="why?"):
    """What the sampler draws under that id."""
    sampler = Sampler(EPOCH)
    response = sampler.start(draw.request)
    logits = np.random.default_rng(3).normal(size=(1, 30))
    for _ in range(20):
        sampler.draw([response], logits)
    return content(tuple(response.tracker.tokens), prompt=prompt)


def test_the_share_of_ids_and_coins_that_do_not_know_of_it():
    """10^5 ids; each of the four counts leaves 4.5 standard deviations with a chance of 1 in 150,000."""
    n, share = 100_000, 30_000
    coins = EPOCH.coin_key()
    ids = [f"{request}-{k}" for request in range(n // 4) for k in range(4)]
    chosen = [id_ for id_ in ids if coins.is_twinned(id_, share)]
    assert abs(len(chosen) - n * 0.03) < 4.5 * (n * 0.03 * 0.97) ** 0.5
    # Those that the gateway opens are these: every id that is chosen, and a stretch of all.
    gateway = Gateway(EPOCH, twin_share=share)
    opened = list(chain.from_iterable(gateway.open(account="1", answers=4, request=str(r)) for r in range(500)))
    twins = [e.withheld is not None for e in opened]
    assert twins == [id_ in set(chosen) for id_ in ids[:2000]]
    assert 0 < sum(twins) < 120
    tossed = [coins.coin(id_ + TWIN_SUFFIX) for id_ in ids]
    among = [coin for id_, coin in zip(ids, tossed, strict=True) if id_ in set(chosen)]
    assert abs(sum(tossed) - n / 2) < 4.5 * (n / 4) ** 0.5
    assert abs(sum(among) - len(among) / 2) < 4.5 * (len(among) / 4) ** 0.5
    # How far below the threshold an id is says nothing of the coin either.
    deep = [coins.coin(id_ + TWIN_SUFFIX) for id_ in chosen if coins.is_twinned(id_, share // 2)]
    assert abs(sum(deep) - len(deep) / 2) < 4.5 * (len(deep) / 4) ** 0.5


def test_no_share_is_no_twin_and_another_key_chooses_others():
    assert all(e.withheld is None for e in Gateway(EPOCH).open(account="1", answers=50))
    half, other = (Gateway(key, twin_share=500_000) for key in (EPOCH, make_epoch(32)))
    one, two = ([e.withheld is None for e in g.open(account="1", answers=100, request="r")] for g in (half, other))
    assert one != two


def test_the_coin_says_who_is_served():
    served = set()
    for exchange in ALL.open(account="1", answers=40, request="r"):
        first, twin = sorted((draw.request.id for draw in draws(exchange)), key=len)
        assert twin == first + TWIN_SUFFIX
        coin = EPOCH.coin(twin)
        assert exchange.served.request.id == (twin if coin else first)
        served.add(coin)
    assert served == {0, 1}


def test_tickets_are_read_as_the_requests_they_are_for():
    for gateway in (ALL, Gateway(EPOCH, twin_share=500_000, lifetime=MAX_LIFETIME)):
        for exchange in gateway.open(account="17", cohort="eu", answers=20, now=NOW):
            for draw in draws(exchange):
                ticket = read(draw.ticket, keys=KEYS, now=NOW)
                assert Request(ticket.request, account=ticket.account, cohort=ticket.cohort) == draw.request
                assert (ticket.account, ticket.cohort) == ("17", "eu")
                assert ticket.expires == min(ceil(NOW + gateway.lifetime), int(NOW) + MAX_LIFETIME)


def test_ids_do_not_collide():
    """With each other, with those of other names that look like them, or with an engine's numbers."""
    names = ["r", "r-0", "r-1", "r-0-twin", "r-0-twin-0", "r-twin", "r.1", "r-0.1", "0", "-", "r-0-later-twin"]
    found = [
        draw.request.id for name in names for e in ALL.open(account="1", answers=12, request=name) for draw in draws(e)
    ]
    numbered = [f"{id_}.{k}" for id_ in found for k in range(3)]
    assert len(found) == len(names) * 12 * 2
    assert len(set(found + numbered)) == len(found + numbered)
    fresh = [e.served.request.id for _ in range(500) for e in Gateway(EPOCH).open(account="1")]
    assert len({id_[:16] for id_ in fresh}) == len(fresh)


def test_the_longest_name_leaves_room_for_all_its_answers():
    exchanges = ALL.open(account="1", answers=MAX_ANSWERS, request="x" * MAX_GIVEN)
    assert max(len(draw.request.id) for e in exchanges for draw in draws(e)) == 96
    with pytest.raises(Error, match=f"expected at most {MAX_GIVEN}"):
        ALL.open(account="1", request="x" * (MAX_GIVEN + 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"account": ""}, "names no account"),
        ({"account": "a b"}, "cannot be part of a key path"),
        ({"cohort": "a/b"}, "cannot be part of a key path"),
        ({"request": ""}, "cannot be part of a key path"),
        ({"request": "a\n"}, "cannot be part of a key path"),
        ({"request": ".."}, "cannot be part of a key path"),
        ({"answers": 0}, "expected 1 to 128"),
        ({"answers": MAX_ANSWERS + 1}, "expected 1 to 128"),
        ({"answers": True}, "expected 1 to 128"),
    ],
    ids=str,
)
def test_what_cannot_be_opened(changes, message):
    with pytest.raises(Error, match=message):
        ALL.open(**({"account": "1"} | changes))


@pytest.mark.parametrize(
    "field",
    [
        *({"twin_share": share} for share in (-1, 1_000_001, 0.05, 1.0, True, "1")),
        *({"lifetime": seconds} for seconds in (0, 0.5, -1, MAX_LIFETIME + 1, float("nan"), float("inf"))),
    ],
    ids=str,
)
def test_what_is_no_gateway(field):
    with pytest.raises(Error, match="expected"):
        Gateway(EPOCH, **field)


def test_a_ledger_takes_the_records_and_gives_the_pairs(tmp_path):
    exchanges = Gateway(EPOCH, twin_share=500_000).open(account="7", answers=30, request="r")
    n_twins = sum(e.withheld is not None for e in exchanges)
    assert 0 < n_twins < 30
    with Ledger.create(tmp_path / "l", keeping=Keeping("clear")) as ledger:
        ledger.append_many(e.record(drawn(e), model="teacher", conversation="c") for e in exchanges)
    assert main(["ledger", "check", str(tmp_path / "l")]) == 0
    assert main(["ledger", "pairs", str(tmp_path / "l"), "-o", str(tmp_path / "pairs")]) == 0
    pairs = {p["id"]: p for p in map(json.loads, (tmp_path / "pairs").read_text().splitlines())}
    assert len(pairs) == n_twins
    _, _, found = walked((tmp_path / "l").read_bytes())
    logged = [entered.record for entered in found[1:]]
    for exchange, record in zip(exchanges, logged, strict=True):
        assert (record.request, record.account, record.model) == (exchange.served.request.id, "7", "teacher")
        if exchange.withheld is None:
            assert record.twin is None
            continue
        pair = pairs[record.twin.id]
        assert record.twin.share == 500_000
        assert pair["served"] == record.twin.coin == EPOCH.coin(record.twin.id)
        assert tuple(pair["members"][pair["served"]]["token_ids"]) == answer(exchange.served).token_ids
        assert tuple(pair["members"][1 - pair["served"]]["token_ids"]) == answer(exchange.withheld).token_ids


def test_lost_pairs_are_counted_from_the_records_and_the_coins(tmp_path, capsys):
    """The rule of docs/spec/pair.md, section 4: no field of the ledger is needed."""
    exchanges = Gateway(EPOCH, twin_share=400_000).open(account="7", answers=60, request="r")
    lost = [e for number, e in enumerate(exchanges) if e.withheld and number % 3 == 0]
    assert 0 < len(lost) < sum(e.withheld is not None for e in exchanges)
    with Ledger.create(tmp_path / "l", keeping=Keeping("clear")) as ledger:
        ledger.append_many(e.record(drawn(e), whole=e not in lost) for e in exchanges)
    write_key(EPOCH, tmp_path / "e.key")
    arguments = ["ledger", "pairs", str(tmp_path / "l"), "--coins", str(tmp_path / "e.key"), "-o"]
    assert main([*arguments, str(tmp_path / "pairs")]) == 0
    assert f"{len(lost)} pairs lost: chosen, and not in the log" in capsys.readouterr().err
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.append(Gateway(EPOCH, twin_share=1_000_000).open(account="7", request="s")[0].record([one(), one()]))
    assert main([*arguments, str(tmp_path / "more")]) != 0
    assert "the shares that its pairs state are 400000, 1000000" in capsys.readouterr().err


def one():
    return content((1, 2, 3))


def test_an_answer_of_nothing_is_logged_too():
    exchange = ALL.open(account="7")[0]
    assert exchange.record([content(()), content(())], whole=False).record.tokens == 0
    cut = exchange.record([content((1, 2)), content((1, 2))], whole=False, reason="greedy", forced=0)
    assert dict(cut.record.unmarked) == {"greedy": 2}
    assert cut.record.twin is None


def test_records_that_do_not_fit_the_exchange():
    twinned, alone = ALL.open(account="7")[0], Gateway(EPOCH).open(account="7")[0]
    one = answer(alone.served)
    for exchange, contents, message in (
        (alone, [], "has 1 draws, and 0 contents"),
        (alone, [one, one], "has 1 draws, and 2 contents"),
        (twinned, [one], "has 2 draws, and 1 contents"),
        (twinned, [one, answer(twinned.draws[1], prompt="what?")], "answers another prompt"),
    ):
        with pytest.raises(Error, match=message):
            exchange.record(contents)
    swapped = Exchange(twinned.id, twinned.draws, 1 - twinned.coin, twinned.share, EPOCH)
    with pytest.raises(LedgerError, match="the coin of"):
        swapped.record([one, one])


def test_what_a_client_may_see_does_not_tell_the_coin():
    exchanges = ALL.open(account="7", answers=60, request="r")
    assert [e.id for e in exchanges] == [f"r-{k}" for k in range(60)]
    assert [[d.request.id for d in e.draws] for e in exchanges] == [[e.id, e.id + TWIN_SUFFIX] for e in exchanges]
    assert {e.coin for e in exchanges} == {0, 1}
    assert all(f"coin={e.coin}" not in repr(e) for e in exchanges)


def test_nothing_secret_in_a_repr():
    epoch = MasterKey.generate().epoch("e", deployment=EPOCH.deployment)
    gateway = Gateway(epoch, twin_share=1_000_000)
    exchange = gateway.open(account="7")[0]
    shown = f"{gateway!r} {exchange!r} {exchange.served!r} {exchange.record([content((1,))] * 2, whole=False)!r}"
    for key in (epoch.secret, epoch.gateway_key().secret, epoch.coin_key().secret, epoch.value_key("fleet").value):
        assert key.reveal().hex() not in shown
        assert repr(key.reveal())[2:-1] not in shown
    assert not any(draw.ticket in shown for draw in draws(exchange))
    assert "rl1." not in shown


@pytest.mark.parametrize("failing", [False, True])
def test_the_example_of_the_page(tmp_path, monkeypatch, failing):
    page = (Path(__file__).parents[2] / "docs/operating.md").read_text()
    code = page.partition("## The gateway")[2].partition("```python\n")[2].partition("```")[0]
    assert len(code.splitlines()) <= 25
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").mkdir()
    write_key(EPOCH, tmp_path / "keys/2026-q4.key")
    Ledger.create("served.jsonl", keeping=Keeping("clear")).close()
    asked = []

    def ask(prompt, ticket):
        asked.append(read(ticket, keys=KEYS, now=time.time()).request)
        if failing and asked[-1].endswith(TWIN_SUFFIX):
            raise TimeoutError
        return "text", (5, 6, 7, 8), True

    scope = {"prompt": "why?", "chat": "chat-1", "ask": ask}
    exec(code.replace("50_000", "1_000_000"), scope)
    scope["ledger"].close()
    _, damages, found = walked((tmp_path / "served.jsonl").read_bytes())
    assert not damages
    records = [entered.record for entered in found[1:]]
    assert len(records) == 2
    assert {r.conversation for r in records} == {"chat-1"}
    assert len(set(asked)) == 4
    assert all((r.twin is None) == failing for r in records)
    assert {r.request.removesuffix(TWIN_SUFFIX) for r in records} == {a.removesuffix(TWIN_SUFFIX) for a in asked}

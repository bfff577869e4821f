import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from watermark.channels import CHANNELS, select
from watermark.deployment import Deployment
from watermark.errors import Refused
from watermark.keyfile import write_key
from watermark.keys import MasterKey
from watermark.prf import Prf, pack_blocks
from watermark.secret import Secret
from watermark.serving.admission import Admission, Marked, Unmarked
from watermark.serving.keyring import Keyring
from watermark.serving.metrics import Silent
from watermark.serving.settings import Settings
from watermark.serving.tickets import MAX_LIFETIME, Ticket, mint

NOW = 1_790_000_000.5
SHARES = "fleet=0.25,account=0.5,leaf=0.25"


class Counting(Silent):
    def __init__(self):
        self.reasons = []

    def request(self, reason):
        self.reasons.append(reason)


def epoch_key(name="q4", label=0, shares=SHARES):
    return MasterKey(Secret(bytes([label]) * 32)).epoch(name, deployment=Deployment.parse(shares=shares))


@pytest.fixture
def keyring(tmp_path):
    write_key(epoch_key(), tmp_path / "q4.key")
    return Keyring(tmp_path)


def door(keyring, mode, **more):
    if mode == "default-on":
        more = {"anonymous_epoch": "q4", "anonymous_account": "anonymous"} | more
    return Admission(Settings(keys=str(keyring.directory), mode=mode, **more), keyring, Counting())


def ticket(request="r", *, key=None, epoch="q4", account="7", expires=60, **more):
    key = epoch_key(epoch) if key is None else key
    return mint(
        key.gateway_key(), Ticket(epoch=epoch, request=request, account=account, expires=int(NOW) + expires, **more)
    )


TICKETS = {
    "none": lambda: None,
    "good": ticket,
    "malformed": lambda: "off",
    "unknown_epoch": lambda: ticket(epoch="q9"),
    "forged": lambda: ticket(key=epoch_key("q4", label=1)),
    "expired": lambda: ticket(expires=0),
    "far_future": lambda: ticket(expires=MAX_LIFETIME + 60),
    "bad_slot": lambda: ticket(account=""),
}
BAD = ["malformed", "unknown_epoch", "forged", "expired", "far_future", "bad_slot"]


def outcome(admission, text, greedy):
    try:
        found = admission.admit(text, greedy=greedy, now=NOW)
    except Refused as error:
        return f"refused {error.reason}"
    if isinstance(found, Unmarked):
        return f"unmarked {found.reason}"
    return f"marked {found.request.account}"


@pytest.mark.parametrize("mode", ["enforce", "default-on", "opt-in"])
@pytest.mark.parametrize("on_bad_ticket", ["refuse", "unmarked"])
@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("kind", TICKETS)
def test_the_table(keyring, mode, on_bad_ticket, greedy, kind):
    """The table of the module's docstring, every cell."""
    if kind == "none":
        expected = {"enforce": "refused no_ticket", "default-on": "marked anonymous", "opt-in": "unmarked no_ticket"}[
            mode
        ]
    elif kind == "good":
        expected = "marked 7"
    else:
        expected = f"{'refused' if on_bad_ticket == 'refuse' else 'unmarked'} {kind}"
    counted = {"marked 7": "marked", "marked anonymous": "anonymous"}.get(expected, expected.split()[-1])
    if greedy and expected.startswith("marked"):
        expected, counted = "unmarked greedy", "greedy"
    admission = door(keyring, mode, on_bad_ticket=on_bad_ticket)
    assert outcome(admission, TICKETS[kind](), greedy) == expected
    assert admission.metrics.reasons == [counted]


@pytest.mark.parametrize("mode", ["enforce", "default-on", "opt-in"])
@pytest.mark.parametrize("on_bad_ticket", ["refuse", "unmarked"])
@pytest.mark.parametrize("kind", TICKETS)
def test_the_check_at_the_door_refuses_what_admit_refuses(keyring, mode, on_bad_ticket, kind):
    admission = door(keyring, mode, on_bad_ticket=on_bad_ticket)
    refused = outcome(door(keyring, mode, on_bad_ticket=on_bad_ticket), TICKETS[kind](), False).startswith("refused")
    for _ in range(2):  # it uses nothing up
        if refused:
            with pytest.raises(Refused):
                admission.check(TICKETS[kind](), now=NOW)
        else:
            admission.check(TICKETS[kind](), now=NOW)
    assert admission.metrics.reasons == []
    if kind == "good":
        assert admission.admit(ticket(), greedy=False, now=NOW).request.id == "r"


@pytest.mark.parametrize("mode", ["enforce", "default-on", "opt-in"])
def test_an_empty_ticket_is_a_bad_one_and_not_none(keyring, mode):
    with pytest.raises(Refused) as caught:
        door(keyring, mode).admit("", greedy=False, now=NOW)
    assert caught.value.reason == "malformed"


def test_default_on_does_not_start_without_its_epoch_or_slot(keyring):
    with pytest.raises(Refused, match="epoch 'q9' has no key in"):
        door(keyring, "default-on", anonymous_epoch="q9")
    with pytest.raises(Refused, match="names no account"):
        door(keyring, "default-on", anonymous_account="")


def test_answers_of_one_ticket_have_ids_of_their_own(keyring):
    admission = door(keyring, "enforce")
    text = ticket()
    ids = [admission.admit(text, greedy=False, answer=k, now=NOW).request.id for k in (0, 1, 2)]
    assert ids == ["r", "r.1", "r.2"]
    # The same ticket sent again, and two tickets for one request.
    assert admission.admit(text, greedy=False, now=NOW).request.id == "r.3"
    assert admission.admit(ticket(expires=90), greedy=False, now=NOW).request.id == "r.4"
    assert admission.admit(text, greedy=False, answer=9, now=NOW).request.id == "r.9"
    assert admission.admit(text, greedy=False, answer=1, now=NOW).request.id == "r.10"
    assert admission.admit(ticket("s"), greedy=False, answer=1, now=NOW).request.id == "s.1"
    assert admission.admit(ticket("s"), greedy=False, answer=0, now=NOW).request.id == "s"


def test_a_greedy_answer_uses_no_number(keyring):
    admission = door(keyring, "enforce")
    assert admission.admit(ticket(), greedy=True, now=NOW) == Unmarked("greedy")
    assert admission.admit(ticket(), greedy=False, now=NOW).request.id == "r"


def test_used_tickets_are_forgotten_when_the_last_one_of_a_request_expired(keyring):
    admission = door(keyring, "enforce")
    admission.admit(ticket(expires=10), greedy=False, now=NOW)
    admission.admit(ticket(expires=30), greedy=False, now=NOW)
    assert admission.admit(ticket(expires=30), greedy=False, now=NOW + 20).request.id == "r.2"
    with pytest.raises(Refused, match="expired"):
        admission.admit(ticket(expires=30), greedy=False, now=NOW + 30)
    for i in range(50):
        admission.admit(ticket(f"s{i}", expires=40), greedy=False, now=NOW + 20)
    assert len(admission._used) == 51
    admission.admit(ticket("t", expires=90), greedy=False, now=NOW + 50)
    assert len(admission._used) == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(1, 40), st.integers(0, 5))))
@examples(max_examples=60)
def test_no_two_answers_share_an_id(steps):
    """Whatever is asked in whatever order, as long as a ticket that is good can be used again."""
    from watermark.serving.admission import _UsedTickets

    used, now, seen = _UsedTickets(), 0.0, set()
    until = {}
    for request, answer, lifetime, pause in steps:
        now += pause
        expires = int(now) + lifetime
        if until.get(request, 0) <= now:
            seen = {pair for pair in seen if pair[0] != request}  # no ticket of it is good any more
        until[request] = max(until.get(request, 0), expires)
        pair = request, used.next(("e", request), answer, expires=expires, now=now)
        assert pair not in seen
        seen.add(pair)


def test_threads_never_get_one_number_twice(keyring):
    admission, text, found = door(keyring, "enforce"), ticket(), []

    def ask():
        for _ in range(50):
            found.append(admission.admit(text, greedy=False, now=NOW).request.id)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == len(found) == 400


def test_anonymous_answers_have_fresh_ids_or_the_engine_s_own(keyring):
    admission = door(keyring, "default-on")
    ids = {admission.admit(None, greedy=False, now=NOW).request.id for _ in range(50)}
    assert len(ids) == 50
    assert admission.admit(None, greedy=False, now=NOW, own_id="x7").request.id == "x7"
    assert admission.admit(ticket(), greedy=False, now=NOW, own_id="x7").request.id == "r"


def test_an_answer_outlives_its_key(keyring):
    admission = door(keyring, "enforce")
    admitted = admission.admit(ticket(), greedy=False, now=NOW)
    (keyring.directory / "q4.key").unlink()
    write_key(epoch_key("q5"), keyring.directory / "q5.key")
    keyring.refresh()
    response = admitted.sampler.start(admitted.request)
    admitted.sampler.draw([response], np.zeros((1, 9)))
    with pytest.raises(Refused) as caught:
        admission.admit(ticket("s"), greedy=False, now=NOW)
    assert caught.value.reason == "unknown_epoch"
    assert admission.admit(ticket(epoch="q5"), greedy=False, now=NOW).request.id == "r"


def test_the_clock_is_read_if_no_time_is_given(keyring):
    text = mint(epoch_key().gateway_key(), Ticket(epoch="q4", request="r", account="7", expires=int(time.time()) + 60))
    assert isinstance(door(keyring, "enforce").admit(text, greedy=False), Marked)
    with pytest.raises(Refused, match="expired"):
        door(keyring, "enforce").admit(ticket(expires=-(10**8)), greedy=False)


def z_of(key, account, answers):
    """Standardised sum of account-channel scores over distinct pairs, counted without the sampler."""
    prf, scheme, width = Prf(key.value_key("account", account).value), key.deployment.scheme, key.deployment.width
    pairs = set()
    for tokens in answers:
        used = set()
        for t in range(width, len(tokens)):
            window = tuple(tokens[t - width : t])
            if window not in used:
                pairs.add((*window, tokens[t]))
            used.add(window)
    pairs = np.array(sorted(pairs), dtype=np.uint32)
    channels = select(key.selector_prf(), key.deployment.shares, pairs[:, :-1])
    pairs = pairs[channels == CHANNELS.index("account")]
    scores = scheme.score(prf.words(pack_blocks(np.ascontiguousarray(pairs[:, :-1]), pairs[:, -1]))) / scheme.law.unit
    return (scores.sum() - len(pairs) * scheme.law.mean) / np.sqrt(len(pairs) * scheme.law.variance)


@pytest.mark.parametrize("seed", range(3))
def test_64_concurrent_answers_of_16_accounts_never_mix_their_keys(keyring, tmp_path, seed):
    """A batch that grows, shrinks, is shuffled and preempted: every account's text scores under its key alone."""
    generator = np.random.default_rng(seed)
    write_key(epoch_key("q5"), tmp_path / "q5.key")
    keyring.refresh()
    admission = door(keyring, "enforce")
    queue = [(f"r{i}", str(i % 16), ("q4", "q5")[i // 16 % 2]) for i in range(128)]
    generator.shuffle(queue)
    running, finished = [], []
    while queue or running:
        while queue and len(running) < 64 and generator.random() < 0.9:
            name, account, epoch = queue.pop()
            admitted = admission.admit(ticket(name, account=account, epoch=epoch), greedy=False, now=NOW)
            length = int(generator.integers(80, 140))
            running.append((admitted, admitted.sampler.start(admitted.request), length))
        order = generator.permutation(len(running))
        running = [running[i] for i in order]  # rows are swapped and moved
        step = [row for row in running if generator.random() < 0.9]  # some wait, as after a preemption
        for epoch in ("q4", "q5"):
            rows = [row for row in step if row[0].sampler.epoch.name == epoch]
            if rows:
                logits = 2 * generator.normal(size=(len(rows), 400))
                rows[0][0].sampler.draw([row[1] for row in rows], logits)
        finished += [row for row in running if len(row[1].tracker.tokens) >= row[2]]
        running = [row for row in running if len(row[1].tracker.tokens) < row[2]]
    assert len(finished) == 128
    for epoch in ("q4", "q5"):
        texts = {}
        for admitted, response, _ in finished:
            if admitted.sampler.epoch.name == epoch:
                texts.setdefault(admitted.request.account, []).append(response.tracker.tokens)
        assert len(texts) == 16
        key = epoch_key(epoch)
        for account, answers in texts.items():
            scored = {other: z_of(key, other, answers) for other in texts}
            assert scored.pop(account) > 15
            assert max(map(abs, scored.values())) < 5.5


def test_many_answers_of_one_ticket_cost_the_same_each():
    """One request may ask for thousands of answers (`n`), and all others wait while they are numbered."""
    from watermark.serving.admission import _UsedTickets

    used, begin = _UsedTickets(), time.perf_counter()
    numbers = [used.next(("e", "r"), 0, expires=100, now=0.0) for _ in range(30_000)]
    assert numbers == list(range(30_000))
    assert time.perf_counter() - begin < 3  # 0.03 s; 9 s if each searched all before it

"""The register, and order and nonces from the plan's token: what holds, and at which step a lie is seen."""

import hashlib
import hmac
import multiprocessing
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning import ENDPOINT, plan
from tests.tsa_server import Authority
from verify.canonical import digest
from verify.collection_checks import check_answers
from verify.commitment_checks import stamp
from verify.errors import Error, InputError, Refused
from verify.ordering import Ordering
from verify.plans import read_plan
from verify.records import Transcript
from verify.register import FIRST, check_register, next_entry, read_register
from verify.registering import open_register

SPEC = Path(__file__).resolve().parents[2] / "docs/spec/plan.md"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tsa"))


def stamped(record, authority):
    return record.stamped(authority.token(record.body()))


@pytest.fixture(scope="module")
def committed(tmp_path_factory, authority):
    """A register of three plans, and the second of them."""
    path = str(tmp_path_factory.mktemp("register") / "register.jsonl")
    plans = []
    for name in ("q4", "q5", "q6"):
        made = plan(name=name, family={"tests": [name], "correction": "none"})
        plans.append(stamped(made, authority))
        with open_register(path) as register:
            register.append(stamped(next_entry(register.entries, plans[-1]), authority))
    return path, plans[1]


def checked(entries, authority, of, roots=True):
    trusted = [authority.root] if roots else []
    first, when = stamp(of, trusted)
    return [first, *check_register(entries, trusted, plan=of, when=when)]


def outcomes(steps):
    return [s.outcome for s in steps]


def failures(steps):
    return [i for i, s in enumerate(steps) if s.outcome == "failed"]


def test_what_was_committed_holds(committed, authority):
    path, of = committed
    entries = read_register(path)
    assert outcomes(checked(entries, authority, of)) == ["ok"] * 7
    assert outcomes(checked(entries, authority, of, roots=False)) == [
        *("not checked", "ok", "ok", "not checked", "not checked", "ok", "not checked")
    ]
    assert [e.number for e in entries] == [0, 1, 2]
    lines = Path(path).read_bytes().splitlines()
    assert [e.previous for e in entries] == [FIRST, digest(lines[0]), digest(lines[1])]


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (lambda e: e[:1] + e[2:], 1),
        (lambda e: e[1:], 1),
        (lambda e: [e[1], e[0], e[2]], 1),
        (lambda e: [*e, e[2]], 1),
        (lambda e: [e[0].stamped(b"x"), *e[1:]], 1),
        (lambda e: e[:1], 5),
        (lambda e: [], 3),
    ],
    ids=["removed", "first removed", "exchanged", "repeated", "stamped later", "cut", "empty"],
)
def test_where_a_changed_register_is_seen(committed, authority, change, step):
    path, of = committed
    assert failures(checked(change(read_register(path)), authority, of))[0] == step


def test_another_key_or_token_of_the_plan_is_seen(committed, authority):
    path, of = committed
    again = plan(name="q5", family={"tests": ["q5"], "correction": "none"})
    assert failures(checked(read_register(path), authority, stamped(again, authority))) == [5]
    assert failures(checked(read_register(path), authority, of.stamped(authority.token(of.body())))) == [5]


def test_a_plan_timestamped_after_its_registration_is_seen(committed, authority):
    """The time of the plan's token is the forger's to choose only if the line was stamped before it existed."""
    import datetime as dt

    path, of = committed
    entries = read_register(path)
    _, when = stamp(of, [authority.root])
    late = type(when)(when.time + dt.timedelta(hours=1), when.accuracy, when.authority)
    steps = check_register(entries, [authority.root], plan=of, when=late)
    assert failures(steps) == [5]


def test_an_authority_that_is_not_trusted(committed, tmp_path):
    path, of = committed
    assert failures(checked(read_register(path), Authority(tmp_path), of)) == [0, 3]


def test_a_registered_plan_and_a_broken_chain_are_refused(committed, tmp_path):
    path, of = committed
    with open_register(path) as register, pytest.raises(Refused, match="registered already, as number 1"):
        next_entry(register.entries, of)
    lines = Path(path).read_bytes().splitlines(keepends=True)
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(lines[0] + lines[2])
    with pytest.raises(Refused, match="line 2 does not follow"), open_register(str(broken)):
        pass
    broken.write_bytes(lines[0] + lines[1][:-20])
    with pytest.raises(InputError), open_register(str(broken)):
        pass
    with pytest.raises(InputError, match="not a regular file"), open_register(str(tmp_path)):
        pass
    assert broken.read_bytes() == lines[0] + lines[1][:-20]


@pytest.mark.parametrize("data", [b"{}\n", b"\n", b"\xff\n", b"[" * 100_000, plan().to_json()], ids=range(5))
def test_hostile_registers(tmp_path, data):
    (tmp_path / "register.jsonl").write_bytes(data)
    with pytest.raises(InputError):
        read_register(str(tmp_path / "register.jsonl"))


def test_every_byte_of_plan_and_register(committed, authority, tmp_path):
    """Flipped one after another: never all ok. The last line's own token alone has bytes that nothing covers, which
    `commitment.md` names; there the statement stays what it was."""
    whole, of = committed
    trusted, path = [authority.root], str(tmp_path / "register.jsonl")
    register, plan_file = b"".join(Path(whole).read_bytes().splitlines(keepends=True)[:2]), of.to_json()
    Path(path).write_bytes(register)
    before = check_register(read_register(path), trusted, plan=of)
    escaped = []
    target = tmp_path / "changed"
    for name, whole in (("plan", plan_file), ("register", register)):
        for place in range(len(whole)):
            changed = bytearray(whole)
            changed[place] ^= 1
            target.write_bytes(changed)
            try:
                given = read_plan(str(target)) if name == "plan" else of
                entries = read_register(path if name == "plan" else str(target))
            except Error:
                continue
            # Without certificates most are seen already, and much faster.
            if failures(check_register(entries, [], plan=given)):
                continue
            steps = checked(entries, authority, given)
            if not failures(steps):
                escaped.append((name, place, steps))
    last = register.rindex(b"\n", 0, -1) + register[register.rindex(b"\n", 0, -1) :].index(b'"timestamps"')
    assert [(n, p) for n, p, _ in escaped if (n, p) < ("register", last)] == []
    assert all(steps[3].reason == before[2].reason for _, _, steps in escaped)


def _commit(path, token, barrier, results):
    made = plan(name=f"n{token}", family={"tests": [f"n{token}"], "correction": "none"}).stamped(b"t")
    barrier.wait()
    try:
        with open_register(path) as register:
            register.append(next_entry(register.entries, made))
        results.put("done")
    except Refused:
        results.put("refused")


def test_two_commits_racing(tmp_path):
    """Whoever comes second is refused or follows: the chain stays whole."""
    path, context = str(tmp_path / "register.jsonl"), multiprocessing.get_context("fork")
    done = 0
    for round_ in range(5):
        barrier, results = context.Barrier(2), context.Queue()
        racers = [context.Process(target=_commit, args=(path, 2 * round_ + i, barrier, results)) for i in range(2)]
        for racer in racers:
            racer.start()
        done += [results.get(timeout=30) for _ in racers].count("done")
        for racer in racers:
            racer.join()
        entries = read_register(path)
        assert len(entries) == done > round_
        assert outcomes(check_register(entries, []))[:2] == ["ok", "ok"]


def test_a_full_disk_leaves_the_register_as_it_was(committed, tmp_path):
    path, _ = committed
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(Path(path).read_bytes())
    other = plan("twin").stamped(b"t")
    with open_register(str(copy)) as register:

        class Full:
            def __init__(self, file):
                self.file, self.fileno, self.truncate = file, file.fileno, file.truncate

            def write(self, data):
                if len(data) < 100:
                    raise OSError(28, "No space left on device")
                return self.file.write(data[: len(data) // 2])

        register._file = Full(register._file)
        with pytest.raises(OSError, match="No space left"):
            register.append(next_entry(register.entries, other))
    assert copy.read_bytes() == Path(path).read_bytes()


# --- order and nonces ------------------------------------------------------------------------------------------------


def hkdf(ikm, info, length):
    """RFC 5869 with an empty salt, one block."""
    return hmac.digest(hmac.digest(bytes(32), ikm, "sha256"), info + b"\1", "sha256")[:length]


def lp(text):
    return len(text).to_bytes(2, "little") + text.encode()


def independent_order(token, n):
    """As the page has it, with nothing of ours."""
    seed, order = hkdf(token, lp("radiolabel/v1/plan-order"), 32), list(range(n))
    for i in reversed(range(1, n)):
        j = int.from_bytes(hashlib.sha256(seed + i.to_bytes(8, "little")).digest()[:16], "little") % (i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def independent_nonce(token, q):
    return hkdf(token, lp("radiolabel/v1/plan-nonce") + lp(str(q)), 16).hex()


def test_the_pages_vectors():
    token, page = bytes(range(64)), SPEC.read_text()
    orders = {
        int(n): [int(x) for x in text.split()] for n, text in re.findall(r"^\| (\d+) \| ([\d ]+) \|$", page, re.M)
    }
    nonces = dict(re.findall(r"^\| (\d+) \| ([0-9a-f]{32}) \|$", page, re.M))
    assert set(orders) == {1, 5, 16}
    assert set(nonces) == {"0", "41"}
    ordering = Ordering(token, "")
    for n, order in orders.items():
        assert ordering.order(n) == order == independent_order(token, n)
    for q, nonce in nonces.items():
        assert ordering.nonce(int(q)) == nonce == independent_nonce(token, q)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.integers(0, 300))
def test_order_is_a_permutation_and_agrees_with_the_independent_one(token, n):
    order = Ordering(token, "").order(n)
    assert sorted(order) == list(range(n))
    assert order == independent_order(token, n)


def test_order_is_uniform():
    """4,800 tokens, 24 orders of four: chi square of 23 degrees, whose 1 - 1e-6 quantile is 74."""
    counts = {}
    for i in range(4800):
        order = tuple(Ordering(i.to_bytes(4, "little"), "").order(4))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((c - 200) ** 2 / 200 for c in counts.values()) < 74


# --- answers ---------------------------------------------------------------------------------------------------------

PROMPTS = ["p0", "p1", "p2"]


@pytest.fixture(scope="module")
def asked(authority):
    """A plan, its line with its time, and the answers to it in order."""
    made = stamped(plan("closed"), authority)
    line = stamped(next_entry([], made), authority)
    _, when = stamp(line, [authority.root])
    token = line.tokens()[0]
    settings = {k: ENDPOINT[k] for k in ("base_url", "model", "prompts", "max_tokens", "temperature")}
    answers = [
        Transcript(
            id=str(q),
            prompt=PROMPTS[q % 3],
            response="text",
            meta={
                "settings": settings | {"plan": made.digest},
                "requests": i,
                "nonce": independent_nonce(token, q),
                "created": int(when.time.timestamp()) + 60,
            },
        )
        for i, q in enumerate(independent_order(token, 6))
    ]
    return made, line, when, answers


def replaced(answer, **changed):
    import msgspec

    meta = changed.pop("meta", {})
    return msgspec.structs.replace(answer, meta=answer.meta | meta, **changed)


def test_answers_that_were_asked_for_under_the_plan(asked):
    made, line, when, answers = asked
    assert outcomes(check_answers(made, answers, line=line, prompts=PROMPTS, when=when)) == ["ok"] * 7
    swapped = [answers[1], answers[0], answers[3], answers[2], *answers[4:]]  # two are in flight
    assert outcomes(check_answers(made, swapped, line=line, prompts=PROMPTS, when=when)) == ["ok"] * 7
    slow = [*answers[1:], answers[0]]
    assert outcomes(check_answers(made, slow, line=line, prompts=PROMPTS, when=when)) == ["ok"] * 7
    assert outcomes(check_answers(made, answers, line=line)) == [
        "ok",
        "ok",
        "not checked",
        "ok",
        "ok",
        "ok",
        "not checked",
    ]


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        (lambda a: [replaced(a[0], meta={"settings": {}}), *a[1:]], [0]),
        (lambda a: [replaced(a[0], meta={"settings": a[0].meta["settings"] | {"temperature": 1}}), *a[1:]], [0]),
        (lambda a: [*a, a[0]], [1]),
        (lambda a: [*a, replaced(a[0], id="6")], [1]),
        (lambda a: [*a, replaced(a[0], id="01")], [1]),
        (lambda a: [*a, replaced(a[0], id="9" * 5000)], [1]),
        (lambda a: [replaced(a[0], prompt="other"), *a[1:]], [2]),
        (lambda a: [replaced(a[0], prompt="x\n" + a[0].prompt), *a[1:]], [2]),
        (lambda a: [replaced(a[0], meta={"nonce": a[1].meta["nonce"]}), *a[1:]], [3]),
        (lambda a: [replaced(a[0], meta={"nonce": None}), *a[1:]], [3]),
        (lambda a: [*a[2:], *a[:2]], [4]),
        (lambda a: a[::-1], [4]),
        (lambda a: a[2:], [4, 5]),
        (lambda a: a[:-1], [5]),
        (lambda a: [], [5]),
        (lambda a: [replaced(a[0], meta={"created": a[0].meta["created"] - 400}), *a[1:]], [6]),
        (lambda a: [replaced(a[0], meta={"created": -(10**30)}), *a[1:]], [6]),
    ],
    ids=range(17),
)
def test_at_which_step_a_lie_is_seen(asked, change, steps):
    made, line, when, answers = asked
    assert failures(check_answers(made, change(list(answers)), line=line, prompts=PROMPTS, when=when)) == steps


def test_a_plan_registered_after_the_answers_it_governs(asked, authority):
    """The answers carry another token's nonces and order; with times of their own they are also too old."""
    import datetime as dt

    made, line, when, answers = asked
    later = stamped(next_entry([], made), authority)
    assert later.plan == line.plan
    assert 3 in failures(check_answers(made, answers, line=later, prompts=PROMPTS, when=when))
    late = type(when)(when.time + dt.timedelta(hours=1), when.accuracy, when.authority)
    assert failures(check_answers(made, answers, line=line, prompts=PROMPTS, when=late)) == [6]


def test_an_e_process_may_stop_and_a_budget_is_a_budget(authority):
    made = stamped(plan("sequential"), authority)
    line = stamped(next_entry([], made), authority)
    token = line.tokens()[0]
    settings = made.suspect.settings() | {"plan": made.digest}
    answers = [
        Transcript(id=str(q), prompt=PROMPTS[q % 3], response="t",
                   meta={"settings": settings, "nonce": independent_nonce(token, q)})
        for q in independent_order(token, 6)
    ]  # fmt: skip
    steps = check_answers(made, answers[:4], line=line, prompts=PROMPTS)
    assert outcomes(steps) == ["ok"] * 6 + ["not checked"]
    assert steps[5].reason == "4 of 6 questions have an answer"


@pytest.mark.parametrize("meta", [None, {}, {"settings": 7, "nonce": [], "created": "now"}])
def test_answers_without_what_it_takes(asked, meta):
    made, line, when, answers = asked
    odd = [Transcript(id=a.id, prompt=a.prompt, response="", meta=meta) for a in answers]
    assert outcomes(check_answers(made, odd, line=line, prompts=PROMPTS, when=when)) == [
        *("failed", "ok", "ok", "failed", "ok", "ok", "not checked")
    ]


def test_nobody_to_ask(asked, authority):
    made, line, _, answers = asked
    twin = stamped(plan("twin"), authority)
    with pytest.raises(Refused, match="suspect is known by its weights"):
        check_answers(twin, [], line=next_entry([], twin))
    with pytest.raises(Refused, match="the plan's line has no timestamp"):
        check_answers(made, [], line=next_entry([], made))
    with pytest.raises(Refused, match="is another plan's"):
        check_answers(stamped(plan("closed", name="q5", family={"tests": ["q5"], "correction": "none"}), authority),
                      answers, line=line)  # fmt: skip


def test_an_e_process_takes_answers_in_the_tokens_order_up_to_the_first_gap():
    from verify.ordering import in_order

    order = [3, 0, 4, 1, 2]

    def answers(*numbers):
        return [Transcript(id=str(n), prompt="p", response="r") for n in numbers]

    def taken(*numbers):
        return [int(a.id) for a in in_order(answers(*numbers), order)]

    assert taken(3, 0, 4, 1, 2) == taken(2, 1, 4, 0, 3) == order
    assert taken(0, 3, 1, 2) == [3, 0]  # 4 is missing: what was asked after it does not count
    assert taken(0, 4, 1, 2) == []
    with pytest.raises(InputError, match="answer '5' is to no question"):
        taken(5)

"""Attacks on what was fixed before looking: plans made afterwards, registers with holes, tests that stop at will."""

import msgspec
import pytest

from tests.evidence.inventing import carried_out, entries, planned, stamped, written
from verify.plans import read_plan
from verify.register import RegisterEntry, read_register
from watermark.keyfile import read_key

PROMPTS = [f"p{i}" for i in range(6)]


@pytest.fixture(scope="module")
def plan(provider):
    """The rival's."""
    return read_plan(str(provider.file("rival-plan.json")))


@pytest.fixture(scope="module")
def line(provider):
    """The rival's in the register."""
    return read_register(str(provider.file("register.jsonl")))[1]


@pytest.fixture(scope="module")
def key(provider):
    return read_key(provider.file("fleet.key"))


@pytest.fixture
def judged(provider, rival, key):
    """judged(plan, answers, register): the check of evidence on answers that somebody wrote down."""

    def judged(plan, answers, register=()):
        files = {"input": answers, "tokenizer": "tokenizer.json", "asked": "prompts.txt"}
        return rival.check(carried_out(provider, plan, files, key, register=register))

    return judged


def test_a_plan_that_was_made_for_answers_at_hand(provider, judged, plan, line):
    late, said = planned(provider, plan, "late"), provider.answers(marked=True)
    path, register = provider.file("late.jsonl"), entries(provider, "late")
    # Kept from an earlier collection: order and nonces are those of another token.
    written(late, path, PROMPTS, said, nonces=line)
    found = judged(late, path.name, register)
    assert {"collection.4", "collection.5", "before"} <= set(found.failed)
    assert found["collection.1"] == "ok"
    # Written down again with the right ones, and the endpoint still says when it answered.
    written(late, path, PROMPTS, said, nonces=register[0], ago=400)
    assert judged(late, path.name, register).failed == ["collection.7", "before"]
    # With that forged too nothing shows it: docs/spec/plan.md, section 5, says so.
    written(late, path, PROMPTS, said, nonces=register[0])
    assert judged(late, path.name, register).accepted


def test_alpha_and_family_are_the_plans(rival):
    for change in ({"alpha": 0.5}, {"family": {"tests": ["rival", "two"], "correction": "holm"}}, {"filters": ["x"]}):
        found = rival.says(lambda predicate, change=change: predicate["plan"].update(change))
        assert {"plan", "register.5", "drawer", "before"} <= set(found.failed)


def test_a_family_cannot_shrink(provider, rival, plan, key):
    whole = {"tests": ["wide", "b", "c", "d"], "correction": "holm"}
    wide, answers = planned(provider, plan, "wide", family=whole), provider.file("wide.jsonl")
    written(wide, answers, PROMPTS, provider.answers(marked=True), nonces=entries(provider, "wide")[0])
    files, register = {"input": answers.name, "tokenizer": "tokenizer.json"}, entries(provider, "wide")
    assert rival.check(carried_out(provider, wide, files, key, register=register)).accepted
    small = msgspec.structs.replace(wide, family=msgspec.structs.replace(plan.family, tests=("wide",)))
    found = rival.check(carried_out(provider, small, files, key, register=register))
    assert {"plan", "register.5", "drawer", "before"} <= set(found.failed)
    # The same plan, and a decision as if it were alone.
    statement = rival.statement_of(carried_out(provider, small, files, key))
    statement["predicate"] |= {"plan": wide.fields(), "register": [line.fields() for line in register]}
    assert {"derived", "decision"} <= set(rival.check(rival.sign(statement)).failed)


def test_a_register_without_its_middle(provider, judged, plan):
    plans = [planned(provider, plan, f"line{i}", register="lines") for i in range(3)]
    lines, answers = entries(provider, "lines"), provider.file("lines.jsonl")
    written(plans[2], answers, PROMPTS, provider.answers(marked=False), nonces=lines[2])
    found = judged(plans[2], answers.name, lines)
    assert found.failed == ["drawer"]  # number 0 and 1 have no result
    cut = [lines[0], lines[2]]
    assert "register.1" in judged(plans[2], answers.name, cut).failed
    # Sewn together again: the line is another, and its timestamp is not of it.
    sewn = RegisterEntry(**{**_fields(lines[2]), "number": 1, "previous": lines[0].head})
    assert "register.3" in judged(plans[2], answers.name, [lines[0], sewn]).failed
    assert (
        "register.3" in judged(plans[2], answers.name, [lines[0], msgspec.structs.replace(sewn, timestamps=())]).failed
    )
    # The line of its own plan is gone.
    assert "register.5" in judged(plans[2], answers.name, lines[:2]).failed
    assert "register.2" in judged(plans[2], answers.name, [*lines, again(provider, lines)]).failed


def test_a_disappointing_plan_does_not_wait_in_a_drawer(provider, rival):
    def forgotten(predicate):
        predicate["others"] = []

    found = rival.says(forgotten)
    assert found.failed == ["drawer"]
    assert found.reason("drawer").startswith("number 0 ")
    # A reason is a statement, and shown as one.
    plan = rival.statement()["predicate"]["register"][0]["plan"]

    def excused(predicate):
        predicate.update(others=[], unrun={plan: "the server was down"})

    found = rival.says(excused)
    assert (found.accepted, found["drawer"]) == (True, "not checked")
    assert "asserted" in found.reason("drawer")

    # An evidence file that was never made cannot be given.
    def invented(predicate):
        predicate["others"][0].update(file="lost.json", sha256="0" * 64)

    assert rival.says(invented)["others"] == "not checked"


@pytest.mark.parametrize(
    ("marked", "n", "failed"),
    [
        (True, 1, []),
        (True, 2, []),  # one was in flight
        (True, 3, ["stopping"]),  # enough after one, and it went on
        (True, 12, ["stopping"]),
        (False, 12, []),
        (False, 11, ["stopping"]),  # not enough, and it stopped
        (False, 1, ["stopping"]),
    ],
)
def test_an_e_process_stops_when_its_rule_says(provider, judged, plan, marked, n, failed):
    name = f"seq-{marked}-{n}"
    test = {
        "hypothesis": "sequential",
        "tokenizer": plan.test.tokenizer,
        "stopping": {"rule": "e-process", "budget": 12},
    }
    process, path = planned(provider, plan, name, test=test), provider.file(f"{name}.jsonl")
    written(process, path, PROMPTS, provider.answers(marked=marked), nonces=entries(provider, name)[0])
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:n]))
    found = judged(process, path.name, entries(provider, name))
    assert found.failed == failed
    assert found["before"] == "ok"


def test_exploratory_evidence_is_called_so(loose, rival):
    found = loose.check()
    assert found.accepted
    assert found.reason("plan") == "exploratory: no plan was committed before looking"
    assert found["plan"] == found["before"] == "not checked"
    assert "Exploratory" in found.reason("decision")
    assert "Exploratory" in loose.statement()["predicate"]["results"][0]["derived"]["sentence"]
    assert not loose.check(required=("plan",)).accepted

    # A committed plan cannot be passed off as none: its words say that it decides.
    def stripped(predicate):
        predicate["plan"].update(timestamps=[])
        predicate.update(register=[])

    assert {"derived", "decision"} <= set(rival.says(stripped).failed)

    # And the other way round there is no token of it.
    def dressed(predicate):
        predicate["plan"].update(timestamps=rival.statement()["predicate"]["plan"]["timestamps"])

    assert "plan" in loose.says(dressed).failed


def test_no_evidence_without_a_result_for_each_key(rival):
    def another(predicate):
        predicate["results"][0]["key"] = "0" * 64

    assert rival.says(another).failed == ["fields"]
    assert rival.says(lambda predicate: predicate["results"].append(predicate["results"][0])).failed == ["fields"]


def _fields(entry):
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


def again(provider, lines):
    """The first plan a second time, as a line that the authority stamped."""
    first = RegisterEntry(**{**_fields(lines[0]), "number": len(lines), "previous": lines[-1].head})
    return stamped(provider, first)

"""Plans: every field is needed, none is free, and what cannot be is refused."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning import SUSPECTS, TESTS, WEIGHTS, plan, record
from verify import plan_parts
from verify.canonical import canonical, digest, parse_canonical
from verify.cli import plan_new
from verify.errors import InputError, Refused
from verify.hypotheses import open as open_test
from verify.planned import Planned, UnsafeNoPlan, plan_sentence, plan_use
from verify.plans import parse_plan, read_plan


@pytest.mark.parametrize("hypothesis", TESTS)
def test_round_trip(tmp_path, hypothesis):
    made = plan(hypothesis)
    (tmp_path / "plan.json").write_bytes(made.to_json())
    assert read_plan(str(tmp_path / "plan.json")) == made
    assert made.to_json() == canonical(record(hypothesis)) + b"\n"
    assert made.hypothesis == hypothesis


def test_the_pages_example():
    page = (Path(__file__).resolve().parents[2] / "docs/spec/plan.md").read_bytes()
    assert b"```json\n" + plan("closed").to_json() + b"```" in page
    assert plan("closed").digest.encode() in page


def paths(value, path=()):
    """The place of every field of an object."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from paths(inner, (*path, name))


def at(value, path):
    for name in path:
        value = value[name]
    return value


@pytest.mark.parametrize(
    ("hypothesis", "kind"), [*((h, None) for h in TESTS), ("closed", "weights"), ("closed", "texts")]
)
def test_no_field_can_be_left_out_null_or_added(hypothesis, kind):
    """Shares, inputs and the like have names of their own; every other field of every object is needed."""
    whole = record(hypothesis, kind)
    parse_plan(copy.deepcopy(whole), "plan")
    for path in list(paths(whole)):
        if path[0] in ("shares", "inputs") and len(path) > 1:
            continue
        for change in ("gone", "null", "odd"):
            value = copy.deepcopy(whole)
            if change == "gone":
                del at(value, path[:-1])[path[-1]]
            elif change == "null":
                at(value, path[:-1])[path[-1]] = None
            else:
                at(value, path[:-1])[f"{path[-1]}x"] = 1
            with pytest.raises(InputError):
                parse_plan(value, "plan")


def test_every_field_moves_the_digest():
    whole = record("closed")
    seen = {plan("closed").digest}
    other = {"name": "q5", "suspect": WEIGHTS, "filters": ["empty answers"], "alpha": 1e-3, "width": 1}
    for name, value in other.items():
        changed = {name: value} | ({"family": {"tests": ["q5"], "correction": "none"}} if name == "name" else {})
        seen.add(parse_plan(whole | changed, "plan").digest)
    assert len(seen) == 1 + len(other)
    assert plan("closed").stamped(b"token").digest == plan("closed").digest


@pytest.mark.parametrize(
    ("hypothesis", "changed", "message"),
    [
        ("closed", {"version": 2}, "plan version is 2, expected 1"),
        ("closed", {"radiolabel": "commitment"}, "radiolabel is 'commitment', expected 'plan'"),
        ("closed", {"alpha": 0}, "expected float > 0"),
        ("closed", {"alpha": 0.6}, "expected float <= 0.5"),
        ("closed", {"scheme": "gumbel:x"}, "scheme"),
        ("closed", {"shares": {"fleet": 1000000, "account": 0}}, "in canonical form"),
        ("closed", {"keys": [{"id": "ab" * 32, "path": "epoch/q4"}]}, "expected value keys of channels"),
        ("closed", {"keys": [{"id": "ab" * 32, "path": "epoch/q4/cohort/1"}]}, "expected value keys of channels"),
        ("closed", {"keys": [{"id": "ab" * 32, "path": "epoch/q4/leaf/1"}]}, "expected value keys of channels"),
        ("closed", {"keys": [{"id": "ab" * 32, "path": "epoch/q4/account"}]}, "expected value keys of channels"),
        ("closed", {"keys": [{"id": "ab" * 32, "path": "epoch/../fleet"}]}, "name '..' cannot be part"),
        ("closed", {"keys": []}, "length >= 1"),
        ("closed", {"keys": [{"id": "ab" * 32, "path": "epoch/q4/fleet"}] * 2}, "a key is there twice"),
        ("twin", {"keys": [{"id": "ab" * 32, "path": "epoch/q4/fleet"}]}, "expected one epoch key"),
        ("closed", {"family": {"tests": ["q4", "q5"], "correction": "none"}}, "correction is none for 2 tests"),
        ("closed", {"family": {"tests": ["q4"], "correction": "holm"}}, "correction is holm for 1 tests"),
        ("closed", {"family": {"tests": ["q4", "q4"], "correction": "bh"}}, "a test of the family is there twice"),
        ("closed", {"family": {"tests": ["q5", "q6"], "correction": "bh"}}, "the family lacks a test of this plan"),
        ("closed", {"inputs": {"pairs": "sha256:" + "0" * 64}}, "expected no names but"),
        ("closed", {"timestamps": ["AAA"]}, "expected a token in base64"),
        ("closed", {"test": TESTS["closed"] | {"hypothesis": "closed", "served": True}}, "decoys, expected 0"),
        (
            "closed",
            {"test": TESTS["closed"] | {"hypothesis": "closed", "served": True, "weights": "counts", "decoys": 0}},
            "served with counts",
        ),
        ("closed", {"test": TESTS["closed"] | {"hypothesis": "closed", "stopping": {"rule": "fixed", "n": 5}}}, "at 5"),
        ("closed", {"test": TESTS["sequential"] | {"hypothesis": "closed"}}, "not a valid plan"),
        ("open", {"test": TESTS["open"] | {"hypothesis": "open", "rule": "soft"}}, "rule is soft and reference is"),
        ("open", {"test": TESTS["open"] | {"hypothesis": "open", "reference": "none"}}, "expected a reference model"),
        ("open", {"suspect": SUSPECTS["endpoint"]}, "an open test of an endpoint, expected"),
        ("twin", {"suspect": SUSPECTS["texts"]}, "scores is likelihoods, expected weights"),
        (
            "twin",
            {"test": TESTS["twin"] | {"hypothesis": "twin", "scores": "ngram", "reference": "b"}},
            "scores is ngr",
        ),
        ("sequential", {"suspect": WEIGHTS}, "expected a suspect that is an endpoint"),
        ("twin", {"inputs": {}}, "inputs lack pairs"),
        ("open", {"inputs": {}}, "inputs lack texts"),
        ("closed", {"suspect": SUSPECTS["texts"]}, "inputs lack input"),
        ("closed-reference", {"suspect": SUSPECTS["endpoint"]}, "expected found texts or weights"),
        ("open", {"suspect": SUSPECTS["texts"]}, "an open test of found texts"),
        ("twin", {"test": TESTS["twin"] | {"hypothesis": "twin", "missing": "drop"}}, "not a valid plan"),
        (
            "twin",
            {
                "test": TESTS["twin"] | {"hypothesis": "twin", "statistic": "rank"},
                "family": {"tests": ["q4", "q5"], "correction": "e-bh"},
            },
            "ranks with e-bh",
        ),
    ],
)
def test_what_cannot_be(hypothesis, changed, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        parse_plan(record(hypothesis, **changed), "plan")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]\n",
        b"{}\n",
        b"\xff\n",
        b"[" * 100_000,
        b" " + plan().to_json(),
        plan().to_json()[:-1],
        plan().to_json() + b"\n",
        plan().to_json().replace(b'"alpha":0.000001', b'"alpha":1e-6'),
        plan().to_json().replace(b'{"alpha":0.000001', b'{"alpha":0.5,"alpha":0.000001'),
        plan().to_json().replace(b'"width":2', b'"width":2.0'),
        plan().to_json().replace(b'"width":2', b'"width":true'),
    ],
    ids=range(12),
)
def test_hostile_files(tmp_path, data):
    (tmp_path / "plan.json").write_bytes(data)
    with pytest.raises(InputError):
        read_plan(str(tmp_path / "plan.json"))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_json_in_any_place_is_refused_or_means_itself(data):
    whole = record(data.draw(st.sampled_from(sorted(TESTS))))
    path = data.draw(st.sampled_from(list(paths(whole))))
    json_value = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=5,
    )
    at(whole, path[:-1])[path[-1]] = data.draw(json_value)
    try:
        made = parse_plan(whole, "plan")
    except InputError:
        return
    assert parse_canonical(made.to_json(), "plan") == whole


def test_every_byte_of_a_file_is_fixed():
    """Another byte is another plan or none."""
    whole = plan("twin").to_json()
    digests = set()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        try:
            other = parse_plan(parse_canonical(bytes(changed), "plan"), "plan")
        except InputError:
            continue
        assert other.to_json() == bytes(changed)
        digests.add(other.digest)
    assert plan("twin").digest not in digests
    assert digests  # such as another letter in a name


def test_names_that_are_written_down_twice():
    assert frozenset(plan_parts.WITHOUT_REFERENCE) == open_test.WITHOUT_REFERENCE
    assert set(plan_new.RULES) == set(open_test.RULES)
    assert [t.__struct_config__.tag for t in plan_parts.TESTS] == list(plan_new.HYPOTHESES) == list(TESTS)


def test_the_decision_in_words():
    assert plan().decision == "q4: found if p is at most 1e-06"
    assert plan("sequential").decision.startswith("q4: found if 1/e,")
    keys = [{"id": c * 64, "path": f"epoch/q4/account/{c}"} for c in "12"]
    two = {"keys": keys, "family": {"tests": ["x", *(f"q4: {k['path']}" for k in keys)], "correction": "holm"}}
    assert plan(**two).decision == (
        "q4: epoch/q4/account/1, q4: epoch/q4/account/2: found if p, corrected after Holm for 3 tests is at most 1e-06"
    )


# --- running under a plan --------------------------------------------------------------------------------------------


def planned(**changed):
    return Planned(plan("open", **changed).stamped(b"token"), "plan.json")


USED = {"hypothesis": "open", "rule": "root", "records": "predictions", "key": "ab" * 32, "alpha": 1e-6, "n": 6,
        "prompt_windows": "count", "reference": "base",
        "inputs": {"predictions": None, "texts": digest(b"texts")[7:]}}  # fmt: skip


def test_what_is_as_planned_passes():
    planned().require(**USED)
    fixed = {"predictions": "sha256:" + "1" * 64, "texts": "sha256:" + "3" * 64}
    planned(inputs=fixed).require(**(USED | {"inputs": {"predictions": "1" * 64, "texts": "3" * 64}}))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hypothesis": "closed"}, "hypothesis is 'closed', and plan.json says 'open'"),
        ({"rule": None}, "rule is None, and plan.json says 'root'"),
        ({"alpha": 1e-3}, "alpha is 0.001"),
        ({"n": 7}, "n is 7, and plan.json says 6"),
        ({"reference": "none"}, "reference is 'none'"),
        ({"key": "cd" * 32}, "key has id cdcdcdcdcdcdcdcd..., and plan.json says epoch/q4/fleet"),
    ],
)
def test_the_first_difference_is_refused(changed, message):
    with pytest.raises(Refused, match=message.replace(".", r"\.")):
        planned().require(**(USED | changed))


@pytest.mark.parametrize("given", [None, "2" * 64])
def test_an_input_that_was_fixed_must_be_given(given):
    use = planned(inputs={"predictions": "sha256:" + "1" * 64, "texts": "sha256:" + "3" * 64})
    with pytest.raises(Refused, match="predictions is not the file of the plan"):
        use.require(**(USED | {"inputs": {"predictions": given, "texts": "3" * 64}}))


def test_without_a_plan_it_is_called_what_it_is(tmp_path):
    use = plan_use(None)
    assert use == UnsafeNoPlan()
    use.require(**USED)
    assert use.options == {"plan": None}
    assert plan_sentence(use.options) == " Exploratory: no plan was committed before looking."
    assert plan("open").digest[:23] in plan_sentence(planned().options)
    (tmp_path / "draft.json").write_bytes(plan().to_json())
    with pytest.raises(Refused, match="the plan is not committed"):
        plan_use(str(tmp_path / "draft.json"))
    assert json.dumps(planned().options)

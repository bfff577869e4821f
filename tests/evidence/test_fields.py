"""A provider who signs anything: every field of evidence is changed in turn and signed again with the right key.

Either a step fails, or the field is one that only asserts, and then it stands in the list below with what a checker
sees of it.
"""

import pytest

from tests.evidence.lying import lies, nodes, put, spelled

# What only asserts, and the steps that are no longer ok. Nothing else may slip through.
ASSERTED = {
    # Whoever made it says when, with what, and how often the method accused innocent models elsewhere.
    ".times.made": set(),
    ".software": set(),
    ".software.*": set(),
    ".rate.method": set(),
    ".rate.source": set(),
    ".rate.n_trials": set(),
    ".rate.n_accused": set(),
    ".rate.n_independent": set(),
    ".rate.alpha": set(),
    ".rate.high": set(),
    # That a model never saw marked text is the maker's word, and the step says so.
    ".others[].control": {"family"},
    # A file of another name is one that was not given.
    ".others[].file": {"others"},
    # A timestamp twice is one timestamp. The plan's are counted, by the register.
    ".register[].timestamps": set(),
    # What is left out is not checked.
    "": {"fields"},  # a field of another version
    ".register": {"register.1", "drawer", "family", "collection.1", "before"},
    ".commitments": {"master.1", "epoch.1", "epoch.2", "epoch.3", "epoch.4", "slot.1", "log.2", "release.keys"},
    ".commitments.slots": {"slot.1", "release.keys"},
    ".commitments.logs": {"release.logs"},
    ".commitments.master.timestamps": {"master.1", "master.3"},
    ".commitments.epoch.timestamps": {"epoch.1", "epoch.4", "release.keys"},
    ".commitments.logs.pairs.timestamps": {"log.1", "release.logs"},
}
# Of the twin test only what the closed test does not have: every step costs time.
PARTS = {
    "rival": ("",),
    "twin": (".results", ".plan.test", ".plan.inputs", ".commitments.logs"),
}


def place(path):
    """Of a field, below the predicate."""
    name = spelled(path).removeprefix("predicate")
    return ".software.*" if name.startswith(".software.") else name


@pytest.mark.parametrize("name", PARTS)
def test_no_field_can_be_changed_behind_the_signature(request, name):
    liar = request.getfixturevalue(name)
    honest, statement, slipped, n = liar.check(), liar.statement(), {}, 0
    for path, value in nodes(statement):
        if not path or not ("predicate" not in path or place(path).startswith(PARTS[name])):
            continue
        for lie in lies(value):
            if "timestamps" in path and isinstance(lie, str):
                continue  # test_tokens.py
            n += 1
            data = liar.sign(put(statement, path, lie))
            found = liar.check(data, folder=False)
            found = found if found.failed else liar.check(data)
            if found.failed:
                assert not found.accepted
                continue
            where = place(path)
            assert where in ASSERTED, (where, lie)
            worse = {step for step in honest.of("ok") if step in found.steps and found[step] != "ok"}
            assert worse <= ASSERTED[where], (where, lie, worse)
            slipped.setdefault(where, set()).update(worse)
    assert n > 200
    # Each of the list does slip, in one of the two.
    expected = {where for where in ASSERTED if where.startswith(PARTS[name]) and (".logs" in where) == (name == "twin")}
    assert slipped.keys() == expected


def test_what_is_only_asserted_says_so(rival):
    found = rival.check()
    assert "that 1 are on models that never saw marked text is asserted" in found.reason("others")
    assert found["epoch.6"] == "not checked"
    assert "asserted" in found.reason("epoch.6")
    assert "asserted" in found.reason("inputs")


def test_a_field_of_another_version_is_kept_and_not_accepted_where_fields_are_required(rival):
    statement = rival.statement()
    statement["predicate"]["added"] = {"anything": [1, 2]}
    data = rival.sign(statement)
    assert rival.check(data).accepted
    assert rival.check(data)["fields"] == "not checked"
    assert "added" in rival.check(data).reason("fields")
    assert not rival.check(data, required=("fields",)).accepted


def test_the_same_innocent_model_does_not_count_twice(rival):
    def twice(predicate):
        predicate["others"].append(predicate["others"][0])

    def renamed(predicate):
        predicate["others"].append(predicate["others"][0] | {"file": "copy.json"})

    for lie in (twice, renamed):
        assert rival.says(lie).failed == ["fields"]


@pytest.mark.parametrize("made", ["0000-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-24T24:00:00Z"])
def test_a_time_that_does_not_exist_is_no_time(rival, made):
    assert rival.says(lambda predicate: predicate["times"].update(made=made)).failed == ["fields"]


def extremes(value):
    """Values at the ends of what a field can hold, and of other types."""
    if isinstance(value, bool):
        return [None, "true"]
    if isinstance(value, int | float):
        return [0, -1, (1 << 53) - 1, 1 - (1 << 53), 1e300, -1e12, 5e-324, "1", None, []]
    if isinstance(value, str):
        return ["", "\0", "é" * 300, "9" * 60, "-" + "9" * 60, "0", "../x", "9999-12-31T23:59:59Z", None, 1]
    return [None, 1, [None], {"": 1}, [[]], {}, [], *([value * 50] if isinstance(value, list) and value else [])]


@pytest.mark.parametrize(("name", "step"), [("rival", 4), ("twin", 9)])
def test_no_value_makes_a_check_fall_over(request, name, step):
    liar = request.getfixturevalue(name)
    statement, n = liar.statement(), 0
    for path, value in list(nodes(statement))[1::step]:
        for lie in extremes(value):
            n += 1
            found = liar.check(liar.sign(put(statement, path, lie)), folder=n % 10 == 0)
            assert "envelope" in found.steps
    assert n > 200

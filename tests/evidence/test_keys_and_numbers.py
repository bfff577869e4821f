"""Attacks on which keys were committed and when, and on the numbers that follow from them."""

import dataclasses

import msgspec
import pytest

from tests.conftest import make_epoch
from tests.evidence.inventing import stamped
from verify.beacons import QUICKNET, beacon
from verify.commitments import parse_record
from verify.committing import commit_epoch, prove_slot
from watermark.keyfile import read_key


@pytest.fixture(scope="module")
def commitments(rival):
    """(master, epoch) of the case."""
    found = rival.statement()["predicate"]["commitments"]
    return parse_record(found["master"], "master"), parse_record(found["epoch"], "epoch")


@pytest.fixture(scope="module")
def elsewhere(commitments):
    """(key, commitment) of an epoch of the same name and parameters, and other keys."""
    master, epoch = commitments
    shares = ",".join(f"{name}={ppm / 1e6:g}" for name, ppm in epoch.epoch.shares.items())
    key = dataclasses.replace(make_epoch(7, shares=shares), name="q4")
    return key, commit_epoch(key, master, bytes.fromhex(epoch.beacon_value))


def replaced(predicate, **records):
    """Put other records among the commitments."""
    for name, record in records.items():
        predicate["commitments"][name] = [r.fields() for r in record] if name == "slots" else record.fields()


def test_a_proof_of_another_epoch(rival, elsewhere):
    key, epoch = elsewhere
    proof = prove_slot(key, epoch, "epoch/q4/fleet")
    found = rival.says(lambda predicate: replaced(predicate, slots=[proof]))
    assert found.failed == ["slot.1", "slot.2", "slot.4", "slot.5"]


def test_another_epoch_altogether(provider, rival, elsewhere):
    key, epoch = elsewhere
    proof = prove_slot(key, epoch, "epoch/q4/fleet")
    found = rival.says(lambda predicate: replaced(predicate, slots=[proof], epoch=stamped(provider, epoch)))
    assert found.failed == ["slot.1", "slot.5"]  # everything fits together, and the plan's key is none of it


def test_a_proof_of_another_slot(rival, provider, commitments):
    account = prove_slot(read_key(provider.file("epoch.key")), commitments[1], "epoch/q4/account/1")
    stray = rival.says(lambda predicate: replaced(predicate, slots=[account]))
    assert stray.failed == ["slot.2"]
    assert stray["slot.1"] == "not checked"
    # Renamed, it leads nowhere; with the plan's id as well neither.
    named = msgspec.structs.replace(account, path="epoch/q4/fleet")
    own = msgspec.structs.replace(named, id=rival.statement()["predicate"]["plan"]["keys"][0]["id"])
    for proof in (named, own):
        found = rival.says(lambda predicate, proof=proof: replaced(predicate, slots=[proof]))
        assert {"slot.3", "slot.4"} <= set(found.failed)


def test_an_old_commitment_that_holds_nothing_of_the_plan(rival):
    def unproven(predicate):
        predicate["commitments"]["slots"] = []

    found = rival.says(unproven)
    assert found["release.keys"] == found["slot.1"] == "not checked"
    assert "no proof that epoch/q4/fleet" in found.reason("release.keys")


def test_another_key_than_the_plans(rival, twin, provider, elsewhere):
    f = provider.file
    for name in ("account.key", "coin.key"):
        found = rival.check(keys=[read_key(f(name))])
        assert found.failed == ["keys"]
        assert found["measured"] == "not checked"
    # The right one and another: the other has no business here.
    assert rival.check(keys=[read_key(f("fleet.key")), read_key(f("account.key"))]).failed == ["keys"]
    # Of the right path, and of another epoch.
    assert rival.check(keys=[elsewhere[0].value_key("fleet")]).failed == ["slot.5", "keys"]
    assert twin.check(keys=[read_key(f("fleet.key"))]).failed == ["keys"]
    assert twin.check(keys=[elsewhere[0].coin_key()]).failed == ["slot.3", "keys", "measured"]
    assert rival.check(keys=[])["keys"] == twin.check(keys=[])["keys"] == "not checked"


def test_a_master_that_was_committed_when_the_beacon_was_known(provider, rival, commitments):
    master, epoch = commitments
    late = msgspec.structs.replace(master, beacon=beacon(QUICKNET, master.beacon.round - 100))
    fresh = stamped(provider, late)
    named = stamped(provider, msgspec.structs.replace(epoch, master=fresh.digest))
    found = rival.says(lambda predicate: replaced(predicate, master=fresh, epoch=named), folder=False)
    assert "master.3" in found.failed
    # A round that comes at another time than stated.
    moved = msgspec.structs.replace(late.beacon, not_before="2099-01-01T00:00:00Z")
    lying = stamped(provider, msgspec.structs.replace(master, beacon=moved))
    found = rival.says(lambda predicate: replaced(predicate, master=lying), folder=False)
    assert {"master.2", "epoch.2"} <= set(found.failed)


def test_an_epoch_that_was_not_announced(provider, rival, commitments):
    _, epoch = commitments
    other = msgspec.structs.replace(epoch, epoch=msgspec.structs.replace(epoch.epoch, accounts=2), size=3)
    found = rival.says(lambda predicate: replaced(predicate, epoch=stamped(provider, other)), folder=False)
    assert {"epoch.3", "slot.2", "slot.4"} <= set(found.failed)


def test_the_beacon_is_looked_up_by_the_checker(rival):
    unknown = rival.check(beacon_value="unknown")
    assert (unknown.accepted, unknown["epoch.5"]) == (True, "not checked")
    assert not rival.check(beacon_value="unknown", required=("epoch.5",)).accepted
    assert rival.check(beacon_value="ab" * 31 + "ac").failed == ["epoch.5"]


def test_a_suspect_that_came_out_before_the_keys_were_committed(rival, twin):
    assert rival.check(released="2020-01-01T00:00:00Z").failed == ["release.keys"]
    assert twin.check(released="2020-01-01T00:00:00Z").failed == ["release.keys", "release.logs"]
    unknown = twin.check(released="unknown")
    assert unknown["release.keys"] == unknown["release.logs"] == "not checked"
    assert not twin.check(released="unknown", required=("release.keys",)).accepted


@pytest.mark.parametrize(
    "field", ["log10_p", "log10_e", "log10_p_stated", "log10_p_decoys", "excess", "smallest_share"]
)
def test_numbers_are_the_same_to_a_unit_of_the_last_decimal(rival, field):
    # One unit is what two machines may differ by. No decision follows from what is stated.
    def moved(units):
        def change(predicate):
            derived = predicate["results"][0]["derived"]
            derived[field] = round(derived[field] + units * 1e-6, 6)

        return change

    limit = 1 + int(abs(rival.statement()["predicate"]["results"][0]["derived"][field]) / 1000)
    for units in (1, -1):
        found = rival.says(moved(units), folder=False)
        assert not found.failed
        assert found.reason("decision") == rival.check().reason("decision")
    for units in (limit + 1, -limit - 1):
        assert rival.says(moved(units), folder=False).failed == ["derived"]


def test_a_verdict_is_not_a_number(provider, rival):
    innocent = rival.with_evidence("innocent.json")
    assert innocent.check().accepted

    def guilty(predicate):
        predicate["results"][0]["derived"]["found"] = predicate["decision"]["tests"][0]["found"] = True

    assert innocent.says(guilty).failed == ["derived", "decision"]

    # All that follows changed alike: it no longer follows from what was measured.
    def consistent(predicate):
        predicate["results"][0]["derived"] = rival.statement()["predicate"]["results"][0]["derived"]

    assert "derived" in innocent.says(consistent).failed

    # And what was measured too: without the inputs it holds together, with them it does not.
    def thorough(predicate):
        theirs = rival.statement()["predicate"]
        for name in ("measured", "derived"):
            predicate["results"][0][name] = theirs["results"][0][name]
        sentence = predicate["results"][0]["derived"]["sentence"]
        mine = rival.statement()["predicate"]["register"][0]["plan"][:23]
        head = theirs["register"][1]["plan"][:23]
        changed = sentence.replace(head, mine).replace("rival: found", "innocent: found")
        predicate["results"][0]["derived"]["sentence"] = changed
        predicate["decision"] = {
            "tests": [theirs["decision"]["tests"][0] | {"name": "innocent"}],
            "sentence": theirs["decision"]["sentence"].replace("rival", "innocent"),
        }

    blind = innocent.says(thorough, folder=False)
    assert blind.accepted
    assert blind["measured"] == "not checked"
    seen = innocent.says(thorough)
    assert (seen.accepted, seen.failed) == (False, ["measured"])


def test_the_rank_among_decoys_is_computed_again(rival):
    def changed(**values):
        def change(predicate):
            predicate["results"][0]["measured"]["decoys"].update(values)

        return change

    assert {"measured", "derived"} <= set(rival.says(changed(rank=2)).failed)
    assert rival.says(changed(seed="0" * 64)).failed == ["measured"]
    histogram = rival.statement()["predicate"]["results"][0]["measured"]["decoys"]["histogram"]
    full, empty = histogram.index(max(histogram)), histogram.index(0)
    histogram[full] -= 1
    histogram[empty] += 1
    assert rival.says(changed(histogram=histogram)).failed == ["measured"]
    assert rival.says(changed(rank=202)).failed == ["fields"]


@pytest.mark.parametrize("units", [1, -1, 1 << 20])
def test_a_sum_is_exact(rival, units):
    def moved(predicate):
        measured = predicate["results"][0]["measured"]
        measured["total"] = str(int(measured["total"]) + units)
        measured["accumulation"][-1][2] = measured["total"]

    assert "measured" in rival.says(moved).failed


def test_counts_add_up_without_any_input(rival, twin):
    def dropped(predicate):
        predicate["results"][0]["measured"]["n_dropped"]["first_h"] += 1

    assert rival.says(dropped, folder=False).failed == ["fields"]

    def won(predicate):
        predicate["results"][0]["measured"]["wins"] += 1

    assert twin.says(won, folder=False).failed == ["fields"]


def test_an_input_that_the_plan_has_no_use_for(rival):
    """Prompts would move the numbers: what stands in them is not scored."""
    for name in ("prompts", "served", "anything"):
        statement = rival.statement()
        statement["predicate"]["inputs"][name] = "zz.txt"
        statement["subject"].append({"digest": {"sha256": "0" * 64}, "name": "zz.txt"})
        found = rival.check(rival.sign(statement))
        assert found.failed == ["fields"]
        assert f"'{name}' is no input of this plan" in found.reason("fields")
    statement = rival.statement()
    statement["subject"].append({"digest": {"sha256": "0" * 64}, "name": "zz.txt"})
    assert rival.check(rival.sign(statement)).failed == ["fields"]


def test_inputs_of_another_case(rival):
    """The rival's numbers with the innocent model's answers, all signed."""
    statement, other = rival.statement(), rival.with_evidence("innocent.json").statement()
    roles = other["predicate"]["inputs"]
    statement["subject"], statement["predicate"]["inputs"] = other["subject"], roles
    found = rival.check(rival.sign(statement))
    assert {"collection.1", "collection.4", "before", "measured"} <= set(found.failed)
    assert found["inputs"] == "ok"

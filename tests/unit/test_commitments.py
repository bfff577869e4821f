"""Commitments and inclusion proofs: what is written, what is refused, and at which step a lie is seen."""

import base64
import datetime as dt
import gzip
import hashlib
import json
import re
from pathlib import Path

import msgspec
import pytest

from tests.tsa_server import Authority
from verify.beacons import QUICKNET, beacon, round_time
from verify.canonical import canonical, parse_canonical
from verify.commitment_checks import (
    verify_coin,
    verify_epoch,
    verify_line,
    verify_log,
    verify_master,
    verify_slot,
)
from verify.commitments import Epoch, EpochCommitment, LogCommitment, MasterCommitment, parse_record, read_record
from verify.committing import commit_epoch, commit_log, epoch_of, prove_line, prove_slot, read_raw_lines
from verify.errors import InputError, Refused
from verify.merkle import leaf_hash, tree_of
from verify.slots import slot_leaf
from verify.steps import failed
from watermark.deployment import Deployment
from watermark.keys import MasterKey, derive
from watermark.secret import Secret

VALUE = bytes(range(32))
DEPLOYMENT = Deployment.parse(shares="fleet=0.4,cohort=0.2,account=0.3,leaf=0.1")
COMING = "2099-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def master_key():
    return MasterKey(Secret(b"m" * 32))


@pytest.fixture(scope="module")
def epoch_key(master_key):
    return master_key.epoch("q4", deployment=DEPLOYMENT, beacon=VALUE)


@pytest.fixture(scope="module")
def master(master_key, epoch_key):
    epoch = epoch_of(epoch_key, cohorts=2, accounts=8)
    return MasterCommitment(master_id=master_key.id, epoch=epoch, beacon=beacon("test-net", 7, COMING))


@pytest.fixture(scope="module")
def epoch(epoch_key, master):
    return commit_epoch(epoch_key, master, VALUE)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture
def log_file(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(b'{"ordinal":%d,"text":"answer %d"}\n' % (i + 100, i) for i in range(11)))
    return str(path)


def stamped(record, authority):
    return record.stamped(authority.token(record.body()))


def outcomes(steps):
    return [s.outcome for s in steps]


def refused_at(steps):
    """The 1-based numbers of the failed steps."""
    return [i for i, s in enumerate(steps, 1) if s.outcome == "failed"]


# --- records ---------------------------------------------------------------------------------------------------------


def test_round_trip(tmp_path, master, epoch, epoch_key, log_file):
    log = commit_log(log_file, epoch)
    records = [master, epoch, log, commit_log(log_file), prove_slot(epoch_key, epoch, "epoch/q4/fleet")]
    records += [prove_line(log_file, log, 3), master.stamped(b"token").stamped(b"another")]
    for record in records:
        (tmp_path / "r.json").write_bytes(record.to_json())
        assert read_record(str(tmp_path / "r.json")) == record


def test_the_digest_is_that_of_another_json_encoder_and_no_timestamp_changes_it(master, epoch):
    for record in (master, epoch):
        fields = json.loads(record.to_json())
        assert fields.pop("timestamps") == []
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert record.digest == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
        assert record.stamped(b"x").digest == record.digest
        assert json.loads(record.stamped(b"x").to_json())["timestamps"] == [base64.b64encode(b"x").decode()]


def test_no_record_holds_a_secret(master_key, epoch_key, master, epoch):
    proof = prove_slot(epoch_key, epoch, "epoch/q4/account/3")
    written = b"".join(r.to_json() for r in (master, epoch, proof)).decode()
    value = epoch_key.value_key("account", "3")
    for secret in (master_key.secret, epoch_key.secret, epoch_key.coin_key().secret, value.value, value.selector):
        assert secret.reveal().hex() not in written
        assert base64.b64encode(secret.reveal()).decode() not in written


def test_the_tree_is_that_of_the_page(epoch_key, epoch):
    """Order, leaves and roots again, by another way: plain JSON, `derive`, and the rfc's recursion."""
    paths = ["fleet", "cohort/0", "cohort/1", *(f"account/{i}" for i in range(8))]
    leaves = []
    for path in paths:
        key = derive(epoch_key, f"epoch/q4/{path}")
        leaves.append(b'{"id":"%s","path":"epoch/q4/%s"}' % (key.id.encode(), path.encode()))
    assert (epoch.size, epoch.root) == (11, tree_of(leaves).root().hex())
    assert epoch.epoch_id == epoch_key.id
    assert epoch.coin_id == epoch_key.coin_key().id


def test_only_channels_with_a_share_have_slots(master_key, master):
    for shares, sizes in (("fleet=0.5,leaf=0.5", (0, 0)), ("account=1", (0, 4)), ("cohort=1", (2, 0))):
        key = master_key.epoch("q4", deployment=Deployment.parse(shares=shares), beacon=VALUE)
        epoch = epoch_of(key, cohorts=sizes[0], accounts=sizes[1])
        announced = msgspec.structs.replace(master, epoch=epoch)
        assert commit_epoch(key, announced, VALUE).size == sum(sizes) + ("fleet" in shares)
    with pytest.raises(Refused, match="not as the master commitment announces it"):
        commit_epoch(key, master, VALUE)


def test_every_parameter_and_the_beacon_change_the_root(master_key, master, epoch):
    roots = {epoch.root}
    for options in ({"width": 1}, {"scheme": "tournament"}, {"shares": "fleet=0.5,cohort=0.2,account=0.3"}, {}):
        options = {"shares": "fleet=0.4,cohort=0.2,account=0.3,leaf=0.1"} | options
        value = b"another value" if options == {"shares": options["shares"]} and len(roots) == 4 else VALUE
        key = master_key.epoch("q4", deployment=Deployment.parse(**options), beacon=value)
        announced = msgspec.structs.replace(master, epoch=epoch_of(key, cohorts=2, accounts=8))
        roots.add(commit_epoch(key, announced, value).root)
    assert len(roots) == 5


def changed(record, path, value):
    fields = json.loads(record.to_json())
    *parents, last = path
    place = fields
    for step in parents:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return canonical(fields) + b"\n"


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("epoch", ["radiolabel"], "pair", "radiolabel is 'pair', expected 'commitment' or 'inclusion'"),
        ("epoch", ["radiolabel"], "inclusion", "not a valid inclusion: invalid value 'epoch' - at $.kind"),
        ("epoch", ["radiolabel"], None, "radiolabel is None"),
        ("epoch", ["radiolabel"], ["commitment"], "radiolabel is ['commitment']"),
        ("epoch", ["version"], 2, "commitment version is 2, expected 1"),
        ("epoch", ["version"], True, "commitment version is True, expected 1"),
        ("epoch", ["kind"], "master", "not a valid commitment: object "),
        ("epoch", ["kind"], None, "not a valid commitment: object missing required field kind"),
        ("epoch", ["kind"], 5, "not a valid commitment: expected str"),
        ("epoch", ["more"], 1, "object contains unknown field more"),
        ("epoch", ["epoch", "more"], 1, "object contains unknown field more - at $.epoch"),
        ("epoch", ["root"], "A" * 64, "at $.root"),
        ("epoch", ["root"], "a" * 64 + "\n", "at $.root"),
        ("epoch", ["root"], None, "missing required field root"),
        ("epoch", ["size"], 12, "size is 12, expected one leaf for each of 11 slots"),
        ("epoch", ["size"], "11", "expected int, got str - at $.size"),
        ("epoch", ["size"], -1, "at $.size"),
        ("epoch", ["beacon_value"], "", "at $.beacon_value"),
        ("epoch", ["beacon_value"], "abc", "at $.beacon_value"),
        ("epoch", ["beacon_value"], "ab" * 1025, "at $.beacon_value"),
        ("epoch", ["epoch", "path"], "epoch/..", "epoch: name '..' cannot be part of a key path"),
        ("epoch", ["epoch", "path"], "epoch/a/b", "cannot be part of a key path"),
        ("epoch", ["epoch", "path"], "q4", "not in their canonical form"),
        ("epoch", ["epoch", "prf"], "md5", "at $.epoch.prf"),
        ("epoch", ["epoch", "scheme"], "kgw", "unknown scheme 'kgw'"),
        ("epoch", ["epoch", "scheme"], "greenlist:gamma=0.50", "canonical form"),
        ("epoch", ["epoch", "width"], 4, "at $.epoch.width"),
        ("epoch", ["epoch", "shares"], {"fleet": 1}, "channel shares"),
        ("epoch", ["epoch", "shares"], {"fleet": 10**6, "leaf": 0}, "canonical form"),
        ("epoch", ["epoch", "shares"], {"leaf": 10**6}, "cohorts is 2, expected 0, since the channel has no share"),
        ("epoch", ["epoch", "accounts"], 7, "accounts is 7, expected a power of two"),
        ("epoch", ["epoch", "accounts"], 0, "accounts is 0, expected a power of two"),
        ("epoch", ["epoch", "accounts"], 1 << 25, "at $.epoch.accounts"),
        ("epoch", ["timestamps"], [1], "at $.timestamps"),
        ("epoch", ["timestamps"], None, "a field is null or left out"),
        ("epoch", ["timestamps"], ["a"], "timestamps[0] is 'a', expected a token in base64"),
        ("epoch", ["timestamps"], ["YWJj\n"], "expected a token in base64"),
        ("epoch", ["timestamps"], ["YR=="], "expected a token in base64"),
        ("epoch", ["timestamps"], [""], "expected a token in base64"),
        ("epoch", ["timestamps"], ["YWJj"] * 17, "at $.timestamps"),
        ("epoch", ["timestamps"], ["YWJj" * 30_000], "at $.timestamps"),
        ("master", ["beacon", "round"], 0, "at $.beacon.round"),
        ("master", ["beacon", "network"], "a b", "at $.beacon.network"),
        ("master", ["beacon", "not_before"], "tomorrow", "at $.beacon.not_before"),
        ("master", ["beacon", "not_before"], COMING + "\n", "at $.beacon.not_before"),
        ("master", ["master_id"], "ab", "at $.master_id"),
        ("log", ["size"], 0, "at $.size"),
        ("log", ["first"], None, "first and last, expected both or neither"),
        ("slot", ["siblings"], ["00" * 32] * 65, "at $.siblings"),
        ("slot", ["siblings", 0], "00", "at $.siblings"),
        ("slot", ["index"], 1.5, "at $.index"),
        ("slot", ["id"], None, "missing required field id"),
        ("line", ["path"], "epoch/q4/fleet", "unknown field path"),
    ],
)
def test_records_that_are_refused(master, epoch, epoch_key, log_file, tmp_path, kind, path, value, message):
    log = commit_log(log_file)
    records = {"master": master, "epoch": epoch, "log": log, "line": prove_line(log_file, log, 3)}
    records["slot"] = prove_slot(epoch_key, epoch, "epoch/q4/fleet")
    (tmp_path / "r.json").write_bytes(changed(records[kind], path, value))
    with pytest.raises(InputError) as caught:
        read_record(str(tmp_path / "r.json"))
    assert message in caught.value.message
    assert caught.value.message.startswith(str(tmp_path / "r.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:-1], "not in canonical form"),
        (lambda d: d + b"\n", "not in canonical form"),
        (lambda d: b"\xef\xbb\xbf" + d, "not JSON at offset 0"),
        (lambda d: d.replace(b":", b": ", 1), "not in canonical form"),
        (lambda d: d[:-2] + b',"version":1}\n', "not in canonical form"),
        (lambda d: b'{"size":1,' + d[1:], "not in canonical form"),
        (lambda d: d.replace(b"epoch/q4", b"epoch\\/q4"), "not in canonical form"),
        (lambda d: d.replace(b'"version":1', b'"version":1.0'), "not in canonical form"),
        (lambda d: d.replace(b'"size":11', b'"size":9007199254740993'), "no canonical JSON"),
        (lambda d: d.replace(b'"size":11', b'"size":NaN'), "not JSON"),
        (lambda d: d.replace(b'"size":11', b'"size":' + b"[" * 900 + b"]" * 900), "not a valid commitment"),
        (lambda d: d.replace(b'"size":11', b'"size":' + b"[" * 100_000), "JSON"),
        (lambda d: b"[" * 400_000 + b"]" * 400_000, "nested too deeply"),
        (lambda d: b'{"a":"' + b"x" * (1 << 21) + b'"}\n', "more than 1048576 bytes"),
        (lambda d: b"[]\n", "expected a JSON object"),
        (lambda d: b"\xff", "not utf-8"),
        (lambda d: b"", "JSON ends early"),
    ],
)
def test_files_that_are_refused(epoch, tmp_path, change, message):
    """Two of these have a field twice: once with the same value, once with another in front."""
    (tmp_path / "r.json").write_bytes(change(epoch.to_json()))
    with pytest.raises(InputError) as caught:
        read_record(str(tmp_path / "r.json"))
    assert message in caught.value.message


def test_a_key_file_in_the_wrong_place_is_not_quoted(tmp_path, epoch_key):
    from watermark.keyfile import write_key

    write_key(epoch_key, tmp_path / "k.key")
    with pytest.raises(InputError) as caught:
        read_record(str(tmp_path / "k.key"))
    assert epoch_key.secret.reveal().hex() not in str(caught.value)


def test_a_writer_refuses_what_a_reader_would(epoch):
    with pytest.raises(InputError, match="expected one leaf for each"):
        msgspec.structs.replace(epoch, size=3).to_json()


def test_every_flipped_byte_of_a_file_is_refused_or_another_record(master, epoch, epoch_key):
    """No byte is decoration: what still reads has another digest, or is another proof."""
    proof = prove_slot(epoch_key, epoch, "epoch/q4/account/3")
    for record in (master, epoch, proof):
        data = record.to_json()
        for index in range(len(data)):
            for bit in (1, 4, 128):
                mutant = bytearray(data)
                mutant[index] ^= bit
                try:
                    read = parse_record(parse_canonical(bytes(mutant), "r"), "r")
                except InputError:
                    continue
                assert read != record
                if record is proof:
                    assert failed(verify_slot(read, epoch, epoch_key.value_key("account", "3"))), index
                else:
                    assert read.digest != record.digest


# --- beacons ---------------------------------------------------------------------------------------------------------


def test_drand_rounds_have_their_time():
    """Round 27946612 of quicknet came at midnight UTC on 20 April 2026, says the drand gem's documentation."""
    assert round_time(QUICKNET, 27_946_612) == dt.datetime(2026, 4, 20, tzinfo=dt.UTC)
    assert beacon(QUICKNET, 27_946_612).not_before == "2026-04-20T00:00:00Z"
    assert beacon(QUICKNET, 27_946_612, "2026-04-20T00:00:00Z") == beacon(QUICKNET, 27_946_612)
    assert round_time("another", 1) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((QUICKNET, 27_946_612, "2026-04-20T00:00:03Z"), "round 27946612 comes at 2026-04-20T00:00:00Z"),
        ((QUICKNET, 1 << 52), "has no date"),
        (("another", 1), "is not known here"),
        (("another", 1, "2026-02-30T00:00:00Z"), "expected one such as"),
    ],
)
def test_beacons_that_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        beacon(*arguments)


# --- the steps -------------------------------------------------------------------------------------------------------


def test_a_master_commitment_in_time(master, authority):
    roots = [authority.root]
    known = msgspec.structs.replace(master, beacon=beacon(QUICKNET, 1_000_000_000))
    assert outcomes(verify_master(stamped(known, authority), roots)) == ["ok"] * 3
    assert outcomes(verify_master(stamped(master, authority), roots)) == ["ok", "not checked", "ok"]
    assert outcomes(verify_master(known, roots)) == ["not checked", "ok", "not checked"]
    assert outcomes(verify_master(stamped(known, authority), [])) == ["not checked", "ok", "not checked"]


def test_a_master_commitment_after_the_round(master, authority):
    late = msgspec.structs.replace(master, beacon=beacon(QUICKNET, 27_946_612))
    assert refused_at(verify_master(stamped(late, authority), [authority.root])) == [3]


def test_the_accuracy_of_the_clock_counts(master, tmp_path):
    """A token of now, by an authority that may be off by an hour, is not before half an hour from now."""
    vague = Authority(tmp_path, accuracy="secs:3600")
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=30)
    record = msgspec.structs.replace(master, beacon=beacon("test-net", 7, f"{soon:%Y-%m-%dT%H:%M:%SZ}"))
    assert refused_at(verify_master(stamped(record, vague), [vague.root])) == [3]
    (tmp_path / "exact").mkdir()
    exact = Authority(tmp_path / "exact", accuracy="secs:1")
    assert not failed(verify_master(stamped(record, exact), [exact.root]))


def test_a_round_whose_time_is_a_lie(master, authority):
    """Named later than it came: the token would precede it only in the record."""
    lie = msgspec.structs.replace(beacon(QUICKNET, 27_946_612), not_before=COMING)
    record = msgspec.structs.replace(master, beacon=lie)
    assert refused_at(verify_master(stamped(record, authority), [authority.root])) == [2]
    nonsense = msgspec.structs.replace(beacon(QUICKNET, 5), not_before="2099-02-31T00:00:00Z")
    assert refused_at(verify_master(msgspec.structs.replace(master, beacon=nonsense), [])) == [2]
    beyond = msgspec.structs.replace(beacon(QUICKNET, 5), round=1 << 52)
    assert refused_at(verify_master(msgspec.structs.replace(master, beacon=beyond), [])) == [2]


def test_timestamps_that_are_anothers(master, epoch, authority, tmp_path):
    roots = [authority.root]
    swapped = msgspec.structs.replace(master, timestamps=stamped(epoch, authority).timestamps)
    assert outcomes(verify_master(swapped, roots)) == ["failed", "not checked", "not checked"]
    assert outcomes(verify_master(master.stamped(b"junk"), roots))[0] == "failed"
    other = Authority(tmp_path)
    both = stamped(stamped(master, authority), other)
    steps = verify_master(both, roots)
    assert outcomes(steps)[0] == "failed", "one that is not trusted spoils all"
    assert steps[0].reason.startswith("timestamp 2: ")
    assert outcomes(verify_master(both, [*roots, other.root]))[0] == "ok"


@pytest.fixture(scope="module")
def past(master_key, epoch_key, authority):
    """Stamped master and epoch commitments, as if the round had come between them."""
    epoch = epoch_of(epoch_key, cohorts=2, accounts=8)
    round_ = beacon("test-net", 7, "2020-01-01T00:00:00Z")
    master = MasterCommitment(master_id=master_key.id, epoch=epoch, beacon=round_)
    return master, stamped(commit_epoch(epoch_key, master, VALUE), authority)


def test_an_epoch_as_announced(past, authority):
    master, epoch = past
    steps = verify_epoch(epoch, [authority.root], master=master, beacon_value=VALUE)
    assert outcomes(steps) == ["ok"] * 5 + ["not checked"]
    assert "asserted" in steps[5].reason
    assert outcomes(verify_epoch(epoch, [])) == ["not checked"] * 6


def test_an_epoch_that_is_not_as_announced(past, master, epoch, authority):
    roots = [authority.root]
    announced, committed = past
    assert refused_at(verify_epoch(committed, roots, master=master, beacon_value=VALUE)) == [2, 4]
    assert refused_at(verify_epoch(committed, roots, master=announced, beacon_value=b"x")) == [5]
    other = msgspec.structs.replace(announced.epoch, accounts=16)
    wider = msgspec.structs.replace(committed, epoch=other, size=19, timestamps=())
    assert refused_at(verify_epoch(wider, roots, master=announced)) == [3]
    early = stamped(epoch, authority)
    assert refused_at(verify_epoch(early, roots, master=master)) == [4], "nobody knew the value yet"


def test_repeating_the_commitment_with_the_keys_gives_the_same_digest(epoch_key, master, epoch, master_key):
    assert commit_epoch(epoch_key, master, VALUE).digest == epoch.digest
    grinded = master_key.epoch("q4", deployment=DEPLOYMENT, beacon=b"chosen")
    assert commit_epoch(grinded, master, VALUE).digest != epoch.digest


@pytest.mark.parametrize("path", ["fleet", "cohort/1", "account/0", "account/7"])
def test_a_slot_is_shown(epoch_key, epoch, path):
    proof = prove_slot(epoch_key, epoch, f"epoch/q4/{path}")
    key = derive(epoch_key, f"epoch/q4/{path}")
    assert outcomes(verify_slot(proof, epoch, key)) == ["ok"] * 4
    assert outcomes(verify_slot(proof, epoch, None)) == ["ok", "ok", "ok", "not checked"]


@pytest.mark.parametrize("path", ["epoch/q4/account/8", "epoch/q4/account/03", "epoch/q3/fleet", "epoch/q4", "x" * 99])
def test_no_proof_for_what_is_no_slot(epoch_key, epoch, path):
    with pytest.raises(Refused, match="is no slot of the commitment"):
        prove_slot(epoch_key, epoch, path)


def test_paths_and_indices_are_inverse(epoch):
    for shares, cohorts, accounts in ((epoch.epoch.shares, 2, 8), ({"account": 1}, 0, 4), ({"fleet": 1}, 0, 0)):
        e = msgspec.structs.replace(epoch.epoch, shares=shares, cohorts=cohorts, accounts=accounts)
        assert [e.index_of(e.path_of(i)) for i in range(e.size)] == list(range(e.size))
        assert len({e.path_of(i) for i in range(e.size)}) == e.size
        with pytest.raises(IndexError):
            e.path_of(e.size)


def test_no_proof_by_another_key(master_key, epoch):
    other = master_key.epoch("q4", deployment=DEPLOYMENT, beacon=b"another")
    with pytest.raises(Refused, match="the commitment is not of this epoch key"):
        prove_slot(other, epoch, "epoch/q4/fleet")
    with pytest.raises(Refused, match="the commitment is not of this epoch key"):
        prove_slot(other, msgspec.structs.replace(epoch, epoch_id=other.id), "epoch/q4/fleet")


def test_slots_that_are_refused_at_their_step(master_key, master, epoch_key, epoch):
    path = "epoch/q4/account/3"
    proof, key = prove_slot(epoch_key, epoch, path), derive(epoch_key, path)

    def steps(key=key, commitment=epoch, **changes):
        return refused_at(verify_slot(msgspec.structs.replace(proof, **changes), commitment, key))

    assert steps() == []
    other_key = master_key.epoch("q4", deployment=DEPLOYMENT, beacon=b"other")
    other = commit_epoch(other_key, master, b"other")
    assert steps(commitment=other) == [1, 3], "another epoch's commitment"
    elsewhere = prove_slot(other_key, other, path)
    assert refused_at(verify_slot(elsewhere, epoch, key)) == [1, 3, 4], "another epoch's proof"
    relabelled = msgspec.structs.replace(elsewhere, commitment=epoch.digest)
    assert refused_at(verify_slot(relabelled, epoch, key)) == [3, 4], "another epoch's proof, relabelled"
    assert steps(key=derive(epoch_key, "epoch/q4/account/4")) == [4], "another slot's key"
    assert steps(key=derive(other_key, path)) == [4], "another epoch's key of this slot"
    assert steps(siblings=proof.siblings[:-1]) == [3]
    assert steps(siblings=()) == [3]
    assert steps(siblings=(*proof.siblings, "00" * 32)) == [3]
    assert steps(siblings=proof.siblings[::-1]) == [3]
    assert steps(index=5) == [2, 3]
    assert steps(index=1 << 40) == [2, 3]
    assert steps(path="epoch/q4/account/4") == [2, 3, 4]
    assert steps(size=12) == [3]
    assert steps(id=derive(epoch_key, "epoch/q4/account/4").id) == [3, 4]
    wide = Deployment.parse(width=3, shares="fleet=0.4,cohort=0.2,account=0.3,leaf=0.1")
    assert steps(key=derive(master_key, path, deployment=wide, beacon=VALUE)) == [4], "another width's key"


def test_a_value_key_grown_for_the_place_of_another(epoch_key, epoch):
    """A provider who committed slot 3 cannot pass off slot 4's secrets under slot 3's name."""
    from watermark.keys import ValueKey

    three, four = (derive(epoch_key, f"epoch/q4/account/{i}") for i in (3, 4))
    forged = ValueKey(four.value, four.selector, three.path, three.deployment)
    assert refused_at(verify_slot(prove_slot(epoch_key, epoch, three.path), epoch, forged)) == [4]


def test_a_slot_committed_with_other_parameters_than_the_epoch_states(master_key, epoch_key, epoch):
    """Proof, path and id fit; only the parameters in the disclosed file show that the provider kept two ways open."""
    path = "epoch/q4/account/3"
    wide = Deployment.parse(width=3, shares="fleet=0.4,cohort=0.2,account=0.3,leaf=0.1")
    other = derive(master_key, path, deployment=wide, beacon=VALUE)
    leaves = [slot_leaf(epoch.epoch.path_of(i), derive(epoch_key, epoch.epoch.path_of(i)).id) for i in range(11)]
    index = [epoch.epoch.path_of(i) for i in range(11)].index(path)
    leaves[index] = slot_leaf(path, other.id)
    found = tree_of(leaves, watch=index).inclusion()
    lying = msgspec.structs.replace(epoch, root=found.root.hex())
    proof = msgspec.structs.replace(
        prove_slot(epoch_key, epoch, path),
        commitment=lying.digest,
        id=other.id,
        siblings=tuple(s.hex() for s in found.siblings),
    )
    steps = verify_slot(proof, lying, other)
    assert refused_at(steps) == [4]
    assert steps[3].reason == "its scheme, width or shares are not those of the commitment"


def test_what_is_disclosed_names_no_other_slot(epoch_key, epoch):
    """The proof and the commitment hold the shown id, the epoch's and the coin's, and hashes: no id of any sibling."""
    shown = "epoch/q4/account/3"
    proof = prove_slot(epoch_key, epoch, shown)
    written = (proof.to_json() + epoch.to_json()).decode()
    others = {epoch.epoch.path_of(i) for i in range(epoch.size)} - {shown}
    for path in others:
        assert derive(epoch_key, path).id not in written
        assert f'"{path}"' not in written
    values = set(re.findall(r"[0-9a-f]{64}", written))
    known = {proof.id, epoch.epoch_id, epoch.coin_id, epoch.root, VALUE.hex(), *proof.siblings}
    known |= {d.removeprefix("sha256:") for d in (epoch.master, epoch.digest)}
    assert values == known
    assert set(json.loads(proof.to_json())) == {
        *("radiolabel", "version", "kind", "commitment", "index", "size", "siblings", "path", "id")
    }
    neighbour = derive(epoch_key, "epoch/q4/account/4")
    guessed = canonical({"id": "0" * 64, "path": neighbour.path})
    assert leaf_hash(guessed).hex() not in proof.siblings


# --- logs ------------------------------------------------------------------------------------------------------------


def test_a_log_and_one_line_of_it(log_file, epoch, authority):
    log = stamped(commit_log(log_file, epoch), authority)
    assert (log.size, log.first, log.last, log.epoch) == (11, 100, 110, epoch.digest)
    lines = list(read_raw_lines(log_file))
    assert outcomes(verify_log(log, [authority.root], epoch=epoch, lines=lines)) == ["ok"] * 3
    assert outcomes(verify_log(log, [])) == ["not checked"] * 3
    for index, line in enumerate(lines):
        assert outcomes(verify_line(prove_line(log_file, log, index), log, line)) == ["ok", "ok"]
    proof = prove_line(log_file, log, 3)
    assert b"answer" not in proof.to_json()


def test_logs_and_lines_that_are_refused(log_file, epoch, tmp_path, past):
    log, lines = commit_log(log_file, epoch), list(read_raw_lines(log_file))
    assert refused_at(verify_log(log, [], epoch=past[1])) == [2]
    for bad in ([], lines[:-1], [*lines, b""], lines[::-1], [lines[0] + b" ", *lines[1:]]):
        assert refused_at(verify_log(log, [], lines=bad)) == [3]
    proof = prove_line(log_file, log, 3)
    assert refused_at(verify_line(proof, log, lines[4])) == [2]
    assert refused_at(verify_line(proof, log, lines[3] + b"\n")) == [2]
    assert refused_at(verify_line(proof, msgspec.structs.replace(log, first=99), lines[3])) == [1]
    with pytest.raises(Refused, match="line 12 is none of the commitment's, expected 1 to 11"):
        prove_line(log_file, log, 11)
    Path(log_file).write_bytes(Path(log_file).read_bytes().replace(b"answer 9", b"answer X"))
    with pytest.raises(Refused, match="not the file of the commitment, or changed since"):
        prove_line(log_file, log, 3)


def test_line_ends_and_compression_change_nothing(tmp_path):
    def root(name, data):
        (tmp_path / name).write_bytes(data)
        return commit_log(str(tmp_path / name)).root

    plain = root("a", b"one\ntwo\n\nfour\n")
    assert plain == tree_of([b"one", b"two", b"", b"four"]).root().hex()
    assert root("b", b"one\r\ntwo\r\n\r\nfour") == plain
    assert root("c", gzip.compress(b"one\ntwo\n\nfour\n")) == plain
    assert root("d", b"one\ntwo\nfour\n") != plain
    assert root("e", b"one\ntwo\n\nfour\r") != plain, "a CR that is not before a LF is text"
    with pytest.raises(InputError, match="empty file"):
        root("f", b"")


@pytest.mark.parametrize(
    ("lines", "ordinals"),
    [
        ([b'{"ordinal":3}', b"{}", b'{"ordinal":9}'], (3, 9)),
        ([b'{"ordinal":3}', b"{}"], (None, None)),
        ([b'{"ordinal":true}', b'{"ordinal":9}'], (None, None)),
        ([b'{"ordinal":-1}', b'{"ordinal":9}'], (None, None)),
        ([b"not json", b'{"ordinal":9}'], (None, None)),
        ([b"[" * 100_000, b"\xff"], (None, None)),
        ([b'{"ordinal":3}'], (3, 3)),
    ],
)
def test_ordinals_are_taken_where_both_lines_have_one(tmp_path, lines, ordinals):
    (tmp_path / "log").write_bytes(b"\n".join(lines))
    log = commit_log(str(tmp_path / "log"))
    assert (log.first, log.last) == ordinals


# --- coins -----------------------------------------------------------------------------------------------------------


def test_the_id_of_the_coin_node_is_that_of_the_page(epoch_key):
    from tests.unit.test_pairs import hkdf

    node = hkdf(epoch_key.secret.reveal(), ("radiolabel/v1/child", "coin", "", ""), 32)
    assert epoch_key.coin_key().id == hkdf(node, ("radiolabel/v1/id", "epoch/q4/coin"), 32).hex()


def test_the_coin_node_is_the_committed_one(epoch_key, epoch, master_key):
    key = epoch_key.coin_key()
    assert verify_coin(epoch, key).outcome == "ok"
    assert (key.coin("a-twin"), key.is_twinned("a", 500_000)) == (
        epoch_key.coin("a-twin"),
        epoch_key.is_twinned("a", 500_000),
    )
    other = master_key.epoch("q4", deployment=DEPLOYMENT, beacon=b"other").coin_key()
    assert verify_coin(epoch, other).outcome == "failed"
    assert key.secret.reveal().hex() not in repr(key)


def test_types_are_what_the_page_says():
    page = (Path(__file__).resolve().parents[2] / "docs/spec/commitment.md").read_text()
    for kind in (MasterCommitment, EpochCommitment, LogCommitment, Epoch):
        for field in kind.__struct_fields__:
            assert f"`{field}`" in page or f"`epoch.{field}`" in page or f"`{field}." in page, field


def test_the_example_of_the_page_is_what_the_keys_give():
    page = (Path(__file__).resolve().parents[2] / "docs/spec/commitment.md").read_text()
    lines = re.search(r"```json\n(.*)\n```", page, re.DOTALL)[1].splitlines()
    master, epoch, proof = (parse_record(parse_canonical(line.encode() + b"\n", "page"), "page") for line in lines)
    key = MasterKey(Secret(bytes(range(32))))
    assert key.id == master.master_id
    deployment = Deployment.parse(shares="fleet=0.5,account=0.4,leaf=0.1")
    derived = key.epoch("q4", deployment=deployment, beacon=bytes(range(32, 64)))
    assert commit_epoch(derived, master, bytes(range(32, 64))) == epoch
    assert not failed(
        [*verify_epoch(epoch, [], master=master), *verify_slot(proof, epoch, derived.value_key("account", "1"))]
    )

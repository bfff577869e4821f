"""Can an innocent model be framed? What is caught, by which step, and what is not.

The tests that end in an accepted file document limits: no arithmetic tells training from imitation, and a provider
whose coins are only stated is believed. docs/spec/evidence.md and the reports say so in words.
"""

import dataclasses
import time
from datetime import timedelta

import msgspec
import numpy as np
import pytest

from tests.conftest import make_epoch
from tests.evidence.inventing import carried_out, entries, planned, stamped, written
from tests.evidence.lying import Liar
from tests.evidence_case import Case
from verify.canonical import digest
from verify.commitment_checks import stamp
from verify.commitments import parse_record
from verify.committing import commit_epoch, commit_log, prove_slot
from verify.corpus import summarize_documents
from verify.evidence.predicate import Commitments
from verify.inputs import open_documents
from verify.pairs import Likelihood, Member, Pair
from verify.plan_parts import Texts
from verify.plans import read_plan
from verify.scoring import score
from verify.tokenization import Tokenizer
from watermark.keyfile import read_key, write_key

PROMPTS = [f"p{i}" for i in range(6)]
N = 40


@pytest.fixture(scope="module")
def committed(rival) -> Commitments:
    """The case's master and epoch."""
    found = rival.statement()["predicate"]["commitments"]
    return Commitments(master=parse_record(found["master"], "m"), epoch=parse_record(found["epoch"], "e"))


def pairs_of(provider, name, *, served, fonder):
    """A file of N pairs, and one of likelihoods.

    Args:
        provider: whose.
        name: of the files.
        served: pair id, first and second likelihood -> which member is said to be the served one.
        fonder: (first, second) log-likelihood of pair number i under the suspect.
    """
    lines, scores = [], []
    for i in range(N):
        id_, members = f"{name}{i}-twin", (Member(f"first answer {i}"), Member(f"second answer {i}"))
        pair = Pair.of(id=id_, prompt=f"question {i}", members=members, served=served(id_, *fonder(i)), drawn="serving",
                       request=f"{name}{i}")  # fmt: skip
        lines.append(pair.to_json() + b"\n")
        scores.append(
            Likelihood(id=id_, digests=pair.digests, tokens=(5, 5), log_likelihood=fonder(i), suspect="model twin")
        )
    provider.file(f"{name}.jsonl").write_bytes(b"".join(lines))
    provider.file(f"{name}-scores.jsonl").write_bytes(b"".join(s.to_json() + b"\n" for s in scores))
    return {"pairs": f"{name}.jsonl", "likelihoods": f"{name}-scores.jsonl"}


def pinned(provider, role, name):
    """A plan's inputs with this file."""
    return {role: digest(provider.file(name).read_bytes())}


def drawn(seed):
    """Likelihoods under a model that knows nothing of what was served: (i) -> (first, second)."""
    values = np.random.default_rng(seed).normal(-20, 1, size=(N, 2))
    return lambda i: (float(values[i, 0]), float(values[i, 1]))


@pytest.fixture
def twins(provider, twin, committed):
    """twins(name, files, coins=, log=) -> the check of twin evidence on these files."""

    def twins(name, files, *, coins="recomputed", log=None, keys=None, **policy):
        like = read_plan(str(provider.file("twin-plan.json")))
        test = like.fields()["test"] | {"coins": coins}
        plan = planned(provider, like, name, test=test, inputs=pinned(provider, "pairs", files["pairs"]))
        key = read_key(provider.file("coin.key")) if coins == "recomputed" else None
        logs = {} if log is None else {"pairs": log}
        evidence = dataclasses.replace(committed, logs=logs)
        data = carried_out(provider, plan, files, key, register=entries(provider, name), commitments=evidence)
        return twin.check(data, keys=keys, **policy), twin.statement_of(data)["predicate"]["decision"]["tests"][0]

    return twins


def log_of(provider, committed, files):
    """The pairs' lines, committed now."""
    return stamped(provider, commit_log(str(provider.file(files["pairs"])), committed.epoch))


# Imitation


def test_the_closed_test_cannot_tell_imitation_from_training(provider, rival, committed):
    """A forger has another model repeat marked answers, such as by a hidden prompt: everything is ok, and it is found.

    The sentence speaks of the text and the key, and of no training.
    """
    plan = planned(provider, read_plan(str(provider.file("rival-plan.json"))), "framed")
    stolen = provider.answers(marked=True)  # of the provider's endpoint; anybody may ask it
    written(plan, provider.file("framed.jsonl"), PROMPTS, stolen, nonces=entries(provider, "framed")[0])
    files = {"input": "framed.jsonl", "tokenizer": "tokenizer.json", "asked": "prompts.txt"}
    proof = parse_record(rival.statement()["predicate"]["commitments"]["slots"][0], "slot")
    evidence = dataclasses.replace(committed, slots=(proof,))
    key = read_key(provider.file("fleet.key"))
    data = carried_out(provider, plan, files, key, register=entries(provider, "framed"), commitments=evidence)
    found, said = rival.check(data), rival.statement_of(data)["predicate"]
    assert found.accepted
    assert found["before"] == "ok"
    assert said["decision"]["tests"][0]["found"]
    sentence = said["results"][0]["derived"]["sentence"]
    assert "Text that does not depend on this key would score this high" in sentence
    assert "train" not in sentence


def test_twins_do_not_find_a_model_that_quotes_what_was_not_served(provider, twins, committed):
    """Marked text from elsewhere, such as other answers of the same model, makes neither member of a pair likelier."""
    files = pairs_of(provider, "quoted", served=_coin(provider), fonder=drawn(3))
    found, test = twins("quoted", files, log=log_of(provider, committed, files))
    assert found.accepted
    assert found["measured"] == found["release.logs"] == "ok"
    assert not test["found"]


def test_twins_find_a_model_that_holds_what_was_served(twin):
    # Also one that a forger trained on, or fed with, exactly the served members: training, not intent.
    found = twin.check()
    assert found.accepted
    assert twin.statement()["predicate"]["decision"]["tests"][0]["found"]


# A log that was invented afterwards


def _coin(provider):
    key = read_key(provider.file("coin.key"))
    return lambda id_, first, second: key.coin(id_)


def _fonder(id_, first, second):
    return int(second > first)


def test_invented_pairs_do_not_have_the_coins_of_the_committed_node(provider, twins):
    files = pairs_of(provider, "picked", served=_fonder, fonder=drawn(4))
    # Nobody can even compute the numbers with the node.
    with pytest.raises(Exception, match="and the coin of this key is"):
        twins("picked", files)
    # As stated they are as strong as 40 pairs can be.
    _, test = twins("picked2", files, coins="stated", keys=[])
    assert test["found"]
    assert test["log10_adjusted"] < -11


def test_coins_that_are_only_stated_are_asserted(provider, twins, committed):
    files = pairs_of(provider, "stated", served=_fonder, fonder=drawn(5))
    log = log_of(provider, committed, files)
    found, test = twins("stated", files, coins="stated", log=log, keys=[])
    assert test["found"]  # of an innocent model
    assert found.accepted
    assert found["keys"] == "not checked"
    assert "that nobody chose them is asserted" in found.reason("keys")
    # The two steps that keep it from being accepted: pairs that were committed in time, and coins that can be checked.
    assert not twins("stated2", files, coins="stated", log=log, keys=[], required=("keys",))[0].accepted
    late = twins("stated3", files, coins="stated", log=log, keys=[], released="2020-01-01T00:00:00Z")[0]
    assert {"release.logs"} <= set(late.failed)


def test_stated_coins_cannot_be_called_recomputed(provider, twin, twins, committed):
    files = pairs_of(provider, "called", served=_fonder, fonder=drawn(6))
    like = read_plan(str(provider.file("twin-plan.json")))
    pairs, test = pinned(provider, "pairs", files["pairs"]), like.fields()["test"] | {"coins": "stated"}
    stated = planned(provider, like, "called", test=test, inputs=pairs)
    said = planned(provider, like, "called2", inputs=pairs)
    statement = twin.statement_of(carried_out(provider, stated, files, None, commitments=committed))
    statement["predicate"] |= {
        "plan": said.fields(),
        "register": [line.fields() for line in entries(provider, "called2")],
    }
    statement["predicate"]["results"][0]["measured"]["coin_key"] = committed.epoch.coin_id
    found = twin.check(twin.sign(statement))
    assert "measured" in found.failed
    assert "and the coin of this key is" in found.reason("measured")


def test_a_log_that_was_committed_after_the_suspect_came_out(provider, twin, committed):
    # The keys were in time and the pairs were not: it came out between the two stamps.
    keys = stamp(committed.epoch, twin.policy.certificates())[1]
    assert keys is not None
    time.sleep(max(0.0, (keys.latest + timedelta(seconds=2)).timestamp() - time.time()))
    late = log_of(provider, committed, twin.statement()["predicate"]["inputs"])
    released = (keys.latest + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    statement = twin.statement()
    statement["predicate"]["commitments"]["logs"] = {"pairs": late.fields()}
    assert twin.check(twin.sign(statement)).accepted
    found = twin.check(twin.sign(statement), released=released)
    assert found.failed == ["release.logs"]
    assert found["release.keys"] == "ok"
    log = twin.statement()["predicate"]["commitments"]["logs"]["pairs"]
    # Dropped, or exchanged for a log of another file, it is not checked.
    for logs in ({}, {"likelihoods": log}):
        found = twin.says(lambda predicate, logs=logs: predicate["commitments"].update(logs=logs), folder=False)
        assert found["release.logs"] == "not checked"
        assert "pairs" in found.reason("release.logs") or not logs
    # A log of other lines.
    other = stamped(provider, commit_log(str(provider.file("likelihoods.jsonl")), committed.epoch))
    assert twin.says(lambda p: p["commitments"].update(logs={"pairs": other.fields()})).failed == ["log.3"]


# Grinding


def test_a_key_that_was_picked_for_a_text_comes_too_late(provider, rival, committed, tmp_path):
    """200 epoch keys on a text that exists, and the best of them committed: found at 5 %, and after the text."""
    text = provider.answers(marked=False)("p0")
    (tmp_path / "text.txt").write_text(text)
    tokenizer = Tokenizer.load(str(provider.file("tokenizer.json")))
    documents = list(open_documents(str(tmp_path / "text.txt"), format="text"))
    pairs = summarize_documents(documents, 2, tokenizer=tokenizer).pairs
    shares = "fleet=0.75,account=0.125,leaf=0.125"
    candidates = [dataclasses.replace(make_epoch(label, shares=shares), name="q4") for label in range(200)]
    best = max(candidates, key=lambda key: score(pairs, key.value_key("fleet")).total)
    # Nobody without the master key can see that this epoch does not come from it and the beacon.
    beacon_value = bytes.fromhex(committed.epoch.beacon_value)
    epoch = stamped(provider, commit_epoch(best, committed.master, beacon_value))
    value = best.value_key("fleet")
    like = read_plan(str(provider.file("loose-draft.json")))
    suspect = msgspec.to_builtins(Texts(name="found", origin="its public page"))
    provider.file("ground.txt").write_text(text)
    plan = planned(provider, like, "ground", alpha=0.05, suspect=suspect, keys=[{"id": value.id, "path": value.path}],
                   inputs=pinned(provider, "input", "ground.txt"))  # fmt: skip
    evidence = Commitments(master=committed.master, epoch=epoch, slots=(prove_slot(best, epoch, value.path),))
    files, register = {"input": "ground.txt", "tokenizer": "tokenizer.json"}, entries(provider, "ground")
    data = carried_out(provider, plan, files, value, register=register, commitments=evidence)
    assert rival.statement_of(data)["predicate"]["decision"]["tests"][0]["found"]
    write_key(value, provider.file("ground.key"))
    liar = Liar(Case(provider.folder, "rival.json", "ground.key"), rival.policy, rival.signer)
    found = liar.check(data, released="2020-01-01T00:00:00Z")
    assert found.failed == ["release.keys"]
    assert found["epoch.6"] == "not checked"
    assert found["slot.5"] == found["measured"] == found["decision"] == "ok"
    # Whoever does not know when the text came out sees that this was not checked.
    assert liar.check(data, released="unknown")["release.keys"] == "not checked"

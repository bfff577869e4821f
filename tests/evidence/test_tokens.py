"""Timestamp tokens, byte by byte: what nobody signed of them says nothing (docs/spec/commitment.md, section 7)."""

import base64

import numpy as np
import pytest

from verify.commitments import parse_record
from verify.errors import Error
from verify.timestamps import check_token


@pytest.fixture(scope="module")
def epoch(rival):
    """The epoch's commitment."""
    return parse_record(rival.statement()["predicate"]["commitments"]["epoch"], "epoch")


@pytest.fixture(scope="module")
def unsigned(rival, epoch):
    """Tokens with one byte changed that still pass: (place, token)."""
    (token,), random, passed = epoch.tokens(), np.random.default_rng(1), []
    digest, roots = bytes.fromhex(epoch.digest.removeprefix("sha256:")), rival.policy.certificates()
    honest = check_token(token, digest, roots)
    for at in range(len(token)):
        for bits in (1, 0x20, int(random.integers(1, 256))):
            changed = token[:at] + bytes([token[at] ^ bits]) + token[at + 1 :]
            try:
                found = check_token(changed, digest, roots)
            except Error:
                continue
            assert found == honest, f"byte {at}: {found}"
            passed.append((at, changed))
    return passed


def test_what_passes_states_the_same_time_by_the_same_signer(epoch, unsigned):
    # A handful of several hundred bytes: `unsigned` has compared each with the honest token.
    assert len({at for at, _ in unsigned}) <= 0.05 * len(epoch.tokens()[0])


def test_a_changed_token_of_a_commitment_fails_unless_it_states_the_same(rival, epoch, unsigned):
    (token,), passing = epoch.tokens(), {changed for _, changed in unsigned}
    flips = [token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :] for at in range(0, len(token), 9)]
    for changed in {*passing, *flips}:
        text = base64.b64encode(changed).decode()
        found = rival.says(lambda p, text=text: p["commitments"]["epoch"].update(timestamps=[text]), folder=False)
        assert found.failed == ([] if changed in passing else ["epoch.1", "release.keys"])


def test_no_byte_of_the_plans_token_can_be_changed(rival):
    # The register holds its digest.
    token = base64.b64decode(rival.statement()["predicate"]["plan"]["timestamps"][0])
    for at in range(0, len(token), 5):
        text = base64.b64encode(token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :]).decode()
        found = rival.says(lambda p, text=text: p["plan"].update(timestamps=[text]), folder=False)
        assert "register.5" in found.failed


def test_no_byte_of_the_lines_token_can_be_changed(rival):
    # Order and nonces follow from all of it, also from what is not signed.
    token = base64.b64decode(rival.statement()["predicate"]["register"][1]["timestamps"][0])
    for at in range(0, len(token), 29):
        text = base64.b64encode(token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :]).decode()
        found = rival.says(lambda p, text=text: p["register"][1].update(timestamps=[text]))
        assert {"collection.4", "before"} <= set(found.failed)


def test_a_token_of_something_else_is_none(rival):
    # The plan's on the epoch, the master's on the plan, a line's of the register on the master.
    def swapped(predicate, to, of):
        to.update(timestamps=of["timestamps"])

    def parts(p):
        return {"plan": p["plan"], "line": p["register"][0]} | p["commitments"]

    step = {"plan": "plan", "epoch": "epoch.1", "master": "master.1", "line": "register.3"}
    for to in step:
        for of in step.keys() - {to}:
            found = rival.says(lambda p, to=to, of=of: swapped(p, parts(p)[to], parts(p)[of]), folder=False)
            assert step[to] in found.failed, (to, of)
            assert not found.accepted


def test_an_authority_that_the_policy_does_not_name_counts_for_nothing(rival, tmp_path):
    from cryptography.hazmat.primitives.serialization import Encoding

    from tests.tsa_server import Authority

    other = Authority(tmp_path)
    roots = other.root.public_bytes(Encoding.PEM).decode()
    found = rival.check(roots=roots)
    assert {"plan", "register.3", "master.1", "epoch.1", "release.keys", "before"} <= set(found.failed)
    # The forger's own authority states any time over the right digest: it is not a root of the policy.
    digest = rival.statement()["predicate"]["commitments"]["epoch"]
    forged = base64.b64encode(other.token(parse_record(digest, "epoch").body())).decode()
    found = rival.says(lambda p: p["commitments"]["epoch"].update(timestamps=[forged]), folder=False)
    assert found.failed == ["epoch.1", "release.keys"]
    # None is trusted: then nothing is shown, and what needs a time is not checked.
    found = rival.check(roots="")
    assert not found.failed
    assert {"plan", "register.3", "master.1", "epoch.1", "release.keys", "before"} <= set(found.of("not checked"))
    assert not rival.check(roots="", required=("plan",)).accepted

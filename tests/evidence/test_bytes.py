"""Whoever hands evidence on may change any byte of it or of its inputs, and nothing that was changed is accepted."""

import shutil

import numpy as np
import pytest

from tests.evidence.lying import Liar
from tests.evidence_case import Case
from verify.evidence.checking import accepted, check


@pytest.fixture
def refused(rival):
    """refused(data): not accepted, and nothing but steps comes of it."""

    def refused(data: bytes) -> bool:
        steps = check(data, rival.policy, name="evidence")
        return bool(steps) and not accepted(steps, rival.policy)

    return refused


def flipped(data: bytes, at: int, bits: int) -> bytes:
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


def test_the_honest_files_are_accepted(rival, twin, loose):
    for liar in (rival, twin, loose):
        assert liar.check().accepted
        assert liar.check(folder=False, keys=[]).accepted


@pytest.mark.parametrize("name", ["rival", "twin", "loose"])
def test_every_byte_of_a_file_counts(request, refused, name):
    data, random = request.getfixturevalue(name).data(), np.random.default_rng(0)
    patterns = (1, 0x20, None) if name == "loose" else (None,)
    for at in range(len(data)):
        for bits in patterns:
            bits = bits or int(random.integers(1, 256))
            assert refused(flipped(data, at, bits)), (at, bits)


def test_no_part_of_a_file_is_enough(rival, refused):
    data = rival.data()
    for end in {*range(0, len(data), 41), *range(len(data) - 100, len(data))}:
        assert refused(data[:end]), end
        assert refused(data[len(data) - end :]), end


def test_a_byte_cannot_be_left_out_or_added(rival, refused):
    data = rival.data()
    for at in {*range(0, len(data), 41), *range(len(data) - 200, len(data))}:
        assert refused(data[:at] + data[at + 1 :]), at
        assert refused(data[:at] + data[at : at + 1] + data[at:]), at
    for more in (b" ", b"\n", b"\0", b"\r\n", data):
        assert refused(data + more)
        assert refused(more + data)


@pytest.mark.parametrize("name", ["rival", "twin"])
def test_every_byte_of_an_input_counts(request, tmp_path, name):
    honest = request.getfixturevalue(name)
    folder = tmp_path / "copy"
    shutil.copytree(honest.case.folder, folder)
    liar = Liar(Case(folder, honest.case.evidence, honest.case.key), honest.policy, honest.signer)
    for role, file in honest.statement()["predicate"]["inputs"].items():
        data = (folder / file).read_bytes()
        ends = {0, len(data) - 1}
        for at in ends | {*range(0, len(data), max(1, len(data) // 16))}:
            (folder / file).write_bytes(flipped(data, at, 1 + at % 255))
            found = liar.check(keys=[])
            assert not found.accepted
            assert found["inputs"] == "failed"
            assert found.reason("inputs").startswith(f"{role}: {file} has digest")
        (folder / file).write_bytes(data)
    assert liar.check().accepted


def test_every_byte_of_another_evidence_file_counts(rival, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(rival.case.folder, folder)
    liar = Liar(Case(folder, "rival.json", "fleet.key"), rival.policy, rival.signer)
    data = (folder / "innocent.json").read_bytes()
    for at in {0, len(data) - 1, *range(0, len(data), 1511)}:
        (folder / "innocent.json").write_bytes(flipped(data, at, 1))
        found = liar.check(keys=[])
        assert (found.accepted, found["others"]) == (False, "failed")


def test_another_evidence_file_of_the_same_plan_is_another_file(rival, tmp_path):
    """Signed by the same and saying the same, but for the time: it is not the one that was seen."""
    folder = tmp_path / "copy"
    shutil.copytree(rival.case.folder, folder)
    liar = Liar(Case(folder, "rival.json", "fleet.key"), rival.policy, rival.signer)
    statement = liar.with_evidence("innocent.json").statement()
    statement["predicate"]["times"]["made"] = "2020-01-01T00:00:00Z"
    (folder / "innocent.json").write_bytes(liar.sign(statement))
    found = liar.check(keys=[])
    assert found.failed == ["others"]
    assert "its digest is" in found.reason("others")

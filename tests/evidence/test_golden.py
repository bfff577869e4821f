"""Evidence that an earlier version made: every later one has to come to the same outcomes (tests/golden/make.py).

Certificates of timestamps are judged at the token's time (docs/spec/commitment.md, section 7), so nothing here expires.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evidence_case import outcomes, run
from tests.golden.make import KEY, command
from verify.cli import main

GOLDEN = Path(__file__).parents[1] / "golden"
INDEPENDENT = Path(__file__).parents[2] / "docs" / "spec" / "check_evidence.py"
CASES = sorted(path.parent for path in GOLDEN.glob("*/*/expected.json"))


@pytest.fixture(params=CASES, ids=lambda path: "/".join(path.parts[-2:]))
def golden(request, tmp_path):
    """A copy that may be changed, its key readable by nobody else: a checkout does not keep that."""
    folder = tmp_path / "case"
    shutil.copytree(request.param, folder)
    (folder / KEY).chmod(0o600)
    return folder


def test_there_is_golden_evidence_of_both_kinds():
    assert {"v1/closed", "v1/twin"} <= {"/".join(path.parts[-2:]) for path in CASES}


def test_golden_evidence_comes_to_the_same_outcomes(golden):
    expected = json.loads((golden / "expected.json").read_text())
    assert outcomes(run(*command(golden))) == expected
    assert "failed" not in expected.values()
    assert {"plan", "measured", "decision"} <= {step for step, outcome in expected.items() if outcome == "ok"}


def test_another_digit_in_a_golden_input_is_seen(golden, capsys):
    path = next(path for path in sorted((golden / "inputs").iterdir()) if path.suffix == ".jsonl")
    data = path.read_bytes()
    at = data.index(b'"id":"')
    path.write_bytes(data[: at + 6] + bytes([data[at + 6] ^ 1]) + data[at + 7 :])
    assert main(list(map(str, command(golden)))) == 1
    assert outcomes(capsys.readouterr().out)["inputs"] == "failed"


def independent(folder):
    """(exit code, outcome by step) of the checker that imports nothing of this project."""
    given = (folder / name for name in ("evidence.json", "policy.json", "inputs", KEY))
    done = subprocess.run([sys.executable, INDEPENDENT, *given], capture_output=True, text=True, check=False)
    lines = [line.split() for line in done.stdout.replace("not checked", "not-checked").splitlines()]
    return done.returncode, {words[1]: words[0].replace("-", " ") for words in lines if len(words) > 1}


def test_the_independent_checker_agrees(golden):
    code, found = independent(golden)
    assert code == 0, found
    expected = json.loads((golden / "expected.json").read_text())
    assert "failed" not in found.values()
    assert {"envelope", "signature", "plan", "measured", "derived", "decision"} <= found.keys()
    both = found.keys() & expected.keys()
    assert {step: found[step] for step in both} == {step: expected[step] for step in both}


def test_the_independent_checker_sees_what_was_changed(golden):
    evidence = (golden / "evidence.json").read_bytes()
    (golden / "evidence.json").write_bytes(evidence[:2000] + bytes([evidence[2000] ^ 1]) + evidence[2001:])
    code, found = independent(golden)
    assert code == 1
    assert "failed" in found.values()
    assert "measured" not in found


def test_golden_files_are_small():
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 1 << 20

"""`radiolabel evidence` as it is typed: no input is lost or read without end, whatever is given as which file."""

import os
import subprocess
import sys

import pytest

from tests import reporting
from tests.cli.conftest import radiolabel
from verify.canonical import canonical
from verify.evidence.policy import Policy

READ = ("--register", "--master", "--epoch", "--rate", "--slot", "--log pairs")


@pytest.mark.parametrize("linked", ["name", "symlink", "hard link"])
@pytest.mark.parametrize("option", READ)
def test_no_input_is_replaced_by_the_evidence_whatever_force_says(tmp_path, option, linked):
    kept = tmp_path / "kept.json"
    kept.write_text("the only copy")
    output = kept if linked == "name" else tmp_path / "other name"
    if linked != "name":
        (os.symlink if linked == "symlink" else os.link)(kept, output)
    name, _, role = option.partition(" ")
    given = f"{role}={kept}" if role else kept
    signer = tmp_path / "signer.pem"
    code, out, err = radiolabel(
        *("evidence", tmp_path / "plan.json", "--input", f"input={tmp_path / 'answers.jsonl'}", "--signer", signer),
        *(name, given, "-o", output, "--force"),
    )
    assert (code, out) == (2, "")
    assert "and --output are the same file" in err
    assert kept.read_text() == "the only copy"


@pytest.mark.parametrize("option", ["--control", "--other", "--rate"])
def test_a_device_without_an_end_is_not_read_into_memory(tmp_path, option):
    plan, signer = tmp_path / "plan.json", tmp_path / "signer.pem"
    plan.write_bytes(canonical(reporting.cases()["closed-exploratory"]["plan"]) + b"\n")
    assert radiolabel("key", "signer", "-o", signer)[0] == 0
    code, out, err = radiolabel(
        *("evidence", plan, "--unsafe-no-plan", "--signer", signer, "--input", f"input={tmp_path / 'answers.jsonl'}"),
        *(option, "/dev/zero", "-o", tmp_path / "evidence.json"),
    )
    assert (code, out) == (2, "")
    assert "/dev/zero" in err
    assert "not a regular file" in err


def test_a_check_without_its_extra_says_what_to_install(tmp_path):
    policy = Policy(
        signer=reporting.SIGNER.public.hex(), roots="", released="unknown", beacon_value="unknown", required=()
    )
    (tmp_path / "policy.json").write_bytes(policy.to_json())
    reporting.write(reporting.cases()["closed-exploratory"], tmp_path / "evidence.json")
    blocked = "import sys; sys.modules['rfc3161_client'] = None; from verify.cli import main; sys.exit(main())"
    command = ("check", tmp_path / "evidence.json", "--policy", tmp_path / "policy.json")
    done = subprocess.run([sys.executable, "-c", blocked, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "rfc3161_client is not installed: pip install radiolabel[evidence]" in done.stderr


def test_force_never_replaces_a_key(tmp_path):
    policy = (
        "policy",
        "--tsa-certs",
        "none",
        "--released",
        "unknown",
        "--beacon-value",
        "unknown",
        "--require",
        "none",
    )
    assert radiolabel("key", "new", "-o", tmp_path / "master.key")[0] == 0
    assert radiolabel("key", "signer", "-o", tmp_path / "signer.pem")[0] == 0
    for name in ("master.key", "signer.pem"):
        before = (tmp_path / name).read_bytes()
        signer = ("--signer", reporting.SIGNER.public.hex())
        code, out, err = radiolabel(*policy, *signer, "-o", tmp_path / name, "--force")
        assert (code, out, "is a key file, and those are never replaced" in err) == (2, "", True)
        assert (tmp_path / name).read_bytes() == before


def test_a_report_never_replaces_an_input(tmp_path):
    reporting.write(reporting.cases()["closed-exploratory"], tmp_path / "evidence.json")
    (tmp_path / "inputs").mkdir()
    kept = tmp_path / "inputs" / "answers.jsonl"
    kept.write_text("the only copy")
    (tmp_path / "policy.json").write_bytes(
        Policy(signer="0" * 64, roots="", released="unknown", beacon_value="unknown", required=()).to_json()
    )
    checked = ("--policy", tmp_path / "policy.json", "--inputs", tmp_path / "inputs")
    code, out, err = radiolabel("report", tmp_path / "evidence.json", *checked, "-o", kept, "--force")
    assert (code, out, "are the same file" in err) == (2, "", True)
    assert kept.read_text() == "the only copy"

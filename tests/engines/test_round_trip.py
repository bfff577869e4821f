"""docs/round_trip.sh, as it stands: from keys to a report, on the packaged model, with a real timestamp authority."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tsa_server import Authority, TSAServer

pytestmark = pytest.mark.engine
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trip")
    with TSAServer(Authority(tmp_path_factory.mktemp("tsa"))) as tsa:
        environment = os.environ | {
            "TSA": tsa.url,
            "TSA_CERTS": str(tsa.authority.roots_file),
            "PYTHON": sys.executable,
            "QUESTIONS": "32",
            "TOKENS": "32",
            "NO_PROXY": "127.0.0.1",
        }
        done = subprocess.run(
            ["bash", ROOT / "docs" / "round_trip.sh", folder / "out"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return folder / "out"


def test_the_student_is_found_and_both_checkers_agree(out):
    for name, found in (("weights", True), ("endpoint", False)):
        check = (out / f"{name}-check.txt").read_text()
        assert "Accepted:" in check.splitlines()[-2] + check.splitlines()[-1]
        assert " 0 failed" in check
        assert "failed" not in (out / f"{name}-second-check.txt").read_text().replace("0 failed", "")
        page = (out / f"{name}-report.html").read_text()
        assert page.startswith("<!DOCTYPE html>")
        lines = [line for line in check.splitlines() if "Found: " in line or "Not found: " in line]
        assert len(lines) == 1
        assert ("Found: weights" in lines[0]) == found


def test_only_disclosed_keys_are_disclosed(out):
    keys = {path.name for path in (out / "disclosed").glob("*.key")}
    assert keys == {"fleet.key", "coin.key"}
    secrets = [json.loads((out / f"{name}.key").read_text())["secret"] for name in ("master", "epoch")]
    signer = (out / "signer.pem").read_text().splitlines()[1]
    for path in [*(out / "disclosed").iterdir(), *out.glob("*-report.html"), *out.glob("*-check.txt")]:
        text = path.read_text()
        assert not any(secret in text for secret in (*secrets, signer)), path.name


def test_no_text_of_a_customer_is_disclosed(out):
    prompts = (out / "served-prompts.txt").read_text().splitlines()
    pairs = [json.loads(line) for line in (out / "pairs.jsonl").read_text().splitlines()]
    texts = [text for p in pairs for text in (p["members"][0]["text"], p["members"][1]["text"]) if len(text) > 40]
    shown = "".join((out / "disclosed" / n).read_text() for n in ("redacted-pairs.jsonl", "likelihoods.jsonl"))
    shown += (out / "disclosed" / "weights-evidence.json").read_text()
    assert texts
    assert not any(text[:40] in shown for text in (*prompts, *texts))

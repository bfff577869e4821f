"""The same inputs give the same evidence: golden files made again, byte for byte but for time and versions."""

import json
import shutil
from pathlib import Path

import pytest

from verify.canonical import canonical
from verify.evidence.envelope import read_envelope
from verify.evidence.making import make
from verify.evidence.predicate import parse_predicate
from watermark.keyfile import read_key

GOLDEN = sorted(path for path in (Path(__file__).parents[1] / "golden").glob("v*/*") if path.is_dir())


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_golden_evidence_made_again(folder, tmp_path):
    key = tmp_path / "disclosed.json"  # a key file has to be its owner's alone, and git does not keep that
    shutil.copy(folder / "disclosed.json", key)
    key.chmod(0o600)
    said = read_envelope(str(folder / "evidence.json")).statement("evidence.json")
    predicate = parse_predicate(said["predicate"], "evidence.json")
    files = {role: str(folder / "inputs" / name) for role, name in predicate.inputs.items()}
    for _ in range(2):
        again = make(
            predicate.plan,
            files,
            [read_key(key)],
            register=predicate.register,
            unrun=predicate.unrun,
            commitments=predicate.commitments,
            others=predicate.others,
            rate=predicate.rate,
            made=predicate.times.made,
        )
        made = json.loads(again)
        made["predicate"]["software"] = said["predicate"]["software"]
        assert canonical(made) == canonical(said)

"""Our implementation against vectors that an independent one made from the spec pages alone."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from watermark.channels import CHANNELS, Shares, channel_of
from watermark.deployment import Deployment
from watermark.keyfile import read_key, write_key
from watermark.keys import MasterKey, derive
from watermark.prf import Prf, pack_blocks, uniform52
from watermark.schemes import parse
from watermark.schemes.gumbel import score_table
from watermark.secret import Secret

FOLDER = Path(__file__).parent
VECTORS = json.loads((FOLDER / "aes128-v1.json").read_text())
BLOCKS = VECTORS["blocks"]


def test_the_generator_still_makes_this_file():
    command = [sys.executable, "-I", FOLDER / "make_vectors.py", "--check", FOLDER / "aes128-v1.json"]
    assert subprocess.run(command, check=False).returncode == 0


@pytest.mark.parametrize("case", BLOCKS, ids=lambda c: f"{c['layout']}-{c['window']}-{c['token']}")
def test_blocks(case):
    token = None if case["token"] is None else np.array([case["token"]], dtype=np.uint32)
    blocks = pack_blocks(np.array([case["window"]], dtype=np.uint32), token)
    assert blocks.astype("<u4").tobytes().hex() == case["block"]
    words = Prf(Secret(bytes.fromhex(case["key"]))).words(blocks)
    assert [str(w) for w in words[0]] == [case["r0"], case["r1"]]
    assert float(uniform52(words[:, 0])[0]).hex() == case["u52"]


def check_scores(spec, cases):
    scheme = parse(spec)
    source = [BLOCKS[c["block"]] if "block" in c else c for c in cases]
    words = np.array([[int(b["r0"]), int(b["r1"])] for b in source], dtype=np.uint64)
    assert scheme.spec == spec
    assert scheme.score(words).tolist() == [c["score"] for c in cases]


def test_gumbel():
    v = VECTORS["gumbel"]
    assert hashlib.sha256(score_table().astype("<u4").tobytes()).hexdigest() == v["table_sha256"]
    assert min(float(side["distance"]) for side in v["nearest_integer"].values()) > 1e-6
    check_scores("gumbel", v["scores"])


@pytest.mark.parametrize("case", VECTORS["tournament"] + VECTORS["greenlist"], ids=lambda c: c["spec"])
def test_tournament_and_green_list(case):
    check_scores(case["spec"], case["scores"])
    if "weights" in case:
        assert list(parse(case["spec"]).weights) == case["weights"]


@pytest.mark.parametrize("case", VECTORS["channels"], ids=lambda c: str(list(c["shares"].values())))
def test_channels(case):
    edges = Shares.from_mapping(case["shares"]).edges()
    assert edges.tolist() == case["edges"]
    x = np.array([c["x"] for c in case["cases"]], dtype=np.uint64)
    got = channel_of(edges, x)
    assert [CHANNELS[i] for i in got] == [c["channel"] for c in case["cases"]]


@pytest.mark.parametrize("vector", VECTORS["keys"]["masters"], ids=lambda v: v["id"][:8])
def test_key_tree(vector):
    master = MasterKey(Secret(bytes.fromhex(vector["secret"])))
    assert master.id == vector["id"]
    settings = [(f["scheme"], f["width"], f["shares"]) for f in vector["epochs"][0]["value_files"][::3]]
    for v in vector["epochs"]:
        for (spec, width, shares), epoch_id in zip(settings, v["ids"], strict=True):
            deployment = Deployment(parse(spec), width, Shares.from_mapping(shares))
            epoch = derive(master, v["path"], deployment=deployment, beacon=v["beacon"].encode())
            assert epoch.secret.reveal().hex() == v["secret"]
            assert epoch.id == epoch_id
            assert epoch._selector().reveal().hex() == v["selector"]["keys"][deployment.shares.canonical()][str(width)]
            name = v["leaf"]["path"].rsplit("/", 1)[-1]
            zero = pack_blocks(np.zeros((1, 1), dtype=np.uint32), np.zeros(1, dtype=np.uint32))
            direct = Prf(Secret(bytes.fromhex(v["leaf"]["key"])))
            assert (epoch.leaf_prf(name).words(zero) == direct.words(zero)).all()
            for channel in v["channels"]:
                key = derive(epoch, channel["path"])
                assert (
                    key.value.reveal().hex() == channel["value_keys"][spec][deployment.shares.canonical()][str(width)]
                )
        for f in v["value_files"]:
            deployment = Deployment(parse(f["scheme"]), f["width"], Shares.from_mapping(f["shares"]))
            key = derive(master, f["path"], deployment=deployment, beacon=v["beacon"].encode())
            assert (key.id, deployment.shares.canonical()) == (f["id"], f["shares_string"])


@pytest.mark.parametrize("record", VECTORS["keys"]["files"], ids=lambda r: f"{r['kind']}-{r['path']}"[:40])
def test_key_files(record, tmp_path):
    path = tmp_path / "k"
    path.write_text(json.dumps(record))
    path.chmod(0o600)
    key = read_key(path)
    assert key.id == record["id"]
    write_key(key, tmp_path / "again")
    written = json.loads((tmp_path / "again").read_text())
    assert written == record

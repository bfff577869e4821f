import json

import numpy as np
import pytest

from tests.cli.conftest import radiolabel
from tests.conftest import make_epoch
from verify.pairs import Likelihood, Member, Pair, read_pairs
from verify.redaction import read_twins, redacted
from watermark.keyfile import write_key

SALT = "000102030405060708090a0b0c0d0e0f"
EPOCH = make_epoch(4)
COINS = EPOCH.coin_key()


def make_pair(i, **others):
    name = f"r{i}-twin"
    texts = ("private answer", "withheld answer") if i else ("same", "same")
    fields = {"id": name, "request": f"r{i}", "account": str(i % 3), "served": COINS.coin(name), "drawn": "serving"}
    return Pair.of(prompt=f"private question {i}", members=tuple(map(Member, texts)), **(fields | others))


def make_likelihood(pair, i):
    scores = [-50.0, -50.0]
    if i:
        scores[pair.served if i > 4 else 1 - pair.served] += 1.0
    return Likelihood(id=pair.id, digests=pair.digests, tokens=(9, 9), log_likelihood=tuple(scores), suspect="suspect")


def write(path, lines):
    path.write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.fixture
def folder(tmp_path):
    """40 pairs of an epoch's coins, one of them a tie, and likelihoods; served transcripts of 30 answers."""
    pairs = [make_pair(i) for i in range(40)]
    write(tmp_path / "pairs.jsonl", [p.to_json() for p in pairs])
    write(tmp_path / "likelihoods.jsonl", [make_likelihood(p, i).to_json() for i, p in enumerate(pairs)])
    write_key(EPOCH, tmp_path / "epoch.key")
    random = np.random.default_rng(0)
    served = [random.integers(0, 40, 50).tolist() for _ in range(30)]
    write(tmp_path / "served.jsonl", [json.dumps({"text": "private", "token_ids": ids}).encode() for ids in served])
    return tmp_path


def redact(folder, *arguments, **options):
    return radiolabel("redact", *arguments, cwd=folder, **options)


def test_pairs_without_their_texts(folder):
    code, out, err = redact(folder, "pairs.jsonl", "-o", "redacted.jsonl")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"file": "redacted.jsonl", "kind": "redacted-pair", "n": 40, "equal": 1}
    data = (folder / "redacted.jsonl").read_bytes()
    assert b"private" not in data
    assert b"withheld" not in data
    whole = list(read_pairs(str(folder / "pairs.jsonl")))
    assert list(read_twins(str(folder / "redacted.jsonl"))) == [redacted(pair) for pair in whole]
    assert data == b"".join(redacted(pair).to_json() + b"\n" for pair in whole)


def test_the_twin_test_gives_the_same_without_the_texts(folder):
    assert redact(folder, "pairs.jsonl", "-o", "redacted.jsonl")[0] == 0
    found = []
    for name in ("pairs.jsonl", "redacted.jsonl"):
        arguments = ("test", "twin", name, "--likelihoods", "likelihoods.jsonl", "--key", "epoch.key")
        code, out, err = radiolabel(*arguments, "--format", "json", cwd=folder)
        assert (code, err) == (0, "")
        record = json.loads(out)
        assert record["options"]["sha256"].pop("pairs")
        found.append(record)
    assert found[0] == found[1]
    assert (found[0]["wins"], found[0]["losses"], found[0]["ties"]) == (35, 4, 1)


def test_a_coin_that_is_not_the_keys_is_seen_without_the_texts(folder):
    pairs = [make_pair(1), make_pair(2, served=1 - COINS.coin("r2-twin"))]
    write(folder / "wrong.jsonl", [redacted(pair).to_json() for pair in pairs])
    arguments = ("test", "twin", "wrong.jsonl", "--likelihoods", "likelihoods.jsonl", "--key", "epoch.key")
    code, _, err = radiolabel(*arguments, cwd=folder)
    assert code == 3
    assert "pair 'r2-twin': served is" in err


def test_tests_that_need_the_texts_say_so(folder):
    assert redact(folder, "pairs.jsonl", "-o", "redacted.jsonl")[0] == 0
    write(folder / "answers.jsonl", [b'{"prompt":"private question","response":"private answer"}'])
    code, out, err = radiolabel("test", "twin", "redacted.jsonl", "--answers", "answers.jsonl", cwd=folder)
    assert (code, out) == (3, "")
    assert "redacted.jsonl:1: a redacted pair, expected one with its prompt and its texts" in err
    assert "hint: only radiolabel test twin --likelihoods does without" in err
    code, _, err = redact(folder, "redacted.jsonl", "-o", "again.jsonl")
    assert code == 3
    assert "a redacted pair" in err
    assert not (folder / "again.jsonl").exists()


def test_a_pair_opened_later_proves_itself(folder):
    pytest.importorskip("rfc8785")
    assert redact(folder, "pairs.jsonl", "-o", "redacted.jsonl")[0] == 0
    assert radiolabel("commit", "log", "redacted.jsonl", "-o", "log.json", cwd=folder)[0] == 0
    prove = ("commit", "prove", "log.json", "--log", "redacted.jsonl", "--line", "7", "-o", "proof.json")
    assert radiolabel(*prove, cwd=folder)[0] == 0
    lines = (folder / "pairs.jsonl").read_bytes().splitlines()
    for number, expected in ((6, 0), (7, 1)):  # --line counts from 1
        write(folder / "opened.jsonl", [lines[number]])
        assert redact(folder, "opened.jsonl", "-o", "line.jsonl", "--force")[0] == 0
        show = ("commit", "show", "proof.json", "--against", "log.json", "--log", "line.jsonl")
        assert radiolabel(*show, cwd=folder)[0] == expected


def test_windows_are_hashed(folder):
    code, out, err = redact(folder, "served.jsonl", "--windows", "2", "-o", "windows.txt")
    assert (code, err) == (0, "")
    said = json.loads(out)
    head, *lines = (folder / "windows.txt").read_text().splitlines()
    assert said == {"file": "windows.txt", "kind": "windows"} | {
        name: json.loads(head)[name] for name in ("n", "width", "salt", "tokenizer")
    }
    assert said["n"] == len(lines) == len(set(lines))
    assert lines == sorted(lines)
    assert redact(folder, "served.jsonl", "--windows", "2", "-o", "other.txt")[0] == 0
    assert not set((folder / "other.txt").read_text().splitlines()) & {head, *lines}
    again = ("--windows", "2", "--salt", said["salt"], "-o", "again.txt")
    data = (folder / "served.jsonl").read_text()
    assert redact(folder, "-", *again, input=data)[0] == 0
    assert (folder / "again.txt").read_bytes() == (folder / "windows.txt").read_bytes()
    text = redact(folder, "served.jsonl", *again, "--force", "--format", "text")[1]
    assert f"salt: {said['salt']}\n" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("served.jsonl",), 2, "expected 'pair'\nhint: transcripts need --windows"),
        (("pairs.jsonl", "--windows", "2"), 2, "pairs.jsonl:1"),
        (
            ("missing.jsonl",),
            2,
            "missing.jsonl: cannot be opened: no such file or directory, expected a readable file\n",
        ),
        (("missing.jsonl", "--windows", "2"), 2, "missing.jsonl: cannot be opened"),
        (("text.txt", "--windows", "2"), 3, "served without token_ids"),
        (("served.jsonl", "--windows", "4"), 2, "--windows"),
        (("pairs.jsonl", "--salt", SALT), 2, "--salt goes with --windows"),
        (("served.jsonl", "--windows", "1", "--salt", SALT[:-1]), 2, "--salt is not 32 digits"),
        (("served.jsonl", "--windows", "1", "--salt", SALT.upper()), 2, "--salt is not 32 digits"),
        (("pairs.jsonl", "-o", "nowhere/out"), 2, "its folder does not exist"),
        (("pairs.jsonl", "-o", "pairs.jsonl", "--force"), 2, "INPUT and --output are the same file"),
        (("changed.jsonl",), 2, "changed.jsonl:2: digests[0] is"),
    ],
)
def test_what_cannot_be_redacted_leaves_no_file(folder, arguments, code, message):
    (folder / "text.txt").write_text("words\n")
    lines = (folder / "pairs.jsonl").read_bytes().splitlines()
    write(folder / "changed.jsonl", [lines[0], lines[1].replace(b"private question", b"another")])
    before = sorted((path, path.read_bytes()) for path in folder.iterdir())
    given = arguments if "-o" in arguments else (*arguments, "-o", "out")
    found, out, err = redact(folder, *given)
    assert (found, out) == (code, "")
    assert message in err
    assert ("hint: transcripts need" in err) == (arguments == ("served.jsonl",))
    assert sorted((path, path.read_bytes()) for path in folder.iterdir()) == before


def test_an_output_is_not_replaced_unasked(folder):
    (folder / "out").write_text("mine")
    code, _, err = redact(folder, "pairs.jsonl", "-o", "out")
    assert code == 2
    assert "out exists" in err
    assert (folder / "out").read_text() == "mine"


def test_hashed_windows_are_enough_to_verify(folder):
    write_key(EPOCH.value_key("fleet"), folder / "fleet.key")
    random = np.random.default_rng(1)
    suspect = [random.integers(0, 45, 200).tolist() for _ in range(20)]
    write(folder / "suspect.jsonl", [json.dumps({"token_ids": ids}).encode() for ids in suspect])
    width = str(EPOCH.deployment.width)
    assert redact(folder, "served.jsonl", "--windows", width, "-o", "windows.txt")[0] == 0
    found = []
    for served in ("served.jsonl", "windows.txt"):
        arguments = ("verify", "--key", "fleet.key", "--token-ids", "--served", served, "suspect.jsonl")
        code, out, err = radiolabel(*arguments, "--format", "json", cwd=folder)
        assert (code, err) == (0, "")
        record = json.loads(out)
        assert record["options"]["sha256"].pop("served")
        found.append(record)
    assert found[0] == found[1]
    assert found[0]["n_scored"] > 100
    assert found[0]["n_dropped"]["not_served"] > 100

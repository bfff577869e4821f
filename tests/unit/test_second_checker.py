"""The second checker agrees with the first, and refuses what the first refuses: docs/spec/check_evidence.py."""

from __future__ import annotations

import ast
import base64
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

from tests.evidence_case import Provider, run
from tests.tsa_server import Authority, TSAServer
from verify.canonical import canonical
from verify.evidence.envelope import Envelope, read_envelope, sign
from verify.evidence.signing import read_signer

SCRIPT = Path(__file__).parents[2] / "docs" / "spec" / "check_evidence.py"
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def case(tmp_path_factory, small_tokenizer, tokenizer_file) -> Path:
    """A folder with rival.json (closed, fleet.key), twin.json (coin.key), policy.json and another signer's policy."""
    folder = tmp_path_factory.mktemp("second")
    with pytest.MonkeyPatch.context() as patch, TSAServer(Authority(tmp_path_factory.mktemp("tsa"))) as tsa:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.delenv("OPENAI_API_KEY", raising=False)
        provider = Provider(folder, tsa, small_tokenizer, tokenizer_file)
        provider.closed("rival", marked=True)
        provider.pairs()
        provider.twin("twin")
        provider.account_pairs()
        provider.accounts("accounts")
        loose(provider)
        even(provider)
        provider.policy()
    (folder / "signer.pem").rename(folder / "mine.pem")
    run("key", "signer", "-o", folder / "signer.pem")
    provider.policy("other-policy.json")
    return folder


def loose(provider: Provider) -> None:
    """loose.json: texts that somebody found, with repeats, duplicates, echoes and nothing, and no commitment."""
    f, text = provider.file, "the lambda Expression and THE lambda expression and the lambda expression yields a value"
    prose = " ".join(topics["lambda"].split()[:120])
    said = [(prose, "what is it?"), (prose[30:300], "say it again"), (text, "about The lambda\texpression"),
            ("", "nothing"), (text, ""), ("no", "a word"), ("naïve café 日本語 and so", "a CAFÉ 日本")]  # fmt: skip
    rows = [{"radiolabel": "transcript", "version": 1, "id": str(i), "prompt": p, "response": r}
            for i, (r, p) in enumerate(said)]  # fmt: skip
    f("found.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("plan", "new", "--hypothesis", "closed", "--name", "loose", "--key", f("fleet.key"), "--tokenizer",
        f("tokenizer.json"), "--origin", "found", "--suspect", "somebody", "--alpha", "0.01", "--family", "loose",
        "--family", "more", "--correction", "holm", "--no-filters", "--input",
        f"input={f('found.jsonl')}", "--n", len(rows), "--decoys", 0,
        "--repeated-windows", "skip", "--pair-weights", "distinct", "--token-ids", "no", "--with-prompts", "no",
        "--served", "no", "--input-format", "jsonl", "-o", f("loose-draft.json"))  # fmt: skip
    run("evidence", f("loose-draft.json"), "--input", f"input={f('found.jsonl')}", "--input",
        f"tokenizer={f('tokenizer.json')}", "--key", f("fleet.key"), "--signer", f("signer.pem"), "--unsafe-no-plan",
        "-o", f("loose.json"))  # fmt: skip


def even(provider: Provider) -> None:
    """even.json: a twin test with wins, losses, ties, copies, a pair without a score, two pairs of one conversation."""
    f = provider.file
    rows = [json.loads(line) for line in f("pairs.jsonl").read_bytes().splitlines()]
    scores = [json.loads(line) for line in f("likelihoods.jsonl").read_bytes().splitlines()]
    for i, (row, score) in enumerate(zip(rows, scores, strict=True)):
        row["conversation"] = f"c{max(i, 1)}"
        score["log_likelihood"] = [-20, -20] if i % 5 == 4 else [-30, -10] if i % 3 else [-10, -30]
        score["tokens"] = [4, 4] if i % 5 == 4 else [5, 4]
    for i in (3, 4, 5, 6):  # copies, some turned round, of pairs before and after them in the other file
        turn = (-1) ** (rows[i]["served"] != rows[i + 20]["served"])
        rows[i + 20] |= {name: rows[i][name][::turn] for name in ("members", "digests")} | {"prompt": rows[i]["prompt"]}
        scores[i + 20]["digests"] = rows[i + 20]["digests"]
    scores[3], scores[23] = scores[23], scores[3]
    f("talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    f("scores.jsonl").write_text("".join(json.dumps(score) + "\n" for score in scores[:-1]))
    run("plan", "new", "--hypothesis", "twin", "--name", "even", "--key", f("epoch.key"), "--weights",
        f("scores.jsonl"), "--suspect", "model twin", "--alpha", "0.01", "--family", "even", "--correction", "none",
        "--no-filters", "--input", f"pairs={f('talks.jsonl')}", "--n", len(rows), "--scores", "likelihoods", "--coins",
        "recomputed", "--statistic", "sign", "--missing", "loss", "--reference", "none",
        "-o", f("even-draft.json"))  # fmt: skip
    run("evidence", f("even-draft.json"), "--input", f"pairs={f('talks.jsonl')}", "--input",
        f"likelihoods={f('scores.jsonl')}", "--key", f("coin.key"), "--signer", f("signer.pem"), "--unsafe-no-plan",
        "-o", f("even.json"))  # fmt: skip


def check(folder: Path, name: str, *, key: str | None, policy: str = "policy.json") -> tuple[int, dict[str, str], str]:
    """Exit code, outcome by step, and everything that was printed; never a traceback."""
    keys = [] if key is None else [folder / key]
    command = [sys.executable, SCRIPT, folder / name, folder / policy, folder, *keys]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    lines = (line.split("  ") for line in done.stdout.replace("not checked", "unchecked  ").splitlines())
    steps = {words[1]: words[0] for words in ([w.strip() for w in line if w.strip()] for line in lines)}
    return done.returncode, steps, done.stdout


def failed(steps: dict[str, str]) -> list[str]:
    return [name for name, outcome in steps.items() if outcome == "failed"]


def again(folder: Path, name: str, change: Change) -> str:
    """Evidence that the right signer signed again after a change of its predicate: the new file's name."""
    statement = read_envelope(str(folder / name)).statement(name)
    change(statement["predicate"])
    payload = canonical(statement, "statement")
    (folder / "again.json").write_bytes(sign(payload, read_signer(str(folder / "mine.pem"))).to_json())
    return "again.json"


@pytest.mark.parametrize(
    ("name", "key", "measured"),
    [
        ("rival.json", "fleet.key", "n_documents, n_empty, n_seen, n_scored, n_dropped, total, total_squares"),
        ("twin.json", "coin.key", "n_pairs, alone, coin_key, wins, losses, ties"),
        ("accounts.json", "coin.key", "n_pairs, alone, coin_key, n_unnamed, accounts, groups"),
    ],
)
def test_it_finds_the_same_numbers(case, name, key, measured):
    """Every step that it takes is ok, and it names the numbers that it compared."""
    code, steps, printed = check(case, name, key=key)
    assert (code, failed(steps)) == (0, []), printed
    assert {"envelope", "signature", "plan", "register.1", "register.3", "inputs", "keys", "measured"} <= set(steps)
    assert set(steps.values()) == {"ok"}, printed
    assert f"{measured}; not: " in printed
    assert "log10_p, log10_p_stated, log10_e, found; not: " in printed


def other_rows(first):
    first["measured"]["accounts"].reverse()


def one_row_less(first):
    first["measured"]["accounts"].pop()


def other_group(first):
    first["measured"]["groups"][0]["accounts"].pop()


def one_name_more(first):
    first["derived"]["named"] = sorted({*range(1, 13)} - {*first["derived"]["named"]})[:1] + first["derived"]["named"]


def stronger(first):
    first["derived"]["accounts"]["log10_p_holm"][0] -= 1


@pytest.mark.parametrize(
    ("lie", "step"),
    [
        (other_rows, "measured"),
        (other_group, "measured"),
        (one_row_less, "stopping"),
        (one_name_more, "derived"),
        (stronger, "derived"),
    ],
)
def test_it_sees_other_accounts_and_other_names(case, lie, step):
    code, steps, _ = check(case, again(case, "accounts.json", lambda p: lie(p["results"][0])), key="coin.key")
    assert code == 1
    assert step in failed(steps)


@pytest.mark.parametrize(("name", "key"), [("loose.json", "fleet.key"), ("even.json", "coin.key")])
def test_awkward_inputs(case, name, key):
    """Every reason to drop a token, every sign of a pair: what was not committed is not checked, and nothing fails."""
    measured = read_envelope(str(case / name)).statement(name)["predicate"]["results"][0]["measured"]
    if name == "loose.json":
        assert min(measured["n_dropped"].values()) > 0
        assert measured["n_empty"] == 1
    else:
        assert min(measured[part] for part in ("wins", "losses", "ties", "n_missing")) > 0
        assert not measured["alone"]
    code, steps, printed = check(case, name, key=key)
    assert (code, failed(steps)) == (0, []), printed
    assert [steps[step] for step in ("plan", "measured", "derived", "decision")] == ["unchecked", "ok", "ok", "ok"]


def test_the_first_checker_accepts_it_too(case):
    """Otherwise the two would not have been compared."""
    for name, key in (("rival.json", "fleet.key"), ("twin.json", "coin.key"), ("loose.json", "fleet.key"),
                      ("even.json", "coin.key")):  # fmt: skip
        run("check", case / name, "--policy", case / "policy.json", "--inputs", case, "--key", case / key)


def test_without_a_key_the_numbers_are_not_measured(case):
    code, steps, _ = check(case, "rival.json", key=None)
    assert (code, steps["keys"], steps["measured"], steps["derived"]) == (0, "unchecked", "unchecked", "ok")


def test_another_key(case):
    code, steps, _ = check(case, "rival.json", key="account.key")
    assert (code, failed(steps), steps["measured"]) == (1, ["keys"], "unchecked")


def test_another_coin_key(case):
    code, steps, _ = check(case, "twin.json", key="fleet.key")
    assert (code, failed(steps)) == (1, ["keys"])


def test_another_signer(case):
    code, steps, _ = check(case, "rival.json", key="fleet.key", policy="other-policy.json")
    assert (code, failed(steps), len(steps)) == (1, ["signature"], 2)


def test_a_flipped_bit_of_the_signature(case):
    envelope = read_envelope(str(case / "rival.json"))
    flipped = bytes([envelope.signature[0] ^ 1]) + envelope.signature[1:]
    (case / "again.json").write_bytes(dataclasses.replace(envelope, signature=flipped).to_json())
    code, steps, _ = check(case, "again.json", key="fleet.key")
    assert (code, failed(steps)) == (1, ["signature"])


def test_another_spelling(case):
    """White space, a second signature, another base64, unsorted subjects: the bytes are fixed by what they say."""
    data = (case / "rival.json").read_bytes()
    file = json.loads(data)
    unpadded = dict(file, payload=file["payload"] + "====")
    for changed in (data[:-1], data + b"\n", data.replace(b":", b": ", 1), json.dumps(unpadded).encode() + b"\n"):
        (case / "again.json").write_bytes(changed)
        code, steps, _ = check(case, "again.json", key="fleet.key")
        assert (code, steps) == (1, {"envelope": "failed"})


def test_a_changed_answer(case, tmp_path):
    shutil.copytree(case, tmp_path / "copy")
    path = tmp_path / "copy" / "rival-answers.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:-1], lines[-1].replace(b'"response":"', b'"response":"x', 1)]))
    code, steps, _ = check(tmp_path / "copy", "rival.json", key="fleet.key")
    assert code == 1
    assert {"inputs", "measured"} <= set(failed(steps)) <= {"inputs", "measured", "collection.5"}


def test_a_missing_input(case, tmp_path):
    shutil.copytree(case, tmp_path / "copy")
    (tmp_path / "copy" / "tokenizer.json").unlink()
    code, steps, _ = check(tmp_path / "copy", "rival.json", key="fleet.key")
    assert (code, steps["inputs"], steps["measured"]) == (0, "unchecked", "unchecked")


def _measured(name: str, value: Any) -> Change:
    return lambda p: p["results"][0]["measured"].update({name: value})


def _derived(name: str, by: float) -> Change:
    def change(p: dict[str, Any]) -> None:
        derived = p["results"][0]["derived"]
        derived[name] = round(derived[name] + by, 6)

    return change


def _raised(p: dict[str, Any]) -> None:
    p["decision"]["tests"][0]["log10_adjusted"] -= 1


def _hidden(p: dict[str, Any]) -> None:
    p["register"][0]["keys"] = ["0" * 64]


def _moved(p: dict[str, Any]) -> None:
    p["commitments"]["slots"][0]["siblings"].reverse()


def _relaxed(p: dict[str, Any]) -> None:
    p["plan"]["alpha"] = 0.5


def _other_node(p: dict[str, Any]) -> None:
    p["commitments"]["epoch"]["coin_id"] = "0" * 64


def _unstamped(p: dict[str, Any]) -> None:
    p["commitments"]["epoch"]["size"] = 6


@pytest.mark.parametrize(
    ("name", "change", "wrong"),
    [
        ("rival.json", _measured("n_scored", 525), ["measured", "derived"]),
        ("rival.json", _measured("total_squares", "1"), ["measured"]),
        ("rival.json", _measured("n_documents", 11), ["measured", "stopping"]),
        ("rival.json", _derived("log10_p", -0.00001), ["derived", "decision"]),
        ("rival.json", _derived("log10_e", 0.00001), ["derived"]),
        ("rival.json", _derived("log10_p_stated", -0.00001), ["derived"]),
        ("rival.json", _raised, ["decision"]),
        ("rival.json", _hidden, ["register.3", "register.5"]),
        ("rival.json", _moved, ["slot.4"]),
        ("rival.json", _unstamped, ["epoch.1", "slot.4"]),
        ("twin.json", _other_node, ["keys", "epoch.1"]),
        ("twin.json", _measured("wins", 41), ["measured", "derived"]),
        ("twin.json", _measured("alone", False), ["measured", "derived"]),
        ("twin.json", _derived("log10_p", -0.00001), ["derived", "decision"]),
        ("twin.json", _derived("log10_e", 0.00001), ["derived"]),
    ],
)
def test_numbers_that_the_right_signer_changed(case, name, change, wrong):
    """Lies of the maker, who can sign: the step that sees each of them fails, and no other."""
    code, steps, printed = check(case, again(case, name, change), key="fleet.key" if name[0] == "r" else "coin.key")
    assert (code, failed(steps)) == (1, wrong), printed


def test_a_plan_that_was_changed_afterwards(case):
    """The timestamp, the register, the order of asking and the decision are those of another plan."""
    code, steps, _ = check(case, again(case, "rival.json", _relaxed), key="fleet.key")
    assert code == 1
    assert {"plan", "register.5", "collection.1"} <= set(failed(steps))


def test_a_required_step_that_is_not_ok(case):
    policy = json.loads((case / "policy.json").read_bytes()) | {"required": ["measured"]}
    (case / "strict.json").write_bytes(canonical(policy, "policy") + b"\n")
    assert check(case, "rival.json", key=None, policy="strict.json")[0] == 1
    assert check(case, "rival.json", key="fleet.key", policy="strict.json")[0] == 0


HOSTILE = [None, True, -1, 0.5, "x", {}, [[]], {"": None}]


def put(p: dict[str, Any], path: tuple, value: Any) -> None:
    for step in path[:-1]:
        p = p[step]
    p[path[-1]] = value


def test_hostile_files_never_crash_it(case):
    """Signed by the right signer, with a part of the predicate exchanged for something else."""
    statement = read_envelope(str(case / "rival.json")).statement("rival.json")
    parts = [*((name,) for name in statement["predicate"]), ("plan", "suspect"), ("plan", "test"), ("plan", "keys"),
             ("commitments", "slots"), ("results", 0), ("plan", "scheme"), ("register", 0)]  # fmt: skip
    for number, path in enumerate(parts):
        change = partial(put, path=path, value=HOSTILE[number % len(HOSTILE)])
        code, _, printed = check(case, again(case, "rival.json", change), key="fleet.key")
        changed = path[0] not in ("citations", "software", "times", "others", "unrun", "rate")
        assert code == 1 or not changed, f"{path}: {printed}"


@pytest.mark.parametrize("data", [b"", b"{}\n", b"[]\n", b"null\n", b"\xff\xfe", b"[" * 10**6, b'{"payload":1}\n'])
def test_files_that_are_none(case, data):
    (case / "again.json").write_bytes(data)
    code, steps, _ = check(case, "again.json", key="fleet.key")
    assert (code, steps) == (1, {"envelope": "failed"})


def test_a_file_that_is_not_there(case):
    assert check(case, "nowhere.json", key=None)[:2] == (1, {"envelope": "failed"})


def test_it_prints_no_secret(case):
    """Also where a key file is nonsense."""
    secret = json.loads((case / "fleet.key").read_bytes())["value_key"]
    (case / "bad.key").write_text(json.dumps({"kind": "value", "path": [secret], "value_key": secret + "zz"}))
    for key in ("fleet.key", "bad.key"):
        assert secret not in check(case, "rival.json", key=key)[2]


def test_it_is_short_and_imports_nothing_of_ours():
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= 350
    nodes = list(ast.walk(ast.parse(text)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    others = {"mpmath", "numpy", "rfc8785", "cryptography", "tokenizers"}
    assert {name.split(".")[0] for name in names} <= others | set(sys.stdlib_module_names)
    assert not {"importlib", "runpy"} & names
    assert not any(isinstance(node, ast.Name) and node.id in ("exec", "eval", "__import__") for node in nodes)


def test_the_envelope_of_this_test_is_the_real_one(case):
    """`again` without a change gives the same bytes: what fails above fails for the change alone."""
    assert (case / again(case, "rival.json", lambda p: None)).read_bytes() == (case / "rival.json").read_bytes()
    assert isinstance(read_envelope(str(case / "again.json")), Envelope)
    assert base64.b64decode(json.loads((case / "rival.json").read_bytes())["payload"])[:1] == b"{"

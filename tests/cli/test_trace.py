"""`radiolabel trace`: the real command line on marked answers of several accounts."""

import json
import os
import pty
import subprocess

import numpy as np
import pytest

from tests.cli.conftest import RADIOLABEL, radiolabel
from watermark.deployment import Deployment
from watermark.keyfile import write_key
from watermark.keys import MasterKey
from watermark.sampling import Request, Sampler
from watermark.secret import Secret


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Answers of accounts 3 and 11 (ids), answers of nobody, and keys."""
    path = tmp_path_factory.mktemp("trace")
    deployment = Deployment.parse(width=2, shares="fleet=0.4,account=0.4,leaf=0.2")
    epoch = MasterKey(Secret(bytes(range(32)))).epoch("t", deployment=deployment)
    write_key(epoch, path / "epoch.key")
    write_key(MasterKey(Secret(bytes(range(32)))), path / "master.key")
    (path / "values").mkdir()
    for slot in ("3", "4", "11"):
        write_key(epoch.value_key("account", slot), path / "values" / f"{slot}.key")
    sampler, rng = Sampler(epoch), np.random.default_rng(1)
    rows = []
    for index, account in enumerate(["3", "11", "3", None]):
        if account is None:
            ids = rng.integers(0, 512, 150).tolist()
        else:
            response = sampler.start(Request(f"r{index}", account=account))
            ids = [int(sampler.draw([response], rng.normal(size=(1, 512)))[0]) for _ in range(150)]
        rows.append(ids)
    (path / "answers.jsonl").write_text("".join(json.dumps({"token_ids": ids}) + "\n" for ids in rows))
    (path / "nobody.jsonl").write_text(json.dumps({"token_ids": rows[3]}) + "\n")
    return path


def run(folder, *arguments, slots="20", **options):
    code, out, err = radiolabel(
        "trace", "--keys", folder / "epoch.key", *(("--slots", slots) if slots else ()), *arguments, **options
    )
    return code, json.loads(out) if code in (0, 1) and out.startswith("{") else out, err


def test_the_accounts_of_a_corpus_are_named(folder):
    code, record, err = run(folder, folder / "answers.jsonl")
    assert (code, err) == (0, "")
    assert {row["account"] for row in record["named_fwer"]} == {"3", "11"}
    assert {row["key_path"] for row in record["named_fdr"]} == {"epoch/t/account/3", "epoch/t/account/11"}
    assert (record["n_tests"], record["none_of_them"], record["n_tokens"]) == (20, [], 600)
    assert record["sentence"].startswith("Of 20 keys and 1 text, 2 names are given")


def test_each_document_is_named_or_none_of_them(folder):
    code, record, _ = run(folder, "--documents", folder / "answers.jsonl")
    named = {(row["text"].rsplit(":", 1)[1], row["account"]) for row in record["named_fwer"]}
    assert (code, named) == (0, {("1", "3"), ("2", "11"), ("3", "3")})
    assert [name.rsplit(":", 1)[1] for name in record["none_of_them"]] == ["4"]
    assert record["n_tests"] == 80


def test_none_of_them_is_an_answer(folder):
    code, record, _ = run(folder, folder / "nobody.jsonl")
    assert (code, record["named_fwer"], record["named_fdr"]) == (0, [], [])
    assert record["sentence"].startswith("None of them: of 20 keys and 1 text, nobody is named")
    assert run(folder, folder / "nobody.jsonl", "--exit-code")[0] == 1
    assert run(folder, folder / "answers.jsonl", "--exit-code")[0] == 0


def test_a_key_that_is_not_looked_at_is_not_named(folder):
    assert run(folder, folder / "answers.jsonl", slots="3")[1]["named_fwer"] == []


def test_a_folder_of_value_keys_and_standard_input(folder):
    text = (folder / "answers.jsonl").read_text()
    code, out, err = radiolabel("trace", "--keys", folder / "values", "-", input=text)
    assert (code, err) == (0, "")
    assert {row["account"] for row in json.loads(out)["named_fwer"]} == {"3", "11"}


def test_findings_of_all_keys_are_what_accounts_reads(folder, tmp_path):
    from verify.accounts.marks import read_marks

    assert run(folder, folder / "answers.jsonl", "--marks-out", tmp_path / "marks.jsonl")[0] == 0
    marks = read_marks(str(tmp_path / "marks.jsonl"))
    assert sorted(marks, key=int) == list(map(str, range(20)))
    assert not any(mark.served for mark in marks.values())
    assert marks["3"].log10_e > 5 > 1 > marks["4"].log10_e
    code, _, err = run(folder, folder / "answers.jsonl", "--marks-out", tmp_path / "marks.jsonl")
    assert (code, "exists" in err) == (2, True)


def test_the_trace_equals_verify_under_each_key(folder):
    record = run(folder, folder / "answers.jsonl")[1]
    for row in record["named_fwer"]:
        key = folder / "values" / f"{row['account']}.key"
        finding = json.loads(radiolabel("verify", "--key", key, "--decoys", "0", folder / "answers.jsonl")[1])
        assert (finding["n_scored"], finding["key_path"]) == (row["n_scored"], row["key_path"])
        assert finding["log10_p"] == pytest.approx(row["log10_p"])
        assert finding["log10_e"] == pytest.approx(row["log10_e"])


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--keys", "master.key", "--slots", "3"], 2, "is not an epoch key"),
        (["--keys", "values/3.key", "--slots", "3"], 2, "is not an epoch key"),
        (["--keys", "epoch.key"], 2, "needs --slots"),
        (["--keys", "epoch.key", "--keys", "values", "--slots", "3"], 2, "of one epoch"),
        (["--keys", "epoch.key", "--slots", "3", "--channel", "cohort"], 2, "channel cohort has no share"),
        (["--keys", "epoch.key", "--slots", "3", "--documents", "--marks-out", "m"], 2, "not with --documents"),
        (["--keys", "none.key", "--slots", "3"], 2, "cannot be read"),
        (["--slots", "3"], 2, "--keys"),
    ],
)
def test_what_cannot_be_is_refused(folder, arguments, code, says):
    found, out, err = radiolabel("trace", *arguments, folder / "answers.jsonl", cwd=folder)
    assert (found, out) == (code, "")
    assert says in err


def test_no_key_stands_in_any_output(folder, tmp_path):
    secrets = [json.loads((folder / "epoch.key").read_text())["secret"]]
    for file in (folder / "values").iterdir():
        secrets += [json.loads(file.read_text())[name] for name in ("value_key", "selector_key")]
    outputs = [json.dumps(run(folder, folder / "answers.jsonl", "--marks-out", tmp_path / "m")[1])]
    outputs += [(tmp_path / "m").read_text(), *map(str, run(folder, folder / "no-such-file"))]
    assert not any(secret in output for secret in secrets for output in outputs)


def test_on_a_terminal_it_fits_80_columns(folder):
    leader, follower = pty.openpty()
    command = [*RADIOLABEL, "trace", "--keys", "epoch.key", "--slots", "20", "--documents", "answers.jsonl"]
    done = subprocess.run(
        command, cwd=folder, stdout=follower, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True,
        env=os.environ | {"COLUMNS": "80", "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    os.close(follower)
    out = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert done.stderr == b""
    assert "answers.jsonl:2" in out
    assert "None of them: 1 text" in out
    assert max(map(len, out.splitlines())) <= 80

import json
from pathlib import Path

import pytest

from tests.cli.conftest import limit_file_size, radiolabel
from tests.tsa_server import Authority, TSAServer
from verify.cli import main

VALUE = "ab" * 32
SHARES = ("--shares", "fleet=0.5,account=0.4,leaf=0.1", "--accounts", "4")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with TSAServer(Authority(tmp_path_factory.mktemp("tsa"))) as running:
        yield running


@pytest.fixture(scope="module")
def made(tmp_path_factory, server):
    """A folder with the keys, commitments and proofs of one epoch, all made by the command, in order."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "log.jsonl").write_text("".join(f'{{"ordinal":{i},"text":"t{i}"}}\n' for i in range(5)))
    (folder / "line.jsonl").write_text('{"ordinal":2,"text":"t2"}\n')
    tsa = ("--tsa", server.url, "--tsa-certs", server.authority.roots_file)
    path = ("--path", "epoch/q4")
    for arguments in (
        ("key", "new", "-o", "master.key"),
        ("key", "new", "-o", "other.key"),
        ("key", "derive", "master.key", *path, *SHARES[:2], "--beacon", VALUE, "-o", "epoch.key"),
        ("key", "derive", "epoch.key", "--path", "epoch/q4/account/2", "-o", "a2.key"),
        ("key", "derive", "epoch.key", "--path", "epoch/q4/account/3", "-o", "a3.key"),
        ("key", "derive", "epoch.key", "--path", "epoch/q4/coin", "-o", "coin.key"),
        ("commit", "master", "master.key", *path, *SHARES, "--round", 10**9, *tsa, "-o", "m.json"),
        ("commit", "epoch", "master.key", "--master", "m.json", "--beacon-value", VALUE, "-o", "bare.json"),
        ("commit", "stamp", "bare.json", *tsa, "-o", "e.json"),
        ("commit", "log", "log.jsonl", "--epoch", "e.json", *tsa, "-o", "log.json"),
        ("commit", "prove", "e.json", "--key", "epoch.key", "--path", "epoch/q4/account/2", "-o", "slot.json"),
        ("commit", "prove", "log.json", "--log", "log.jsonl", "--line", 3, "-o", "line.json"),
    ):
        code, out, err = radiolabel(*arguments, cwd=folder)
        assert code == 0, err
        assert "bare.json" in out or err == ""
    return folder


def show(made, *arguments, cwd=None):
    code, out, err = radiolabel("commit", "show", *arguments, "--format", "json", cwd=cwd or made)
    assert err == ""
    return code, json.loads(out)


def outcomes(record):
    return [step["outcome"] for step in record["steps"]]


def test_everything_that_was_made_holds(made, server):
    certs = ("--tsa-certs", server.authority.roots_file)
    for arguments, expected in (
        (("m.json", *certs), ["ok"] * 3),
        (("m.json",), ["not checked", "ok", "not checked"]),
        (("e.json", "--key", "coin.key"), ["not checked"] * 6 + ["ok"]),
        (("log.json", "--against", "e.json", "--log", "log.jsonl", *certs), ["ok"] * 3),
        (("slot.json", "--against", "e.json", "--key", "a2.key"), ["ok"] * 4),
        (("slot.json", "--against", "e.json"), ["ok"] * 3 + ["not checked"]),
        (("line.json", "--against", "log.json", "--log", "line.jsonl"), ["ok"] * 2),
    ):
        code, record = show(made, *arguments)
        assert (code, outcomes(record)) == (0, expected)


def test_the_round_of_this_test_is_still_to_come(made, server):
    """The epoch was committed, with a made-up value, before its round: the one lie that a test cannot avoid is seen."""
    certs = ("--tsa-certs", server.authority.roots_file)
    code, record = show(made, "e.json", "--against", "m.json", "--beacon-value", VALUE, *certs)
    assert (code, outcomes(record)) == (1, ["ok", "ok", "ok", "failed", "ok", "not checked"])


@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        (("slot.json", "--against", "e.json", "--key", "a3.key"), 4),
        (("line.json", "--against", "log.json", "--log", "log.jsonl"), 2),
        (("log.json", "--log", "line.jsonl"), 3),
        (("e.json", "--beacon-value", "cd" * 32), 5),
    ],
)
def test_a_failed_step_is_a_no(made, arguments, step):
    code, record = show(made, *arguments)
    assert code == 1
    assert outcomes(record)[step - 1] == "failed"


def test_what_is_printed(made):
    code, out, err = radiolabel("commit", "show", "slot.json", "--against", "e.json", "--format", "text", cwd=made)
    assert (code, err) == (0, "")
    assert "kind: slot\n" in out
    assert "path: epoch/q4/account/2\n" in out
    assert out.splitlines()[-1] == "4. not checked: the disclosed key is the slot's (no value key was given)"
    _, record = show(made, "m.json")
    assert record["digest"].startswith("sha256:")
    assert record["timestamps"] == 1


def test_stamping_keeps_the_digest_and_the_rest(made):
    bare, stamped = (json.loads((made / name).read_text()) for name in ("bare.json", "e.json"))
    assert (bare.pop("timestamps"), len(stamped.pop("timestamps"))) == ([], 1)
    assert bare == stamped
    assert show(made, "bare.json")[1]["digest"] == show(made, "e.json")[1]["digest"]


def test_whoever_repeats_it_gets_the_same_bytes(made, tmp_path):
    arguments = ("commit", "epoch", "master.key", "--master", "m.json", "--beacon-value", VALUE)
    code, _, err = radiolabel(*arguments, "-o", tmp_path / "again.json", cwd=made)
    assert code == 0
    assert err.startswith("not timestamped: nothing shows when it was made")
    assert (tmp_path / "again.json").read_bytes() == (made / "bare.json").read_bytes()
    assert (
        json.loads((made / "epoch.key").read_text())["id"] == json.loads((made / "bare.json").read_text())["epoch_id"]
    )


def test_standard_input_and_a_summary_as_text(made, tmp_path):
    code, out, _ = radiolabel(
        *("commit", "log", "-", "-o", tmp_path / "l.json", "--format", "text"), input=(made / "log.jsonl").read_text()
    )
    assert code == 0
    assert json.loads((tmp_path / "l.json").read_text())["root"] == json.loads((made / "log.json").read_text())["root"]
    assert [line.split(":")[0] for line in out.splitlines()] == ["file", "kind", "digest", "timestamps"]


def test_nothing_secret_in_what_was_made(made):
    secrets = set()
    for path in made.glob("*.key"):
        record = json.loads(path.read_text())
        secrets |= {record[f] for f in ("secret", "value_key", "selector_key") if f in record}
    assert len(secrets) == 7
    for path in made.glob("*.json"):
        assert not [s for s in secrets if s in path.read_text()]


MASTER = ("master", "master.key", "--path", "epoch/q4", "-o", "x.json")
EPOCH = ("--master", "m.json", "-o", "x.json")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((*MASTER, "--round", 5), 3, "round 5 comes at 2023-08-23T15:09:39Z, expected a time to come"),
        ((*MASTER, "--round", 10**9, "--accounts", 4), 2, "accounts is 4, expected 0, since the channel has no share"),
        ((*MASTER, "--round", 10**9, "--not-before", "2099-01-01T00:00:00Z"), 2, "and round 1000000000 comes at"),
        ((*MASTER, "--round", 7, "--network", "mine"), 2, "when 'mine' publishes round 7 is not known here"),
        ((*MASTER, "--round", 10**9, *SHARES[:3], "3"), 2, "accounts is 3, expected a power of two"),
        (("master", "epoch.key", *MASTER[2:], "--round", 10**9), 2, "epoch.key is not the file of a master key"),
        (
            ("master", "master.key", "--path", "epoch/q4/fleet", "--round", 10**9, "-o", "x.json"),
            2,
            "expected epoch/NAME",
        ),
        (
            ("epoch", "other.key", "--master", "m.json", "--beacon-value", VALUE, "-o", "x.json"),
            3,
            "is not the master key",
        ),
        (
            ("epoch", "master.key", "--master", "e.json", "--beacon-value", VALUE, "-o", "x.json"),
            2,
            "not a master comm",
        ),
        (("epoch", "master.key", "--master", "m.json", "--beacon-value", "xyz", "-o", "x.json"), 2, "in hexadecimal"),
        (("epoch", "master.key", "--master", "m.json", "--beacon-value", "", "-o", "x.json"), 2, "in hexadecimal"),
        (("log", "none.jsonl", "-o", "x.json"), 2, "none.jsonl: cannot be opened"),
        (("log", "log.jsonl", "-o", "m.json"), 2, "m.json exists: choose another name, or give --force"),
        (("log", "log.jsonl", "--epoch", "m.json", "-o", "x.json"), 2, "m.json is not an epoch commitment"),
        (("log", "log.jsonl", "--tsa", "http://127.0.0.1:9/", "-o", "x.json"), 2, "no answer from the timestamp auth"),
        (("prove", "e.json", "--key", "a2.key", "--path", "epoch/q4/fleet", "-o", "x.json"), 2, "file of an epoch key"),
        (("prove", "e.json", "--key", "epoch.key", "--path", "epoch/q4/account/4", "-o", "x.json"), 3, "is no slot"),
        (("prove", "e.json", "--key", "epoch.key", "-o", "x.json"), 2, "either --key and --path, or --log and --line"),
        (("prove", "log.json", "--log", "log.jsonl", "--line", 6, "-o", "x.json"), 3, "line 6 is none of the"),
        (
            ("prove", "log.json", "--log", "line.jsonl", "--line", 1, "-o", "x.json"),
            3,
            "not the file of the commitment",
        ),
        (("stamp", "slot.json", "--tsa", "http://127.0.0.1:9/", "-o", "x.json"), 2, "slot.json is not a commitment"),
        (("show", "slot.json"), 2, "a proof needs --against"),
        (("show", "line.json", "--against", "log.json"), 2, "the proof of a line needs --log"),
        (("show", "slot.json", "--against", "m.json"), 2, "m.json is not an epoch commitment"),
        (("show", "a2.key"), 2, "a2.key: "),
        (("show", "none.json"), 2, "none.json: cannot be read: no such file or directory"),
        (("show", "m.json", "--tsa-certs", "m.json"), 2, "expected certificates of timestamp authorities"),
    ],
)
def test_bad_use(made, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(made)
    before = {p: p.read_bytes() for p in made.iterdir()}
    assert main(["commit", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert {p: p.read_bytes() for p in made.iterdir()} == before


def test_an_authority_that_is_not_trusted_leaves_no_file(made, server, tmp_path):
    (tmp_path / "tsa").mkdir()
    other = Authority(tmp_path / "tsa")
    code, _, err = radiolabel(
        *("commit", "stamp", "bare.json", "--tsa", server.url, "--tsa-certs", other.roots_file),
        *("-o", tmp_path / "x.json"),
        cwd=made,
    )
    assert code == 3
    assert "the timestamp cannot be trusted" in err
    assert not (tmp_path / "x.json").exists()


def test_a_full_disk_leaves_no_half_file(made, tmp_path):
    code, _, err = radiolabel(
        "commit", "log", "log.jsonl", "-o", tmp_path / "x.json", cwd=made, preexec_fn=limit_file_size
    )
    assert code == 2
    assert "File too large" in err
    assert list(tmp_path.iterdir()) == []


def test_force_replaces(made, tmp_path):
    target = tmp_path / "x.json"
    Path(target).write_text("old")
    code, _, _ = radiolabel("commit", "log", "log.jsonl", "--force", "-o", target, cwd=made)
    assert code == 0
    assert json.loads(target.read_text())["kind"] == "log"

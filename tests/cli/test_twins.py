"""`radiolabel twins`, and `radiolabel embed --twins`: what they refuse, and where the coin puts what was served."""

import json
import stat

import pytest

from tests import tiny_model
from tests.cli.conftest import radiolabel
from tests.conftest import make_epoch
from verify.cli import main
from verify.pairs import read_pairs
from watermark.keyfile import write_key

DIGEST = "sha256:" + "0" * 64
META = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_tokens": 12}


def transcript(**others):
    fields = {"id": "0", "prompt": "Sort?", "response": "a", "token_ids": [1, 2], "tokenizer": DIGEST, "request": "r"}
    record = {"radiolabel": "transcript", "version": 1} | fields | {"meta": META} | others
    return {name: value for name, value in record.items() if value is not None}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_key(make_epoch(), tmp_path / "epoch.key")
    write_key(make_epoch().value_key("fleet"), tmp_path / "fleet.key")
    write_key(make_epoch(1), tmp_path / "other.key")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return main(["twins", "served", "--model", "teacher", "-o", "out", *arguments])


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--twins", "0.5"], "--twins and --twins-out go together"),
        (["--twins-out", "x"], "--twins and --twins-out go together"),
        (["--twins", "nan", "--twins-out", "x"], "--twins is nan, expected a share above 0 and at most 1"),
        (["--twins", "0", "--twins-out", "x"], "--twins is 0.0, expected a share above 0"),
        (["--twins", "1", "--twins-out", "x", "--temperature", "0"], "--twins needs a temperature above 0"),
        (["--twins", "1", "--twins-out", "x", "-o", "x"], "--output and --twins-out are the same file"),
        (["--twins", "1", "--twins-out", "-"], "--output and --twins-out are the same file"),
        (["--twins", "1", "--twins-out", "epoch.key"], "epoch.key exists"),
    ],
)
def test_embed_refuses_twins_that_cannot_be(folder, capsys, arguments, message):
    (folder / "prompts").write_text("Hello\n")
    before = set(folder.iterdir())
    assert main(["embed", "--model", "m", "--key", "epoch.key", "prompts", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert set(folder.iterdir()) == before


def test_embed_refuses_twins_without_a_key(folder):
    arguments = ("embed", "--model", "m", "--unmarked", "--twins", "1", "--twins-out", "x")
    code, _, err = radiolabel(*arguments, cwd=folder, input="Hello\n")
    assert code == 2
    assert "--twins derives its coins from a key, and --unmarked uses none" in err


@pytest.mark.parametrize(
    ("changes", "arguments", "code", "message"),
    [
        ({}, ["--key", "fleet.key"], 2, "fleet.key is not an epoch key"),
        ({"request": None}, [], 3, "served:1: transcript without request, which twins need"),
        ({"token_ids": None}, [], 3, "served:1: transcript without token_ids, which twins need"),
        ({"tokenizer": None}, [], 3, "served:1: transcript without tokenizer, which twins need"),
        ({"request": "a/b"}, [], 3, "served:1: name 'a/b' cannot be part of a key path"),
        ({"request": "r" * 120}, [], 3, "cannot be part of a key path"),
        ({"meta": META | {"temperature": 0}}, [], 3, "meta.temperature is 0, expected a number above 0"),
        ({"meta": META | {"top_k": 1.5}}, [], 3, "meta.top_k is 1.5, expected an integer of at least 0"),
        ({"meta": META | {"top_p": "1"}}, [], 3, "meta.top_p is '1', expected a number above 0 and at most 1"),
        ({"meta": META | {"cohort": 5}}, [], 3, "meta.cohort is 5, expected a slot"),
        ({"meta": None}, [], 3, "meta has no temperature, which twins need"),
        ({}, ["--max-tokens", "13"], 3, "meta.max_tokens is 12 and --max-tokens is 13, expected the same"),
        ({"marked": {"first_h": 1, "fleet": 1}}, [], 3, "under this key it would be {'first_h': 2}"),
    ],
)
def test_transcripts_that_have_no_twin(folder, capsys, changes, arguments, code, message):
    write(folder / "served", transcript(**changes))
    key = [] if "--key" in arguments else ["--key", "epoch.key"]
    assert run(*key, *arguments) == code
    assert message in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_two_answers_of_one_request_are_refused(folder, capsys):
    write(folder / "served", transcript(), transcript(id="1"))
    assert run("--key", "epoch.key") == 3
    assert "served:2: request 'r' is that of served:1, expected one answer a request" in capsys.readouterr().err


@pytest.fixture
def served(folder, tokenizer_file):
    """`served`: six marked answers of the tiny model `teacher`."""
    pytest.importorskip("torch", reason="needs the lab extra")
    pytest.importorskip("transformers", reason="needs the lab extra")
    tiny_model.save(folder / "teacher", tokenizer_file, seed=0)
    (folder / "prompts").write_text("".join(f"What does statement {i} do?\n" for i in range(6)))
    command = ["embed", "--model", "teacher", "--key", "epoch.key", "--max-tokens", "12", "--seed", "1", "prompts"]
    assert main([*command, "-o", "served", "--twins", "0.9", "--twins-out", "pairs"]) == 0
    return folder


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_later_twins_stand_where_the_coin_says(served):
    epoch = make_epoch()
    answers = [json.loads(line) for line in (served / "served").read_text().splitlines()]
    assert run("--key", "epoch.key") == 0
    first = (served / "out").read_bytes()
    pairs = list(read_pairs("out"))
    for answer, pair in zip(answers, pairs, strict=True):
        assert (pair.id, pair.request) == (f"{answer['request']}-later-twin", answer["request"])
        assert (pair.drawn, pair.prompt, pair.tokenizer) == ("later", answer["prompt"], answer["tokenizer"])
        assert pair.served == epoch.coin(pair.id)
        old, new = pair.members[pair.served], pair.members[1 - pair.served]
        assert (old.text, list(old.token_ids)) == (answer["response"], answer["token_ids"])
        assert old.token_ids != new.token_ids
    assert len({pair.served for pair in pairs}) == 2
    assert {pair.replayed for pair in pairs} == {None}
    assert [stat.S_IMODE((served / name).stat().st_mode) for name in ("out", "pairs")] == [0o600, 0o600]
    assert run("--key", "epoch.key", "--force", "--batch-size", "24") == 0
    assert (served / "out").read_bytes() == first


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_another_key_model_or_text_is_refused(served, capsys, tokenizer_file):
    assert run("--key", "other.key") == 3
    assert "is this the epoch key that served?" in capsys.readouterr().err
    answers = [json.loads(line) for line in (served / "served").read_text().splitlines()]
    write(served / "served", *answers[:1], answers[1] | {"response": answers[1]["response"] + "."})
    assert run("--key", "epoch.key") == 3
    assert "served:2: response is not the text of token_ids" in capsys.readouterr().err
    write(served / "served", *answers[:1], answers[1] | {"tokenizer": DIGEST})
    assert run("--key", "epoch.key") == 3
    assert "served:2: tokenizer is sha256:000000000000..., and that of teacher is" in capsys.readouterr().err
    assert not (served / "out").exists()


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_replay_draws_the_served_answers_again(served, capsys, tokenizer_file):
    """Also those that a coin served from the second draw; another model's weights do not replay."""
    answers = [json.loads(line) for line in (served / "served").read_text().splitlines()]
    assert {answer["request"].endswith("-twin") for answer in answers} == {True, False}
    assert run("--key", "epoch.key") == 0
    plain = list(read_pairs("out"))
    assert run("--key", "epoch.key", "--force", "--replay") == 0
    assert "drawn again, 6 of 6 served answers came out token for token" in capsys.readouterr().err
    pairs = list(read_pairs("out"))
    assert [pair.replayed for pair in pairs] == [True] * 6
    assert [pair.members for pair in pairs] == [pair.members for pair in plain]
    tiny_model.save(served / "teacher", tokenizer_file, seed=1)
    assert run("--key", "epoch.key", "--force", "--replay") == 0
    assert "drawn again, 0 of 6 served answers came out token for token" in capsys.readouterr().err
    assert [pair.replayed for pair in read_pairs("out")] == [False] * 6

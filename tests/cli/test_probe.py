"""`radiolabel probe`: what it refuses, that it is blind, and that an interrupted run goes on."""

import base64
import fcntl
import json

import numpy as np
import pytest

from tests import tiny_model
from tests.cli.conftest import radiolabel
from verify.cli import main
from verify.pairs import Member, Pair, read_likelihoods

DIGEST = "sha256:" + "0" * 64
TEXTS = ["The list is sorted.", "Sorting is stable, and the list keeps its length.", "No.", "A tuple, or two."]


def pair(index, served=0, **others):
    members = Member(text=TEXTS[index % 4]), Member(text=TEXTS[(index * 3 + 1) % 4])
    return Pair.of(
        **{"id": f"r{index}-twin", "prompt": f"Question {index}?", "members": members, "served": served},
        **{"drawn": "serving"} | others,
    )


def write(path, *records):
    path.write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records))


def transcript(index=0, **others):
    fields = {"id": str(index), "prompt": "Sort?", "response": "a", "token_ids": [1, 2], "tokenizer": DIGEST}
    record = {"radiolabel": "transcript", "version": 1} | fields | others
    return {name: value for name, value in record.items() if value is not None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --pairs or --windows"),
        (["--pairs", "p", "--windows", "w"], "give either --pairs or --windows"),
        (["--pairs", "p", "--served"], "go with --windows"),
        (["--pairs", "p", "--from", "2"], "go with --windows"),
        (["--pairs", "p", "--resume", "--force"], "give either --resume or --force"),
        (["--pairs", "-"], "input and output are files here"),
        (["--pairs", "p", "-o", "p"], "p exists: choose another name, or give --force"),
        (["--pairs", "no"], "no: cannot be opened"),
        (["--windows", "p"], "p:1: radiolabel is 'pair', expected 'transcript'"),
    ],
)
def test_bad_use_is_found_before_a_model_is_loaded(tmp_path, arguments, message):
    write(tmp_path / "p", pair(0).to_json())
    output = [] if "-o" in arguments else ["-o", "out"]
    code, out, err = radiolabel("probe", "--model", "m", *arguments, *output, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("records", "code", "message"),
    [
        ([transcript(token_ids=None)], 3, "w:1: transcript without token_ids, which --windows needs"),
        ([transcript(tokenizer=None)], 3, "w:1: transcript without tokenizer, which --windows needs"),
        ([transcript(), transcript()], 2, "w:2: id '0' stands in the file twice"),
        ([transcript(marked={"leaf": 2}), transcript(1, marked={"fleet": 1})], 3, "w:2: a sampler marked this answer"),
        ([transcript(), transcript(1, tokenizer=DIGEST[:-1] + "1")], 3, "w:2: tokenizer is sha256:"),
    ],
)
def test_transcripts_that_cannot_be_read_inside(tmp_path, capsys, records, code, message):
    write(tmp_path / "w", *records)
    assert main(["probe", "--model", "m", "--windows", str(tmp_path / "w"), "-o", str(tmp_path / "out")]) == code
    err = capsys.readouterr().err
    assert message in err
    assert "radiolabel: " in err
    if code == 3 and "without" in message:
        assert "hint: for another tokenizer score texts with --pairs" in err


@pytest.fixture
def folder(tmp_path, monkeypatch, tokenizer_file):
    """The working folder, with a suspect, its base, and a model of another vocabulary."""
    pytest.importorskip("torch", reason="needs the lab extra")
    pytest.importorskip("transformers", reason="needs the lab extra")
    for seed, name in enumerate(["suspect", "base", "other"]):
        file = tokenizer_file
        if name == "other":
            swapped = json.loads(tokenizer_file.read_text())
            vocabulary = swapped["model"]["vocab"]
            vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
            file = tmp_path / "other.json"
            file.write_text(json.dumps(swapped))
        tiny_model.save(tmp_path / name, file, seed=seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    return main(["probe", "--model", "suspect", *arguments])


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_the_probe_does_not_see_what_was_served(folder):
    for name, served in (("a", [0, 1, 0]), ("b", [1, 0, 1])):
        write(folder / name, *(pair(i, s).to_json() for i, s in enumerate(served)))
        assert run("--reference", "other", "--pairs", name, "-o", f"{name}.out") == 0
    assert (folder / "a.out").read_bytes() == (folder / "b.out").read_bytes()
    found = list(read_likelihoods("a.out"))
    assert [x.id for x in found] == ["r0-twin", "r1-twin", "r2-twin"]
    assert {(x.suspect, x.reference_model) for x in found} == {("suspect", "other")}
    assert found[0].digests == pair(0).digests
    assert found[0].tokens[0] < found[0].tokens[1]


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_equal_members_score_alike(folder):
    tie = Pair.of(
        id="t", prompt="Q", members=(Member(text="A list."), Member(text="A list.")), served=0, drawn="serving"
    )
    write(folder / "p", tie.to_json(), pair(1).to_json())
    assert run("--pairs", "p", "-o", "out") == 0
    first, second = read_likelihoods("out")
    assert first.log_likelihood[0] == first.log_likelihood[1] < 0
    assert second.log_likelihood[0] != second.log_likelihood[1]


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_an_interrupted_run_goes_on_after_its_last_complete_record(folder, capsys):
    write(folder / "p", *(pair(i).to_json() for i in range(12)))
    assert run("--pairs", "p", "-o", "whole", "--batch-size", "2") == 0  # two chunks
    whole = (folder / "whole").read_bytes()
    for cut in (0, 10, whole.index(b"\n") + 1, len(whole) - 1, len(whole)):
        (folder / "cut").write_bytes(whole[:cut])
        assert run("--pairs", "p", "-o", "cut", "--resume") == 0
        again, expected = list(read_likelihoods("cut")), list(read_likelihoods("whole"))
        assert [x.id for x in again] == [x.id for x in expected]
        for x, y in zip(again, expected, strict=True):
            assert x.log_likelihood == pytest.approx(y.log_likelihood, abs=1e-4)
    capsys.readouterr()
    for change in (
        lambda line: line.replace(b"r2-twin", b"r9-twin"),
        lambda line: line.replace(b'"suspect":"suspect"', b'"suspect":"base"'),
        lambda line: b"not json\n",
        lambda line: line.replace(b"sha256:", b"sha256:0", 1),
    ):
        lines = whole.splitlines(keepends=True)
        before = b"".join([*lines[:2], change(lines[2]), *lines[3:]])
        (folder / "cut").write_bytes(before)
        assert run("--pairs", "p", "-o", "cut", "--resume") == 3
        assert "cut:3: not the record that this input and these options give there" in capsys.readouterr().err
        assert (folder / "cut").read_bytes() == before


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_predictions_in_serving_order(folder, tokenizer_file, small_tokenizer):
    import hashlib

    digest = "sha256:" + hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()
    ids = [small_tokenizer.encode(text).ids for text in (TEXTS[1], TEXTS[0], "")]
    write(folder / "w", *(transcript(i, token_ids=x, tokenizer=digest) for i, x in enumerate(ids)))
    options = ("--reference", "base", "--windows", "w", "--served", "--top-k", "30", "--from", "2")
    assert run(*options, "-o", "out") == 0
    records = [json.loads(line) for line in (folder / "out").read_text().splitlines()]
    assert [(r["id"], r["ordinal"], r["served"]) for r in records] == [("0", 0, True), ("1", 1, True), ("2", 2, True)]
    assert [r["token_ids"] for r in records] == ids
    assert [r["at"] for r in records] == [list(range(2, len(x) + 1)) for x in ids]  # where they ended included
    assert {(r["tokenizer"], r["suspect"], r["reference_model"], r["k"]) for r in records} == {
        (digest, "suspect", "base", 30)
    }
    assert records[0]["prompt_ids"] == small_tokenizer.encode("Sort?").ids
    log_p = np.frombuffer(base64.b64decode(records[0]["log_p"]), dtype="<f4").reshape(-1, 30)
    assert len(log_p) == len(ids[0]) - 1
    assert (np.exp(log_p).sum(axis=1) < 1.001).all()
    (folder / "cut").write_bytes((folder / "out").read_bytes()[:-20])
    assert run(*options, "-o", "cut", "--resume") == 0
    assert [json.loads(line)["id"] for line in (folder / "cut").read_text().splitlines()] == ["0", "1", "2"]


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_windows_need_one_vocabulary(folder, capsys, tokenizer_file):
    import hashlib

    digest = "sha256:" + hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()
    write(folder / "w", transcript(tokenizer=digest))
    assert run("--reference", "other", "--windows", "w", "-o", "out") == 3
    assert "'other' has another vocabulary than 'suspect'" in capsys.readouterr().err
    respelled = folder / "suspect/tokenizer.json"
    respelled.write_text(json.dumps(json.loads(respelled.read_text())))  # the same tokenizer in another file
    assert run("--windows", "w", "-o", "out") == 3
    assert "give the provider's with --tokenizer" in capsys.readouterr().err
    assert run("--windows", "w", "-o", "out", "--tokenizer", "other.json") == 3
    assert "other.json is sha256:" in capsys.readouterr().err
    assert run("--windows", "w", "-o", "out", "--tokenizer", str(tokenizer_file)) == 0
    assert json.loads((folder / "out").read_text())["tokenizer"] == digest
    code = main(["probe", "--model", "other", "--windows", "w", "-o", "x", "--tokenizer", str(tokenizer_file)])
    assert code == 3
    assert "'other' has another vocabulary than" in capsys.readouterr().err


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_two_probes_do_not_write_one_file(folder, capsys):
    """Whatever --resume and --force say, and what is there stays as it is."""
    write(folder / "p", *(pair(i).to_json() for i in range(4)))
    for before, option in ((b"", "--resume"), (b"old", "--force")):
        (folder / "out").write_bytes(before)
        with open(folder / "out", "rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert run("--pairs", "p", "-o", "out", option) == 3
        assert "out: another radiolabel probe writes this file" in capsys.readouterr().err
        assert (folder / "out").read_bytes() == before
    assert run("--pairs", "p", "-o", "out", "--force") == 0
    assert len(list(read_likelihoods("out"))) == 4


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_a_file_that_another_probe_began_meanwhile_is_kept(folder, monkeypatch, capsys):
    from watermark.engines import models

    load = models.load

    def slow(*arguments, **options):
        (folder / "out").write_bytes(b"another's\n")
        return load(*arguments, **options)

    monkeypatch.setattr(models, "load", slow)
    write(folder / "p", pair(0).to_json())
    assert run("--pairs", "p", "-o", "out") == 2
    assert "out: File exists" in capsys.readouterr().err
    assert (folder / "out").read_bytes() == b"another's\n"


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_a_device_takes_records_too(folder):
    write(folder / "p", pair(0).to_json())
    assert run("--pairs", "p", "-o", "/dev/null") == 0

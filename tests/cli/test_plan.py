"""`radiolabel plan`, and the commands that run under one."""

import json
import os
import shlex
import time
from pathlib import Path

import pytest

from tests.cli.conftest import radiolabel
from tests.conftest import make_epoch
from tests.openai_server import OpenAIServer
from tests.predicting import TOKENIZER, chain, learn, predict, serve
from tests.tsa_server import Authority, TSAServer
from verify.cli import main
from verify.pairs import Likelihood, Member, Pair
from verify.records import Transcript, transcript_from_json
from watermark.keyfile import read_key, write_key

HOUSE = {"--alpha": "1e-6", "--family": "q4", "--name": "q4", "--correction": "none", "--suspect": "rival",
         "--no-filters": None}  # fmt: skip
ASKED = {"--model": "suspect", "--prompts": "prompts.txt", "--repeat": "2", "--concurrency": "3", "--system": "none",
         "--max-tokens": "50", "--temperature": "0.7", "--top-p": "endpoint", "--logprobs": "none"}  # fmt: skip
CLOSED = {"--hypothesis": "closed", "--key": "fleet.key", "--tokenizer": "tokenizer.json", "--decoys": "10",
          "--repeated-windows": "skip", "--pair-weights": "distinct", "--token-ids": "no", "--with-prompts": "no",
          "--served": "no", "--input-format": "auto"}  # fmt: skip
FOUND = {"--origin": "its public page", "--n": "12", "--input": "input=marked.jsonl"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with TSAServer(Authority(tmp_path_factory.mktemp("tsa"))) as running:
        yield running


@pytest.fixture
def folder(tmp_path, monkeypatch, marked, tokenizer_file):
    for source in (*marked.iterdir(), tokenizer_file):
        if source.name.endswith(".key"):
            write_key(read_key(str(source)), tmp_path / source.name)
        else:
            (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "prompts.txt").write_text("".join(f"p{i}\n" for i in range(8)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return tmp_path


@pytest.fixture
def run(folder, capsys):
    """run(*arguments) -> (exit code, stdout, stderr), in this process."""

    def run(*arguments):
        code = main(list(map(str, arguments)))
        return (code, *capsys.readouterr())

    return run


def words(*options):
    """A command line from options; a later value of one wins, None is a flag."""
    merged = {}
    for group in options:
        merged |= group
    return [word for name, value in merged.items() for word in ([name] if value is None else [name, value])]


@pytest.fixture
def commit(run, server):
    """commit(*options) makes plan.json from them, registered in register.jsonl."""

    def commit(*options):
        code, _, err = run("plan", "new", *words(HOUSE, *options), "-o", "draft.json", "--force")
        assert code == 0, err
        assert err.startswith("not committed: nothing shows when it was made")
        code, out, err = run(
            *("plan", "commit", "draft.json", "--register", "register.jsonl", "-o", "plan.json"),
            *("--tsa", server.url, "--tsa-certs", server.authority.roots_file),
        )
        assert (code, err) == (0, "")
        return json.loads(out)

    return commit


def outcomes(out):
    return [step["outcome"] for step in json.loads(out)["steps"]]


def test_a_collection_under_a_plan(folder, run, commit, server):
    certs = ("--tsa-certs", server.authority.roots_file)
    with OpenAIServer(delay=0.01, created=int(time.time()) + 60) as suspect:
        url = {"--base-url": suspect.url}
        made = commit(CLOSED, ASKED, url, {"--n": "16", "--no-inputs": None})
        collect = ["collect", "prompts.txt", *words(url, {"--model": "suspect", "--max-tokens": "50"}), "--plan",
                   "plan.json", "--register", "register.jsonl", "--repeat", "2", "--concurrency", "3",
                   "-o", "out.jsonl"]  # fmt: skip
        assert run(*collect, "--temperature", "0.7", "--max-requests", "5")[0] == 0
        code, out, err = run(*collect, "--temperature", "0.7")
        assert (code, err) == (0, "")
        assert json.loads(out)["settings"]["plan"] == made["digest"]
        before = (folder / "out.jsonl").read_bytes()
        for changed, message in (
            (("--temperature", "0.8"), "temperature is 0.8, and plan.json says 0.7"),
            (("--temperature", "0.7", "--top-p", "0.5"), "top_p is 0.5, and plan.json says None"),
            (("--temperature", "0.7", "--repeat", "3"), "repeat is 3, and plan.json says 2"),
            (("--temperature", "0.7", "--concurrency", "4"), "concurrency is 4, and plan.json says 3"),
            (("--temperature", "0.7", "--key", "fleet.key", "--tokenizer", "tokenizer.json"), "for a closed test"),
        ):
            code, _, err = run(*collect, *changed)
            assert (code, message in err) == (3, True), err
        (folder / "prompts.txt").write_text("other\n")
        code, _, err = run(*collect, "--temperature", "0.7")
        assert (code, "prompts is 'sha256:" in err) == (3, True)
        assert (folder / "out.jsonl").read_bytes() == before
    (folder / "prompts.txt").write_text("".join(f"p{i}\n" for i in range(8)))
    lines = [transcript_from_json(line, "x") for line in before.splitlines()]
    assert [int(line.id) for line in lines] != sorted(int(line.id) for line in lines)
    everything = ("--register", "register.jsonl", "--answers", "out.jsonl", "--prompts", "prompts.txt", *certs)
    code, out, err = run("plan", "check", "plan.json", *everything)
    assert (code, err, outcomes(out)) == (0, "", ["ok"] * 14)
    # The same answers written down without the plan, or in the order of the prompts.
    (folder / "out.jsonl").write_bytes(
        b"".join(sorted(before.splitlines(keepends=True), key=lambda x: int(json.loads(x)["id"])))
    )
    code, out, _ = run("plan", "check", "plan.json", *everything)
    assert (code, outcomes(out)) == (1, ["ok"] * 11 + ["failed", "ok", "ok"])


def test_a_question_without_an_answer_is_the_first_of_the_next_run(folder, run, commit, server):
    faults = {f"p{i}": ["status 500"] for i in range(8)}
    with OpenAIServer(faults=faults, created=int(time.time()) + 60) as suspect:
        url = {"--base-url": suspect.url}
        commit(CLOSED, ASKED, url, {"--n": "16", "--no-inputs": None})
        collect = ["collect", "prompts.txt", *words(url, {"--model": "suspect", "--max-tokens": "50"}), "--plan",
                   "plan.json", "--register", "register.jsonl", "--repeat", "2", "--concurrency", "3", "--retries", "0",
                   "--temperature", "0.7",
                   "-o", "out.jsonl"]  # fmt: skip
        codes = []
        while not codes or codes[-1]:
            assert len(codes) < 9
            code, _, err = run(*collect)
            assert code == 0 or "gave no answer to 1 prompts in a row" in err
            codes.append(code)
        assert len(codes) > 2
    code, out, _ = run(
        *("plan", "check", "plan.json", "--register", "register.jsonl", "--answers", "out.jsonl"),
        *("--tsa-certs", server.authority.roots_file),
    )
    assert (code, outcomes(out).count("failed")) == (0, 0)


def test_the_register_grows_and_refuses_a_plan_twice(folder, run, commit, server):
    assert commit(CLOSED, FOUND, {})["number"] == 0
    first = (folder / "plan.json").read_bytes()
    (folder / "plan.json").unlink()
    assert commit(CLOSED, FOUND, {"--alpha": "1e-3"})["number"] == 1
    tsa = ("--register", "register.jsonl", "--tsa", server.url, "-o", "again.json")
    code, _, err = run("plan", "commit", "plan.json", *tsa)
    assert (code, "the plan is registered already, as number 1" in err) == (3, True)
    assert not (folder / "again.json").exists()
    assert len((folder / "register.jsonl").read_text().splitlines()) == 2
    (folder / "first.json").write_bytes(first)
    code, out, _ = run("plan", "check", "first.json", "--register", "register.jsonl")
    assert (code, outcomes(out)) == (0, ["not checked", "ok", "ok", "not checked", "not checked", "ok", "not checked",
                                         "not checked"])  # fmt: skip
    code, out, _ = run("plan", "check", "draft.json", "--register", "register.jsonl")
    assert (code, outcomes(out).count("failed")) == (1, 1)  # never stamped: the register has its token


def test_a_register_that_could_not_be_written_is_no_loss(folder, run, commit, server):
    commit(CLOSED, FOUND)
    stamped = (folder / "plan.json").read_bytes()
    (folder / "register.jsonl").unlink()
    tsa = ("--register", "register.jsonl", "--tsa", server.url, "-o", "again.json")
    assert run("plan", "commit", "plan.json", *tsa)[0] == 0
    assert (folder / "again.json").read_bytes() == stamped


def test_what_is_printed(folder, run, commit):
    commit(CLOSED, FOUND)
    code, out, _ = run("plan", "check", "plan.json", "--format", "text")
    assert code == 0
    assert "\ntest.hypothesis: closed\n" in out
    assert "\ndecision: q4: found if p is at most 1e-06\n" in out
    assert out.splitlines()[-2] == (
        "2. not checked: the plan is registered, with its keys and timestamps (no register was given)"
    )
    secret = json.loads((folder / "fleet.key").read_text())
    for name in ("plan.json", "register.jsonl"):
        text = (folder / name).read_text()
        assert secret["id"] in text
        assert secret["value_key"] not in text
        assert secret["selector_key"] not in text


EVERY = CLOSED | FOUND | HOUSE


@pytest.mark.parametrize("missing", [name for name in EVERY if name != "--origin"])
def test_every_field_is_needed(folder, run, missing):
    given = {name: value for name, value in EVERY.items() if name != missing}
    code, out, err = run("plan", "new", *words(given), "-o", "x.json")
    assert (code, out) == (2, "")
    assert missing.lstrip("-").removeprefix("no-") in err
    assert not (folder / "x.json").exists()


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"--rule": "root"}, 2, "a plan for closed with such a suspect does not use --rule"),
        ({"--budget": "5"}, 2, "does not use --budget"),
        ({"--weights": "marked.jsonl"}, 2, "give one of --weights, --origin and --base-url"),
        ({"--no-inputs": None}, 2, "give either --input or --no-inputs"),
        ({"--filter": "x"}, 2, "give either --filter or --no-filters"),
        ({"--input": "marked.jsonl"}, 2, "expected NAME=FILE"),
        ({"--input": "pairs=marked.jsonl"}, 2, "expected no names but"),
        ({"--input": "input=none"}, 2, "none is not a regular file"),
        ({"--correction": "holm"}, 2, "correction is holm for 1 tests"),
        ({"--family": "q5"}, 2, "the family lacks a test of this plan"),
        ({"--alpha": "nan"}, 2, "not a finite number"),
        ({"--key": "tokenizer.json"}, 2, "tokenizer.json"),
        ({"--tokenizer": "fleet.key"}, 2, "fleet.key"),
        ({"-o": "prompts.txt"}, 2, "prompts.txt exists"),
    ],
)  # fmt: skip
def test_bad_use_of_new(folder, run, changed, code, message):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    found, out, err = run("plan", "new", *words({"-o": "x.json"}, EVERY, changed))
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("commit draft.json --register r.jsonl -o x.json", 2, "give --tsa"),
        ("commit draft.json --register draft.json --tsa URL -o x.json", 2, "expected 'registered'"),
        ("commit draft.json --register r.jsonl --tsa URL -o draft.json --force", 2, "are the same file"),
        ("commit draft.json --register r.jsonl --tsa URL -o r.jsonl", 2, "are the same file"),
        ("commit draft.json --register . --tsa URL -o x.json", 2, "not a regular file"),
        ("commit draft.json --register none/r.jsonl --tsa URL -o x.json", 2, "cannot be opened"),
        ("commit fleet.key --register r.jsonl --tsa URL -o x.json", 2, "fleet.key"),
        ("commit draft.json --register r.jsonl --tsa http://127.0.0.1:9/ -o x.json", 2, "no answer from the timestamp"),
        ("check none.json", 2, "none.json: cannot be read"),
        ("check draft.json --register none.jsonl", 2, "none.jsonl: cannot be read"),
        ("check draft.json --prompts prompts.txt", 2, "--prompts goes with --answers"),
    ],
)  # fmt: skip
def test_bad_use(folder, run, server, arguments, code, message):
    assert run("plan", "new", *words(EVERY), "-o", "draft.json")[0] == 0
    (folder / "r.jsonl").write_bytes(b"")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    found, out, err = run("plan", *shlex.split(arguments.replace("URL", server.url)))
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_help_needs_no_plan():
    code, out, _ = radiolabel("plan", "--help")
    assert (code, "exploratory" in out) == (0, True)


# --- tests that run under a plan -------------------------------------------------------------------------------------

VERIFY = ("verify", "marked.jsonl", "--key", "fleet.key", "--tokenizer", "tokenizer.json", "--decoys", "10")


def test_verify_under_a_plan(folder, run, commit):
    made = commit(CLOSED, FOUND)
    code, out, err = run(*VERIFY, "--plan", "plan.json")
    f = json.loads(out)
    assert (code, err, f["found"], f["options"]["plan"]) == (0, "", True, made["digest"])
    assert f["sentence"].endswith("q4: found if p is at most 1e-06.")
    code, out, _ = run(*VERIFY)
    assert json.loads(out)["options"]["plan"] is None
    assert json.loads(out)["sentence"].endswith("Exploratory: no plan was committed before looking.")
    assert "Exploratory: no plan" in " ".join(run(*VERIFY, "--format", "text")[1].split())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("--alpha", "1e-3"), "alpha is 0.001, and plan.json says 1e-06"),
        (("--key", "other.key"), "key has id"),
        (("--decoys", "11"), "decoys is 11, and plan.json says 10"),
        (("--token-ids",), "token_ids is True, and plan.json says False"),
        (("--repeated-windows", "score"), "repeated_windows is 'score', and plan.json says 'skip'"),
        (("--served", "marked.jsonl"), "decoys is 0, and plan.json says 10"),
        (("--weights", "counts"), "decoys is 0, and plan.json says 10"),
    ],
)
def test_verify_refuses_what_is_not_the_plans(folder, run, commit, changed, message):
    commit(CLOSED, FOUND)
    code, out, err = run(*VERIFY, *changed, "--plan", "plan.json")
    assert (code, out) == (3, "")
    assert message in err


def test_verify_refuses_other_inputs_and_a_draft(folder, run, commit):
    commit(CLOSED, FOUND)
    assert "the plan is not committed" in run(*VERIFY, "--plan", "draft.json")[2]
    lines = (folder / "marked.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "marked.jsonl").write_bytes(b"".join(lines[:-1]))
    code, _, err = run(*VERIFY, "--plan", "plan.json")
    assert (code, "input is not the file of the plan" in err) == (3, True)


def test_answers_are_counted(folder, run, commit):
    commit(CLOSED, FOUND, {"--n": "13"})
    code, _, err = run(*VERIFY, "--plan", "plan.json")
    assert (code, "n is 12, and plan.json says 13" in err) == (3, True)


def test_open_under_a_plan(folder, run, commit):
    epoch = make_epoch(1, shares="fleet=1")
    write_key(epoch.value_key("fleet"), "open.key")
    laws = chain(64, 0)
    texts = serve(laws, epoch.value_key("fleet"), [60] * 20, 1)
    predictions = predict(texts, laws, 2, student=learn(texts, laws, 2, 20.0))
    Path("p.jsonl").write_bytes(b"\n".join(p.to_json() for p in predictions))
    reference = predictions[0].reference_model
    transcripts = [Transcript(id=p.id, prompt="", response="", token_ids=p.token_ids.tolist()) for p in predictions]
    Path("texts.jsonl").write_bytes(b"\n".join(t.to_json() for t in transcripts) + b"\n")
    plan = {"--hypothesis": "open", "--key": "open.key", "--weights": "p.jsonl", "--prompt-windows": "count",
            "--reference": reference, "--rule": "root", "--records": "predictions", "--served": "yes", "--n": "20",
            "--tokenizer": "tokenizer.json", "--input": "texts=texts.jsonl"}  # fmt: skip
    commit(plan)
    run_open = ("test", "open", "p.jsonl", "--key", "open.key", "--texts", "texts.jsonl")
    code, _, err = run(*run_open, "--plan", "plan.json")
    assert (code, "rule is None, and plan.json says 'root'" in err) == (3, True)
    code, _, err = run(*run_open, "--rule", "root", "--plan", "plan.json")
    assert (code, "tokenizer is 'sha256:" in err) == (3, True)
    # The records of this test have no tokenizer.json: the digest they name is put into the plan.
    draft = json.loads(Path("draft.json").read_text())
    digest = draft["test"]["tokenizer"]
    Path("draft.json").write_text(Path("draft.json").read_text().replace(digest, TOKENIZER))
    Path("plan.json").write_text(Path("draft.json").read_text().replace('"timestamps":[]', '"timestamps":["AAAA"]'))
    code, out, err = run(*run_open, "--rule", "root", "--plan", "plan.json")
    assert (code, err) == (0, "")
    assert json.loads(out)["options"]["plan"].startswith("sha256:")
    code, _, err = run("test", "closed", "p.jsonl", "--key", "open.key", "--plan", "plan.json")
    assert (code, "hypothesis is 'closed-reference', and plan.json says 'open'" in err) == (3, True)
    assert json.loads(run(*run_open)[1])["sentence"].endswith("no plan was committed before looking.")


def test_twin_under_a_plan(folder, run, commit):
    pairs, likelihoods = [], []
    for i in range(40):
        members = (Member(f"the blue answer number {i} is long"), Member(f"a red reply of index {i} was short"))
        pair = Pair.of(id=f"p{i}", prompt=f"question {i}", members=members, served=i % 2, drawn="serving")
        scores = (-49.0, -50.0) if pair.served == 0 else (-50.0, -49.0)
        pairs.append(pair)
        likelihoods.append(
            Likelihood(id=pair.id, digests=pair.digests, tokens=(9, 9), log_likelihood=scores, suspect="suspect")
        )
    Path("pairs.jsonl").write_bytes(b"\n".join(p.to_json() for p in pairs))
    Path("l.jsonl").write_bytes(b"\n".join(x.to_json() for x in likelihoods))
    write_key(make_epoch(3), "epoch.key")
    commit({"--hypothesis": "twin", "--key": "epoch.key", "--weights": "sha256:" + "0" * 64, "--scores": "likelihoods",
            "--coins": "stated", "--statistic": "sign", "--missing": "loss", "--reference": "none", "--n": "40",
            "--input": "pairs=pairs.jsonl"})  # fmt: skip
    twin = ("test", "twin", "pairs.jsonl", "--likelihoods", "l.jsonl")
    code, out, err = run(*twin, "--plan", "plan.json")
    assert (code, err) == (0, "")
    assert json.loads(out)["options"]["decision"] == "q4: found if p is at most 1e-06"
    for changed, message in (
        (("--statistic", "rank"), "statistic is 'rank', and plan.json says 'sign'"),
        (("--missing", "drop"), "missing is 'drop'"),
        (("--alpha", "0.05"), "alpha is 0.05"),
    ):
        code, out, err = run(*twin, *changed, "--plan", "plan.json")
        assert (code, out, message in err) == (3, "", True)
    assert json.loads(run(*twin)[1])["sentence"].endswith("no plan was committed before looking.")


def test_collect_until_it_is_enough_under_a_plan(folder, run, commit, server, marked):
    answers = [json.loads(line)["response"] for line in (marked / "marked.jsonl").read_text().splitlines()]
    with OpenAIServer(answer=lambda p: answers[int(p[1:])], created=int(time.time()) + 60) as suspect:
        asked = {n: v for n, v in ASKED.items() if n not in ("--max-tokens", "--repeat", "--temperature")}
        commit(asked, {"--hypothesis": "sequential", "--key": "fleet.key", "--tokenizer": "tokenizer.json",
                       "--base-url": suspect.url, "--max-tokens": "endpoint", "--temperature": "endpoint",
                       "--repeat": "1", "--budget": "8", "--no-inputs": None})  # fmt: skip
        collect = ("collect", "prompts.txt", "--base-url", suspect.url, "--model", "suspect", "--concurrency", "3",
                   "--plan", "plan.json", "--register", "register.jsonl", "--tokenizer", "tokenizer.json",
                   "-o", "out.jsonl")  # fmt: skip
        for key, alpha, message in (("other.key", "1e-6", "key has id"), ("fleet.key", "1e-5", "alpha is 1e-05")):
            code, _, err = run(*collect, "--key", key, "--alpha", alpha)
            assert (code, message in err) == (3, True)
        code, out, err = run(*collect, "--key", "fleet.key")
        assert (code, err, json.loads(out)["stopped"]) == (0, "", "enough")
    code, out, _ = run(
        *("plan", "check", "plan.json", "--register", "register.jsonl", "--answers", "out.jsonl"),
        *("--tsa-certs", server.authority.roots_file),
    )
    assert (code, outcomes(out).count("failed")) == (0, 0)
    assert os.path.getsize("out.jsonl") > 0

"""`radiolabel ledger`: from answers that were served to the tests of a student, and what each command refuses."""

import json
import os
import stat

import numpy as np
import pytest

from tests import tiny_model
from tests.cli.conftest import radiolabel
from tests.conftest import make_epoch
from verify.canonical import digest
from verify.pairs import Member, Pair, read_pairs
from verify.records import Transcript
from watermark.keyfile import write_key
from watermark.ledger import fates_of
from watermark.sampling import Request, Sampler

N = 60
EPOCH = make_epoch(21, shares="fleet=0.5,account=0.25,leaf=0.25")


@pytest.fixture(scope="module")
def served(tmp_path_factory, small_tokenizer, tokenizer_file):
    """A folder with keys, transcripts and pairs as embed writes them, and a ledger that they were appended to."""
    folder = tmp_path_factory.mktemp("served")
    write_key(EPOCH, folder / "epoch.key")
    write_key(EPOCH.value_key("fleet"), folder / "fleet.key")
    write_key(make_epoch(22).value_key("fleet"), folder / "other.key")
    sampler, name = Sampler(EPOCH), digest(tokenizer_file.read_bytes())
    words = [
        i
        for t, i in sorted(small_tokenizer.get_vocab().items())
        if t.startswith("Ġ") and t[1:].isalpha() and len(t) > 3
    ]
    logits = np.full((1, 4096), -np.inf)
    logits[0, words] = np.random.default_rng(0).normal(size=len(words))

    def drawn(request):
        response = sampler.start(request)
        for _ in range(60):
            sampler.draw([response], logits)
        return Member(text=small_tokenizer.decode(response.tracker.tokens), token_ids=tuple(response.tracker.tokens))

    with open(folder / "a.jsonl", "wb") as answers, open(folder / "pairs.jsonl", "wb") as pairs:
        for index in range(N):
            ids, account = (f"r{index}", f"r{index}-twin"), f"a{index % 4}"
            members = tuple(drawn(Request(id_, account=account)) for id_ in ids[: 1 + (index % 2 == 0)])
            coin = EPOCH.coin(ids[1]) if len(members) == 2 else 0
            common = {"prompt": f"Say words, {index}.", "account": account, "model": "teacher", "tokenizer": name}
            if len(members) == 2:
                pair = Pair.of(id=ids[1], request=ids[0], members=members, served=coin, drawn="serving", **common)
                pairs.write(pair.to_json() + b"\n")
            t = Transcript(
                id=ids[coin], response=members[coin].text, token_ids=members[coin].token_ids, request=ids[coin],
                marked=fates_of(EPOCH, members[coin].token_ids),
                meta={"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_tokens": 60}, **common,
            )  # fmt: skip
            answers.write(t.to_json() + b"\n")
    code, public, err = radiolabel("ledger", "key", "-o", folder / "sealing.pem")
    assert (code, err) == (0, "")
    code, _, err = radiolabel("ledger", "new", folder / "l.jsonl", "--seal", public.strip())
    assert (code, err) == (0, "")
    code, _, err = radiolabel(
        "ledger", "append", folder / "l.jsonl", folder / "a.jsonl", "--key", folder / "epoch.key",
        "--pairs", folder / "pairs.jsonl", "--seal", public.strip(),
    )  # fmt: skip
    assert (code, err) == (0, "")
    return folder


def run(*arguments, code=0):
    """(stdout, stderr) of a command that ends with this code."""
    found, out, err = radiolabel(*arguments)
    assert found == code, err
    return out, err


def opened(served, tmp_path):
    run("ledger", "served", served / "l.jsonl", "--key", served / "sealing.pem", "-o", tmp_path / "a.jsonl")
    run("ledger", "pairs", served / "l.jsonl", "--key", served / "sealing.pem", "-o", tmp_path / "pairs.jsonl")


def test_what_comes_out_is_what_was_put_in(served, tmp_path):
    opened(served, tmp_path)
    assert (tmp_path / "pairs.jsonl").read_bytes() == (served / "pairs.jsonl").read_bytes()
    one, other = ((f / "a.jsonl").read_bytes().splitlines() for f in (tmp_path, served))
    assert [json.loads(line) for line in one] == [json.loads(line) for line in other]
    for name in ("a.jsonl", "pairs.jsonl"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_from_the_ledger_to_a_verdict(served, tmp_path, tokenizer_file):
    """A student that repeats what it was served is found in its text and by its answers; another key finds nothing."""
    opened(served, tmp_path)
    for key, found in (("fleet.key", True), ("other.key", False)):
        out, _ = run(
            "verify", "--key", served / key, "--tokenizer", tokenizer_file, tmp_path / "a.jsonl", "--format", "json"
        )
        assert (json.loads(out)["log10_p"] < -10) == found
    pairs = list(read_pairs(str(tmp_path / "pairs.jsonl")))
    assert {p.served for p in pairs} == {0, 1}
    for suspect, found in (("student", True), ("innocent", False)):
        with open(tmp_path / "answers.jsonl", "w") as file:
            for number, p in enumerate(pairs):
                says = p.members[p.served if suspect == "student" else number % 2]
                file.write(json.dumps({"prompt": p.prompt, "response": says.text}) + "\n")
        arguments = (tmp_path / "pairs.jsonl", "--answers", tmp_path / "answers.jsonl", "--key", served / "epoch.key")
        twin = json.loads(run("test", "twin", *arguments, "--alpha", "1e-4", "--format", "json")[0])
        assert (twin["found"], twin["n_pairs"]) == (found, N // 2)
        accounts = json.loads(run("accounts", *arguments, "--fwer", "0.05", "--format", "json")[0])
        assert accounts["n_accounts"] == 2
        assert (len(accounts["named_fwer"]) == 2) == found


def test_a_probe_reads_what_comes_out(served, tmp_path, tokenizer_file):
    """A real model of random weights: nothing is found, and everything fits together."""
    pytest.importorskip("transformers")
    opened(served, tmp_path)
    model = tiny_model.save(tmp_path / "model", tokenizer_file, seed=1)
    probe = ("probe", "--model", model, "--batch-size", "16")
    run(*probe, "--pairs", tmp_path / "pairs.jsonl", "-o", tmp_path / "likelihoods.jsonl")
    run(*probe, "--windows", tmp_path / "a.jsonl", "--served", "--top-k", "64", "-o", tmp_path / "predictions.jsonl")
    likelihoods = ("--likelihoods", tmp_path / "likelihoods.jsonl")
    twin, _ = run(
        "test", "twin", tmp_path / "pairs.jsonl", *likelihoods, "--key", served / "epoch.key", "--format", "json"
    )
    assert json.loads(twin)["log10_p_sign"] > -4
    out, _ = run("test", "open", tmp_path / "predictions.jsonl", "--key", served / "fleet.key", "--format", "json")
    assert json.loads(out)["log10_p"] > -4
    assert json.loads(out)["served"] is True


def test_the_ledger_shows_no_text_and_no_key(served):
    data = (served / "l.jsonl").read_bytes()
    for line in (served / "a.jsonl").read_bytes().splitlines():
        t = json.loads(line)
        assert t["prompt"].encode() not in data
        assert t["response"].encode()[:30] not in data
        assert json.dumps(t["token_ids"][:6], separators=(",", ":")).encode()[:-1] not in data
    secrets = [EPOCH.secret, EPOCH.coin_key().secret, EPOCH.value_key("fleet").value, EPOCH.value_key("fleet").selector]
    assert not any(s.reveal().hex().encode() in data for s in secrets)


def test_check(served, tmp_path):
    out, _ = run("ledger", "check", served / "l.jsonl", "--format", "json")
    found = json.loads(out)
    assert (found["holds"], found["count"], found["answers"], found["damages"]) == (True, N + 1, N, [])
    data = (served / "l.jsonl").read_bytes()
    at = data.index(b'"r17"')
    (tmp_path / "l").write_bytes(data[: at + 2] + b"2" + data[at + 3 :])
    out, _ = run("ledger", "check", tmp_path / "l", "--format", "json", code=1)
    found = json.loads(out)
    assert [(d["line"], d["record"], d["kind"]) for d in found["damages"]] == [(19, 18, "altered")]
    assert found["damages"][0]["offset"] == data.rindex(b"\n", 0, at) + 1
    assert found["holds_up_to"].startswith("18:")
    out, _ = run("ledger", "check", tmp_path / "l", "--format", "text", code=1)
    assert "l:19 (byte" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    for command in (("coverage",), ("head",), ("served", "--key", served / "sealing.pem", "-o", tmp_path / "o")):
        _, err = run("ledger", command[0], tmp_path / "l", *command[1:], code=2)
        assert "l:19 (byte" in err
    assert not (tmp_path / "o").exists()


def test_a_committed_head_finds_a_cut_tail(served, tmp_path):
    pytest.importorskip("rfc8785")
    out, _ = run("ledger", "head", served / "l.jsonl", "-o", tmp_path / "head.json", "--format", "json")
    head = json.loads(out)
    assert head["count"] == N + 1
    run("commit", "log", tmp_path / "head.json", "-o", tmp_path / "c.json")
    run("commit", "log", served / "l.jsonl", "-o", tmp_path / "lines.json")
    committed = json.loads((tmp_path / "lines.json").read_text())
    assert (committed["size"], committed["first"], committed["last"]) == (N + 1, 0, N)
    with_head = ("--head", tmp_path / "head.json", "--commitment", tmp_path / "c.json")
    with_lines = ("--commitment", tmp_path / "lines.json")
    with_text = ("--head", f"{head['count']}:{head['hash']}")
    lines = (served / "l.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").write_bytes(b"".join(lines[:-3]))
    (tmp_path / "grown").write_bytes(b"".join(lines))
    run("ledger", "append", tmp_path / "grown", served / "a.jsonl", "--key", served / "epoch.key")
    for options in (with_head, with_lines, with_text):
        run("ledger", "check", served / "l.jsonl", *options)
        run("ledger", "check", tmp_path / "grown", *options)
        out, _ = run("ledger", "check", tmp_path / "cut", *options, "--format", "json", code=1)
        assert [d["kind"] for d in json.loads(out)["damages"]] == ["cut"]
    run("ledger", "check", tmp_path / "cut")
    # A commitment of something else.
    out, _ = run("ledger", "check", served / "l.jsonl", "--head", tmp_path / "head.json", *with_lines, code=1)
    assert "not of the head" in out
    (tmp_path / "other").write_bytes(b"".join(lines[:-1]) + b"x\n")
    out, _ = run("ledger", "check", tmp_path / "other", *with_lines, "--format", "json", code=1)
    assert {d["kind"] for d in json.loads(out)["damages"]} == {"malformed", "rewritten"}


def test_a_chain_in_two_files(served, tmp_path):
    head = run("ledger", "head", served / "l.jsonl", "--format", "text")[0].strip()
    run("ledger", "new", tmp_path / "2", "--contents", "off", "--after", head)
    run("ledger", "append", tmp_path / "2", served / "a.jsonl", "--key", served / "epoch.key")
    out, _ = run("ledger", "check", served / "l.jsonl", tmp_path / "2", "--format", "json")
    assert (json.loads(out)["holds"], json.loads(out)["count"]) == (True, 2 * (N + 1))
    run("ledger", "check", tmp_path / "2", "--head", head)
    run("ledger", "check", tmp_path / "2", served / "l.jsonl", code=1)
    _, err = run("ledger", "served", tmp_path / "2", "-o", tmp_path / "o", code=3)
    assert "2:2: answer of 'r0" in err
    assert "contents were not kept" in err


def test_coverage(served):
    out, _ = run("ledger", "coverage", served / "l.jsonl", "--format", "json")
    found = json.loads(out)
    transcripts = [json.loads(line) for line in (served / "a.jsonl").read_bytes().splitlines()]
    total = {}
    for t in transcripts:
        for fate, count in t["marked"].items():
            total[fate] = total.get(fate, 0) + count
    assert found["total"]["channels"] == {c: total[c] for c in ("fleet", "account")}
    assert found["total"]["reasons"] == {r: total[r] for r in ("leaf", "first_h", "repeated") if r in total}
    assert found["total"]["tokens"] == N * 60
    assert (found["total"]["twins"], found["total"]["answers"]) == (N // 2, N)
    assert [(c["epoch"], c["account"], c["answers"]) for c in found["accounts"]] == [
        ("test", f"a{n}", N // 4) for n in range(4)
    ]
    out, _ = run("ledger", "coverage", served / "l.jsonl", "--format", "text")
    assert max(map(len, out.splitlines())) <= 80
    assert f"in {N} answers carry a mark" in " ".join(out.split())


def test_coverage_of_nothing(tmp_path):
    run("ledger", "new", tmp_path / "l", "--contents", "clear")
    assert "0 answers, no tokens" in run("ledger", "coverage", tmp_path / "l", "--format", "text")[0]


def test_a_pipe_is_read_as_a_dash(served, tmp_path):
    data = (served / "l.jsonl").read_text()
    code, out, _ = radiolabel("ledger", "check", "-", "--format", "json", input=data)
    assert (code, json.loads(out)["count"]) == (0, N + 1)
    os.mkfifo(tmp_path / "fifo")
    _, err = run("ledger", "check", tmp_path / "fifo", code=2)
    assert "not a regular file" in err


def test_others_cannot_open_it(served, tmp_path):
    run("ledger", "key", "-o", tmp_path / "other.pem")
    for options, message in ((["--key", tmp_path / "other.pem"], "does not open with this key"), ([], "give --key")):
        _, err = run("ledger", "pairs", served / "l.jsonl", *options, "-o", tmp_path / "p", code=3)
        assert message in err
        assert not (tmp_path / "p").exists()


def test_one_account_and_one_epoch(served, tmp_path):
    common = ("ledger", "served", served / "l.jsonl", "--key", served / "sealing.pem", "-o", tmp_path / "o", "--force")
    run(*common, "--account", "a1", "--account", "a2", "--epoch", "test")
    accounts = [json.loads(line)["account"] for line in (tmp_path / "o").read_bytes().splitlines()]
    assert (set(accounts), len(accounts)) == ({"a1", "a2"}, N // 2)
    run(*common, "--epoch", "none")
    assert (tmp_path / "o").read_bytes() == b""


def line(served, **changes):
    t = json.loads((served / "a.jsonl").read_bytes().splitlines()[1]) | changes
    return json.dumps({k: v for k, v in t.items() if v is not ...}) + "\n"


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"token_ids": ...}, 3, "transcript without token_ids"),
        ({"request": ...}, 3, "transcript without request"),
        ({"marked": {"fleet": 60}}, 3, "under this key it would be"),
        ({"marked": {"fleet": 1, "greedy": 59}}, 3, "beside others"),
        ({"account": "no such name"}, 3, "cannot be part of a key path"),
        ({"account": ...}, 2, "names no account"),
    ],
    ids=str,
)
def test_answers_that_cannot_be_logged(served, tmp_path, changes, code, message):
    run("ledger", "new", tmp_path / "l", "--contents", "clear")
    before = (tmp_path / "l").read_bytes()
    found, _, err = radiolabel(
        "ledger", "append", tmp_path / "l", "--key", served / "epoch.key", input=line(served, **changes)
    )
    assert found == code
    assert message in err
    assert (tmp_path / "l").read_bytes() == before


def test_a_greedy_answer_is_logged_as_one(served, tmp_path):
    run("ledger", "new", tmp_path / "l", "--contents", "clear")
    for key in (["--key", served / "epoch.key"], []):
        code, _, err = radiolabel("ledger", "append", tmp_path / "l", *key, input=line(served, marked={"greedy": 60}))
        assert code == 0, err
    out, _ = run("ledger", "coverage", tmp_path / "l", "--format", "json")
    assert json.loads(out)["total"]["reasons"] == {"greedy": 120}
    code, _, err = radiolabel("ledger", "append", tmp_path / "l", input=line(served, marked=...))
    assert code == 3
    assert "give --key" in err


def test_a_pair_of_another_answer_is_refused(served, tmp_path):
    run("ledger", "new", tmp_path / "l", "--contents", "clear")
    text = (served / "a.jsonl").read_text().splitlines()[0]
    changed = json.dumps(json.loads(text) | {"prompt": "another"}) + "\n"
    code, _, err = radiolabel(
        "ledger",
        "append",
        tmp_path / "l",
        "--key",
        served / "epoch.key",
        "--pairs",
        served / "pairs.jsonl",
        input=changed,
    )
    assert code == 3
    assert "says that another answer was served" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "x"], "give either --seal or --contents"),
        (["new", "x", "--seal", "0" * 64], "small order"),
        (["new", "x", "--seal", "a"], "expected 64 digits"),
        (["new", "x", "--contents", "off", "--after", "1:2"], "expected COUNT:HASH"),
        (["new", "x", "--contents", "off", "--after", "none"], "none: cannot be read"),
        (["new", "no/x", "--contents", "off"], "cannot be made"),
        (["append", "none", "a.jsonl"], "ledger none"),
        (["check"], "Missing argument"),
        (["check", "none"], "none: cannot be opened"),
        (["check", "-", "-"], "standard input can be one of the files"),
        (["check", ".", "--head", "x:y"], "expected COUNT:HASH"),
        (["served", "none", "-o", "o"], "none"),
        (["key"], "Missing option"),
    ],
    ids=str,
)
def test_bad_use(tmp_path, arguments, message):
    code, out, err = radiolabel("ledger", *arguments, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert message in err
    assert "internal" not in err


def coin(name, value):
    """A name whose twin has this coin."""
    return next(f"{name}{n}" for n in range(99) if EPOCH.coin(f"{name}{n}-twin") == value)


@pytest.mark.parametrize(
    ("drawn", "id_of", "message"),
    [
        ("later", lambda r: f"{r}-later-twin", "was drawn later"),
        ("later", lambda r: f"{r}-twin", "was drawn later"),
        ("serving", lambda r: f"{r}-later-twin", "of request"),
        ("serving", lambda r: "other-twin", "of request"),
    ],
)
def test_no_other_pair_passes_for_one_drawn_while_serving(served, tmp_path, drawn, id_of, message):
    """A twin that was drawn later is weaker evidence, and one of another name had another coin."""
    run("ledger", "new", tmp_path / "l", "--contents", "clear")
    request, t = coin("later", 0), json.loads((served / "a.jsonl").read_text().splitlines()[0])
    t |= {"request": request, "id": request}
    members = tuple(Member(text=t["response"], token_ids=tuple(t["token_ids"])) for _ in range(2))
    pair = Pair.of(
        id=id_of(request), request=request, prompt=t["prompt"], members=members, served=0, drawn=drawn,
        account=t["account"],
    )  # fmt: skip
    (tmp_path / "pairs.jsonl").write_bytes(pair.to_json() + b"\n")
    code, _, err = radiolabel(
        "ledger", "append", tmp_path / "l", "--key", served / "epoch.key", "--pairs", tmp_path / "pairs.jsonl",
        input=json.dumps(t) + "\n",
    )  # fmt: skip
    assert code == 3, err
    assert message in err
    assert len((tmp_path / "l").read_bytes().splitlines()) == 1


def test_a_request_id_that_was_used_again_is_reported(served, tmp_path):
    """Two answers of one id share a leaf key; the chain itself holds."""
    run("ledger", "new", tmp_path / "l", "--contents", "off")
    first = (served / "a.jsonl").read_text().splitlines(keepends=True)[1]
    for text, again in ((first, 0), (first + first, 2)):
        run_append = radiolabel("ledger", "append", tmp_path / "l", "--key", served / "epoch.key", input=text)
        assert run_append[0] == 0, run_append[2]
        found = json.loads(run("ledger", "check", tmp_path / "l", "--format", "json")[0])
        assert (found["holds"], found["requests_used_again"]) == (True, again)
    out, _ = run("ledger", "check", tmp_path / "l", "--format", "text")
    assert "2 request ids" in out
    out, _ = run("ledger", "check", served / "l.jsonl", "--format", "text")
    assert "used again" not in out


def test_coverage_tells_that_it_begins_late(served, tmp_path):
    run("ledger", "new", tmp_path / "one", "--contents", "off")
    run("ledger", "head", tmp_path / "one", "-o", tmp_path / "head.json")
    run("ledger", "new", tmp_path / "two", "--contents", "off", "--after", tmp_path / "head.json")
    out, err = run("ledger", "coverage", tmp_path / "two", "--format", "json")
    assert json.loads(out)["first"] == 1
    assert "records before 1 were not given" in err
    out, err = run("ledger", "coverage", tmp_path / "one", tmp_path / "two", "--format", "json")
    assert (json.loads(out)["first"], err) == (0, "")


def test_a_long_file_is_checked_by_several_processes(tmp_path):
    """Long by its first answers' texts, so that few records do; the result does not depend on the processes."""
    from tests.ledgers import entry
    from watermark.ledger import Content, Keeping, Ledger, answer_record

    path = tmp_path / "l"
    with Ledger.create(path, keeping=Keeping("clear")) as ledger:
        for number in range(36):
            long = Content(prompt="", response="x" * (1 << 22), token_ids=(1,))
            ledger.append(answer_record(Request(f"r{number % 30}"), long, epoch=None, reason="greedy"))
        ledger.append(entry(40))
    for command in ("check", "coverage"):
        one, two = (run("ledger", command, path, "--jobs", jobs, "--format", "json")[0] for jobs in (1, 2))
        assert one == two
        if command == "check":
            found = json.loads(two)
            assert (found["count"], found["answers"], found["requests_used_again"]) == (38, 37, 6)
    with open(path, "r+b") as file:
        file.seek(100 << 20)
        file.write(b"y")
    damaged = [run("ledger", "check", path, "--jobs", jobs, code=1)[0] for jobs in (1, 2)]
    assert damaged[0] == damaged[1]
    assert [d["kind"] for d in json.loads(damaged[0])["damages"]] == ["altered"]

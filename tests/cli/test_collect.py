"""`radiolabel collect` against a real server that goes wrong in every way listed in `tests.openai_server`."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from tests.cli.conftest import RADIOLABEL, limit_file_size, radiolabel
from tests.openai_server import OpenAIServer
from verify.cli import main

KEY = "sk-test-0123456789-abcdefghijk"
ENVIRONMENT = {**os.environ, "OPENAI_API_KEY": KEY, "NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1"}
WITHOUT_KEY = {name: value for name, value in ENVIRONMENT.items() if name != "OPENAI_API_KEY"}


@pytest.fixture
def prompts(tmp_path):
    """prompts(n) writes a file of n prompts: "p0", "p1", ..."""

    def write(n):
        (tmp_path / "prompts.txt").write_text("".join(f"p{i}\n" for i in range(n)))
        return tmp_path / "prompts.txt"

    return write


@pytest.fixture
def collect(tmp_path):
    def run(server, prompts, *arguments, env=ENVIRONMENT, model="suspect"):
        command = arguments_for(server, prompts, tmp_path / "out.jsonl", model=model)
        return radiolabel(*command, *arguments, env=env)

    return run


def arguments_for(server, prompts, out, model="suspect"):
    return ["collect", "--base-url", server.url, "--model", model, prompts, "-o", out, "--backoff", "0.01"]


@pytest.fixture
def answers(tmp_path):
    return lambda: [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


def test_every_prompt_is_asked_once_and_every_answer_kept(collect, prompts, answers):
    with OpenAIServer() as server:
        code, out, err = collect(
            server, prompts(25), "--temperature", "0.7", "--max-tokens", "50", "--system", "Be brief."
        )
        assert (code, err) == (0, "")
        assert server.asked == {f"p{i}": 1 for i in range(25)}
        body = server.bodies[0]
        assert body == {"model": "suspect", "max_tokens": 50, "temperature": 0.7, "messages": body["messages"]}
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
        assert set(server.authorizations) == {f"Bearer {KEY}"}
        url = server.url
    result, records = json.loads(out), answers()
    assert sorted(int(r["id"]) for r in records) == list(range(25))
    for r in records:
        assert r["prompt"] == f"Be brief.\np{r['id']}"
        assert r["response"] == f"You said p{r['id']}"
        assert r["model"] == "suspect-0001"
        meta = r["meta"]
        assert meta["settings"] == result["settings"]
        assert (meta["finish_reason"], meta["usage"]["completion_tokens"]) == ("stop", 3)
        assert (meta["system_fingerprint"], meta["created"]) == ("fp_1", 1760000000)
    assert [r["meta"]["requests"] for r in records] == sorted(r["meta"]["requests"] for r in records)
    assert result["settings"]["base_url"] == url
    assert (result["n_answers"], result["n_requests"], result["completion_tokens"]) == (25, 25, 75)
    assert (result["stopped"], result["sequential"]) == ("done", None)


RETRIED = ["status 429", "retry-after 0", "status 500", "status 503", "hang", "drip", "reset", "closed", "truncated",
           "html", "huge", "encoded", "bad-header", "surrogate", "logprob nan", "logprob 0.5", "sum"]  # fmt: skip


def test_what_may_pass_is_retried_until_it_does(collect, prompts, answers):
    faults = {f"p{i}": [fault] for i, fault in enumerate(RETRIED)} | {"p20": ["status 500"] * 3}
    with OpenAIServer(faults=faults) as server:
        code, out, err = collect(server, prompts(21), "--timeout", "0.6", "--logprobs", "2")
        assert (code, err) == (0, "")
        assert {p for p, n in server.asked.items() if n > 1} == set(faults)
        assert server.asked["p20"] == 4
        total = sum(server.asked.values())
        for fault in ("hang", "drip"):
            first, second = server.times[f"p{RETRIED.index(fault)}"]
            assert second - first < 5
    result = json.loads(out)
    assert (result["n_answers"], result["n_requests"], result["n_given_up"]) == (21, total, 0)
    assert result["n_retries"] == len(RETRIED) + 3
    assert all(r["response"] == f"You said p{r['id']}" for r in answers())


def test_logprobs_are_kept_in_a_checked_shape(collect, prompts, answers):
    with OpenAIServer() as server:
        assert collect(server, prompts(1), "--logprobs", "2")[0] == 0
        assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 2)
    top = [{"token": "a", "bytes": [97], "logprob": -1.0}, {"token": "b", "bytes": [98], "logprob": -2.0}]
    assert answers()[0]["logprobs"] == [{"token": t, "logprob": -0.5, "top": top} for t in ("You", "said", "p0")]


def test_an_endpoint_without_logprobs_or_usage_is_counted(collect, prompts, answers):
    with OpenAIServer(logprobs=False, usage=False) as server:
        _, out, _ = collect(server, prompts(3), "--logprobs", "2")
    assert json.loads(out)["n_without_logprobs"] == 3
    assert json.loads(out)["completion_tokens"] == 3 * len("You said p0")
    assert all("logprobs" not in r and "usage" not in r["meta"] for r in answers())


@pytest.mark.parametrize("kind", ["retry-after", "retry-after-date"])
def test_retry_after_is_honoured(collect, prompts, kind):
    with OpenAIServer(faults={"p0": [f"{kind} 2"]}) as server:
        assert collect(server, prompts(1))[0] == 0
        first, second = server.times["p0"]
    assert second - first >= (1 if kind.endswith("date") else 2)  # dates are whole seconds


def test_a_wait_of_hours_ends_the_run(collect, prompts):
    with OpenAIServer(faults={"p0": ["retry-after 86400"]}) as server:
        code, out, err = collect(server, prompts(1))
    assert (code, out) == (2, "")
    assert "asks to wait 86400 seconds" in err


@pytest.mark.parametrize(
    ("status", "message"), [(400, "went wrong for"), (401, "--api-key-env"), (403, "may not"), (404, "went wrong for")]
)
def test_what_never_works_ends_the_run_with_a_reason(collect, prompts, answers, status, message):
    with OpenAIServer(faults={"p2": [f"status {status}"]}) as server:
        code, out, err = collect(server, prompts(50), "--concurrency", "1")
        assert server.asked == {"p0": 1, "p1": 1, "p2": 1}
    assert (code, out) == (2, "")
    assert f"prompt 3: {server.url}/chat/completions answered with status {status}" in err
    assert message in err
    assert KEY not in err
    assert len(answers()) == 2


def test_redirects_are_not_followed(collect, prompts):
    with OpenAIServer() as other, OpenAIServer(faults={"p0": ["redirect"]}) as server:
        server.elsewhere = f"{other.url}/chat/completions"
        code, _, err = collect(server, prompts(1))
        assert other.asked == {}
    assert code == 2
    assert "status 307" in err


def test_empty_and_filtered_answers_are_recorded_and_not_asked_again(collect, prompts, answers):
    faults = {"p0": ["no-choices"], "p1": ["null"], "p2": ["filter"], "p3": ["filter-400"], "p4": ["types"]}
    with OpenAIServer(faults=faults) as server:
        code, out, _ = collect(server, prompts(6))
        assert server.asked == {f"p{i}": 1 for i in range(6)}
        assert collect(server, prompts(6))[0] == 0
        assert sum(server.asked.values()) == 6
    result = json.loads(out)
    assert (code, result["n_answers"], result["n_empty"], result["n_filtered"]) == (0, 6, 2, 2)
    assert {r["id"]: r["response"] for r in answers()}["2"] == ""


def test_a_prompt_without_an_answer_is_given_up_and_asked_again_next_time(collect, prompts, answers):
    with OpenAIServer(faults={"p1": ["status 500"] * 3}) as server:
        code, out, err = collect(server, prompts(4), "--retries", "2")
        assert code == 2
        assert "no answer to 1 prompt, the last because: status 500" in err
        assert json.loads(out)["n_given_up"] == 1
        assert len(answers()) == 3
        assert collect(server, prompts(4), "--retries", "2")[0] == 0
        assert server.asked == {"p0": 1, "p1": 4, "p2": 1, "p3": 1}


def test_a_dead_endpoint_ends_the_run(collect, prompts):
    with OpenAIServer() as server:
        pass
    code, out, err = collect(server, prompts(100), "--retries", "1")
    assert (code, out) == (2, "")
    assert "no answer to 8 prompts in a row, the last time: ConnectError" in err


def test_budgets(collect, prompts, answers):
    with OpenAIServer(faults={"p3": ["status 500"] * 2}, delay=0.02) as server:
        code, out, _ = collect(server, prompts(40), "--max-requests", "10")
        assert (code, json.loads(out)["stopped"]) == (0, "requests")
        assert sum(server.asked.values()) == 10
        collect(server, prompts(40), "--max-requests", "10")
        assert sum(server.asked.values()) == 10, "the budget is the file's, not the run's"
        before = len(answers())
        code, out, _ = collect(server, prompts(40), "--token-budget", "60", "--concurrency", "3")
        assert (code, json.loads(out)["stopped"]) == (0, "tokens")
        assert 60 <= json.loads(out)["completion_tokens"] <= 60 + 2 * 3
        assert json.loads(out)["n_before"] == before


def test_concurrency_is_kept_and_repeats_are_numbered(collect, prompts, answers):
    with OpenAIServer(delay=0.02) as server:
        assert collect(server, prompts(5), "--repeat", "2", "--concurrency", "3")[0] == 0
        assert server.most_in_flight == 3
        assert collect(server, prompts(5), "--repeat", "4")[0] == 0
        assert server.asked == {f"p{i}": 4 for i in range(5)}
    assert sorted(int(r["id"]) for r in answers()) == list(range(20))
    assert all(r["prompt"] == f"p{int(r['id']) % 5}" for r in answers())


def test_kill_9_loses_nothing_and_asks_nothing_twice(collect, prompts, answers, tmp_path):
    file, out = prompts(80), tmp_path / "out.jsonl"
    with OpenAIServer(delay=0.03) as server:
        for enough in (10, 40):
            process = subprocess.Popen(
                [*RADIOLABEL, *map(str, arguments_for(server, file, out))],
                env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            while not out.exists() or out.read_bytes().count(b"\n") < enough:
                assert process.poll() is None
                time.sleep(0.005)
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL
        kept = out.read_bytes().splitlines()[:-1]
        assert collect(server, file)[0] == 0
        again = {prompt: n for prompt, n in server.asked.items() if n > 1}
        assert sum(n - 1 for n in again.values()) <= 2 * 4, "more than what was in flight"
    assert [json.dumps(r, separators=(",", ":")).encode() for r in answers()][: len(kept)] == kept
    assert sorted(int(r["id"]) for r in answers()) == list(range(80))


@pytest.mark.parametrize("left", [0, 1, 26, 27, 200, -2, -1])
def test_a_last_line_that_was_cut_anywhere_is_asked_again(collect, prompts, answers, tmp_path, left):
    out = tmp_path / "out.jsonl"
    with OpenAIServer() as server:
        collect(server, prompts(3), "--concurrency", "1")
        first, second, third = out.read_bytes().splitlines(keepends=True)
        out.write_bytes(first + second + third[:left])
        code, *_ = collect(server, prompts(3), "--concurrency", "1")
        assert code == 0
        assert server.asked["p2"] == (1 if left == -1 else 2), "a line without only its end is whole"
    assert out.read_bytes() == first + second + third


@pytest.mark.parametrize("text", ["no json", '{"text": "a"}\n', '{"radiolabel":"transcript","version":1,"id":"0",'
                                  '"prompt":"","response":""}\n', "\n", '{"radiolabel": "x"'])  # fmt: skip
def test_a_foreign_file_is_left_alone(collect, prompts, tmp_path, text):
    (tmp_path / "out.jsonl").write_text(text)
    with OpenAIServer() as server:
        code, out, err = collect(server, prompts(2))
        assert server.asked == {}
    assert (code, out) == (2, "")
    assert "out.jsonl:1" in err
    assert (tmp_path / "out.jsonl").read_text() == text


def test_other_settings_are_refused(collect, prompts, tmp_path):
    with OpenAIServer() as server:
        assert collect(server, prompts(3), "--temperature", "1")[0] == 0
        before = (tmp_path / "out.jsonl").read_bytes()
        for change, name in ((["--temperature", "0.5"], "temperature"), ([], "temperature"),
                             (["--temperature", "1", "--system", "x"], "system")):  # fmt: skip
            code, out, err = collect(server, prompts(3), *change)
            assert (code, out) == (3, "")
            assert f"collected with other settings: {name} is" in err
        assert "model is 'suspect'" in collect(server, prompts(3), "--temperature", "1", model="other")[2]
        assert "prompts is" in collect(server, prompts(4), "--temperature", "1")[2]
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_an_answer_that_stands_twice_is_refused(collect, prompts, tmp_path):
    with OpenAIServer() as server:
        collect(server, prompts(1))
        path = tmp_path / "out.jsonl"
        path.write_bytes(path.read_bytes() * 2)
        code, _, err = collect(server, prompts(1))
    assert code == 2
    assert "out.jsonl:2: id '0' occurs twice" in err


def start(server, file, out, *more):
    return subprocess.Popen(
        [*RADIOLABEL, *map(str, [*arguments_for(server, file, out), *more])],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_collectors_on_one_file(collect, prompts, tmp_path):
    file = prompts(200)
    with OpenAIServer(delay=0.05) as server:
        process = start(server, file, tmp_path / "out.jsonl")
        wait_for(lambda: server.asked)
        code, out, err = collect(server, file)
        process.kill()
        process.communicate()
        assert (code, out) == (3, "")
        assert "another radiolabel collect writes this file" in err


def test_interrupt_keeps_the_answers(prompts, answers, tmp_path):
    with OpenAIServer(delay=0.05, faults={"p9": ["hang"]}) as server:
        process = start(server, prompts(300), tmp_path / "out.jsonl")
        wait_for(lambda: server.asked["p20"])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "")
    kept = f"{len(answers())} answers kept: run the same command again to continue"
    assert [line for line in err.splitlines() if line] == [kept, "radiolabel: interrupted"]
    assert len(answers()) > 10


def test_the_key_shows_nowhere(collect, prompts, tmp_path):
    faults = {"p0": ["status 500"], "p1": ["html"], "p5": ["status 400"]}
    with OpenAIServer(faults=faults, delay=0.3) as server:
        process = start(server, prompts(6), tmp_path / "out.jsonl")
        wait_for(lambda: server.asked)
        with open(f"/proc/{process.pid}/cmdline") as file:
            assert KEY not in file.read()
        out, err = process.communicate()
        assert server.authorizations
        assert set(server.authorizations) == {f"Bearer {KEY}"}
    assert process.returncode == 2
    assert "went wrong for Bearer <key hidden>" in err
    assert KEY not in out + err + "".join(p.read_text() for p in tmp_path.iterdir())


def test_an_answer_with_the_key_in_it_is_not_kept(collect, prompts, tmp_path):
    with OpenAIServer(faults={"p0": ["echo-key"]}) as server:
        code, out, err = collect(server, prompts(1))
    assert (code, out) == (3, "")
    assert "sent its key back" in err
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_an_excerpt_of_an_answer_shows_no_part_of_the_key(collect, prompts):
    with OpenAIServer(faults={"p0": ["key-in-no-json"]}) as server:
        code, out, err = collect(server, prompts(1), "--retries", "0")
    assert code == 2
    assert "it holds the key" in err
    assert not [i for i in range(len(KEY) - 8) if KEY[i : i + 8] in out + err]


def test_what_is_no_http_is_quoted_in_short(collect, prompts):
    with OpenAIServer(faults={"p0": ["bad-header"]}) as server:
        code, _, err = collect(server, prompts(1), "--retries", "0")
    assert code == 2
    assert "illegal header line" in err
    assert len(err) < 500


def test_a_line_too_long_is_not_taken_for_a_cut_one(collect, prompts, tmp_path, monkeypatch):
    with OpenAIServer() as server:
        collect(server, prompts(3))
        before = (tmp_path / "out.jsonl").read_bytes()
        monkeypatch.setattr("verify.collecting.journal.MAX_LINE_BYTES", 100)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert main([*map(str, arguments_for(server, prompts(3), tmp_path / "out.jsonl"))]) == 2
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_a_full_disk_is_named(collect, prompts, tmp_path):
    with OpenAIServer() as server:
        command = arguments_for(server, prompts(3), tmp_path / "out.jsonl")
        code, out, err = radiolabel(*command, env=ENVIRONMENT, preexec_fn=limit_file_size)
    assert (code, out) == (2, "")
    assert "out.jsonl: File too large" in err


def test_without_a_key_none_is_sent(collect, prompts):
    with OpenAIServer() as server:
        assert collect(server, prompts(1), env=WITHOUT_KEY)[0] == 0
        assert server.authorizations == [None]
        other = {**ENVIRONMENT, "OTHER": "short"}
        assert collect(server, prompts(1), "--repeat", "2", "--api-key-env", "OTHER", env=other)[0] == 0
        assert server.authorizations[1] == "Bearer short"


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["--base-url", f"http://u:{KEY}@127.0.0.1/v1"], ENVIRONMENT, "expected none"),
        (["--base-url", f"http://127.0.0.1/v1?key={KEY}"], ENVIRONMENT, "expected none"),
        (["--base-url", "ftp://127.0.0.1"], ENVIRONMENT, "expected one such as"),
        (["--base-url", "http://[::1"], ENVIRONMENT, "expected one such as"),
        (["--api-key-env", KEY], ENVIRONMENT, "no name of an environment variable"),
        ([], {**ENVIRONMENT, "OPENAI_API_KEY": f"{KEY}\nx"}, "OPENAI_API_KEY has characters"),
        (["--alpha", "nan"], ENVIRONMENT, "--alpha"),
        (["--temperature", "inf"], ENVIRONMENT, "--temperature"),
        (["--key", "k"], ENVIRONMENT, "go together"),
        (["-o", "/dev/null"], ENVIRONMENT, "not a regular file"),
        (["-o", "/nowhere/out"], ENVIRONMENT, "cannot be opened"),
    ],
)
def test_wrong_usage_is_refused_without_showing_a_key(collect, prompts, arguments, env, message):
    with OpenAIServer() as server:
        code, out, err = collect(server, prompts(1), *arguments, env=env)
        assert server.asked == {}
    assert (code, out) == (2, "")
    assert message in err
    assert "internal" not in err
    assert KEY not in err


@pytest.fixture
def marked_prompts(marked, tmp_path):
    """A file of prompts, and the marked answer to each."""
    texts = [json.loads(line)["response"] for line in (marked / "marked.jsonl").read_text().splitlines()]
    (tmp_path / "p.txt").write_text("".join(f"Say some words, {i}.\n" for i in range(len(texts))))
    return tmp_path / "p.txt", {f"Say some words, {i}.": text for i, text in enumerate(texts)}


def test_collection_stops_when_the_mark_is_found(collect, marked_prompts, marked, tokenizer_file, answers, tmp_path):
    file, texts = marked_prompts
    key = ["--key", marked / "fleet.key", "--tokenizer", tokenizer_file]
    with OpenAIServer(texts.get) as server:
        code, out, err = collect(server, file, *key, "--concurrency", "1", "--format", "json")
        assert (code, err) == (0, "")
        result = json.loads(out)
        asked = sum(server.asked.values())
        assert asked == result["n_answers"] == len(answers()) < 12
        s = result["sequential"]
        assert (result["stopped"], s["enough"], s["remaining"]["answers"]) == ("enough", True, 0)
        assert s["log10_p"] == -s["log10_e_max"] <= -6
        # A file that is enough already costs nothing.
        code, out, _ = collect(server, file, *key)
        assert (code, json.loads(out)["sequential"]) == (0, s)
        assert sum(server.asked.values()) == asked
        # Some answers more, and the e-process goes on from the file.
        code, out, _ = collect(server, file, *key, "--alpha", "1e-300")
        s = json.loads(out)["sequential"]
        assert s["n_answers"] == len(answers()) > asked
    _, out, _ = radiolabel("verify", *key, tmp_path / "out.jsonl")
    verified = json.loads(out)
    assert (verified["n_scored"], verified["log10_e"]) == (s["n_scored"], s["log10_e"])


def test_another_key_sees_no_growth_and_asks_everything(collect, marked_prompts, marked, tokenizer_file):
    file, texts = marked_prompts
    with OpenAIServer(texts.get) as server:
        code, out, _ = collect(server, file, "--key", marked / "other.key", "--tokenizer", tokenizer_file,
                               "--format", "text")  # fmt: skip
        assert server.asked == dict.fromkeys(texts, 1)
    assert code == 0
    assert "No growth was seen yet" in out
    assert max(map(len, out.splitlines())) <= 80


def test_what_more_is_needed_is_printed(collect, marked, tokenizer_file, tmp_path):
    """Four marked words an answer: growth is seen long before it is enough, and what is predicted comes true."""
    words = " ".join(
        json.loads(line)["response"] for line in (marked / "marked.jsonl").read_text().splitlines()
    ).split()
    texts = {f"q{i}": " " + " ".join(words[4 * i : 4 * i + 4]) for i in range(len(words) // 4)}
    (tmp_path / "q.txt").write_text("\n".join(texts))
    key = ["--key", marked / "fleet.key", "--tokenizer", tokenizer_file, "--alpha", "1e-200"]
    with OpenAIServer(texts.get) as server:
        code, out, _ = collect(
            server, tmp_path / "q.txt", *key, "--max-requests", "40", "--concurrency", "1", "--format", "text"
        )
        assert code == 0
        assert "further answers would reach 1/1e-200" in out
        predicted, low, high = map(
            int, re.search(r"About (\d+) .* interval\s(\d+)\sto\s(\d+)", out, re.DOTALL).groups()
        )
        code, out, _ = collect(server, tmp_path / "q.txt", *key, "--concurrency", "1")
    result = json.loads(out)
    assert (code, result["stopped"], result["n_before"]) == (0, "enough", 40)
    assert low <= result["n_answers"] - 40 <= high
    assert low <= predicted <= high

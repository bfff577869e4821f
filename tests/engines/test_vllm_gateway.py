"""A gateway in front of a real vLLM server: twins, several answers, the served log, and the twin test on its pairs."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.vllm_server import MODEL, Server, agreement, interpreter, new_epoch, rows_of, save_model
from watermark.keyfile import write_key
from watermark.ledger import Content, Ledger
from watermark.serving.gateway import Gateway

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(interpreter() is None, reason="needs vllm: make vllm, or set RADIOLABEL_VLLM_PYTHON"),
]

VOCABULARY = 49152
SUBJECTS = [
    "rivers",
    "bread",
    "the moon",
    "trains",
    "a mill",
    "salt",
    "owls",
    "glass",
    "tides",
    "a bridge",
    "tea",
    "ice",
]
PROMPTS = [f"A short story about {subject}. Once upon a time" for subject in SUBJECTS]
ANSWERS = [1 + (number % 3 == 0) for number in range(len(PROMPTS))]  # two of each third prompt
REPLAY = {"top_k": 10, "logprobs": 20, "return_tokens_as_token_ids": True}
DECODING = {"temperature": 1.0, "top_k": 10, "max_tokens": 32}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm")
    options = ["--max-num-seqs", "64", "--logits-processors", "watermark.engines.vllm:Radiolabel"]
    with Server(folder, save_model(folder / "model"), new_epoch(), *options) as running:
        yield running


@pytest.fixture(scope="module")
def served(server):
    """(prompt, exchange, {request id: choice}) of every answer: all draws at once, each under its own ticket."""
    gateway = Gateway(server.epoch, twin_share=1_000_000)
    wanted = [
        (prompt, exchange)
        for number, (prompt, answers) in enumerate(zip(PROMPTS, ANSWERS, strict=True))
        for exchange in gateway.open(account=f"acct-{number % 4}", answers=answers)
    ]

    def ask(job):
        prompt, draw = job
        return server.ask(draw.ticket, prompt=prompt, max_tokens=DECODING["max_tokens"], ignore_eos=True, **REPLAY)[
            "choices"
        ][0]

    jobs = [(prompt, draw) for prompt, e in wanted for draw in e.draws]
    with ThreadPoolExecutor(len(jobs)) as pool:
        choices = dict(zip((draw.request.id for _, draw in jobs), pool.map(ask, jobs), strict=True))
    return [(p, e, {d.request.id: choices[d.request.id] for d in (e.served, e.withheld)}) for p, e in wanted]


@pytest.fixture(scope="module")
def folder(server, served, tmp_path_factory):
    """The served log with sealed contents, and what opens it."""
    folder = tmp_path_factory.mktemp("log")
    write_key(server.epoch, folder / "epoch.key")
    public = radiolabel("ledger", "key", "-o", folder / "sealing.pem").strip()
    radiolabel("ledger", "new", folder / "l.jsonl", "--seal", public)

    def content(prompt, choice):
        return Content(prompt=prompt, response=choice["text"], token_ids=tuple(choice["token_ids"]))

    with Ledger.open(folder / "l.jsonl", sealing=public) as ledger:
        ledger.append_many(
            exchange.record(
                [content(prompt, choices[draw.request.id]) for draw in exchange.draws],
                decoding=DECODING,
                model=MODEL,
            )
            for prompt, exchange, choices in served
        )
    return folder


def radiolabel(*arguments):
    done = subprocess.run([sys.executable, "-m", "verify", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_answer_is_drawn_under_the_id_that_the_gateway_gave_it(server, served):
    under_the_twins = []
    for _, exchange, choices in served:
        for draw, other in ((exchange.served, exchange.withheld), (exchange.withheld, exchange.served)):
            choice = choices[draw.request.id]
            rows = rows_of(choice, VOCABULARY, REPLAY["top_k"])
            assert agreement(server.sampler, draw.request, choice["token_ids"], rows) == 1.0
            under_the_twins.append(agreement(server.sampler, other.request, choice["token_ids"], rows))
    assert np.mean(under_the_twins) < 0.95


def test_the_log_holds_and_covers_and_gives_the_pairs_back(server, served, folder):
    log, n = folder / "l.jsonl", sum(ANSWERS)
    found = json.loads(radiolabel("ledger", "check", log, "--format", "json"))
    assert (found["holds"], found["answers"], found["requests_used_again"]) == (True, n, 0)
    total = json.loads(radiolabel("ledger", "coverage", log, "--format", "json"))["total"]
    assert (total["answers"], total["twins"]) == (n, n)
    assert total["tokens"] == sum(len(choices[e.served.request.id]["token_ids"]) for _, e, choices in served)
    assert set(total["channels"]) == {"fleet", "account"}
    radiolabel("ledger", "pairs", log, "--key", folder / "sealing.pem", "-o", folder / "pairs.jsonl")
    pairs = {p["id"]: p for p in map(json.loads, (folder / "pairs.jsonl").read_text().splitlines())}
    assert len(pairs) == n
    assert {p["served"] for p in pairs.values()} == {0, 1}
    for prompt, exchange, choices in served:
        twin = max(choices, key=len)
        pair = pairs[twin]
        assert (pair["prompt"], pair["request"] + "-twin", pair["drawn"]) == (prompt, twin, "serving")
        assert pair["served"] == server.epoch.coin(twin) == (exchange.served.request.id == twin)
        for member, id_ in zip(pair["members"], (pair["request"], twin), strict=True):
            assert (member["text"], member["token_ids"]) == (choices[id_]["text"], choices[id_]["token_ids"])


def test_the_twin_test_reads_the_pairs_and_finds_who_repeats_what_was_served(served, folder):
    log, key = folder / "l.jsonl", folder / "epoch.key"
    radiolabel("ledger", "pairs", log, "--key", folder / "sealing.pem", "-o", folder / "pairs.jsonl", "--force")
    for name, which in (("student", "served"), ("innocent", None)):
        with open(folder / "answers.jsonl", "w") as file:
            for number, (prompt, e, choices) in enumerate(served):
                draw = getattr(e, which or ("served", "withheld")[number % 2])
                file.write(json.dumps({"prompt": prompt, "response": choices[draw.request.id]["text"]}) + "\n")
        out = radiolabel("test", "twin", folder / "pairs.jsonl", "--answers", folder / "answers.jsonl", "--key", key,
                         "--alpha", "0.01", "--format", "json")  # fmt: skip
        found = json.loads(out)
        assert (found["n_pairs"], found["found"]) == (sum(ANSWERS), name == "student")

"""A real vLLM server with the plugin, asked over HTTP: whose mark an answer bears, and who gets none."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.vllm_server import Server, agreement, interpreter, new_epoch, rows_of, save_model
from watermark.keyfile import write_key
from watermark.prf import Prf, pack_blocks
from watermark.sampling import Request
from watermark.windows import TokenBatch, repeated, windowed

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(interpreter() is None, reason="needs vllm: make vllm, or set RADIOLABEL_VLLM_PYTHON"),
]

VOCABULARY = 49152
ACCOUNTS = [f"acct-{i}" for i in range(16)]
SUBJECTS = ["rivers", "bread", "the moon", "trains"]
REPLAY = {"top_k": 10, "logprobs": 20, "return_tokens_as_token_ids": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vllm")
    model = save_model(folder / "model")
    # Few blocks of cache, so that 64 answers at once do not fit and some are interrupted. Named and installed: vLLM
    # builds the plugin twice. Asynchronous scheduling is asked for, and vLLM for CPUs turns it off.
    options = ["--block-size", "32", "--num-gpu-blocks-override", "100", "--max-num-seqs", "64"]
    options += ["--logits-processors", "watermark.engines.vllm:Radiolabel", "--async-scheduling"]
    with Server(folder, model, new_epoch(), *options) as running:
        yield running


@pytest.fixture(scope="module")
def crowd(server):
    """64 answers at once, four for each of 16 accounts."""

    def ask(number):
        account = ACCOUNTS[number % 16]
        ticket, request = server.gateway.ticket(account)
        prompt = f"A long and detailed story about {SUBJECTS[number // 16]}. Once upon a time"
        reply = server.ask(ticket, prompt=prompt, max_tokens=72, ignore_eos=True, **REPLAY)
        return account, request, reply["choices"][0]

    with ThreadPoolExecutor(64) as pool:
        return list(pool.map(ask, range(64)))


def scores(epoch, account, answers):
    """Sum and number of an account key's scores over distinct pairs, in standard deviations above chance."""
    from watermark.channels import CHANNELS, select

    batch = TokenBatch.from_documents([np.array(ids, dtype=np.uint32) for ids in answers])
    width = epoch.deployment.width
    at = windowed(batch, width)
    at = at[~repeated(batch, at, width)]
    pairs = np.unique(np.stack([batch.ids[at - b] for b in range(width, -1, -1)], axis=1), axis=0)
    channels = select(epoch.selector_prf(), epoch.deployment.shares, np.ascontiguousarray(pairs[:, :-1]))
    pairs = pairs[channels == CHANNELS.index("account")]
    scheme = epoch.deployment.scheme
    words = Prf(epoch.value_key("account", account).value).words(
        pack_blocks(np.ascontiguousarray(pairs[:, :-1]), np.ascontiguousarray(pairs[:, -1]))
    )
    total = int(scheme.score(words).sum()) / scheme.law.unit
    return (total - len(pairs) * scheme.law.mean) / np.sqrt(len(pairs) * scheme.law.variance)


def test_64_answers_of_16_accounts_bear_their_own_key_and_no_other(server, crowd):
    answers = {a: [c["token_ids"] for account, _, c in crowd if account == a] for a in ACCOUNTS}
    z = np.array([[scores(server.epoch, key, answers[account]) for key in ACCOUNTS] for account in ACCOUNTS])
    own, others = np.diag(z), z[~np.eye(16, dtype=bool)]
    assert own.min() > 3
    assert own.mean() > 6
    assert others.max() < 6
    assert abs(others.mean()) < 0.3


def test_every_token_is_the_one_that_the_reference_sampler_draws(server, crowd):
    # From the answer's own log probabilities, under its account's keys and its own leaf key.
    shares = []
    for _, request, choice in crowd:
        rows = rows_of(choice, VOCABULARY, REPLAY["top_k"])
        shares.append(agreement(server.sampler, request, choice["token_ids"], rows))
    assert min(shares) == 1.0
    _, request, choice = crowd[0]
    rows = rows_of(choice, VOCABULARY, REPLAY["top_k"])
    for other in (Request("req-other", account=request.account), Request(request.id, account="acct-other")):
        assert agreement(server.sampler, other, choice["token_ids"], rows) < 0.95


def test_answers_were_interrupted_and_went_on_with_their_own_keys(server, crowd):
    # What the tests above checked includes them.
    lines = server.client.get("/metrics").text.splitlines()
    preempted = [float(line.split()[-1]) for line in lines if line.startswith("vllm:num_preemptions_total")]
    assert sum(preempted) > 0


def test_the_command_line_finds_one_account_and_not_another(server, crowd, tmp_path):
    tokenizer = server.folder / "model" / "tokenizer.json"
    answers = [choice for account, _, choice in crowd if account == ACCOUNTS[0]]
    (tmp_path / "answers.jsonl").write_text(
        "".join(json.dumps({"text": c["text"], "token_ids": c["token_ids"]}) + "\n" for c in answers)
    )
    found = {}
    for account in ACCOUNTS[:2]:
        write_key(server.epoch.value_key("account", account), tmp_path / f"{account}.key")
        command = [sys.executable, "-m", "verify", "verify", "--key", tmp_path / f"{account}.key"]
        command += ["--tokenizer", tokenizer, "--token-ids", "--alpha", "1e-4", "--format", "json"]
        done = subprocess.run([*command, tmp_path / "answers.jsonl"], capture_output=True, text=True, check=True)
        found[account] = json.loads(done.stdout)["log10_p"]
    assert found[ACCOUNTS[0]] < -4
    assert found[ACCOUNTS[1]] > -3


@pytest.mark.parametrize("endpoint", ["/v1/completions", "/v1/chat/completions"])
def test_a_request_without_a_good_ticket_is_refused(server, endpoint):
    good, _ = server.gateway.ticket("acct-0")
    expired, _ = server.gateway.ticket("acct-0", seconds=-1)
    forged = type(server.gateway)(new_epoch()).ticket("acct-0")[0]
    middle = good.split(".")[1]
    other = base64.urlsafe_b64encode(
        base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)).replace(b"acct-0", b"acct-1")
    )
    changed = ".".join(["rl1", other.rstrip(b"=").decode(), good.split(".")[2]])
    body = {"messages": [{"role": "user", "content": "Hello"}]} if "chat" in endpoint else {}
    before = server.metric("radiolabel_requests_total", reason="marked")
    for ticket in (None, expired, forged, changed, "", "off", "none", 0, ["off"], good + "x", good[:-1]):
        response = server.post(ticket, path=endpoint, **body)
        assert response.status_code == 400, (ticket, response.text)
        assert "ticket" in response.json()["error"]["message"]
    assert server.metric("radiolabel_requests_total", reason="marked") == before


def test_a_client_cannot_switch_the_mark_off_or_choose_the_draw(server):
    ticket, request = server.gateway.ticket("acct-1")
    extra = {"vllm_xargs": {"radiolabel_mode": "off", "watermark": "off"}, "watermarking": False, "seed": 7}
    choice = server.ask(ticket, **extra, **REPLAY)["choices"][0]
    assert agreement(server.sampler, request, choice["token_ids"], rows_of(choice, VOCABULARY, 10)) == 1.0


def test_a_seed_does_not_repeat_an_answer(server):
    texts = {server.ask(server.gateway.ticket("acct-1")[0], seed=7)["choices"][0]["text"] for _ in range(3)}
    assert len(texts) == 3


def test_each_of_n_answers_and_each_use_of_a_ticket_has_a_leaf_key_of_its_own(server):
    ticket, request = server.gateway.ticket("acct-2")
    choices = server.ask(ticket, n=2, **REPLAY)["choices"] + server.ask(ticket, **REPLAY)["choices"]
    assert len({choice["text"] for choice in choices}) == 3
    names = [request.id, f"{request.id}.1", f"{request.id}.2"]
    found = []
    for choice in choices:
        rows = rows_of(choice, VOCABULARY, 10)
        shares = [agreement(server.sampler, Request(n, account="acct-2"), choice["token_ids"], rows) for n in names]
        assert sorted(shares)[-2] < 1.0
        found.append(names[shares.index(1.0)])
    assert sorted(found) == names


def test_a_greedy_answer_is_counted_and_not_marked(server):
    before = server.metric("radiolabel_requests_total", reason="greedy")
    tokens = server.metric("radiolabel_tokens_total", status="greedy")
    texts = {server.ask(server.gateway.ticket(a)[0], temperature=0)["choices"][0]["text"] for a in ("acct-3", "acct-4")}
    assert len(texts) == 1
    assert server.metric("radiolabel_requests_total", reason="greedy") == before + 2
    assert server.metric("radiolabel_tokens_total", status="greedy") >= tokens + 24


def test_json_mode_and_marks_go_together(server):
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "integer", "maximum": 9, "minimum": 0}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    forced = server.metric("radiolabel_tokens_total", status="forced")
    ticket, _ = server.gateway.ticket("acct-5")
    reply = server.ask(
        ticket,
        path="/v1/chat/completions",
        messages=[{"role": "user", "content": "A colour and a count, as JSON."}],
        response_format={"type": "json_schema", "json_schema": {"name": "c", "schema": schema}},
        max_tokens=200,
    )
    answer = json.loads(reply["choices"][0]["message"]["content"])
    assert set(answer) == {"colour", "count"}
    server.ask(server.gateway.ticket("acct-5")[0], max_tokens=2)  # one step later all is counted
    assert server.metric("radiolabel_tokens_total", status="forced") > forced


def test_log_probabilities_are_the_models_own(server, crowd):
    for _, _, choice in crowd[:4]:
        tops = choice["logprobs"]["top_logprobs"]
        assert all(len(top) >= 20 and min(top.values()) > -60 for top in tops)
        assert min(choice["logprobs"]["token_logprobs"]) < -1  # not one-hot


def test_an_option_that_leaves_no_candidate_ends_one_answer_only(server):
    ticket, _ = server.gateway.ticket("acct-6")
    server.post(ticket, allowed_token_ids=[2], min_tokens=3, max_tokens=4)
    assert server.ask(server.gateway.ticket("acct-6")[0])["choices"][0]["text"]


def test_beam_search_is_refused(server):
    ticket, _ = server.gateway.ticket("acct-7")
    response = server.post(ticket, use_beam_search=True, n=2, temperature=0)
    assert response.status_code == 400
    assert "ticket" in response.text


def test_no_key_material_shows_anywhere(server, crowd):
    epoch = server.epoch
    keys = [epoch.secret, epoch.gateway_key().secret, epoch.value_key("fleet").value, epoch.value_key("fleet").selector]
    keys += [epoch.value_key("account", account).value for account in ACCOUNTS]
    spellings = set()
    for key in (k.reveal() for k in keys):
        spellings |= {key.hex(), key.hex().upper(), base64.b64encode(key).decode().rstrip("="), repr(key)[2:-1]}
        spellings |= {base64.urlsafe_b64encode(key).decode().rstrip("="), str(list(key))[1:-1]}
    errors = "".join(server.post(t).text for t in (None, "off", "rl1.e30." + "A" * 43))
    listing = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=False).stdout
    for pid in server.processes():
        for name in ("cmdline", "environ"):
            listing += Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    shown = {
        "log": server.log.read_text(errors="replace"),
        "metrics": server.metrics() + server.client.get("/metrics").text,
        "errors": errors,
        "ps": listing,
    }
    assert "radiolabel_tokens_total" in shown["metrics"]
    assert "radiolabel marks: mode enforce, epochs e1" in shown["log"]
    for where, text in shown.items():
        assert text, where
        for spelling in spellings:
            assert spelling not in text, where
    assert len(server.processes()) > 1
    assert not any(account in shown["metrics"] for account in ACCOUNTS)
    assert "req-" not in shown["metrics"].replace("num_req-", "")

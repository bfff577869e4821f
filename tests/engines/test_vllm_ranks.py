"""A real vLLM server of three tensor-parallel ranks on CPUs: all draw, the first decides and counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.vllm_server import NAME, Server, agreement, interpreter, new_epoch, rows_of, save_model

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(interpreter() is None, reason="needs vllm: make vllm, or set RADIOLABEL_VLLM_PYTHON"),
]

VOCABULARY, TOKENS = 49152, 24


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    model = save_model(folder / "model")  # nine heads: three ranks
    with Server(folder, model, new_epoch(), "--tensor-parallel-size", "3", "--logits-processors", NAME) as running:
        yield running


def test_the_answers_are_those_of_the_reference_and_counted_once(server):
    def ask(number):
        ticket, request = server.gateway.ticket(f"acct-{number % 4}")
        options = {"top_k": 10, "logprobs": 20, "return_tokens_as_token_ids": True, "ignore_eos": True}
        return request, server.ask(ticket, max_tokens=TOKENS, **options)["choices"][0]

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(12)))
    for request, choice in answers:
        rows = rows_of(choice, VOCABULARY, 10)
        assert agreement(server.sampler, request, choice["token_ids"], rows) == 1.0
    assert server.metric("radiolabel_requests_total", reason="marked") == 12
    server.ask(server.gateway.ticket("acct-0")[0], max_tokens=1)  # what ended is counted in a later step
    counted = [line for line in server.metrics().splitlines() if line.startswith("radiolabel_tokens_total{")]
    assert sum(float(line.split()[-1]) for line in counted) == pytest.approx(12 * TOKENS, abs=13)

"""A real vLLM server that has the plugin by its entry point alone, and is asked for tool calls."""

from __future__ import annotations

import json

import pytest

from tests.vllm_server import Server, agreement, interpreter, new_epoch, rows_of, save_model

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(interpreter() is None, reason="needs vllm: make vllm, or set RADIOLABEL_VLLM_PYTHON"),
]

VOCABULARY = 49152
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a town.",
        "parameters": {
            "type": "object",
            "properties": {
                "town": {"enum": ["Basel", "Bern"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["town", "days"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    model = save_model(folder / "model")
    options = ["--enable-auto-tool-choice", "--tool-call-parser", "xlam"]
    with Server(folder, model, new_epoch(), *options) as running:
        yield running


def test_the_installed_plugin_draws_what_the_reference_draws(server):
    assert server.post(None).status_code == 400  # no ticket, no answer
    for number in range(4):
        ticket, request = server.gateway.ticket(f"acct-{number}")
        reply = server.ask(ticket, top_k=10, logprobs=20, return_tokens_as_token_ids=True, ignore_eos=True)
        (choice,) = reply["choices"]
        rows = rows_of(choice, VOCABULARY, 10)
        assert agreement(server.sampler, request, choice["token_ids"], rows) == 1.0


def test_a_tool_call_is_drawn_under_its_grammar(server):
    before = server.metric("radiolabel_tokens_total", status="forced")
    calls = []
    for number in range(6):
        ticket, _ = server.gateway.ticket(f"acct-{number}")
        reply = server.ask(
            ticket,
            path="/v1/chat/completions",
            messages=[{"role": "user", "content": "What will the weather be in Basel?"}],
            tools=[WEATHER],
            tool_choice={"type": "function", "function": {"name": "weather"}},
            max_tokens=120,
        )
        (call,) = reply["choices"][0]["message"]["tool_calls"]
        assert call["function"]["name"] == "weather"
        calls.append(json.loads(call["function"]["arguments"]))
    assert all(set(c) == {"town", "days"} and c["town"] in ("Basel", "Bern") and 1 <= c["days"] <= 9 for c in calls)
    assert len({json.dumps(c) for c in calls}) > 1
    server.ask(server.gateway.ticket("acct-9")[0], max_tokens=2)  # one step later all is counted
    assert server.metric("radiolabel_tokens_total", status="forced") > before
    assert server.metric("radiolabel_requests_total", reason="marked") == 4 + 6 + 1

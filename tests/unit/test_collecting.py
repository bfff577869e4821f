"""What an endpoint sends, read as hostile input, and log probabilities in transcripts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.collecting.answers import Answer, Unusable, answer_of, error_of
from verify.collecting.endpoint import key_from
from verify.errors import InputError
from verify.logprobs import Candidate, TokenLogprob
from verify.records import Transcript, transcript_from_json

LOGPROBS = (
    TokenLogprob(token="é", bytes=(195, 169), logprob=-0.5, top=(Candidate(token="a", logprob=-0.25),)),
    TokenLogprob(token="", logprob=0.0),
)


def body(**choice):
    return json.dumps({"choices": [{"message": {"content": "hi"}} | choice]}).encode()


def tokens(**fields):
    return {"content": [{"token": "a", "logprob": -1.0} | fields]}


def test_the_least_that_is_an_answer():
    assert answer_of(body()) == Answer(text="hi")
    assert answer_of(b'{"choices": []}') == Answer(text="")
    assert (
        answer_of(body(message={"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})).text
        == "ab"
    )


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"null",
        b"{}",
        b'{"choices": [{}]}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": "\xff"}}]}',
        b"[" * 100_000,
        body(message={"content": 7}),
        body(logprobs=tokens(logprob=0.1)),
        body(logprobs=tokens(logprob=float("nan"))),
        body(logprobs=tokens(logprob=float("-inf"))),
        body(logprobs=tokens(logprob=None)),
        body(logprobs=tokens(token=7)),
        body(logprobs=tokens(bytes=[256])),
        body(logprobs=tokens(top_logprobs=[{"token": "a", "logprob": 0}, {"token": "b", "logprob": -5}])),
    ],
)
def test_what_is_no_answer(bad):
    with pytest.raises(Unusable):
        answer_of(bad)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "logprobs",
                    "token",
                    "logprob",
                    "top_logprobs",
                    "bytes",
                    "usage",
                    "error",
                    "completion_tokens",
                    "finish_reason",
                    "text",
                    "code",
                    "message",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON, JSON)
def test_any_body_is_an_answer_or_unusable(value, choice):
    for record in (value, {"choices": [choice], "usage": value}, {"choices": [{"message": {}, "logprobs": choice}]}):
        data = json.dumps(record).encode()
        error_of(data)
        try:
            answer = answer_of(data)
        except Unusable:
            continue
        assert isinstance(answer.text, str)


def test_logprobs_survive_a_transcript():
    record = Transcript(id="0", prompt="p", response="é", logprobs=LOGPROBS)
    assert transcript_from_json(record.to_json(), "a") == record
    assert json.loads(record.to_json())["logprobs"][1] == {"token": "", "logprob": 0.0}
    assert b"logprobs" not in Transcript(id="0", prompt="p", response="").to_json()


@pytest.mark.parametrize(
    "logprobs",
    [
        "a",
        [7],
        [{"token": "a"}],
        [{"token": "a", "logprob": 0.5}],
        [{"token": "a", "logprob": -1, "bytes": [-1]}],
        [{"token": "a", "logprob": -1, "top": [{"token": "a", "logprob": 0}] * 2}],
    ],
)
def test_a_transcript_with_other_logprobs_is_refused(logprobs):
    line = json.dumps({"radiolabel": "transcript", "version": 1, "id": "0", "prompt": "", "response": "",
                       "logprobs": logprobs})  # fmt: skip
    with pytest.raises(InputError, match=r"x:1: logprobs.*expected"):
        transcript_from_json(line.encode(), "x:1")


def test_a_key_has_no_repr(monkeypatch):
    monkeypatch.setenv("SOME_KEY", " sk-secret \n")
    key = key_from("SOME_KEY")
    assert key is not None
    assert key.reveal() == b"sk-secret"
    assert "sk-secret" not in repr(key)
    monkeypatch.setenv("SOME_KEY", "")
    assert key_from("SOME_KEY") is None

import json

import numpy as np
import pytest

from verify.answer_predictions import answer_predictions
from verify.errors import InputError, Refused
from verify.tokenization import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tokenizer_file):
    return Tokenizer.load(str(tokenizer_file))


def line(tokens, **fields):
    record = {"radiolabel": "transcript", "version": 1, "id": "0", "prompt": "Why?", "response": "x", "model": "m"}
    return json.dumps(record | {"logprobs": tokens} | fields) + "\n"


def entry(text, logprob=-1.0, top=()):
    return {"token": text, "logprob": logprob, "top": [{"token": t, "logprob": p} for t, p in top]}


def test_tokens_are_found_by_their_bytes(tokenizer, small_tokenizer):
    """Every id of real prose comes back from its own text; parts of characters are told apart by bytes."""
    by_text = tokenizer.ids_by_text()
    assert len(by_text) == tokenizer.vocab_size
    for text in (" the", "The", "\n", "é"[0]):
        for i in small_tokenizer.encode(text).ids:
            assert i in by_text.values()
    assert by_text[b" the"] == small_tokenizer.token_to_id("Ġthe")
    assert by_text[b"\xc3"] == small_tokenizer.token_to_id("Ã")


def test_predictions_of_an_answer(tokenizer, tmp_path):
    ids = tokenizer.ids_by_text()
    path = tmp_path / "answers.jsonl"
    path.write_text(
        line([entry(" the", -0.5, [(" the", -0.5), (" a", -2.0)]), entry(" a", -3.0, [(" the", -1.0), ("@@@@", -1.2)])])
    )
    (found,) = answer_predictions(str(path), tokenizer)
    assert found.token_ids.tolist() == [ids[b" the"], ids[b" a"]]
    assert not found.served
    assert found.suspect == "m"
    row = dict(zip(found.candidates[1].tolist(), found.log_p[1].tolist(), strict=True))
    assert row[ids[b" the"]] == -1.0
    assert row[ids[b" a"]] == -3.0
    assert [len(set(r)) for r in found.candidates.tolist()] == [2, 2]
    found.to_json()  # what a reader of predictions would accept


def test_short_rows_are_filled_with_what_carries_no_weight(tokenizer, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(line([entry(" the"), entry(" a", -3.0, [(" the", -1.0), (" of", -1.5)])]))
    (found,) = answer_predictions(str(path), tokenizer)
    assert np.isneginf(found.log_p[0, 1:]).all()
    assert len(set(found.candidates[0].tolist())) == 3


def test_an_answer_is_used_up_to_its_first_unknown_token(tokenizer, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(line([entry(" the"), entry(" a"), entry("@unknown@"), entry(" the")]))
    (found,) = answer_predictions(str(path), tokenizer)
    assert len(found.token_ids) == 2


@pytest.mark.parametrize(
    ("tokens", "error", "says"),
    [
        (None, InputError, "no transcript with logprobs"),
        ([entry("@no@"), entry("@token@"), entry(" the")], Refused, "only 1 of 3"),
    ],
)
def test_refusals(tokenizer, tmp_path, tokens, error, says):
    path = tmp_path / "answers.jsonl"
    path.write_text(line(tokens) if tokens else line([], logprobs=None))
    with pytest.raises(error, match=says):
        list(answer_predictions(str(path), tokenizer))

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from verify.errors import InputError, Refused
from verify.predictions import Prediction, prediction_from_json, read_predictions

TOKENIZER = "sha256:" + "a" * 64


def prediction(n=3, k=4, ordinal=0, **changes):
    rng = np.random.default_rng(n)
    logs = np.log(rng.dirichlet(np.ones(k), n)).astype(np.float32)
    fields = {
        "id": f"t{ordinal}",
        "ordinal": ordinal,
        "served": True,
        "prompt_ids": np.array([7, 8], dtype=np.uint32),
        "token_ids": np.arange(10, dtype=np.uint32),
        "tokenizer": TOKENIZER,
        "at": np.arange(n) * 2 + 1,
        "candidates": np.stack([rng.permutation(50)[:k] for _ in range(n)]).astype(np.uint32)
        if n
        else np.empty((0, k), dtype=np.uint32),
        "log_p": logs,
        "log_q": None,
        "suspect": "m",
        "reference_model": None,
    }
    return Prediction(**(fields | changes))


def written(tmp_path, *lines, name="p.jsonl"):
    path = tmp_path / name
    path.write_bytes(b"\n".join(lines) + b"\n")
    return str(path)


def changed(line, **changes):
    record = json.loads(line) | changes
    return json.dumps({name: value for name, value in record.items() if value is not ...}).encode()


def test_round_trip_sorts_candidates_and_keeps_their_numbers(tmp_path):
    given = prediction(log_q=prediction(3).log_p - np.float32(0.1), reference_model="base")
    (found,) = read_predictions(written(tmp_path, given.to_json()))
    order = np.argsort(given.candidates, axis=1)
    for name in ("candidates", "log_p", "log_q"):
        assert (getattr(found, name) == np.take_along_axis(getattr(given, name), order, 1)).all()
    assert (found.candidates[:, 1:] > found.candidates[:, :-1]).all()
    for name in ("id", "ordinal", "served", "tokenizer", "suspect", "reference_model"):
        assert getattr(found, name) == getattr(given, name)
    for name in ("prompt_ids", "token_ids", "at"):
        assert getattr(found, name).tolist() == getattr(given, name).tolist()
    assert found.to_json() == given.to_json()


def test_gzip_blank_lines_no_positions_and_minus_infinity_are_fine(tmp_path):
    logs = prediction().log_p.copy()
    logs[0, 0] = -np.inf
    lines = [prediction(0).to_json(), b"", prediction(ordinal=3, log_p=logs).to_json()]
    path = tmp_path / "p.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    found = list(read_predictions(str(path), tokenizer=TOKENIZER))
    assert [p.ordinal for p in found] == [0, 3]
    assert found[0].candidates.shape == (0, 4)
    assert np.isneginf(found[1].log_p).sum() == 1


def test_unknown_fields_are_ignored_and_the_reference_alone_will_do():
    line = changed(prediction(log_q=prediction().log_p).to_json(), log_p=..., future=[1])
    assert prediction_from_json(line, "x").log_p is None


BAD = {
    "kind": ({"radiolabel": "pair"}, "radiolabel is 'pair'"),
    "version": ({"version": 2}, "version is 2, expected 1"),
    "bool version": ({"version": True}, "version is True"),
    "missing": ({"tokenizer": ...}, "without 'tokenizer'"),
    "ordinal": ({"ordinal": -1}, "ordinal is -1"),
    "huge ordinal": ({"ordinal": 1 << 60}, "ordinal is"),
    "served": ({"served": 1}, "served is 1, expected true or false"),
    "float id": ({"token_ids": [1.0, 2]}, r"token_ids\[0\] is 1.0"),
    "bool id": ({"prompt_ids": [True]}, r"prompt_ids\[0\] is True"),
    "large id": ({"token_ids": [1 << 20]}, r"token_ids\[0\] is 1048576"),
    "tokenizer": ({"tokenizer": "gpt2"}, "tokenizer is 'gpt2'"),
    "at outside": ({"at": [1, 3, 11]}, "ascending positions below 11"),
    "at the end": ({"at": [1, 3, 10], "served": False}, "ascending positions below 10"),
    "at negative": ({"at": [-1, 3, 5]}, r"at\[0\] is -1"),
    "at not ascending": ({"at": [3, 1, 5]}, "ascending"),
    "at twice": ({"at": [1, 1, 5]}, "ascending"),
    "at as text": ({"at": "1"}, "at is '1', expected a list"),
    "k zero": ({"k": 0}, "k is 0"),
    "wrong k": ({"k": 3}, "candidates has 48 bytes, expected 36"),
    "not base64": ({"log_p": "*"}, "log_p is '\\*', expected base64"),
    "number": ({"candidates": 5}, "candidates is 5, expected base64"),
    "cut": ({"log_p": "AAAA"}, "log_p has 3 bytes, expected 48"),
    "no model": ({"log_p": ...}, "neither log_p nor log_q"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_records_are_refused_with_the_value(name):
    changes, message = BAD[name]
    with pytest.raises(InputError, match=message):
        prediction_from_json(changed(prediction().to_json(), **changes), "x")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "log_p holds nan at position 3"),
        (np.inf, "log_p holds inf at position 3"),
        (0.5, "log_p at position 3: probabilities add up to"),
        (200.0, "log_p at position 3: probabilities add up to inf"),
    ],
)
def test_numbers_that_are_no_probabilities_are_refused(value, message):
    logs = prediction().log_p.copy()
    logs[1, 2] = value
    with pytest.raises(InputError, match=message):
        prediction(log_p=logs).to_json()


def test_rounding_of_half_precision_is_not_a_reason_to_refuse():
    logs = np.log(np.full((3, 4), 0.25 * 1.0009)).astype(np.float32)
    prediction(log_p=logs).to_json()
    with pytest.raises(InputError, match=r"expected at most 1\.001"):
        prediction(log_p=logs + np.float32(2e-4)).to_json()


def test_bad_candidates_are_refused():
    candidates = prediction().candidates.copy()
    candidates[2, 1] = candidates[2, 3]
    with pytest.raises(InputError, match=f"candidate {candidates[2, 3]} at position 5 twice"):
        prediction(candidates=candidates).to_json()
    candidates[2, 1] = 1 << 20
    with pytest.raises(InputError, match="candidate 1048576 at position 5"):
        prediction(candidates=candidates).to_json()


def test_order_ids_and_tokenizers_are_checked_across_lines(tmp_path):
    a, b = prediction().to_json(), prediction(ordinal=1).to_json()
    with pytest.raises(InputError, match=r"p\.jsonl:2: ordinal is 0 after 1"):
        list(read_predictions(written(tmp_path, b, a)))
    with pytest.raises(InputError, match=r"p\.jsonl:2: ordinal is 0 after 0"):
        list(read_predictions(written(tmp_path, a, a)))
    with pytest.raises(InputError, match="id 't0' stands in the file twice"):
        list(read_predictions(written(tmp_path, a, changed(b, id="t0"))))
    with pytest.raises(Refused, match=r"p\.jsonl:2: tokenizer is sha256:bbbb"):
        list(read_predictions(written(tmp_path, a, changed(b, tokenizer="sha256:" + "b" * 64))))
    with pytest.raises(Refused, match=r"p\.jsonl:1: tokenizer is sha256:aaaa"):
        list(read_predictions(written(tmp_path, a), tokenizer="sha256:" + "c" * 64))


@pytest.mark.parametrize("data", [b"", b"\n\n", b"{", b"[1]", b"null", b'{"radiolabel":"prediction"', b"\xff"])
def test_files_of_something_else_are_input_errors(tmp_path, data):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(InputError):
        list(read_predictions(str(path)))


def test_any_single_cut_of_a_line_is_an_input_error():
    line = prediction().to_json()
    for end in range(0, len(line) - 1, 7):
        with pytest.raises(InputError):
            prediction_from_json(line[:end], "x")


def test_the_example_of_the_specification():
    page = (Path(__file__).parents[2] / "docs/spec/prediction.md").read_text()
    line = page.split("```json\n")[1].split("\n")[0].encode()
    found = prediction_from_json(line, "x")
    assert found.candidates.tolist() == [[5, 9]]
    assert np.exp(found.log_p).tolist() == [[0.5, 0.25]]
    assert found.to_json() == line

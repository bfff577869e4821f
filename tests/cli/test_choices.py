"""What an accuser could choose after looking, and cannot: order, omissions, splits, texts, and other tests."""

import json
from types import SimpleNamespace

import pytest

from tests.conftest import make_epoch
from tests.predicting import chain, learn, predict, serve
from verify.errors import Refused
from verify.evidence.record_steps import _family
from verify.hypotheses.sequential import ClosedProcess
from verify.measuring.closed import measure_closed
from verify.measuring.linear import measure_open
from verify.measuring.sequential import measure_sequential, summary_of
from verify.records import Transcript
from verify.tokenization import Tokenizer
from watermark.keyfile import read_key


@pytest.fixture
def collected(marked, tokenizer_file, tmp_path):
    """answers(*numbers) writes answers in this order; the key and the tokenizer."""
    said = [json.loads(line)["response"] for line in (marked / "marked.jsonl").read_text().splitlines()]

    def answers(*numbers):
        rows = [Transcript(id=str(n), prompt="p", response=said[n]) for n in numbers]
        path = tmp_path / "answers.jsonl"
        path.write_bytes(b"".join(row.to_json() + b"\n" for row in rows))
        return str(path), rows

    return answers, read_key(str(marked / "fleet.key")), Tokenizer.load(str(tokenizer_file))


def test_an_e_process_does_not_see_what_was_left_out_or_sorted(collected):
    answers, key, tokenizer = collected
    order = [5, 2, 8, 0, 11, 3]

    def measured(*numbers):
        return measure_sequential(answers(*numbers)[0], key, tokenizer=tokenizer, alpha=1e-6, order=order)

    whole, process = measured(*order), ClosedProcess(key)
    for row in answers(*order)[1]:
        process.add(summary_of(row, tokenizer, key.deployment.width).pairs)
    assert (whole.n_answers, whole.n_scored) == (6, process.evidence.n_scored)
    assert whole.log10_e_max == process.evidence.log10_e_max > 0
    assert measured(*sorted(order)) == whole
    gap = measured(8, 0, 5, 11, 3)  # 2, the second, is missing
    assert gap == measured(5)
    assert measured(2, 8, 0).n_answers == 0
    in_file = measure_sequential(answers(8, 0)[0], key, tokenizer=tokenizer, alpha=1e-6)
    assert in_file.n_answers == 2


def test_ids_without_text_are_refused_where_ids_are_not_trusted(collected, tmp_path):
    _, key, tokenizer = collected
    path = tmp_path / "ids.jsonl"
    path.write_text(json.dumps({"token_ids": list(range(300, 400))}) + "\n")
    options = {"prompts": None, "served": None, "tokenizer": tokenizer, "input_format": "jsonl", "decoys": 0,
               "repeated_windows": "skip", "weights": "distinct", "token_ids": False}  # fmt: skip
    with pytest.raises(Refused, match="token ids and no text"):
        measure_closed(str(path), key, ids_alone=False, **options)
    assert measure_closed(str(path), key, **options).n_seen == 100


def test_predictions_are_of_the_texts_in_their_order(tmp_path):
    key = make_epoch(1, shares="fleet=1").value_key("fleet")
    laws = chain(64, 0)
    texts = serve(laws, key, [60] * 6, 1)
    records = predict(texts, laws, 2, student=learn(texts, laws, 2, 20.0))
    rows = [Transcript(id=p.id, prompt="", response="", token_ids=p.token_ids.tolist()) for p in records]
    assert records[0].served
    paths = tmp_path / "p.jsonl", tmp_path / "t.jsonl"

    def measured(predictions, transcripts, served=True):
        for path, lines in zip(paths, (predictions, transcripts), strict=True):
            path.write_bytes(b"\n".join(line.to_json() for line in lines) + b"\n")
        return measure_open(str(paths[0]), key, rule=None, prompt_windows="count", texts=str(paths[1]), served=served)

    assert measured(records, rows).n_texts == 6
    other = Transcript(id=rows[2].id, prompt="", response="", token_ids=[1, 2, 3])
    for predictions, transcripts, message in (
        (records, rows[::-1], "record 1 is not of text 1"),
        (records[:-1], rows, "record 6 is not of text 6"),
        (records, rows[:-1], "record 6 is not of text 6"),
        (records, [*rows[:2], other, *rows[3:]], "record 3 is not of text 3"),
    ):
        with pytest.raises(Refused, match=message):
            measured(predictions, transcripts)
    with pytest.raises(Refused, match="served is True, and the plan says False"):
        measured(records, rows, served=False)


def family(others=(), registered=(), tests=("q4",)):
    """Outcome of the step for a plan q4 on rival under key k."""
    own = SimpleNamespace(digest="own", keys=[SimpleNamespace(id="k")], own=("q4",),
                          family=SimpleNamespace(tests=tests), suspect=SimpleNamespace(name="rival"))  # fmt: skip
    lines = [SimpleNamespace(plan="own", keys=("k",)), *(SimpleNamespace(plan=p, keys=k) for p, k in registered)]
    made = [SimpleNamespace(plan=p, suspect=s, control=c, tests=[SimpleNamespace(name=n)]) for p, s, c, n in others]
    return _family(SimpleNamespace(predicate=SimpleNamespace(plan=own, register=lines, others=made)))


def test_other_tests_that_nobody_corrected_for_are_counted():
    assert family().outcome == "ok"
    assert family([("b", "rival", False, "q5")], [("b", ("k",))], ("q4", "q5")).outcome == "ok"
    assert family([("c", "innocent", True, "c")], [("c", ("k",))]).outcome == "ok"
    assert family(registered=[("d", ("other",))]).outcome == "ok"
    for others, registered in (
        ([("b", "rival", False, "q5")], [("b", ("other",))]),  # on the suspect, under another key
        ([("b", "rival", False, "q4")], [("b", ("k",))]),  # the same name is another test
        ([("b", "rival", True, "c")], [("b", ("k",))]),  # called a control
        ([], [("b", ("k",))]),  # under the key, and not shown
    ):
        step = family(others, registered)
        assert (step.outcome, step.reason[:6]) == ("not checked", "1 are,")
    many = family([(f"p{i}", "rival", False, f"t{i}") for i in range(12)])
    assert many.reason.startswith("12 are")

"""Distinct pairs of wide windows: the rules of `verify.scoring`, at any width."""

import json

import numpy as np
import pytest

from verify.corpus import summarize_documents
from verify.inputs import open_documents
from verify.native.pairs import distinct_rows, read_corpus
from verify.tokenization import Tokenizer


def written(folder, lines):
    path = folder / "answers.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def corpus_of(path, width, tokenizer=None, skip=True):
    return read_corpus(open_documents(str(path)), width, tokenizer=tokenizer, trust_ids=False, skip_repeated=skip)


@pytest.mark.parametrize("width", [0, 1, 2, 3, 4, 5, 8, 16])
def test_rows_are_distinct_and_exact(width):
    """Ids of 20 bits at their ends, in few values, so that rows differ in one place only."""
    draw = np.random.default_rng(width)
    rows = draw.choice(np.array([0, 1, 2**20 - 2, 2**20 - 1], dtype=np.uint32), (3000, width + 1))
    rows = np.concatenate([rows, rows[::3]])
    found = distinct_rows(rows)
    assert sorted(map(tuple, found.tolist())) == sorted({tuple(r) for r in rows.tolist()})


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("skip", [True, False])
def test_counts_are_those_of_our_own_marks(width, skip, prose, tokenizer_file, tmp_path):
    """Prompts, quoted spans and repeats: the same tokens are kept as for a scheme of that width."""
    texts = [p[:600] for p in prose[:12]]
    lines = [
        json.dumps({"prompt": texts[i - 1][:300], "response": texts[i] + texts[i - 1][100:200]}) for i in range(12)
    ]
    lines += [lines[3], json.dumps({"response": ""}), json.dumps({"response": "word " * 50})]
    path, tokenizer = written(tmp_path, lines), Tokenizer.load(str(tokenizer_file))
    theirs = summarize_documents(open_documents(str(path)), width, tokenizer=tokenizer, skip_repeated=skip)
    ours = corpus_of(path, width, tokenizer, skip)
    assert (ours.n_documents, ours.n_empty, ours.n_seen) == (theirs.n_documents, theirs.n_empty, theirs.n_seen)
    assert ours.n_dropped == {
        "first_h": theirs.n_first_h, "repeated_window": theirs.n_repeated_window,
        "copied_from_prompt": theirs.n_copied_from_prompt, "duplicate": theirs.n_duplicate,
    }  # fmt: skip
    assert theirs.n_copied_from_prompt > 0
    assert theirs.n_duplicate > 0
    rows = np.column_stack([theirs.pairs.windows(), theirs.pairs.tokens()])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, ours.rows.tolist()))


def test_width_four_over_documents(tmp_path):
    path = written(tmp_path, ['{"token_ids": [1, 2, 3, 4, 5, 6]}', '{"token_ids": [9, 2, 3, 4, 5, 6]}',
                              '{"token_ids": [7, 7, 7, 7, 7, 7, 7]}', '{"token_ids": [1, 2]}'])  # fmt: skip
    found = corpus_of(path, 4)
    assert found.n_dropped == {"first_h": 14, "repeated_window": 2, "copied_from_prompt": 0, "duplicate": 1}
    assert sorted(map(tuple, found.rows.tolist())) == [
        (1, 2, 3, 4, 5), (2, 3, 4, 5, 6), (7, 7, 7, 7, 7), (9, 2, 3, 4, 5),
    ]  # fmt: skip
    assert corpus_of(path, 4, skip=False).n_dropped["duplicate"] == 3
    assert len(corpus_of(written(tmp_path, ['{"token_ids": []}']), 4).rows) == 0

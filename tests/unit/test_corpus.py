import json

import numpy as np
import pytest

from verify import corpus
from verify.corpus import summarize_documents
from verify.errors import InputError, Refused
from verify.records import Document
from verify.scoring import summarize
from verify.tokenization import Tokenizer
from watermark.windows import TokenBatch


@pytest.fixture(scope="module")
def tokenizer(tokenizer_file):
    return Tokenizer.load(str(tokenizer_file))


def ids(*values):
    return np.array(values, dtype=np.uint32)


def test_token_ids_are_used_unless_asked_for_the_text(tokenizer):
    document = Document(name="a", text="The quick brown fox", token_ids=ids(1, 2, 3, 4, 5, 6, 7, 8, 9))
    by_ids = summarize_documents([document], 1, tokenizer=tokenizer)
    by_text = summarize_documents([document], 1, tokenizer=tokenizer, retokenize=True)
    assert by_ids.n_seen == 9
    assert by_text.n_seen == len(tokenizer.encode_batch(["The quick brown fox"])[0]) != 9


def test_batches_do_not_change_the_summary(tokenizer, prose, monkeypatch):
    documents = [Document(name=str(i), text=text[:2000], prompt=text[500:900]) for i, text in enumerate(prose[:40])]
    whole = summarize_documents(documents, 2, tokenizer=tokenizer)
    parts = []
    monkeypatch.setattr(corpus, "BATCH_CHARACTERS", 5000)
    again = summarize_documents(documents, 2, tokenizer=tokenizer, progress=parts.append)
    assert again.to_bytes() == whole.to_bytes()
    assert len(parts) > 10
    assert whole.n_documents == sum(p.n_documents for p in parts) == 40
    assert whole.n_copied_from_prompt > 0


def test_summary_is_that_of_the_tokenized_texts(tokenizer, prose):
    want = summarize(TokenBatch.from_documents(tokenizer.encode_batch(prose[:5])), 2)
    got = summarize_documents([Document(name="x", text=t) for t in prose[:5]], 2, tokenizer=tokenizer)
    assert got.to_bytes() == want.to_bytes()


def test_documents_of_another_tokenizer_are_refused(tokenizer):
    document = Document(name="f:3", token_ids=ids(1, 2), tokenizer="sha256:" + "0" * 64)
    with pytest.raises(Refused, match="f:3"):
        summarize_documents([document], 2, tokenizer=tokenizer)


def test_ids_above_the_vocabulary_are_refused(tokenizer):
    with pytest.raises(InputError, match="4096"):
        summarize_documents([Document(name="f:3", token_ids=ids(1, 4096))], 2, tokenizer=tokenizer)


def test_what_needs_a_tokenizer_says_so():
    with pytest.raises(InputError, match="f:1 has a text and needs a tokenizer"):
        summarize_documents([Document(name="f:1", text="a")], 2, tokenizer=None)
    with pytest.raises(InputError, match="f:2 has a prompt and needs a tokenizer"):
        summarize_documents([Document(name="f:2", token_ids=ids(1), prompt="a")], 2, tokenizer=None)
    assert summarize_documents([Document(name="f:3", token_ids=ids(1, 2, 3))], 2, tokenizer=None).n_seen == 3


def test_empty_answers_are_counted(tokenizer):
    s = summarize_documents([Document(name="a", text=""), Document(name="b", text="")], 2, tokenizer=tokenizer)
    assert (s.n_documents, s.n_seen) == (2, 0)
    assert summarize_documents([], 2, tokenizer=tokenizer).n_documents == 0
    assert json.loads(s.to_bytes().split(b"\n")[0])["n_documents"] == 2

import json

import numpy as np
import pytest

from verify import corpus
from verify.corpus import served_windows, summarize_documents
from verify.distinct import Pairs
from verify.errors import InputError, Refused
from verify.records import Document
from verify.scoring import merge, summarize
from verify.tokenization import Tokenizer
from watermark.windows import TokenBatch, window_keys, windowed


@pytest.fixture(scope="module")
def tokenizer(tokenizer_file):
    return Tokenizer.load(str(tokenizer_file))


def ids(*values):
    return np.array(values, dtype=np.uint32)


def test_the_text_is_used_unless_the_ids_are_trusted(tokenizer):
    document = Document(name="a", text="The quick brown fox", token_ids=ids(1, 2, 3, 4, 5, 6, 7, 8, 9))
    by_ids = summarize_documents([document], 1, tokenizer=tokenizer, trust_ids=True)
    by_text = summarize_documents([document], 1, tokenizer=tokenizer)
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


def test_empty_answers_make_bounded_batches():
    parts = []
    many = (Document(name="", token_ids=ids()) for _ in range(50_000))
    summarize_documents(many, 2, tokenizer=None, progress=parts.append)
    assert max(part.n_documents for part in parts) <= 1 << 14


@pytest.fixture
def conversations(prose):
    """Three conversations: each answer repeats the turn before it, or says something new."""
    made = []
    for number in range(3):
        turns = tuple(text[:300] for text in prose[20 * number :][:20])
        for at in range(1, 20, 2):
            answer = turns[at - 1] if at % 4 == 1 else turns[at]
            made.append(Document(name=f"{number}[{at}]", text=answer, turns=turns, n_shown=at))
    return made


def test_a_conversation_is_scored_as_its_responses_one_by_one(tokenizer, conversations):
    """And what comes later is not taken for what was shown."""
    whole = summarize_documents(conversations, 2, tokenizer=tokenizer)
    single = [summarize_documents([d], 2, tokenizer=tokenizer) for d in conversations]
    assert whole.to_bytes() == merge(single, 2).to_bytes()
    assert [s.n_seen - s.n_first_h == s.n_repeated_window + s.n_copied_from_prompt for s in single] == [
        True, False, True, False, True, False, True, False, True, False,
    ] * 3  # fmt: skip


def test_every_turn_is_tokenized_once(tokenizer, conversations, monkeypatch):
    seen, encode = [], Tokenizer.encode_batch
    monkeypatch.setattr(Tokenizer, "encode_batch", lambda self, texts: seen.extend(texts) or encode(self, texts))
    monkeypatch.setattr(corpus, "BATCH_CHARACTERS", 1)  # and a conversation stays in one batch
    summarize_documents(conversations, 2, tokenizer=tokenizer)
    answers = [d.text for d in conversations]
    turns = [turn for d in conversations[::10] for turn in d.turns[:19]]
    assert sorted(seen) == sorted(answers + turns)


def test_a_prompt_of_its_own_counts_beside_the_turns(tokenizer, prose):
    turns = (prose[0][:300], "an answer", prose[1][:300])
    answers = [Document(name="a", text=prose[2][:300], prompt=prose[2][:300], turns=turns, n_shown=1)]
    answers += [Document(name="b", text=prose[1][:300], prompt="other", turns=turns, n_shown=3)]
    s = summarize_documents(answers, 2, tokenizer=tokenizer)
    assert len(s.pairs) == 0
    assert s.n_copied_from_prompt > 100


FRAMES = ["{}", "Repeat this: {}", "Repeat this:{}", 'Repeat: "{}"', "> {}", "* {}", "Say it: ({}).", "AGAIN {}"]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("width", [1, 2, 3])
def test_an_echo_of_the_prompt_scores_nothing_however_it_is_framed(tokenizer, prose, frame, width):
    """A copied span is tokenized otherwise at its ends: exactly its first pairs would look marked."""
    sentences = [s.strip() for text in prose[:30] for s in text[300:1200].split(".") if len(s.split()) > 5][:80]
    documents = [Document(name="x", text=s, prompt=frame.format(s)) for s in sentences]
    documents += [Document(name="y", text=s.upper(), prompt=frame.format(s)) for s in sentences[:9]]
    s = summarize_documents(documents, width, tokenizer=tokenizer)
    assert s.n_seen > 500
    assert len(s.pairs) == 0


def test_what_was_not_shown_is_still_scored(tokenizer, prose):
    document = Document(name="x", text=prose[3][:1500], prompt=prose[9][:1500])
    s = summarize_documents([document], 2, tokenizer=tokenizer)
    assert len(s.pairs) > 200


def test_documents_of_two_tokenizers_are_refused_even_without_one():
    documents = [Document(name=f"f:{i}", token_ids=ids(1, 2, 3), tokenizer=f"sha256:{i:064}") for i in range(2)]
    with pytest.raises(Refused, match="f:1: made with another tokenizer"):
        summarize_documents(documents, 2, tokenizer=None)


def test_served_windows_are_those_of_the_text():
    """By hand at width 2: 1 2 3 4 has the windows (1, 2), (2, 3), and (3, 4), where the answer ended."""
    documents = [Document(name="a", token_ids=np.array(x, dtype=np.uint32)) for x in ([1, 2, 3, 4], [5], [], [7, 8])]
    found = served_windows(documents, 2, tokenizer=None)
    assert found.tolist() == [(1 << 20) + 2, (2 << 20) + 3, (3 << 20) + 4, (7 << 20) + 8]


def test_served_text_without_its_ids_is_refused(tokenizer):
    """A text has many tokenizations: the windows of another one were never served."""
    documents = [Document(name="f:1", token_ids=ids(1, 2, 3)), Document(name="f:2", text="The quick brown fox")]
    with pytest.raises(Refused, match="f:2: served without token_ids"):
        served_windows(documents, 2, tokenizer=tokenizer)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_pairs_know_their_windows(width, prose_ids):
    batch = TokenBatch.from_documents([prose_ids[:5000] + np.uint32(900_000)])
    pairs = Pairs.of(window_keys(batch.ids, windowed(batch, width), width), batch.ids[windowed(batch, width)], width)
    assert (pairs.window_keys() == window_keys(batch.ids, windowed(batch, width), width)).all()

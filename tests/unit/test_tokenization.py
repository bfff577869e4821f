"""The pinned tokenizer."""

import hashlib
import json
import re

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors, trainers

from verify import tokenization
from verify.errors import InputError, Refused
from verify.records import Document
from verify.tokenization import Tokenizer
from watermark.windows import MAX_ID


def make(*, truncate=False):
    """A byte-level BPE tokenizer with a special token, as JSON."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["the cat sat on the mat and the dog sat on the cat"] * 9, trainer)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    if truncate:
        made.enable_truncation(2)
        made.enable_padding(length=8)
    return made.to_str()


@pytest.fixture
def file(tmp_path):
    (tmp_path / "tokenizer.json").write_text(make())
    return tmp_path / "tokenizer.json"


def test_digest_is_of_the_bytes(file):
    assert Tokenizer.load(str(file)).digest == "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_directory_is_its_tokenizer_json(file):
    assert Tokenizer.load(str(file.parent)).digest == Tokenizer.load(str(file)).digest


def test_ids_are_uint32_without_special_tokens_and_decode_to_the_text(file):
    texts = ["the cat", "", "naïve 😀 \0 text\r\n"]
    reference = tokenizers.Tokenizer.from_file(str(file))
    encoded = Tokenizer.load(str(file)).encode_batch(texts)
    assert [ids.dtype for ids in encoded] == [np.uint32] * 3
    assert len(encoded[1]) == 0
    for text, ids in zip(texts, encoded, strict=True):
        assert 0 not in ids
        assert ids.tolist() == reference.encode(text, add_special_tokens=False).ids


def test_truncation_and_padding_of_the_file_are_off(tmp_path):
    (tmp_path / "t").write_text(make(truncate=True))
    (short, long) = Tokenizer.load(str(tmp_path / "t")).encode_batch(["a", "the dog " * 50])
    assert len(short) == 1
    assert len(long) > 50


def test_batches_do_not_change_the_ids(file, monkeypatch):
    tokenizer, texts = Tokenizer.load(str(file)), [f"the cat {i} " * i for i in range(40)]
    whole = tokenizer.encode_batch(texts)
    monkeypatch.setattr(tokenization, "BATCH_CHARACTERS", 100)
    parts = tokenizer.encode_batch(texts)
    assert len(parts) == 40
    assert all((a == b).all() for a, b in zip(whole, parts, strict=True))
    assert tokenizer.encode_batch([]) == []


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a" * 100, ["a" * 100]),
        ("a" * 95 + "\nb c" + "d" * 50, ["a" * 95 + "\n", "b c" + "d" * 50]),
        ("a" * 95 + " bc" + "d" * 50, ["a" * 95 + " ", "bc" + "d" * 50]),
        ("a" * 89 + "\n" + "b" * 60, ["a" * 89 + "\n" + "b" * 10, "b" * 50]),
        ("a" * 90 + "\n" + "b" * 60, ["a" * 90 + "\n", "b" * 60]),
        ("a" * 99 + "\n" + "b", ["a" * 99 + "\n", "b"]),
        ("a" * 100 + "\n", ["a" * 100, "\n"]),
        ("é" * 250, ["é" * 100, "é" * 100, "é" * 50]),
    ],
)
def test_a_long_text_is_encoded_in_pieces(file, monkeypatch, text, pieces):
    """Cut after a newline near the limit, else after a space, else at the limit."""
    tokenizer, calls = Tokenizer.load(str(file)), []
    want = np.concatenate(tokenizer.encode_batch(pieces))
    monkeypatch.setattr(tokenization, "PIECE_CHARACTERS", 100)
    monkeypatch.setattr(tokenization, "CUT_CHARACTERS", 10)
    encode = Tokenizer._encode
    monkeypatch.setattr(Tokenizer, "_encode", lambda self, texts: calls.extend(texts) or encode(self, texts))
    first, got, last = tokenizer.encode_batch(["the cat", text, ""])
    assert calls == ["the cat", *pieces, ""]
    assert got.tolist() == want.tolist()
    assert (len(first) > 0, len(last)) == (True, 0)


def test_a_call_encodes_no_more_than_the_batch_size(file, monkeypatch):
    tokenizer, calls = Tokenizer.load(str(file)), []
    monkeypatch.setattr(tokenization, "PIECE_CHARACTERS", 100)
    monkeypatch.setattr(tokenization, "BATCH_CHARACTERS", 250)
    encode = Tokenizer._encode
    monkeypatch.setattr(Tokenizer, "_encode", lambda self, texts: calls.append(texts) or encode(self, texts))
    tokenizer.encode_batch(["a" * 1000, "b" * 60, "c" * 90])
    assert [sum(map(len, texts)) for texts in calls] == [200, 200, 200, 200, 200, 150]


def test_vocabulary_size_is_one_more_than_the_largest_id(tmp_path):
    """Ids may have gaps, and added tokens come after the model's."""
    content = json.loads(make())
    content["added_tokens"].append({**content["added_tokens"][0], "id": 500, "content": "<far>"})
    size = len(content["model"]["vocab"])
    (tmp_path / "t").write_text(json.dumps(content))
    assert Tokenizer.load(str(tmp_path / "t")).vocab_size > size
    (tmp_path / "t").write_text(make())
    assert Tokenizer.load(str(tmp_path / "t")).vocab_size == size


def test_vocabulary_beyond_the_limit_is_refused(tmp_path):
    content = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": MAX_ID + 1}, "unk_token": "a"},
    }
    (tmp_path / "t").write_text(json.dumps(content))
    with pytest.raises(Refused) as caught:
        Tokenizer.load(str(tmp_path / "t"))
    assert str(caught.value) == f"{tmp_path}/t: largest token id is 1048576, expected at most 1048575"


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"model": 1}', b'{"a":' * 100_000])
def test_broken_files(tmp_path, data):
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(InputError) as caught:
        Tokenizer.load(str(tmp_path / "t"))
    assert str(caught.value).startswith(f"{tmp_path}/t: not a tokenizer: begins with ")
    assert str(caught.value).endswith(", expected a tokenizer.json of Hugging Face tokenizers")


@pytest.mark.parametrize(
    "data", [b'{"secret": "%s"}', b'{"kind": "%s"}', b"%s", b'"%s"', b'{"model": "%s"}', b'{"truncation": "%s"}']
)
def test_digits_of_a_key_are_not_quoted(tmp_path, data):
    (tmp_path / "t").write_bytes(data % (b"0123456789abcdef" * 4))
    with pytest.raises(InputError) as caught:
        Tokenizer.load(str(tmp_path / "t"))
    assert "hidden" in caught.value.message
    assert not re.search("[0-9a-f]{8}", caught.value.message.replace(str(tmp_path), "") + str(caught.value.hint))


def test_files_that_cannot_be_read(tmp_path):
    for path, name, reason in [
        (tmp_path / "missing", tmp_path / "missing", "no such file or directory"),
        (tmp_path, tmp_path / "tokenizer.json", "no such file or directory"),
        ("a\0b", "a\\x00b", "embedded null byte"),
    ]:
        with pytest.raises(InputError) as caught:
            Tokenizer.load(str(path))
        assert str(caught.value) == f"{name}: cannot be read: {reason}, expected a tokenizer.json"


def test_a_file_beyond_the_size_limit_is_not_read(file, monkeypatch):
    monkeypatch.setattr(tokenization, "MAX_TOKENIZER_BYTES", 100)
    with pytest.raises(InputError) as caught:
        Tokenizer.load(str(file))
    assert str(caught.value) == f"{file}: more than 100 bytes, expected a tokenizer.json"


def test_lone_surrogate(file):
    with pytest.raises(InputError) as caught:
        Tokenizer.load(str(file)).encode_batch(["fine", "the \ud800 cat"])
    assert str(caught.value) == (
        "lone surrogate '\\ud800' at character 4, near 'the \\ud800 cat', expected unicode text"
    )


def test_check_passes_ids_of_this_tokenizer(file):
    tokenizer = Tokenizer.load(str(file))
    top = np.array([0, tokenizer.vocab_size - 1], dtype=np.uint32)
    for document in (
        Document(name="a", text="no ids"),
        Document(name="a", token_ids=top),
        Document(name="a", token_ids=top, tokenizer=tokenizer.digest),
        Document(name="a", token_ids=top[:0]),
    ):
        tokenizer.check(document)


def test_check_refuses_another_digest(file):
    tokenizer, other = Tokenizer.load(str(file)), "sha256:" + "0" * 64
    with pytest.raises(Refused) as caught:
        tokenizer.check(Document(name="x:3", text="a", tokenizer=other))
    assert str(caught.value) == (
        f"x:3: transcripts were made with another tokenizer: '{other}', expected '{tokenizer.digest}'"
    )
    assert caught.value.hint == "name the tokenizer.json that the provider published for these transcripts"


def test_check_refuses_ids_beyond_the_vocabulary(file):
    tokenizer = Tokenizer.load(str(file))
    size = tokenizer.vocab_size
    with pytest.raises(InputError) as caught:
        tokenizer.check(Document(name="x:3", token_ids=np.array([1, size, 2, size + 7], dtype=np.uint32)))
    assert str(caught.value) == (
        f"x:3: token_ids[1] is {size}, expected an id below the tokenizer's vocabulary size {size}"
    )


def test_repr_names_the_digest(file):
    tokenizer = Tokenizer.load(str(file))
    assert repr(tokenizer) == f"Tokenizer(digest='{tokenizer.digest}', vocab_size={tokenizer.vocab_size})"

"""Properties of the input side: what is written is read, and no bytes lead to anything but documents or InputError."""

import gzip
import json

import msgspec
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from verify.errors import QUOTED_LENGTH, InputError, quoted
from verify.inputs import FORMATS, open_documents
from verify.records import Transcript, transcript_from_json
from watermark.windows import MAX_ID

# The directory of the test is written over by every example.
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

text = st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))

transcripts = st.builds(
    Transcript,
    id=text,
    prompt=text,
    response=text,
    token_ids=st.none() | st.lists(st.integers(0, MAX_ID), max_size=20).map(tuple),
    tokenizer=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:".__add__),
    model=st.none() | text,
    request=st.none() | text,
    account=st.none() | text,
    marked=st.none() | st.dictionaries(text, st.integers(0, 2**40), max_size=3),
    meta=st.none() | st.dictionaries(text, values, max_size=3),
    extra=st.dictionaries(
        text.filter(lambda name: name not in {"radiolabel", "version", *Transcript.__struct_fields__}),
        values.map(json.dumps).map(str.encode).map(msgspec.Raw),
        max_size=3,
    ),
)


def read(path, data, **options):
    path.write_bytes(data)
    return list(open_documents(str(path), **options))


def outcome(path, data, **options):
    """Contents without names, or None for InputError; another exception fails the test."""
    try:
        documents = read(path, data, **options)
    except InputError:
        return None
    return [(d.text, None if d.token_ids is None else d.token_ids.tolist(), d.shown_after(None)) for d in documents]


@RELAXED
@given(st.lists(transcripts, min_size=1, max_size=5), st.sampled_from([bytes, gzip.compress, zstandard.compress]))
def test_transcripts_are_read_as_they_were_written(tmp_path, made, pack):
    data = b"".join(one.to_json() + b"\n" for one in made)
    documents = read(tmp_path / "x", pack(data))
    assert len(documents) == len(made)
    for number, (one, document) in enumerate(zip(made, documents, strict=True), start=1):
        assert document.name == f"{tmp_path}/x:{number}"
        assert (document.text, document.prompt, document.tokenizer) == (one.response, one.prompt, one.tokenizer)
        assert (None if document.token_ids is None else tuple(document.token_ids.tolist())) == one.token_ids
        assert transcript_from_json(one.to_json(), "x") == one
        assert transcript_from_json(one.to_json(), "x").to_json() == one.to_json()


# Objects with the fields that parsers look at, holding anything.
NAMES = ["radiolabel", "version", "id", "prompt", "response", "text", "token_ids", "tokenizer", "marked", "meta"]
NAMES += ["choices", "message", "content", "role", "body", "request", "messages", "custom_id", "error"]
NAMES += ["conversations", "conversation", "from", "value", "type"]
NAMED = ["transcript", "assistant", "gpt", "user", "human", "text", "hello"]
shaped = st.recursive(
    scalars | st.sampled_from([*NAMED, 1, -1, MAX_ID + 1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


@settings(RELAXED, max_examples=300)
@given(st.lists(shaped, min_size=1, max_size=3), st.sampled_from(FORMATS))
def test_any_json_gives_documents_or_an_input_error(tmp_path, records, format):
    """And a document or more per record, never fewer; and the same from lines as from an array."""
    lines = "\n".join(map(json.dumps, records)).encode()
    found = outcome(tmp_path / "x", lines, format=format)
    if format not in ("auto", "text"):
        assert found is None or len(found) >= len(records)
    if format != "text" and isinstance(records[0], dict):
        assert outcome(tmp_path / "x", json.dumps(records).encode(), format=format) == found
        assert outcome(tmp_path / "x", json.dumps(records, indent=1).encode(), format=format) == found


CHAT = {"choices": [{"message": {"role": "assistant", "content": "a"}}, {"text": "b"}], "messages": [{"content": "q"}]}
TALK = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a\ud83d\ude00"}]}
MADE = Transcript(id="1", prompt="q", response="a\n", token_ids=(1, 2, 3), meta={"a": [1.5, None]})
SEEDS = [
    b"plain text\r\nof two lines",
    MADE.to_json() + b"\n" + MADE.to_json() + b"\r\n",
    b'\xef\xbb\xbf"a"\n\n{"text": "b", "prompt": ["q"]}\n{"token_ids": [0, 1048575]}\n',
    json.dumps(CHAT).encode() + b"\n" + json.dumps({"custom_id": "1", "response": {"body": CHAT}}).encode(),
    json.dumps([CHAT, CHAT], indent=1).encode(),
    json.dumps(TALK, indent=1).encode(),
    json.dumps([TALK]).encode(),
    '"utf-16"'.encode("utf-16"),
]
SEEDS += [pack(seed) for seed in SEEDS[:4] for pack in (gzip.compress, zstandard.compress)]
SPLICES = [
    b"\0",
    b"\xff",
    b"\n",
    b'"',
    b"{",
    b"]",
    b"[" * 3000,
    b"\\ud800",
    b"NaN",
    b"1e999",
    b"-",
    b",",
    b"null",
    b" ",
]
edits = st.lists(
    st.tuples(
        st.floats(0, 1), st.integers(0, 9) | st.integers(0, 200), st.sampled_from(SPLICES) | st.binary(max_size=3)
    ),
    min_size=1,
    max_size=4,
)


@settings(RELAXED, max_examples=500)
@given(
    st.sampled_from(SEEDS),
    edits,
    st.sampled_from(FORMATS),
    st.sampled_from([None, *SEEDS]),
    st.sampled_from([40, 1 << 20]),
)
def test_any_damage_gives_documents_or_an_input_error(tmp_path, data, edits, format, prompts, limit):
    for place, removed, added in edits:
        at = int(place * len(data))
        data = data[:at] + added + data[at + removed :]
    options = {"format": format, "max_line_bytes": limit, "max_file_bytes": 2 * limit}
    if prompts is not None:
        (tmp_path / "p").write_bytes(prompts)
        options["prompts"] = str(tmp_path / "p")
    outcome(tmp_path / "x", data, **options)
    (tmp_path / "p").write_bytes(data)
    outcome(tmp_path / "x", b'"a"\n"b"\n', prompts=str(tmp_path / "p"))


@RELAXED
@given(st.binary(), st.sampled_from(FORMATS))
@example(b'"', "auto")
@example(b"\x1f\x8b", "auto")
@example(b"\x28\xb5\x2f\xfd", "text")
@example(b"\xef\xbb\xbf", "text")
def test_any_bytes_give_documents_or_an_input_error(tmp_path, data, format):
    outcome(tmp_path / "x", data, format=format)


@given(values | st.binary() | st.text(max_size=500) | st.lists(st.integers()))
def test_quoted_values_fit(value):
    assert 0 < len(quoted(value)) <= QUOTED_LENGTH

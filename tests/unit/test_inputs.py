"""What people really have -> documents, and every way in which it can be broken."""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import resource
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest
import zstandard

from verify import records
from verify.errors import InputError, Refused, quoted
from verify.inputs import open_documents, read_prompts
from verify.records import Document, Transcript, transcript_from_json
from watermark.windows import MAX_ID

DIGEST = "sha256:" + "ab" * 32
CHAT = {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}]}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Documents of a file "x" with the given bytes, and of a file of prompts "p"."""
    monkeypatch.chdir(tmp_path)

    def read(data, *, prompts=None, **options):
        (tmp_path / "x").write_bytes(data if isinstance(data, bytes) else data.encode())
        if prompts is not None:
            (tmp_path / "p").write_bytes(prompts.encode())
            options["prompts"] = "p"
        return [
            (d.name, d.text if d.token_ids is None else d.token_ids.tolist(), "\n".join(d.shown_after(None)) or None)
            for d in open_documents("x", **options)
        ]

    return read


@pytest.fixture
def refusal(read):
    """The message and the hint with which the bytes are refused."""

    def refusal(data, **options):
        with pytest.raises(InputError) as caught:
            read(data, **options)
        assert str(caught.value) == caught.value.message
        return caught.value.message, caught.value.hint

    return refusal


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


# --- what is read -----------------------------------------------------------------------------------------------------


def test_text_is_one_document_from_its_first_line_that_is_not_blank(read):
    assert read("\n \nHello,\nworld.\n") == [("x", "Hello,\nworld.\n", None)]


def test_text_may_begin_like_json_if_the_format_is_named(read):
    assert read('"Yes," she said.\n', format="text") == [("x", '"Yes," she said.\n', None)]


def test_text_in_one_line_longer_than_the_line_limit_is_read_whole(read):
    assert read("word " * 100, max_line_bytes=10) == [("x", "word " * 100, None)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends(read, end):
    """CRLF in text becomes LF; the names of records count lines, blank ones included."""
    assert read(f"a{end}b") == [("x", "a\nb", None)]
    assert read(end.join(["", '"a"', " ", '"b"', ""])) == [("x:2", "a", None), ("x:4", "b", None)]


def test_byte_order_mark_is_accepted(read):
    assert read(b"\xef\xbb\xbf" + b"text") == [("x", "text", None)]
    assert read(b"\xef\xbb\xbf\n" + b'{"text": "t"}') == [("x:2", "t", None)]


def test_last_line_may_lack_its_end(read):
    assert read('"a"\n"b"') == [("x:1", "a", None), ("x:2", "b", None)]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("a", ("a", None)),
        ({"text": "a"}, ("a", None)),
        ({"response": "a", "text": "b", "prompt": "q"}, ("a", "q")),
        ({"response": None, "text": "b"}, ("b", None)),
        ({"response": None}, ("", None)),
        ({"response": ""}, ("", None)),
        ({"token_ids": [0, MAX_ID]}, ([0, MAX_ID], None)),
        ({"token_ids": []}, ([], None)),
        ({"text": "a", "token_ids": None}, ("a", None)),
        ({"text": "a", "prompt": None}, ("a", None)),
        ({"text": "a", "messages": [{"role": "user", "content": "q"}]}, ("a", "q")),
        ({"text": "a", "request": {"messages": [{"role": "user", "content": "q"}]}}, ("a", "q")),
        (
            {
                "text": "a",
                "prompt": [
                    {"role": "system", "content": "s"},
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "u"}, {"type": "image_url", "image_url": {}}],
                    },
                    {"role": "assistant", "content": None, "tool_calls": []},
                    {"role": "assistant", "tool_calls": []},
                    "plain",
                ],
            },
            ("a", "s\nu\nplain"),
        ),
        ({"text": "a", "tokenizer": "gpt2", "unknown": {"x": [1]}}, ("a", None)),
    ],
)
def test_jsonl(read, record, expected):
    assert read(lines(record)) == [("x:1", *expected)]
    assert read(lines(record), format="jsonl") == [("x:1", *expected)]


def test_only_token_ids_leave_the_text_unknown(tmp_path):
    (tmp_path / "x").write_text(lines({"token_ids": [1, 2]}, {"token_ids": [3], "text": "t"}))
    first, second = open_documents(str(tmp_path / "x"))
    assert first.text is None
    assert first.token_ids.dtype == np.uint32
    assert second.text == "t"


def test_transcript_becomes_a_document(tmp_path):
    made = Transcript(id="1", prompt="q", response="a", token_ids=(5, 6), tokenizer=DIGEST)
    (tmp_path / "x").write_bytes(made.to_json() + b"\n")
    (document,) = open_documents(str(tmp_path / "x"))
    assert (document.text, document.prompt, document.tokenizer) == ("a", "q", DIGEST)
    assert document.token_ids.tolist() == [5, 6]


def test_duplicate_keys_the_last_wins(read):
    assert read('{"text": "first", "text": "last"}') == [("x:1", "last", None)]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (CHAT, [("x:1", "yes", None)]),
        ({"choices": [{"text": "legacy"}], "prompt": "q"}, [("x:1", "legacy", "q")]),
        ({"choices": [{"text": "a"}, {"text": "b"}]}, [("x:1[1]", "a", None), ("x:1[2]", "b", None)]),
        ({"choices": [{"message": {"content": None, "tool_calls": []}}]}, [("x:1", "", None)]),
        ({"choices": [{"message": None}]}, [("x:1", "", None)]),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "a"}, "b"]}}]}, [("x:1", "ab", None)]),
        ({"choices": []}, [("x:1", "", None)]),
        ({"response": CHAT}, [("x:1", "yes", None)]),
        ({"custom_id": "1", "response": {"status_code": 200, "body": CHAT}, "error": None}, [("x:1", "yes", None)]),
        ({"custom_id": "1", "response": None, "error": {"code": "expired"}}, [("x:1", "", None)]),
        ({"custom_id": "1", "response": {"body": {"error": {"code": "x"}}}}, [("x:1", "", None)]),
        (CHAT | {"messages": [{"role": "user", "content": "q"}]}, [("x:1", "yes", "q")]),
        ({"request": {"messages": ["q"]}, "response": CHAT}, [("x:1", "yes", "q")]),
        ({"request": {"body": {"messages": ["q"]}}, "response": {"body": CHAT}}, [("x:1", "yes", "q")]),
        ({"request": "req-17", "response": CHAT}, [("x:1", "yes", None)]),
    ],
)
def test_openai(read, record, expected):
    """Every choice is a document, and a failed request is one without text."""
    assert read(lines(record)) == expected
    assert read(lines(record), format="openai") == expected


TURNS = [("system", "s"), ("human", "q1"), ("gpt", "a1"), ("user", "q2"), ("assistant", None)]


@pytest.mark.parametrize(
    "record",
    [
        {"id": "i", "conversations": [{"from": who, "value": what} for who, what in TURNS]},
        {"messages": [{"role": who.upper(), "content": what} for who, what in TURNS]},
    ],
)
def test_sharegpt_every_turn_of_the_assistant_is_a_document_after_all_earlier_turns(read, record):
    expected = [("x:1[1]", "a1", "s\nq1"), ("x:1[2]", "", "s\nq1\na1\nq2")]
    assert read(lines(record)) == expected
    assert read(lines(record), format="sharegpt") == expected


def test_conversation_without_an_answer_is_counted(read):
    assert read(lines({"conversations": [{"from": "human", "value": "q"}]})) == [("x:1", "", "q")]
    assert read(lines({"conversations": []})) == [("x:1", "", None)]


def test_turns_are_kept_once_per_conversation(tmp_path):
    talk = {"conversations": [{"from": who, "value": what} for who, what in TURNS]}
    (tmp_path / "x").write_text(lines(talk, talk))
    first, second, other, _ = open_documents(str(tmp_path / "x"))
    assert second.continues(first)
    assert (first.shown_after(None), second.shown_after(first)) == (["s", "q1"], ["a1", "q2"])
    assert not other.continues(second)
    assert other.shown_after(second) == ["s", "q1"]
    assert not Document(name="a").continues(Document(name="b"))


def test_choices_share_their_prompt(tmp_path):
    (tmp_path / "x").write_text(lines({"choices": [{"text": "a"}, {"text": "b"}], "prompt": "q"}))
    first, second = open_documents(str(tmp_path / "x"))
    assert (first.shown_after(None), second.shown_after(None), second.shown_after(first)) == (["q"], ["q"], [])


@pytest.mark.parametrize("indent", [None, 2])
def test_json_array_and_one_object_over_several_lines(read, indent):
    assert read(json.dumps([{"text": "a"}, {"text": "b"}], indent=indent)) == [("x#1", "a", None), ("x#2", "b", None)]
    assert read("\n" + json.dumps(CHAT, indent=indent)) == [("x:2", "yes", None)]
    two = {"choices": [{"text": "a"}, {"text": "b"}]}
    assert read(json.dumps([two], indent=indent)) == [("x#1[1]", "a", None), ("x#1[2]", "b", None)]


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        zstandard.compress,
        lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:]),
        lambda data: zstandard.compress(data[:7]) + zstandard.compress(data[7:]),
    ],
)
def test_compressed_files_of_one_and_of_several_parts(read, pack):
    assert read(pack(b'"abcdef"\n"b"\n')) == [("x:1", "abcdef", None), ("x:2", "b", None)]


def test_standard_input(monkeypatch):
    for data in (b'"a"\n', gzip.compress(b'"a"\n')):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert [(d.name, d.text) for d in open_documents("-")] == [("<stdin>:1", "a")]


def test_documents_come_while_the_file_is_still_being_written(monkeypatch):
    """A reader of a pipe sees a record as soon as its bytes are there."""

    class Slow(io.RawIOBase):
        def __init__(self):
            self.parts = [b'"a"\n', b'"b"\n', AssertionError("read too far")]

        def readable(self):
            return True

        def readinto(self, buffer):
            part = self.parts.pop(0)
            if isinstance(part, Exception):
                raise part
            buffer[: len(part)] = part
            return len(part)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Slow())))
    documents = open_documents("-", format="jsonl")
    assert next(documents).text == "a"


# --- prompts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompts",
    ["q1\nq2", "q1\r\nq2\r\n", '"q1"\n\n"q2"\n', '{"prompt": "q1"}\n{"prompt": [{"role": "user", "content": "q2"}]}\n'],
)
def test_prompts_are_matched_by_order(read, prompts):
    assert [prompt for *_, prompt in read('"a"\n"b"\n', prompts=prompts)] == ["q1", "q2"]


@pytest.mark.parametrize(
    "prompts",
    [
        '[{"role": "user", "content": "q1"}]\n[{"role": "user", "content": "q2"}]\n',
        '["q1", "q2"]',
        '["q1",\n "q2"]',
        '[{"prompt": "q1"}, {"prompt": ["q2"]}]',
        '[[{"role": "user", "content": "q1"}], [{"role": "user", "content": "q2"}]]',
        '[\n{"prompt": "q1"},\n[{"role": "user", "content": "q2"}]\n]',
    ],
)
def test_prompts_may_be_lists_of_chat_messages_or_one_array(read, prompts):
    assert [prompt for *_, prompt in read('"a"\n"b"\n', prompts=prompts)] == ["q1", "q2"]


def test_a_list_of_chat_messages_over_several_lines_is_refused_with_the_remedy(refusal):
    hint = refusal('"a"\n', prompts='[\n{"role": "user", "content": "q"}\n]')[1]
    assert hint == "each list of chat messages goes on a line of its own: jq -c . FILE"


def test_one_list_of_chat_messages_is_one_prompt(read):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert read('"a"\n', prompts=lines(messages)) == [("x:1", "a", "s\nq")]


@pytest.mark.parametrize("first", ["7", "null", "true", "1.5"])
def test_prompts_that_begin_with_another_json_value_are_refused(refusal, first):
    message, hint = refusal('"a"\n', prompts=f"{first}\nq\n")
    expected = "expected a string, a list of chat messages or an object with 'prompt' or plain text"
    assert message == f"p:1: cannot tell whether {json.loads(first)!r} is text, {expected}"
    assert hint == "write each prompt as a JSON string on its line: jq -R . FILE"


def test_prompts_in_plain_text_may_begin_with_a_quote_or_be_blank(read):
    for first in ('"Yes," she said.', "[Verse 1]"):
        assert [prompt for *_, prompt in read('"a"\n"b"\n', prompts=f"{first}\n\n")] == [first, None]


def test_prompt_of_the_record_follows_the_prompt_of_the_file(read):
    assert read(lines({"text": "a", "prompt": "turn"}), prompts="system\n") == [("x:1", "a", "system\nturn")]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("q1\n", "p: 1 prompts, and x:2 is response 2, expected one per response"),
        ("q1\nq2\nq3\n", "p:3: prompt 3, and there are 2 responses, expected one per response"),
        ("", "p: empty file, expected at least one prompt"),
        ("\n \n", "p: only blank lines, expected at least one prompt"),
        (
            '"q1"\n7\n',
            "p:2: record is 7, expected a string, a list of chat messages or an object with 'prompt'",
        ),
        ('["q1"]\n["q2"]\n', 'p:2: not JSON at offset 1, near \'["q1"]\\n["q2"]\\n\', expected one JSON value'),
        ('[\n{"role": "user", "content": "q1"}]', "p#1: found the fields 'role', 'content', expected 'prompt'"),
        ('"q1"\n{"q": 1}\n', "p:2: found the fields 'q', expected 'prompt'"),
        ('{"prompt": 7}\n', "p:1: prompt is 7, expected a string or a list of chat messages"),
        ("{q1\n", "p:1: not JSON at offset 1, near '{q1\\n', expected one JSON value"),
    ],
)
def test_prompts_that_do_not_fit(refusal, prompts, message):
    assert refusal('"a"\n"b"\n', prompts=prompts)[0] == message


def test_prompts_that_are_not_utf8(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(b'"a"\n')
    (tmp_path / "p").write_bytes(b"ab\xff\n")
    with pytest.raises(InputError) as caught:
        list(open_documents("x", prompts="p"))
    assert str(caught.value) == "p:1: byte b'\\xff' at offset 2 is not utf-8, expected plain utf-8 text"


def test_prompts_alone_are_read_without_blank_ones(tmp_path):
    (tmp_path / "p").write_text("q1\n\n q2\n")
    assert read_prompts(str(tmp_path / "p")) == ["q1", " q2"]


def test_responses_and_prompts_cannot_both_be_standard_input():
    with pytest.raises(
        InputError, match=r"^responses and prompts are both '-', expected standard input for one of them$"
    ):
        next(open_documents("-", prompts="-"))


# --- hostile input ----------------------------------------------------------------------------------------------------

EMPTY, BLANK = "empty file, expected at least one document", "only blank lines, expected at least one document"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", f"x: {EMPTY}"),
        (gzip.compress(b""), f"x: {EMPTY}"),
        (b"\n \r\n\t\n", f"x: {BLANK}"),
        (b"\xef\xbb\xbf", f"x: {BLANK}"),
        (b"[]", "x:1: empty JSON array, expected at least one record"),
        (b'"a"\n{"text": nope}\n', "x:2: not JSON at offset 13, near '{\"text\": nope}\\n', expected one JSON value"),
        (b'"a"\n{"text": "t"\n', 'x:2: JSON ends early after \'{"text": "t"\', expected one complete JSON value'),
        (b'"a"\n"b" "c"\n', 'x:2: not JSON at offset 5, near \'"b" "c"\\n\', expected one JSON value'),
        (b'"a"\n{"text": NaN}', "x:2: not JSON at offset 9, near '{\"text\": NaN}', expected one JSON value"),
        (b'"a"\n{"n": 1e999}', "x:2: a number is out of range, expected a finite double or an integer"),
        (b'"a"\n"b\xffc"', "x:2: byte b'\\xff' at offset 2 is not utf-8, expected utf-8 text"),
        (b'"a"\n"\xed\xa0\x80"', "x:2: byte b'\\xed' at offset 1 is not utf-8, expected utf-8 text"),
        (
            b'"a"\n{"text": "\\\\ud800 \\ud800"}',
            "x:2: lone surrogate '\\\\ud800' at offset 18, expected a surrogate pair or another character",
        ),
        (
            b'[{"text": "a"},\n {"text": "\\udc00"}]',
            "x:2: lone surrogate '\\\\udc00' at offset 11, expected a surrogate pair or another character",
        ),
        (b'"a"\n' + b"[" * 100_000, "x:2: JSON is nested too deeply, expected a record as the formats have it"),
        (b"[" * 100_000, "x:1: JSON is nested too deeply, expected a record as the formats have it"),
        (b'{"a":' * 100_000, "x:1: JSON is nested too deeply, expected a record as the formats have it"),
        (b"abc\nde\0f", "x:2: NUL byte at offset 2, expected plain utf-8 text"),
        (b"abc\nde\xfff", "x:2: byte b'\\xff' at offset 2 is not utf-8, expected plain utf-8 text"),
        ('"a"'.encode("utf-16"), "x:1: begins with b'\\xff\\xfe\"\\x00', which looks like utf-16, expected utf-8"),
        ('"a"'.encode("utf-16-be"), "x:1: begins with b'\\x00\"\\x00a', which looks like utf-16, expected utf-8"),
        ("text".encode("utf-32"), "x:1: begins with b'\\xff\\xfe\\x00\\x00', which looks like utf-32, expected utf-8"),
        (
            b'[{"text": "a"},\n {"text": b}]',
            'x:2: not JSON at offset 10, near \'t": "a"},\\n {"text": b}]\', expected one JSON value',
        ),
        (b'[{"text": "a"}, 7]', "x#2: record is 7, expected an object or a string"),
        (b'[{"text": "a"}, {"text": 1e999}]', "x#2: a number is out of range, expected a finite double or an integer"),
    ],
)
def test_broken_files(refusal, data, message):
    assert refusal(data)[0] == message


@pytest.mark.parametrize(
    ("format", "record", "message"),
    [
        ("auto", {"a": 1, "b": 2}, "found the fields 'a', 'b', expected one of 'response', 'text', 'token_ids', "
         "'choices', 'conversations', 'conversation', 'messages'"),
        ("auto", {}, "found the fields none, expected one of 'response', 'text', 'token_ids', "
         "'choices', 'conversations', 'conversation', 'messages'"),
        ("jsonl", {"answer": 1}, "found the fields 'answer', expected one of 'response', 'text', 'token_ids'"),
        ("jsonl", {str(i): i for i in range(10)}, "found the fields '0', '1', '2', '3', '4', '5', '6', '7' and 2 more, "
         "expected one of 'response', 'text', 'token_ids'"),
        ("jsonl", 7, "record is 7, expected an object or a string"),
        ("jsonl", {"text": ["a"]}, "text is ['a'], expected a string"),
        ("jsonl", {"text": "a", "prompt": 17}, "prompt is 17, expected a string or a list of chat messages"),
        ("jsonl", {"text": "a", "prompt": [17]}, "prompt[0] is 17, expected a chat message with role and content"),
        ("jsonl", {"text": "a", "prompt": [{"x": 1}]}, "prompt[0] has the fields 'x', expected 'role' and 'content'"),
        ("jsonl", {"text": "a", "prompt": [{"role": "user", "content": 5}]},
         "prompt[0].content is 5, expected a string, null or a list of parts"),
        ("jsonl", {"token_ids": "1 2"}, "token_ids is '1 2', expected a list of integers"),
        ("jsonl", {"radiolabel": "plan"}, "radiolabel is 'plan', expected 'transcript'"),
        ("openai", "a", "record is 'a', expected an object with 'choices'"),
        ("openai", {"text": "a"}, "found the fields 'text', expected one of 'choices'"),
        ("openai", {"response": "a"}, "found the fields 'response', expected one of 'choices'"),
        ("openai", {"response": {"body": {"x": 1}}}, "found the fields 'x', expected one of 'choices'"),
        ("openai", {"choices": {}}, "choices is {}, expected a list"),
        ("openai", {"choices": [1]}, "choices[0] is 1, expected an object with 'message' or 'text'"),
        ("openai", {"choices": [{"delta": {}}]}, "choices[0] has the fields 'delta', expected 'message' or 'text'"),
        ("openai", {"choices": [{"message": "a"}]}, "choices[0].message is 'a', expected an object with 'content'"),
        ("openai", {"choices": [{"message": {"content": 1}}]},
         "choices[0].message.content is 1, expected a string, null or a list of parts"),
        ("openai", {"choices": [{"text": [1]}]},
         "choices[0].text[0] is 1, expected a string or a part with a string as text"),
        ("sharegpt", "a", "record is 'a', expected an object with 'conversations' or 'messages'"),
        ("sharegpt", {"text": "a"},
         "found the fields 'text', expected one of 'conversations', 'conversation', 'messages'"),
        ("sharegpt", {"conversations": "a"}, "conversations is 'a', expected a list of turns"),
        ("sharegpt", {"conversations": ["a"]}, "conversations[0] is 'a', expected an object with 'from' and 'value'"),
        ("sharegpt", {"messages": [{"content": "a"}]},
         "messages[0] has the fields 'content', expected 'from' or 'role'"),
        ("sharegpt", {"messages": [{"role": "user", "content": 1}]},
         "messages[0].content is 1, expected a string, null or a list of parts"),
    ],
)  # fmt: skip
def test_records_that_are_not_of_the_format(refusal, format, record, message):
    assert refusal(lines(record), format=format)[0] == f"x:1: {message}"


def test_an_unknown_speaker_is_refused_and_not_taken_for_a_user(refusal):
    message, hint = refusal(lines({"conversations": [{"from": "llama", "value": "a"}]}))
    assert message.startswith("x:1: conversations[0].from is 'llama', expected one of ai, assistant, bard, ")
    assert hint == "rename the speaker, so that no answer is taken for a question"


@pytest.mark.parametrize("item", [-1, 1.0, 1.5, True, "7", None, [1], MAX_ID + 1, 2**32, 10**30])
def test_token_ids_out_of_range_or_of_another_type(refusal, item):
    shown = quoted(item)
    expected = f"token_ids[2] is {shown}, expected an integer from 0 to 1048575"
    assert refusal(lines({"token_ids": [1, 2, item, 3]}))[0] == f"x:1: {expected}"
    transcript = {"radiolabel": "transcript", "version": 1, "id": "", "prompt": "", "response": ""}
    assert refusal(lines(transcript | {"token_ids": [1, 2, item]}))[0] == f"x:1: {expected}"


def test_more_token_ids_than_the_limit(refusal, monkeypatch):
    monkeypatch.setattr(records, "MAX_TOKENS", 3)
    assert refusal(lines({"token_ids": [1, 2, 3]}, {"token_ids": [1, 2, 3, 4]})) == (
        "x:2: token_ids has 4 items, expected at most 3",
        None,
    )


def test_what_does_not_fit_in_memory(tmp_path):
    """In a process with little memory: as text, as an array, and as a line."""
    (tmp_path / "x").write_bytes(b"[" + b"[]," * 20_000_000 + b"0]")
    program = """
import resource, sys
from verify.errors import InputError
from verify.inputs import open_documents
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), used + int(sys.argv[2])))
try:
    list(open_documents("x", format=sys.argv[1]))
except InputError as error:
    print(error)
"""
    for format, room in [("text", 50 << 20), ("text", 90 << 20), ("jsonl", 200 << 20)]:
        command = [sys.executable, "-c", program, format, str(room)]
        environment = os.environ | {"PYTHONPATH": os.getcwd()}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == "x: does not fit in memory, expected records or a text that do\n", (format, room)


def test_nan_among_token_ids(refusal):
    expected = "x:1: not JSON at offset 15, near '{\"token_ids\": [NaN]}', expected one JSON value"
    assert refusal('{"token_ids": [NaN]}')[0] == expected


@pytest.mark.parametrize("data", ["17\nabc", "null", "true\n"])
def test_auto_does_not_guess(refusal, data):
    message, hint = refusal(data)
    shown = quoted(json.loads(data.split()[0]))
    assert message == f"x:1: cannot tell the format from {shown}, expected a record or plain text"
    assert hint == "say which with --input-format text|jsonl|openai|sharegpt"


@pytest.mark.parametrize("data", ["[Verse 1]\nLa la", '"Yes," she said.', "{curly}"])
def test_text_that_begins_like_json_is_refused_with_the_flag_to_use(refusal, data):
    message, hint = refusal(data)
    assert message.startswith("x:1: not JSON at offset ")
    assert hint == f"read as JSON because it begins with {data[0]!r}; plain text needs --input-format text"


@pytest.mark.parametrize(
    "data",
    ['{"text": "a"}{"text": "b"}', '{"text": "a"} {"text": "b"}\n', '{\n "text": "a"\n}\n{\n "text": "b"\n}\n'],
)
@pytest.mark.parametrize("format", ["auto", "jsonl"])
def test_json_objects_that_are_not_one_a_line_are_no_text(refusal, data, format):
    expected = "JSON objects over several lines, or several on one, become one a line with: jq -c . FILE"
    assert refusal(data, format=format)[1] == expected


@pytest.mark.parametrize("data", ['{"text": nope}', '[{"text": nope}]', '[\n{"text": nope}\n]', '{"text": "\udc00"}'])
def test_broken_json_is_not_taken_for_text(refusal, data):
    assert "--input-format text" not in str(refusal(data.encode(errors="surrogatepass"))[1])


SECRET = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "data",
    [
        f'{{"kind": "{SECRET}", }}',
        f'{{"kind": "{SECRET}"',
        f'{{"kind": "{SECRET.upper()}"}} x',
        f'{{"secret": "{SECRET[:20]} {SECRET[:20]}"',
        f"[\n{SECRET}]",
        json.dumps({"value_key": SECRET[:31], "selector_key": SECRET[:31]}, indent=1)[:-3],
    ],
)
def test_digits_of_a_key_are_not_quoted(refusal, data):
    """A key file that was named by mistake, as responses and as prompts."""
    for message, hint in (refusal(data, format="jsonl"), refusal('"a"\n', prompts=data)):
        assert "hidden" in message
        assert not re.search("[0-9a-fA-F]{8}", message + str(hint))


def test_hexadecimal_digits_are_hidden_before_the_quote_is_cut(refusal):
    assert refusal('"a"\n{"id": "' + SECRET[:32] + '", x}')[0].startswith(
        "x:2: not JSON at offset 43, near '<hex hidden>\", x}'"
    )
    shorter = refusal('"a"\n{"id": "' + SECRET[:31] + '", x}')[0]
    assert shorter.startswith("x:2: not JSON at offset 42, near 'ef0123456789abcde\", x}'")


def test_the_format_of_the_first_record_is_the_format_of_the_file(refusal):
    message, _ = refusal(lines({"text": "a"}, CHAT))
    assert message == "x:2: found the fields 'id', 'choices', expected one of 'response', 'text', 'token_ids'"


def test_unknown_format():
    with pytest.raises(InputError, match=r"^format is 'xml', expected one of auto, text, jsonl, openai, sharegpt$"):
        next(open_documents("x", format="xml"))


@pytest.mark.parametrize(
    ("pack", "kind"), [(gzip.compress, "gzip"), (zstandard.compress, "zstd")], ids=["gzip", "zstd"]
)
def test_truncated_and_damaged_compression(refusal, pack, kind):
    packed = pack(b'"a"\n' * 3)
    message, hint = refusal(packed[:-3])
    assert message.startswith(f"x: {kind} data ends early, after ")
    assert message.endswith(" bytes were decompressed, expected a complete file")
    assert hint == "copy or download the file again"
    assert refusal(packed[:10] + b"\xff" * 20)[0].startswith(f"x: {kind} data cannot be decompressed after the first ")
    message, hint = refusal(packed + b"junk")
    assert message == f"x: {kind} data cannot be decompressed after the first 12 bytes, expected a valid {kind} file"
    assert hint.startswith("the decoder says: ")


def test_zstd_that_needs_a_large_window_says_so(refusal):
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    hint = refusal(packer.compress(b'"a"\n' * 100) + packer.flush())[1]
    assert hint == "the decoder says: zstd decompressor error: Frame requires too much memory for decoding"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (bz2.compress(b"a"), "bzip2"),
        (lzma.compress(b"a"), "xz"),
        (b"PK\3\4\x14\0", "zip"),
        (b"PAR1\x15\4\x15", "parquet"),
    ],
    ids=["bzip2", "xz", "zip", "parquet"],
)
def test_other_kinds_of_file_are_named(refusal, data, kind):
    message, hint = refusal(data)
    assert message == f"x: is {kind} data, expected text or JSON, plain or in gzip or zstd"
    assert "FILE" in hint


def test_text_may_begin_like_another_kind_of_file(read):
    for data in ("BZh9 is how bzip2 begins", "PAR1 for the course", "PK"):
        assert read(data) == [("x", data, None)]


def test_zstd_without_the_package(refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert refusal(b"\x28\xb5\x2f\xfd....") == (
        "x: is zstd data, and the package zstandard is not installed",
        "pip install radiolabel[zstd]",
    )


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_a_line_of_200_mb_is_refused_without_reading_it_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open("x", "wb") as file:
        file.write(b'{"text": "')
        file.truncate(200_000_000)  # a hole: no disk is used
    before = peak_mib()
    with pytest.raises(InputError) as caught:
        list(open_documents("x"))
    assert str(caught.value) == "x:1: line is longer than 67108864 bytes, expected one record per line"
    assert peak_mib() - before < 180  # the line as far as it was read, and the parts it was joined from


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_bombs_stop_at_the_limits(refusal, pack):
    bomb = pack(b'"' + b"a" * 50_000_000)
    before = peak_mib()
    line = refusal(bomb, max_line_bytes=1000)
    assert line[0] == "x:1: line is longer than 1000 bytes, expected one record per line"
    whole = refusal(bomb, format="text", max_file_bytes=1000, max_line_bytes=100)
    assert whole[0] == "x: more than 1000 bytes in one document or one JSON value, expected less"
    assert peak_mib() - before < 100


def test_limits_are_inclusive(read, refusal):
    assert read('"abc"\n', max_line_bytes=6) == [("x:1", "abc", None)]
    assert refusal('"a"\n"abcd"\n', max_line_bytes=6)[0].startswith("x:2: line is longer than 6 bytes")
    assert read("abcdef", max_file_bytes=6) == [("x", "abcdef", None)]
    assert refusal("abcdefg", max_file_bytes=6)[0].startswith("x: more than 6 bytes")
    assert refusal(" " * 9, max_line_bytes=6)[0].startswith("x:1: line is longer than 6 bytes")


def test_broken_json_in_line_one_million(tmp_path, monkeypatch):
    """It streams: bounded memory, microseconds a line."""
    monkeypatch.chdir(tmp_path)
    with open("x.gz", "wb") as file:
        file.write(gzip.compress(b'{"response": "abc"}\n' * 999_999 + b'{"response": "abc"\n', compresslevel=1))
    before, began, count = peak_mib(), time.process_time(), 0
    with pytest.raises(InputError) as caught:  # noqa: PT012
        for _ in open_documents("x.gz"):
            count += 1
    expected = 'x.gz:1000000: JSON ends early after \'{"response": "abc"\', expected one complete JSON value'
    assert str(caught.value) == expected
    assert count == 999_999
    assert peak_mib() - before < 20
    assert time.process_time() - began < 20  # 2 s on the machine it was written on


def test_paths_that_cannot_be_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory").mkdir()
    for path, reason in [
        ("directory", "is a directory"),
        ("missing", "no such file or directory"),
        ("a\0b", "embedded null byte"),
    ]:
        with pytest.raises(InputError) as caught:
            next(open_documents(path))
        assert str(caught.value) == f"{repr(path)[1:-1]}: cannot be opened: {reason}, expected a readable file"


def test_control_characters_in_file_names_are_escaped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "\x1b[31m\nü.txt"
    (tmp_path / name).write_text("a")
    assert next(open_documents(name)).name == "\\x1b[31m\\nü.txt"


def test_permission_denied(monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match=r"^x: cannot be opened: permission denied, expected a readable file$"):
        next(open_documents("x"))


def test_a_failing_disk(monkeypatch):
    class Failing(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Failing())))
    with pytest.raises(InputError, match=r"^<stdin>: cannot be read: input/output error$"):
        next(open_documents("-"))


def test_files_are_closed_when_reading_stops_early(tmp_path):
    (tmp_path / "x").write_text('"a"\n"b"\n')
    documents = open_documents(str(tmp_path / "x"))
    next(documents)
    documents.close()  # a file left open would be a ResourceWarning, which is an error here


# --- transcripts ------------------------------------------------------------------------------------------------------

LINE = {"radiolabel": "transcript", "version": 1, "id": "1", "prompt": "q", "response": "a"}


def test_transcript_line_is_stable():
    made = Transcript(id="1", prompt="q", response="a", token_ids=(5,), marked={"marked": 3}, meta={"t": 1.0})
    assert made.to_json() == (
        b'{"radiolabel":"transcript","version":1,"id":"1","prompt":"q","response":"a",'
        b'"token_ids":[5],"marked":{"marked":3},"meta":{"t":1.0}}'
    )


def test_transcript_keeps_unknown_fields_byte_for_byte():
    line = b'{"new":[1.0e2, "\\u0041"],"radiolabel":"transcript","version":1,"id":"1","prompt":"","response":"","n":1}'
    again = transcript_from_json(line, "x:1").to_json()
    assert again.endswith(b'"response":"","new":[1.0e2, "\\u0041"],"n":1}')
    assert transcript_from_json(again, "x:1") == transcript_from_json(line, "x:1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "transcript version is 2, expected at most 1"),
        ({"version": 0}, "version is 0, expected the integer 1"),
        ({"version": True}, "version is True, expected the integer 1"),
        ({"version": "1"}, "version is '1', expected the integer 1"),
        ({"radiolabel": None}, "radiolabel is None, expected 'transcript'"),
        ({"id": 7}, "id is 7, expected a string"),
        ({"response": None}, "response is None, expected a string"),
        ({"tokenizer": "gpt2"}, "tokenizer is 'gpt2', expected 'sha256:' and 64 hexadecimal digits in lower case"),
        ({"marked": {"a": -1}}, "marked is {'a': -1}, expected an object of counts"),
        ({"marked": {"a": 1.0}}, "marked is {'a': 1.0}, expected an object of counts"),
        ({"meta": []}, "meta is [], expected an object"),
        ({"account": 7}, "account is 7, expected a string"),
    ],
)
def test_transcripts_that_are_refused(refusal, change, message):
    assert refusal(lines(LINE | change))[0] == f"x:1: {message}"


def test_a_later_version_says_how_to_upgrade(refusal):
    expected = "a later radiolabel wrote this: pip install --upgrade radiolabel"
    assert refusal(lines(LINE | {"version": 2}))[1] == expected


def test_transcript_without_required_fields(refusal):
    expected = "x:1: transcript without 'prompt', 'response', expected 'id', 'prompt' and 'response'"
    assert refusal(lines({"radiolabel": "transcript", "version": 1, "id": "1"}))[0] == expected


@pytest.mark.parametrize(
    "bad",
    [
        {"response": "\ud800"},
        {"meta": {"x": object()}},
        {"token_ids": (-1,)},
        {"tokenizer": "x"},
    ],
)
def test_transcripts_that_cannot_be_read_again_are_not_written(bad):
    made = msgspec.structs.replace(Transcript(id="1", prompt="q", response="a"), **bad)
    with pytest.raises(InputError, match=r"^transcript '1': "):
        made.to_json()


def test_the_example_of_the_specification_is_read(request):
    page = (request.config.rootpath / "docs/spec/transcript.md").read_text()
    example = page.split("```json\n")[1].split("\n```")[0]
    assert transcript_from_json(example.encode(), "example").id == "r-000017"
    assert transcript_from_json(example.encode(), "example").to_json() == example.encode()


# --- errors -----------------------------------------------------------------------------------------------------------


def test_exit_codes_and_hints():
    assert (InputError("a").exit_code, InputError("a").hint) == (2, None)
    assert (Refused("a", hint="b").exit_code, Refused("a", hint="b").hint) == (3, "b")


def test_quoted_values_are_short_and_cheap():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in ("x" * 10**7, list(range(10**6)), {i: str(i) for i in range(1000)}, b"\xff" * 10**7, deep, 10**4000):
        assert len(quoted(value)) <= 60
    assert quoted("a\n") == "'a\\n'"


def test_documents_compare_by_identity():
    """Arrays have no single truth value, so two documents are never silently compared."""
    assert Document(name="a") != Document(name="a")

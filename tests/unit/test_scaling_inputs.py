"""Parquet columns of every kind, places in errors, patterns and URLs."""

import json

import numpy as np
import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from verify.errors import InputError
from verify.inputs import open_documents
from verify.inputs.arrow import documents_of, ids_of, parquet_batches, row_groups
from verify.inputs.batches import to_batches, to_documents, token_batch
from verify.inputs.places import digest, expand, open_place, stamp
from verify.records import Document
from verify.scaling.job import Settings, plan_job
from verify.scaling.reading import read_unit
from watermark.windows import MAX_ID

SETTINGS = Settings(width=2, input_format="auto", skip_repeated=True, trust_ids=False, ids_alone=True, tokenizer=None)


def read(path, *, format="auto"):
    batches = parquet_batches(str(path), 0, len(row_groups(str(path))), format=format)
    return [document for batch in batches for document in to_documents(batch)]


def write(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def as_jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return list(open_documents(str(path)))


def same(a, b):
    ids = (a.token_ids is None) == (b.token_ids is None) and (
        a.token_ids is None or a.token_ids.tolist() == b.token_ids.tolist()
    )
    return ids and (a.text, a.prompt, a.turns[: a.n_shown], a.tokenizer) == (
        b.text, b.prompt, b.turns[: b.n_shown], b.tokenizer,
    )  # fmt: skip


RECORDS = [
    [{"token_ids": [1, 2, 3]}, {"token_ids": []}, {"token_ids": None}],
    [{"response": "a", "prompt": "b"}, {"response": None, "prompt": None}],
    [{"text": "a", "response": None, "token_ids": [1]}, {"text": None, "response": None, "token_ids": [2]}],
    [{"response": "a", "token_ids": None, "tokenizer": "sha256:" + "0" * 64}, {"response": None, "token_ids": [5],
      "tokenizer": "gpt"}],
    [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}],
    [{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"},
                        {"from": "human", "value": "r"}, {"from": "gpt", "value": "b"}]}],
    [{"response": "a", "prompt": [{"role": "user", "content": "q"}]}],
    [{"response": "a", "messages": [{"role": "user", "content": "q"}]}],
]  # fmt: skip


@pytest.mark.parametrize("records", RECORDS, ids=lambda r: "-".join(r[0]))
def test_rows_are_read_as_lines_are(tmp_path, records):
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet", row_group_size=1)
    got, want = read(tmp_path / "a.parquet"), as_jsonl(tmp_path / "a.jsonl", records)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        if a.text is None and a.token_ids is not None and not a.token_ids.size and b.text == "":
            continue  # an answer without ids and text, either way an empty one
        assert same(a, b), (a, b)


def test_dictionaries_slices_and_wide_integers(tmp_path):
    texts = pa.array(["x", "y", "x"]).dictionary_encode()
    table = pa.table({"response": texts, "token_ids": pa.array([[1], [2], [3]], pa.list_(pa.uint64()))})
    got = [d for b in documents_of(table.slice(1).to_batches()[0], "t", first=1) for d in to_documents(b)]
    assert [(d.name, d.text, d.token_ids.tolist()) for d in got] == [("t, row 1", "y", [2]), ("t, row 2", "x", [3])]
    fixed = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int16(), 2))
    assert ids_of(fixed, "t").to_pylist() == [[1, 2], [], [3, 4]]
    encoded = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array([[1, 2], [3]]))
    assert ids_of(encoded, "t").to_pylist() == [[1, 2], [3], [1, 2]]


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (-1, pa.int32(), r"is -1"),
        (MAX_ID + 1, pa.int32(), rf"is {MAX_ID + 1}"),
        (1 << 40, pa.int64(), rf"is {1 << 40}"),
        ((1 << 64) - 1, pa.uint64(), rf"is {(1 << 64) - 1}"),
        (None, pa.int64(), "is null"),
    ],
)
def test_an_id_that_cannot_be_says_where_it_is(tmp_path, value, kind, said):
    rows = [[1], [2, 3], [], [4, 5, value], [6]]
    path = write(tmp_path / "a.parquet", {"token_ids": pa.array(rows, pa.list_(kind))}, row_group_size=3)
    with pytest.raises(InputError, match=rf"a.parquet, row group 1, row 0: token_ids\[2\] {said}, expected an integer"):
        read(path)


def test_the_row_counts_on_through_the_batches_of_a_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr("verify.inputs.arrow.BATCH_BYTES", 1)
    rows = [[1]] * 20 + [[-5]]
    path = write(tmp_path / "a.parquet", {"token_ids": pa.array(rows, pa.list_(pa.int32()))})
    with pytest.raises(InputError, match=r"row group 0, row 20: token_ids\[0\] is -5"):
        read(path)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([[1.5]]), "list<.*double>', expected lists of integers"),
        (pa.array([7]), "int64', expected lists of integers"),
        (pa.array([["a"]]), "expected lists of integers"),
        (pa.array([[True]]), "expected lists of integers"),
        (pa.array([[[1]]]), "expected lists of integers"),
    ],
)
def test_other_columns_of_ids_are_refused(tmp_path, column, said):
    path = write(tmp_path / "a.parquet", {"token_ids": column})
    with pytest.raises(InputError, match=said):
        read(path)


def test_a_response_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr("verify.inputs.arrow.MAX_TOKENS", 3)
    with pytest.raises(InputError, match="t, row 8: token_ids has 4 items, expected at most 3"):
        ids_of(pa.array([[1], [1, 2, 3, 4]]), "t", first=7)


def test_text_that_is_not_utf8_and_columns_without_answers(tmp_path):
    path = write(tmp_path / "a.parquet", {"response": pa.array([b"\xff"])})
    with pytest.raises(InputError, match="column response is not utf-8 text"):
        read(path)
    path = write(tmp_path / "b.parquet", {"answer": ["a"]})
    with pytest.raises(InputError, match="found the columns 'answer', expected 'token_ids', 'response' or 'text'"):
        read(path)
    path = write(tmp_path / "c.parquet", {"response": ["a"]})
    with pytest.raises(InputError, match="its rows are records"):
        read(path, format="text")


@pytest.mark.parametrize("damage", ["cut", "head", "middle"])
def test_a_damaged_file_is_an_input_error(tmp_path, damage):
    rows = pa.array(np.random.default_rng(0).integers(0, 9999, (500, 9)).tolist(), pa.list_(pa.int32()))
    path = write(tmp_path / "a.parquet", {"token_ids": rows}, compression="gzip")
    data = path.read_bytes()
    middle = data[:200] + bytes(400) + data[600:]
    path.write_bytes({"cut": data[:-20], "head": b"PAR1", "middle": middle}[damage])
    with pytest.raises(InputError, match=r"a.parquet.*cannot be read as Parquet"):
        read(path)


def test_ids_alone_are_taken_without_a_copy_through_python(tmp_path):
    rows = [[1, 2, 3], [], [4, 5]]
    path = write(tmp_path / "a.parquet", {"token_ids": pa.array(rows, pa.list_(pa.int32()))})
    (batch,) = parquet_batches(str(path), 0, 1)
    tokens = token_batch(batch)
    assert (tokens.ids.tolist(), tokens.offsets.tolist()) == ([1, 2, 3, 4, 5], [0, 3, 3, 5])
    tokens = token_batch(batch.slice(1))
    assert (tokens.ids.tolist(), tokens.offsets.tolist()) == ([4, 5], [0, 0, 2])
    assert token_batch(next(to_batches([Document(name="a", text="b")]))) is None


def test_a_lone_surrogate_says_where():
    with pytest.raises(InputError, match=r"x:3: lone surrogate .* expected unicode text"):
        list(to_batches([Document(name="x:3", text="ab\ud800")]))


def test_names_patterns_and_folders(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "[c].jsonl"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "d").mkdir()
    pattern = str(tmp_path / "*.jsonl")
    names = [f"{tmp_path}/{name}.jsonl" for name in ("[c]", "a", "b")]
    assert expand((pattern,)) == tuple(names)
    assert expand((names[2], pattern, f"{tmp_path}/d/../a.jsonl")) == (names[2], names[0], names[1])
    assert expand((names[0],)) == (names[0],)  # a file of this very name is no pattern
    with pytest.raises(InputError, match="no file matches the pattern"):
        expand((str(tmp_path / "*.parquet"),))
    with pytest.raises(InputError, match="is a folder"):
        expand((str(tmp_path / "d"),))
    with pytest.raises(InputError, match="'-' cannot be read in parts"):
        expand(("-",))


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def test_urls_are_read_as_files_are(memory, tmp_path):
    rows = pa.array([[1, 2, 3], [4]], pa.list_(pa.int32()))
    write(tmp_path / "a.parquet", {"token_ids": rows})
    memory.pipe("/x/a.parquet", (tmp_path / "a.parquet").read_bytes())
    memory.pipe("/x/b.jsonl", b'{"token_ids": [7, 8]}\n')
    assert [name.split("/")[-1] for name in expand(("memory://x/*",))] == ["a.parquet", "b.jsonl"]
    job = plan_job(("memory://x/*",), SETTINGS)
    got = [d for unit in job.units for b in read_unit(job, unit) for d in to_documents(b)]
    assert [d.token_ids.tolist() for d in got] == [[1, 2, 3], [4], [7, 8]]
    assert "x/b.jsonl:1" in got[-1].name
    assert digest("memory://x/a.parquet") == digest(str(tmp_path / "a.parquet"))
    assert stamp("memory://x/b.jsonl").size == 22
    memory.pipe("/x/b.jsonl", b'{"token_ids": [7, 9]}\n\n')
    with pytest.raises(InputError, match="changed since this work began"):
        list(read_unit(job, job.units[-1]))


@pytest.mark.parametrize("name", ["memory://nothing/here", "nosuchprotocol://a/b", "memory://nothing/*.parquet"])
def test_what_a_remote_system_raises_is_an_input_error(memory, name):
    with pytest.raises(InputError) as caught:
        open_place(expand((name,))[0])
    assert caught.value.message.startswith(name.split("*")[0])


class Broken:
    def read(self, n):
        raise RuntimeError("token=secret")

    def seek(self, offset, whence=0):
        return 0

    def tell(self):
        return 0

    def close(self):
        pass


def test_a_remote_file_that_fails_while_it_is_read(monkeypatch):
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.open", lambda self, path, mode: Broken())
    with pytest.raises(InputError, match=r"memory://a: cannot be read: runtimeerror") as caught:
        digest("memory://a")
    assert "secret" not in str(caught.value)


def test_no_other_scheme_touches_fsspec(tmp_path, monkeypatch):
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda *a: pytest.fail("asked for a network"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "a").write_text("x")
    with open_place("s3://a") as file:  # a file of this very name
        assert file.read() == b"x"
    with pytest.raises(InputError, match="cannot be opened"):
        open_place("s3:/b")


def test_an_empty_file_says_so(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    job = plan_job((str(tmp_path / "a.jsonl"),), SETTINGS)
    with pytest.raises(InputError, match="empty file, expected at least one document"):
        list(read_unit(job, job.units[0]))
    path = write(tmp_path / "a.parquet", {"token_ids": pa.array([], pa.list_(pa.int32()))})
    job = plan_job((str(path),), SETTINGS)
    assert [d for unit in job.units for b in read_unit(job, unit) for d in to_documents(b)] == []

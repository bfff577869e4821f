"""Work folders, parts, budgets, processes and buckets that somebody overfilled."""

import gc
import os
import tracemalloc

import msgspec
import numpy as np
import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import make_epoch
from verify.distinct import N_BUCKETS, Pairs, by_bucket
from verify.errors import InputError, Refused
from verify.inputs import open_documents
from verify.scaling import budget
from verify.scaling.bounded import distinct_parts
from verify.scaling.folder import UnitMarker, WorkFolder, load
from verify.scaling.job import UNIT_BYTES, Settings, plan_job
from verify.scaling.parts import PartReader
from verify.scaling.pool import pool
from verify.scaling.result import digest_of, measured
from verify.scaling.runners import local
from verify.scaling.tasks import Task, Worker
from verify.scoring import score, summarize
from watermark.keyfile import write_key
from watermark.windows import TokenBatch

SETTINGS = Settings(width=2, input_format="auto", skip_repeated=True, trust_ids=False, ids_alone=True, tokenizer=None)
DOCUMENT = 50


def quiet(what, more):
    pass


@pytest.fixture
def corpus(tmp_path, prose_ids):
    """A Parquet file of prose in row groups of 100 rows, and its ids."""
    ids = prose_ids[: len(prose_ids) // DOCUMENT * DOCUMENT]
    lists = pa.ListArray.from_arrays(np.arange(0, ids.size + 1, DOCUMENT, dtype=np.int32), pa.array(ids))
    pq.write_table(pa.table({"token_ids": lists}), tmp_path / "a.parquet", row_group_size=100)
    write_key(make_epoch(1).value_key("fleet"), tmp_path / "k.key")
    return tmp_path, ids


def here(worker):
    """Does tasks in this process."""
    return lambda tasks: map(worker.do, tasks)


def begin(folder, work="w", monkeypatch=None, unit_bytes=40_000, settings=SETTINGS):
    if monkeypatch:
        monkeypatch.setattr("verify.scaling.job.UNIT_BYTES", unit_bytes)
    job = plan_job((str(folder / "a.parquet"),), settings)
    found = WorkFolder(str(folder / work))
    found.begin(job)
    key = make_epoch(1).value_key("fleet")
    return found, job, Worker(str(found.path), None, 1 << 16, str(folder / "k.key"), key.id)


def both(worker):
    local.count(worker, here(worker), advance=quiet)
    return measured(*local.add(worker, here(worker), advance=quiet))


def test_the_sums_are_those_of_the_whole(corpus, monkeypatch):
    folder, ids = corpus
    _, job, worker = begin(folder, monkeypatch=monkeypatch)
    assert len(job.units) > 5
    got = both(worker)
    summary = summarize(TokenBatch(ids, np.arange(0, ids.size + 1, DOCUMENT)), 2)
    want = score(summary.pairs, make_epoch(1).value_key("fleet"))
    assert (got.n_seen, got.n_scored, got.total, got.total_squares) == (
        ids.size,
        want.n,
        str(want.total),
        str(want.total_squares),
    )
    assert got.n_dropped["duplicate"] == summary.n_duplicate
    assert got.n_dropped["other_channel"] == want.n_other_channel
    got.check("here")


def test_nothing_secret_is_in_the_folder(corpus, monkeypatch):
    folder, _ = corpus
    work, _, worker = begin(folder, monkeypatch=monkeypatch)
    both(worker)
    key = make_epoch(1).value_key("fleet")
    for path in work.path.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in (key.value, key.selector):
                assert secret.reveal() not in data
                assert secret.reveal().hex().encode() not in data


def test_only_units_without_a_marker_are_done_again(corpus, monkeypatch):
    folder, _ = corpus
    work, _, worker = begin(folder, monkeypatch=monkeypatch)
    want = both(worker)
    work.unit_marker(3).unlink()
    (work.pairs / "000009.cafecafe").write_bytes(b"a leftover")
    (work.pairs / ".000003.11112222.4242").write_bytes(b"half a part")
    kept = {p.name: p.stat().st_mtime_ns for p in work.units.iterdir()}
    work.remove_leftovers()
    assert not (work.pairs / "000009.cafecafe").exists()
    assert not [p for p in work.pairs.iterdir() if p.name.startswith((".", "000003"))]
    worker = begin(folder)[2]
    assert both(worker) == want
    now = {p.name: p.stat().st_mtime_ns for p in work.units.iterdir()}
    assert {name for name in now if now[name] != kept.get(name)} == {"000003.json"}


@pytest.mark.parametrize("marker", [b"", b"{", b'{"job":"other","counts":{},"parts":[]}'])
def test_a_marker_that_is_broken_or_of_another_job_does_not_count(corpus, monkeypatch, marker):
    folder, _ = corpus
    work, _, worker = begin(folder, monkeypatch=monkeypatch)
    want = both(worker)
    work.unit_marker(1).write_bytes(marker)
    with pytest.raises(Refused, match=r"1 of \d+ units are not done, the first is 1"):
        work.unit_markers()
    assert both(begin(folder)[2]) == want


@pytest.mark.parametrize("damage", ["gone", "cut", "head", "body", "swapped"])
def test_a_damaged_part_is_noticed(corpus, monkeypatch, damage):
    folder, _ = corpus
    work, _, worker = begin(folder, monkeypatch=monkeypatch)
    local.count(worker, here(worker), advance=quiet)
    path, other = sorted(work.pairs.iterdir())[:2]
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "swapped":
        path.write_bytes(other.read_bytes())
    else:
        data[100 if damage == "head" else len(data) - 100] ^= 1
        path.write_bytes(data)
    with pytest.raises(Refused, match="missing or damaged"):
        local.add(worker, here(worker), advance=quiet)


def test_another_job_does_not_go_on_here(corpus, monkeypatch):
    folder, _ = corpus
    begin(folder, monkeypatch=monkeypatch)
    with pytest.raises(InputError, match="holds another job: width was 2 and is 3"):
        begin(folder, settings=msgspec.structs.replace(SETTINGS, width=3))
    with pytest.raises(InputError, match=r"program was '.*' and is '9.9'"):
        begin(folder, settings=msgspec.structs.replace(SETTINGS, program="9.9"))
    os.utime(folder / "a.parquet", ns=(1, 1))
    with pytest.raises(InputError, match="has changed since that work began"):
        begin(folder)
    with pytest.raises(InputError, match="expected a --work folder"):
        WorkFolder(str(folder / "nothing")).job()


def test_an_input_that_changes_while_it_is_read_is_refused(corpus, monkeypatch):
    folder, _ = corpus
    _, _, worker = begin(folder, monkeypatch=monkeypatch)
    with open(folder / "a.parquet", "ab") as file:
        file.write(b"more")
    with pytest.raises((InputError, Refused), match="changed"):
        local.count(worker, here(worker), advance=quiet)


def test_sums_under_a_key_are_of_these_units(corpus, monkeypatch):
    """Markers of buckets say which parts they are of: other parts, other sums."""
    folder, _ = corpus
    work, _, worker = begin(folder, monkeypatch=monkeypatch)
    want = both(worker)
    marker = load(work.unit_marker(0), UnitMarker)
    work.unit_marker(0).write_bytes(msgspec.json.encode(msgspec.structs.replace(marker, parts=())))
    fewer = measured(*local.add(other := begin(folder)[2], here(other), advance=quiet))
    assert fewer.n_scored < want.n_scored


def test_another_key_in_the_file_ends_the_work(corpus, monkeypatch):
    folder, _ = corpus
    _, _, worker = begin(folder, monkeypatch=monkeypatch)
    local.count(worker, here(worker), advance=quiet)
    (folder / "k.key").unlink()
    write_key(make_epoch(2).value_key("fleet"), folder / "k.key")
    with pytest.raises(Refused, match="is not the key it was when this began"):
        local.add(worker, here(worker), advance=quiet)


def test_ids_alone_are_refused_where_a_plan_does_not_trust_them(corpus, monkeypatch):
    folder, _ = corpus
    settings = msgspec.structs.replace(SETTINGS, ids_alone=False)
    _, _, worker = begin(folder, monkeypatch=monkeypatch, settings=settings)
    with pytest.raises(Refused, match=r"a.parquet, row group 0, row 0: token ids and no text, and the plan does not"):
        local.count(worker, here(worker), advance=quiet)


def test_two_runs_do_not_share_a_folder_but_shards_do(tmp_path):
    work = WorkFolder(str(tmp_path / "w"))
    with work.lock(shared=True), work.lock(shared=True), pytest.raises(Refused, match="another radiolabel works in"):
        work.lock(shared=False).__enter__()
    with work.lock(shared=False), pytest.raises(Refused, match="another"):
        work.lock(shared=True).__enter__()


def test_units_follow_from_the_inputs_alone(tmp_path):
    for name, size in (("a", 10), ("b", UNIT_BYTES), ("c", 20), ("d", 30)):
        with open(tmp_path / name, "wb") as file:
            file.write(b"x")
            file.truncate(size)
    job = plan_job((str(tmp_path / "[a-d]"),), SETTINGS)
    assert [[piece.input for piece in unit.pieces] for unit in job.units] == [[0], [1], [2, 3]]
    assert [unit.size for unit in job.units] == [10, UNIT_BYTES, 50]


def hostile(n, width):
    """Distinct pairs that all fall into bucket 0."""
    rng, found = np.random.default_rng(0), []
    while sum(map(len, found)) < n:
        low = rng.integers(0, 1 << 60, 1 << 20, dtype=np.uint64)
        high = None if width < 3 else rng.integers(0, 1 << 16, len(low)).astype(np.uint16)
        ordered, offsets = by_bucket(Pairs(width, low, high))
        found.append(ordered[: offsets[1]])
    return found


@pytest.mark.parametrize("width", [2, 3])
def test_a_bucket_that_somebody_overfilled_is_done_in_passes(width, tmp_path):
    pieces = hostile(5000, width)
    parts = list(distinct_parts([*pieces, pieces[-1]], width, most_pairs=500, folder=str(tmp_path)))
    low = np.concatenate([part.low for part in parts])
    assert len(low) == sum(map(len, pieces)) == len(np.unique(low))
    assert max(map(len, parts)) <= 1000
    assert len(parts) >= 16
    assert list(tmp_path.iterdir()) == []


def test_copies_cost_no_memory(tmp_path):
    """A million copies of few pairs never leave memory."""
    one = hostile(100, 2)[0][:100]
    parts = list(distinct_parts((one for _ in range(10_000)), 2, most_pairs=150, folder="/nonexistent"))
    assert sum(map(len, parts)) == 100


def test_what_was_read_is_let_go(corpus, monkeypatch):
    """Buckets of a group are gone when their sums are known, without a collection of garbage."""
    folder, _ = corpus
    _, _, worker = begin(folder, monkeypatch=monkeypatch)
    local.count(worker, here(worker), advance=quiet)
    worker.do(Task("group", 0))
    gc.disable()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for group in range(1, 41):
            worker.do(Task("group", group))
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.enable()
    assert left < 40 * 1000  # a group has some 20,000 bytes of pairs


def test_part_files_hold_every_bucket(corpus, monkeypatch):
    folder, ids = corpus
    work, _, worker = begin(folder, monkeypatch=monkeypatch, unit_bytes=1 << 30)
    local.count(worker, here(worker), advance=quiet)
    (marker,) = work.unit_markers()
    (part,) = marker.parts
    reader = PartReader(work.pairs, part)
    pieces = reader.read(0, N_BUCKETS)
    assert [len(p) for p in pieces] == [reader.size(b, b + 1) for b in range(N_BUCKETS)]
    found = np.sort(np.frombuffer(b"".join(pieces), dtype="<u8"))
    want = summarize(TokenBatch(ids, np.arange(0, ids.size + 1, DOCUMENT)), 2).pairs
    assert (found == np.sort(want.low)).all()
    assert (np.frombuffer(reader.read(7, 8)[0], "<u8") == np.frombuffer(pieces[7], "<u8")).all()


def test_memory_is_shared_among_processes():
    assert budget.parse_bytes("2G") == 2 << 30
    assert budget.parse_bytes("512 M".replace(" ", "")) == 512 << 20
    assert budget.parse_bytes("1000") == 1000
    for wrong in ("", "2X", "-1G", "1.5G", "G"):
        with pytest.raises(InputError, match="expected a size such as 2G"):
            budget.parse_bytes(wrong)
    few, many = (budget.most_pairs(2 << 30, jobs=jobs, tokenizer=False) for jobs in (6, 2))
    assert few < many <= budget.MOST_PAIRS
    with pytest.raises(InputError, match=r"256M of memory do not do for 2 jobs, expected at least \d+M"):
        budget.most_pairs(256 << 20, jobs=2, tokenizer=False)


def test_one_digest_for_several_files():
    assert digest_of(["ab"]) == "ab"
    assert digest_of(["ab", "cd"]) != digest_of(["cd", "ab"])


def fail(task):
    raise InputError(f"task {task}", hint="a hint")


def die(task):
    os._exit(9)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_a_process_is_that_of_the_run(jobs):
    with pytest.raises(InputError, match="task") as caught:  # noqa: SIM117
        with pool(fail, jobs=jobs) as run:
            list(run(range(4)))
    assert caught.value.hint == "a hint"


def test_a_process_that_is_killed_is_noticed():
    with pytest.raises(InputError, match="a process was killed from outside"):  # noqa: SIM117
        with pool(die, jobs=2) as run:
            list(run(range(4)))


def test_reading_in_parts_reads_what_open_documents_reads(tmp_path):
    """Formats other than Parquet go through the one parser."""
    (tmp_path / "a").write_text('{"token_ids": [1, 2, 3, 4, 5, 6]}\n{"token_ids": []}\n')
    write_key(make_epoch(1).value_key("fleet"), tmp_path / "k.key")
    job = plan_job((str(tmp_path / "a"),), SETTINGS)
    work = WorkFolder(str(tmp_path / "w"))
    work.begin(job)
    worker = Worker(str(work.path), None, 1 << 16)
    local.count(worker, here(worker), advance=quiet)
    (marker,) = work.unit_markers()
    assert marker.counts.n_documents == len(list(open_documents(str(tmp_path / "a")))) == 2
    assert (marker.counts.n_empty, marker.counts.n_seen, marker.counts.n_first_h) == (1, 6, 2)

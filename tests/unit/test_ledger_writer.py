"""Appending: many writers, what a dead one leaves, and disks that do not take it."""

import fcntl
import json
import multiprocessing
import os
import stat
import threading

import pytest

from tests.ledgers import NOON, entry, walked
from watermark.errors import LedgerError
from watermark.ledger import Head, Keeping, Ledger, new_sealing_key
from watermark.ledger.lines import chained

CLEAR = Keeping("clear")


@pytest.fixture
def path(tmp_path):
    with Ledger.create(tmp_path / "l.jsonl", keeping=CLEAR, time=NOON) as ledger:
        ledger.append(entry(0, tokens=6))
    return tmp_path / "l.jsonl"


def holds(path, count):
    walk, damages, _ = walked(path.read_bytes())
    assert (damages, walk.head.count, walk.unfinished) == ([], count, 0)
    return walk.head


def test_a_receipt_says_where_the_record_stands(path):
    with Ledger.open(path) as ledger:
        first, second = ledger.append_many([entry(1), entry(2)])
        assert (first.ordinal, second.ordinal) == (2, 3)
        assert ledger.head() == second.head == holds(path, 4)
        assert ledger.append_many([]) == []
    line = path.read_bytes().splitlines()[2]
    assert json.loads(line)["hash"] == first.hash


def test_a_ledger_is_its_owners_and_is_never_replaced(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="never replaced"):
        Ledger.create(path, keeping=CLEAR)
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["l.jsonl"]


def append_some(path, number, n, ready):
    with Ledger.open(path) as ledger:
        ready.wait()
        for index in range(n):
            ledger.append(entry(number * 1000 + index, tokens=4))


def test_processes_append_to_one_chain(path):
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(4)
    writers = [context.Process(target=append_some, args=(path, number, 40, ready)) for number in range(1, 5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    holds(path, 2 + 160)
    requests = [json.loads(line).get("request") for line in path.read_bytes().splitlines()[2:]]
    assert sorted(requests) == sorted(f"r{number * 1000 + index}" for number in range(1, 5) for index in range(40))
    writers_in_order = [request[1] for request in requests]
    assert len(set(writers_in_order[:80])) > 1  # they did take turns


def test_threads_append_to_one_chain(path):
    with Ledger.open(path) as ledger:
        receipts = []

        def work(number):
            for index in range(20):
                receipts.append(ledger.append(entry(number * 100 + index, tokens=4)))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    holds(path, 2 + 160)
    assert sorted(receipt.ordinal for receipt in receipts) == list(range(2, 162))


def test_a_child_locks_its_parent_out(path):
    """After a fork both share one open file, whose lock would keep neither out."""
    with Ledger.open(path) as ledger:
        ledger.append(entry(1))
        parents = os.dup(ledger._descriptor)

        def child():
            ledger.append(entry(2))
            with ledger._lock(), pytest.raises(BlockingIOError):
                fcntl.flock(parents, fcntl.LOCK_EX | fcntl.LOCK_NB)

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        assert process.exitcode == 0
        os.close(parents)
        assert ledger.append(entry(3)).ordinal == 4
    holds(path, 5)


def test_who_waits_for_the_disk_keeps_nobody_from_writing(path, monkeypatch):
    waiting, go_on = threading.Event(), threading.Event()
    real = os.fdatasync

    def held(descriptor):
        if threading.current_thread().name == "first":
            waiting.set()
            assert go_on.wait(20)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", held)
    with Ledger.open(path) as ledger, Ledger.open(path) as other:
        first = threading.Thread(target=ledger.append, args=(entry(1),), name="first")
        first.start()
        assert waiting.wait(20)
        assert other.append(entry(2)).ordinal == 3  # also acknowledged, before the first is
        assert ledger.append(entry(3)).ordinal == 4
        assert first.is_alive()
        go_on.set()
        first.join()
    holds(path, 5)


def test_one_call_is_one_fsync(path, monkeypatch):
    calls = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (calls.append(1), real(descriptor)))
    with Ledger.open(path) as ledger:
        ledger.append_many([entry(number) for number in range(20)])
        assert len(calls) == 1
        ledger.append(entry(20))
        assert len(calls) == 2


def test_nothing_is_acknowledged_before_an_fsync_that_began_behind_it(path, monkeypatch):
    synced = []
    real = os.fdatasync

    def watched(descriptor):
        size = os.fstat(descriptor).st_size
        real(descriptor)
        synced.append(size)

    monkeypatch.setattr(os, "fdatasync", watched)
    ends = []

    def work(ledger, number):
        for index in range(10):
            receipt = ledger.append(entry(number * 100 + index, tokens=4))
            ends.append((receipt.ordinal, max(synced)))

    with Ledger.open(path) as ledger, Ledger.open(path) as other:
        threads = [threading.Thread(target=work, args=((ledger, other)[n % 2], n)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sizes = [0]
    for line in path.read_bytes().splitlines(keepends=True):
        sizes.append(sizes[-1] + len(line))
    assert len(ends) == 60
    assert all(sizes[ordinal + 1] <= upto for ordinal, upto in ends)


@pytest.mark.parametrize("left", ["half", "half a long one", "all but its end", "nuls"])
def test_what_a_dead_writer_left_is_put_right(path, left):
    before = path.read_bytes()
    head = walked(before)[0].head
    line, _ = chained(entry(5, tokens=30 if left == "half a long one" else 4).kept(CLEAR), head)
    line = {"half": line[:200], "half a long one": line[:-300], "all but its end": line[:-1]}.get(left, b"\0" * 70_000)
    with open(path, "ab") as file:
        file.write(line)
    with Ledger.open(path) as ledger:
        ledger.append(entry(6))
    holds(path, 4 if left == "all but its end" else 3)
    assert path.read_bytes().startswith(before)


def test_a_live_writer_puts_right_what_another_left(path):
    with Ledger.open(path) as ledger:
        ledger.append(entry(1))
        with open(path, "ab") as file:
            file.write(b'{"hash":"0')
        ledger.append(entry(2))
    holds(path, 4)


@pytest.mark.parametrize("change", ["a bit of the last record", "its line end", "a line that is no record", "a tail"])
def test_a_damaged_ledger_is_not_continued(path, change):
    data = bytearray(path.read_bytes())
    if change == "a bit of the last record":
        data[-30] ^= 1
    elif change == "its line end":
        data[-1] ^= 2
    elif change == "a line that is no record":
        data += b"hello\n"
    else:
        data += b"hello\nhel"
    path.write_bytes(data)
    with pytest.raises(LedgerError, match="damaged") as found:
        Ledger.open(path)
    assert "ledger check" in found.value.hint
    assert path.read_bytes() == data


def test_a_ledger_damaged_while_it_is_open_is_not_continued(path):
    with Ledger.open(path) as ledger:
        with open(path, "ab") as file:
            file.write(b"hello\n")
        with pytest.raises(LedgerError, match="damaged"):
            ledger.append(entry(1))


def test_a_full_disk_leaves_the_chain_as_it_was(path):
    before = path.read_bytes()

    def child():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 500, len(before) + 500))
        with Ledger.open(path) as ledger:
            with pytest.raises(LedgerError, match="cannot be written"):
                ledger.append(entry(1, tokens=100))
            assert path.read_bytes() == before

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    with Ledger.open(path) as ledger:
        ledger.append(entry(1))
    holds(path, 3)


def test_after_a_failed_fsync_nothing_is_acknowledged(path, monkeypatch):
    def failing(descriptor):
        raise OSError(5, "Input/output error")

    with Ledger.open(path) as ledger:
        monkeypatch.setattr(os, "fdatasync", failing)
        with pytest.raises(LedgerError, match="fsync failed: input/output error"):
            ledger.append(entry(1))
        monkeypatch.undo()
        with pytest.raises(LedgerError, match="an earlier fsync failed"):
            ledger.append(entry(2))
    holds(path, 3)


def test_what_is_not_a_regular_file_is_refused(tmp_path, path):
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "fifo")
    for name, reason in (("link", "symbolic link"), ("fifo", "not a regular"), (".", "cannot be opened"), ("no", "no")):
        with pytest.raises(LedgerError, match=reason):
            Ledger.open(tmp_path / name)
    with pytest.raises(LedgerError):
        Ledger.open("l\0")
    for name in ("transcripts", "empty"):
        (tmp_path / name).write_bytes(b'{"a":1}\n' if name == "transcripts" else b"")
        with pytest.raises(LedgerError, match="is not a ledger"):
            Ledger.open(tmp_path / name)


def test_the_key_that_was_asked_for_is_the_one_that_seals(tmp_path, path):
    key = new_sealing_key(tmp_path / "s.pem").public
    with pytest.raises(LedgerError, match="does not seal for the key"):
        Ledger.open(path, sealing=key)
    Ledger.create(tmp_path / "sealed", keeping=Keeping("sealed", key)).close()
    Ledger.open(tmp_path / "sealed", sealing=key).close()


def test_a_chain_goes_on_behind_a_head(tmp_path, path):
    head = holds(path, 2)
    with Ledger.create(tmp_path / "next", keeping=CLEAR, after=head) as ledger:
        assert ledger.append(entry(1)).ordinal == 3
    data = path.read_bytes() + (tmp_path / "next").read_bytes()
    walk, damages, _ = walked(data)
    assert (damages, walk.head.count) == ([], 4)
    assert isinstance(walk.head, Head)


def test_what_nobody_can_read_again_is_not_acknowledged(path):
    """A log rotation that removes the file, or replaces it."""
    with Ledger.open(path) as ledger:
        ledger.append(entry(1))
        path.unlink()
        path.write_bytes(b"another file")
        for _ in range(2):
            with pytest.raises(LedgerError, match="was removed while it was open"):
                ledger.append(entry(2))
    assert path.read_bytes() == b"another file"


def test_a_closed_ledger_touches_no_other_file(path, tmp_path):
    """The number of a closed descriptor goes to the next file that is opened."""
    ledger = Ledger.open(path)
    ledger.close()
    with Ledger.create(tmp_path / "other", keeping=CLEAR) as other:
        before = (tmp_path / "other").read_bytes()
        ledger.close()
        for use in (lambda: ledger.append(entry(1)), ledger.head):
            with pytest.raises(LedgerError, match="was closed"):
                use()
        assert other.append(entry(1)).ordinal == 1
    assert (tmp_path / "other").read_bytes().startswith(before)
    holds(path, 2)


def test_a_refused_ledger_keeps_no_descriptor(path):
    path.write_bytes(path.read_bytes().replace(b'"tokens":6', b'"tokens":7'))
    open_before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(LedgerError, match="is damaged"):
            Ledger.open(path)
    assert set(os.listdir("/proc/self/fd")) == open_before

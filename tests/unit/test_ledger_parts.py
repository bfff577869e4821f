"""A ledger walked through in parts tells what it tells line by line, whatever was done to it."""

import gzip
import json
import random
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.ledgers import NOON, chain, entry
from verify.cli.ledger_check import entered
from verify.cli.ledger_parts import Parallel
from verify.errors import InputError
from verify.scaling.pool import pool
from watermark.errors import LedgerError
from watermark.ledger import Head, Keeping, Ledger, Walk, assignment
from watermark.ledger.coverage import Sums
from watermark.ledger.folds import Nothing, Tally
from watermark.ledger.lines import MAX_LINE_BYTES, START, chained
from watermark.ledger.parts import split
from watermark.ledger.walking import refuse

N = 40
LEAST = 700  # about one line


class Both(Tally):
    """What `check` and `coverage` add up, in one walk."""

    def __init__(self, salt=None):
        super().__init__(salt)
        self.sums = Sums()

    def add(self, record):
        super().add(record)
        self.sums.add(record)

    def merge(self, part):
        super().merge(part)
        self.sums.merge(part.sums)


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> list[bytes]:
    path = tmp_path_factory.mktemp("ledger") / "l.jsonl"
    with Ledger.create(path, keeping=Keeping("off"), time=NOON) as ledger:
        for number in range(N - 3):
            ledger.append(entry(number % 30, tokens=4 + number % 5, twin=number % 7 == 2))
        ledger.append(entry(99, tokens=3, account="late"))
        ledger.append(assignment("e", "account", "a1", name="somebody", time=NOON))
    return path.read_bytes().splitlines(keepends=True)


@pytest.fixture
def in_this_process(monkeypatch):
    """The pool's own way with one job: processes take half a second to start."""
    monkeypatch.setattr("verify.scaling.pool.pool", lambda do, *, jobs: pool(do, jobs=1))


def heads(lines: list[bytes]) -> list[Head]:
    return [Head(count, line[9:73].decode()) for count, line in enumerate(lines, 1)]


def told(paths, *, jobs: int, noted: Head | None = None, least: int = LEAST):
    """(all that a walk tells, how many records it went through itself)."""
    damages, tally = [], Both()
    walk = Walk(on_damage=damages.append, noted=noted)
    files = tuple(map(str, paths))
    alone = 0
    for found in entered(files, walk, Parallel(tally, noted, jobs, least)):
        tally.add(found.record)
        alone += 1
    state = (walk.first, walk.head, walk.sound, walk.unfinished, damages)
    return (*state, dict(tally.kinds), tally.used_again, repr(tally.sums.coverage())), alone


def agree(paths, noted: Head | None = None) -> int:
    """Compare the two ways; how many records the parallel one left to the walk."""
    one, n = told(paths, jobs=1, noted=noted)
    other, alone = told(paths, jobs=3, noted=noted)
    assert other == one
    assert alone <= n
    return alone


def test_a_file_that_holds_is_walked_through_in_parts(tmp_path, lines, in_this_process):
    path = tmp_path / "l"
    for size in range(1, N + 1):
        path.write_bytes(b"".join(lines[:size]))
        assert agree([path]) == (1 if size > 4 else size) or size <= 5
    requests = [json.loads(line)["request"] for line in lines[1:-1]]
    again = len(requests) - len(set(requests))
    assert again
    state, alone = told([path], jobs=3)
    assert (alone, state[:3], state[4]) == (1, (0, heads(lines)[-1], heads(lines)[-1]), [])
    assert (state[5], state[6]) == ({"opened": 1, "served": N - 2, "assigned": 1}, again)


def test_files_of_one_chain_are_each_walked_through_in_parts(tmp_path, lines, in_this_process):
    whole = heads(lines)[-1]
    paths = [tmp_path / "1", tmp_path / "2", tmp_path / "3"]
    second = chain(lines, whole)
    third = chain(lines, Head(2 * N, second[-1][9:73].decode()))
    for path, part in zip(paths, (lines, second, third), strict=True):
        path.write_bytes(b"".join(part))
    assert agree(paths) == 3
    for order in ([1, 2], [2, 1], [0, 2], [1], [0, 0], [0, 1, 1, 2]):
        agree([paths[number] for number in order])
    for noted in (whole, replace(whole, hash="1" * 64), Head(3 * N + 1, "2" * 64), heads(second)[3], Head(2, "0" * 64)):
        agree(paths, noted)
        agree(paths[1:], noted)
    # Laid end to end they are one ledger: what opens a file in the middle is left to the walk.
    paths[0].write_bytes(b"".join([*lines, *second, *third]))
    assert agree(paths[:1]) == 3 * N
    assert told(paths[:1], jobs=3)[0][4] == []


def test_contents_have_to_be_kept_as_the_first_line_says(tmp_path, lines, in_this_process):
    path = tmp_path / "l"
    opened = lines[0].replace(b'"off"', b'"clear"')
    path.write_bytes(b"".join(chain([opened, *lines[1:]], START)))
    agree([path])
    assert len(told([path], jobs=3)[0][4]) == N - 1


def test_a_noted_head_is_compared_wherever_parts_meet(tmp_path, lines, in_this_process):
    path = tmp_path / "l"
    path.write_bytes(b"".join(lines))
    for head in heads(lines):
        assert agree([path], head) == 1
        assert agree([path], replace(head, hash="0" * 64)) == (N if head.count > 1 else 1)
    assert agree([path], Head(N + 1, "0" * 64)) == 1


def damaged(lines: list[bytes], kind: str, rng: random.Random) -> bytes:
    """The lines with one thing done to them."""
    at, other = sorted(rng.sample(range(N), 2))
    changed, data = list(lines), bytearray(b"".join(lines))
    if kind == "bit":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)
    if kind == "cut":
        return bytes(data[: rng.randrange(len(data))])
    if kind == "hole":
        start = rng.randrange(len(data))
        return bytes(data[:start] + data[start + rng.randrange(1, 3000) :])
    if kind == "line end":
        place = sum(map(len, lines[: at + 1])) - 1
        data[place : place + 1] = rng.choice([b"", b" ", b"\r\n", b"\n\n"])
        return bytes(data)
    if kind == "remove":
        del changed[at : rng.choice([at + 1, other])]
    elif kind == "swap":
        changed[at], changed[other] = changed[other], changed[at]
    elif kind == "duplicate":
        changed.insert(other, lines[at])
    elif kind == "replace":
        before = START if at == 0 else heads(lines)[at - 1]
        changed[at : at + 1] = chain([lines[other]], before)
    elif kind == "rewrite":
        before = START if at == 0 else heads(lines)[at - 1]
        changed[at:] = chain([lines[other], *lines[at + 1 :]], before)
    elif kind == "no record":
        before = START if at == 0 else heads(lines)[at - 1]
        changed[at] = chained(b'{"radiolabel":"served","version":1}', before)[0]
        changed[at + 1 :] = chain(lines[at + 1 :], Head(at + 1, changed[at][9:73].decode()))
    elif kind == "skip":
        changed[at:] = chain(lines[at:], Head(at + 1, heads(lines)[at - 1].hash if at else START.hash))
    elif kind == "other file":
        changed[at:] = chain(lines[: N - at], START)
    return b"".join(changed)


KINDS = ("bit", "cut", "hole", "line end", "remove", "swap", "duplicate", "replace", "rewrite", "no record",
         "skip", "other file")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_damages_are_told_as_by_a_walk(tmp_path, lines, in_this_process, kind):
    rng, path, beside, found = random.Random(kind), tmp_path / "l", tmp_path / "2", 0
    beside.write_bytes(b"".join(chain(lines, heads(lines)[-1])))
    for turn in range(40):
        path.write_bytes(damaged(lines, kind, rng))
        noted = rng.choice([None, *heads(lines)])
        agree([path] if turn % 2 else [path, beside], noted)
        found += bool(told([path], jobs=3)[0][4])
        refused = []
        for jobs in (1, 3):
            walk = Walk(on_damage=refuse, noted=noted)
            try:
                for _ in entered((str(path),), walk, Parallel(Nothing(), noted, jobs, LEAST)):
                    pass
                refused.append(walk.head)
            except LedgerError as error:
                refused.append(str(error))
        assert refused[0] == refused[1]
    assert found >= (0 if kind in ("cut", "rewrite") else 30)


@pytest.mark.parametrize("end", [b"", b"{", b'{"hash":"', b"\0" * 3000], ids=len)
def test_an_unfinished_end_is_left_to_the_walk(tmp_path, lines, in_this_process, end):
    path = tmp_path / "l"
    path.write_bytes(b"".join(lines) + end)
    assert agree([path]) == 1
    assert told([path], jobs=3)[0][3] == len(end)
    path.write_bytes(b"".join(lines)[:-1] + b"x")
    agree([path])


@pytest.mark.parametrize("kept", [None, 3, N - 9, N - 1])
def test_a_file_that_changes_while_it_is_walked_through(tmp_path, lines, monkeypatch, kept):
    """Lines appended after the split are read; a file that was cut is walked through as it then is."""
    path = tmp_path / "l"
    more = chain(lines[1:], heads(lines)[-1])
    path.write_bytes(b"".join(lines) + more[0][:100])
    after = b"".join([*lines, *more]) + b"unfinished" if kept is None else b"".join(lines[:kept])

    @contextmanager
    def changing(do, *, jobs):
        with open(path, "r+b") as file:
            file.write(after)
            file.truncate()
        with pool(do, jobs=1) as run:
            yield run

    monkeypatch.setattr("verify.scaling.pool.pool", changing)
    found, alone = told([path], jobs=3)
    if kept is None:
        assert (found, alone) == (told([path], jobs=1)[0], N)
        assert found[1].count == 2 * N - 1
    else:
        # What the stream had read before the cut is still in its memory.
        assert (alone, found[1].count) == (N, N)


def test_what_is_compressed_goes_line_by_line(tmp_path, lines, in_this_process):
    path = tmp_path / "l"
    path.write_bytes(gzip.compress(b"".join(lines)))
    assert agree([path]) == N
    path.write_bytes(b"".join(lines))
    assert agree([path]) == 1


def test_what_a_compressed_file_shows_uncompressed_is_not_read(tmp_path, lines, in_this_process):
    """A gzip header can hold a ledger of its own just where the lines of the compressed one would be."""
    extra = bytes(len(lines[0]) - 12) + b"".join(lines[1:])
    header = b"\x1f\x8b\x08\x04" + bytes(6) + len(extra).to_bytes(2, "little") + extra
    for number in range(1000):
        data = lines[0] + b"%d\n" % number
        body = gzip.compress(data, mtime=0)[10:]
        if b"\n" not in body:
            break
    path = tmp_path / "l"
    path.write_bytes(header + body)
    assert agree([path]) == 1
    assert [d.kind for d in told([path], jobs=3)[0][4]] == ["malformed"]


def test_parts_are_whole_lines_and_all_of_them(tmp_path):
    rng, path = random.Random(5), tmp_path / "l"
    for _ in range(300):
        data = b"".join(b"x" * rng.choice([0, 1, 3, 40, 300]) + b"\n" for _ in range(rng.randrange(1, 30)))
        path.write_bytes(data + b"y" * rng.randrange(3))
        parts, least, start = rng.randrange(1, 9), rng.randrange(1, 60), data.index(b"\n") + 1
        with open(path, "rb") as file:
            found = split(file, start, parts=parts, least=least)
        assert len(found) != 1
        assert len(found) <= parts
        if found:
            assert (found[0][0], found[-1][1]) == (start, len(data))
            assert all(data[end - 1 : end] == b"\n" and begin < end for begin, end in found)
            assert all(one[1] == other[0] for one, other in pairwise(found))
        else:
            assert (
                parts == 1 or len(data) - start < 2 * least or b"\n" not in data[start + (len(data) - start) // 2 : -1]
            )


def test_a_line_that_is_too_long_is_not_split(tmp_path, lines, in_this_process):
    path = tmp_path / "l"
    path.write_bytes(lines[0])
    with open(path, "ab") as file:
        file.truncate(len(lines[0]) + MAX_LINE_BYTES + 10)
        file.seek(0, 2)
        file.write(b"\n" + b"".join(lines[1:]))
    assert agree([path]) == N - 1


def test_requests_are_compared_within_their_epoch():
    both = Tally()
    part = both.empty()
    first, second = (entry(n, tokens=3).record for n in (1, 2))
    for fold, record in ((both, first), (part, second), (part, first), (both, first)):
        fold.add(record)
    assert (both.used_again, part.used_again) == (1, 0)
    both.merge(part)
    assert (both.used_again, both.kinds["served"]) == (2, 4)
    both.add(first.__class__(**{f: getattr(first, f) for f in first.__struct_fields__} | {"epoch": "another"}))
    assert both.used_again == 2


@pytest.mark.parametrize("kind", ["sound", "bit", "swap"])
def test_processes_tell_the_same(tmp_path, lines, kind):
    path = tmp_path / "l"
    rng = random.Random(11)
    path.write_bytes(b"".join(lines) + b"unfinished" if kind == "sound" else damaged(lines, kind, rng))
    assert agree([path]) == 1 if kind == "sound" else agree([path]) > 1


def test_a_process_that_is_killed_is_an_error(tmp_path, lines, monkeypatch):
    @contextmanager
    def killed(do, *, jobs):
        with pool(_die, jobs=2) as run:
            yield run

    monkeypatch.setattr("verify.scaling.pool.pool", killed)
    path = tmp_path / "l"
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match="killed") as error:
        told([path], jobs=2)
    assert "--jobs 1" in error.value.hint


def _die(part):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)

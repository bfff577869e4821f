"""What was changed in a ledger is found, and where."""

import hashlib
import io
from pathlib import Path

import pytest

from tests.ledgers import NOON, chain, entry, walked
from watermark.errors import LedgerError
from watermark.ledger import Head, Keeping, Ledger, Walk, records
from watermark.ledger.lines import chained

N = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("ledger") / "l.jsonl"
    with Ledger.create(path, keeping=Keeping("clear"), time=NOON) as ledger:
        for number in range(N - 1):
            ledger.append(entry(number, tokens=6, twin=number == 2))
    return path.read_bytes()


@pytest.fixture(scope="module")
def lines(data) -> list[bytes]:
    return data.splitlines(keepends=True)


def head_of(data: bytes) -> Head:
    return walked(data)[0].head


def test_an_untouched_ledger_holds(data):
    walk, damages, found = walked(data)
    assert (damages, len(found), walk.head.count, walk.first) == ([], N, N, 0)


def test_the_hash_is_that_of_the_page(lines):
    for before, line in zip([b"{" + b'"hash":"' + b"0" * 64, *lines], lines, strict=False):
        stated = line[9:73].decode()
        assert stated == hashlib.sha256(line[75:-1]).hexdigest()
        assert line[75 + 12 : 75 + 12 + 64] == before[9:73]


@pytest.mark.parametrize("bit", [0, 1, 5, 7])
def test_every_flipped_bit_is_found_in_its_line(data, lines, bit):
    at = 0
    for number, line in enumerate(lines, 1):
        for place in range(at, at + len(line)):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            _, damages, _ = walked(bytes(changed))
            assert damages, place
            assert (damages[0].line, damages[0].offset, damages[0].record) == (number, at, number - 1), place
        at += len(line)


def test_a_changed_hash_does_not_put_the_next_record_in_doubt(lines):
    changed = lines[2][:9] + (b"0" if lines[2][9:10] != b"0" else b"1") + lines[2][10:]
    _, damages, _ = walked(b"".join([*lines[:2], changed, *lines[3:]]))
    assert [(d.line, d.kind) for d in damages] == [(3, "altered")]


@pytest.mark.parametrize("gone", range(N - 1))
def test_a_removed_record_is_found_where_it_was(lines, gone):
    _, damages, _ = walked(b"".join(lines[:gone] + lines[gone + 1 :]))
    if gone:
        assert [(d.line, d.record, d.kind) for d in damages] == [(gone + 1, gone, "missing")]
    else:
        assert (damages[0].line, damages[0].kind) == (1, "malformed")  # it opened the file
    assert all(d.line == gone + 1 for d in damages)


def test_two_removed_records_are_named(lines):
    _, damages, _ = walked(b"".join(lines[:2] + lines[4:]))
    assert "records 2 to 3 are missing before record 4" in str(damages[0])


@pytest.mark.parametrize("twice", range(N))
def test_a_repeated_record_is_found(lines, twice):
    _, damages, _ = walked(b"".join(lines[: twice + 1] + lines[twice:]))
    assert [(d.line, d.kind) for d in damages] == [(twice + 2, "out of place")]


@pytest.mark.parametrize("first", range(1, N - 1))
def test_two_records_in_the_other_order_are_found(lines, first):
    moved = [*lines[:first], lines[first + 1], lines[first], *lines[first + 2 :]]
    _, damages, _ = walked(b"".join(moved))
    assert [(d.line, d.kind) for d in damages] == [(first + 1, "missing"), (first + 2, "out of place")]


@pytest.mark.parametrize("place", range(1, N - 1))
def test_a_record_with_a_hash_of_its_own_is_found_by_the_next(lines, place):
    head = Head(place, lines[place - 1][9:73].decode())
    forged = chain([lines[place].replace(b'"teacher"', b'"another"')], head)
    _, damages, _ = walked(b"".join([*lines[:place], *forged, *lines[place + 1 :]]))
    assert [(d.line, d.record, d.kind) for d in damages] == [(place + 2, place + 1, "replaced")]


def test_a_tail_written_again_is_found_by_a_head_alone(data, lines):
    forged = chain([line.replace(b'"teacher"', b'"another"') for line in lines[3:]], Head(3, lines[2][9:73].decode()))
    changed = b"".join([*lines[:3], *forged])
    assert walked(changed)[1] == []
    _, damages, _ = walked(changed, noted=head_of(data))
    assert [(d.line, d.record, d.kind) for d in damages] == [(N, N - 1, "rewritten")]


@pytest.mark.parametrize("kept", range(1, N))
def test_a_cut_tail_is_found_by_a_head(data, lines, kept):
    cut = b"".join(lines[:kept])
    assert walked(cut)[1] == []
    _, damages, _ = walked(cut, noted=head_of(data))
    assert [d.kind for d in damages] == ["cut"]
    assert f"records {kept} to {N - 1} are missing" in str(damages[0])


def test_a_head_of_less_than_there_is_holds(data, lines):
    for count in range(1, N + 1):
        head = Head(count, lines[count - 1][9:73].decode())
        assert walked(data, noted=head)[1] == []
        assert [d.kind for d in walked(data, noted=Head(count, "0" * 64))[1]] == ["rewritten"]


def test_an_unfinished_line_is_no_damage_at_any_length(data, lines):
    whole = b"".join(lines[:-1])
    for size in range(1, len(lines[-1])):
        walk, damages, found = walked(whole + lines[-1][:size])
        assert (damages, len(found), walk.unfinished) == ([], N - 1, size)


def test_the_cut_inside_the_last_record_is_found_by_a_head(data, lines):
    _, damages, _ = walked(data[:-20], noted=head_of(data))
    assert [d.kind for d in damages] == ["cut"]


def test_a_chain_goes_on_in_another_file(tmp_path, data):
    head = head_of(data)
    with Ledger.create(tmp_path / "2", keeping=Keeping("off"), after=head, time=NOON) as ledger:
        ledger.append(entry(9))
    second = (tmp_path / "2").read_bytes()
    damages = []
    walk = Walk(on_damage=damages.append)
    found = [f for part in (data, second) for f in walk.through(io.BytesIO(part), "l")]
    walk.finish()
    assert (damages, len(found), walk.head.count) == ([], N + 2, N + 2)
    # Alone it tells where it begins, and a head says whether it follows.
    walk, damages, _ = walked(second)
    assert (damages, walk.first) == ([], N)
    assert walked(second, noted=head)[1] == []
    assert [d.kind for d in walked(second, noted=Head(N, "1" * 64))[1]] == ["replaced"]
    assert [d.kind for d in walked(second, noted=Head(N - 1, "1" * 64))[1]] == ["missing"]
    # In the wrong order nothing fits.
    walk = Walk(on_damage=(wrong := []).append)
    for part in (second, data):
        list(walk.through(io.BytesIO(part), "l"))
    assert wrong


def test_what_reads_on_refuses_a_damage(data):
    assert len(list(records(io.BytesIO(data), "l"))) == N
    with pytest.raises(LedgerError, match=r"l:3 .*record 2: altered"):
        list(records(io.BytesIO(data.replace(b'"r1"', b'"r9"', 1)), "l"))


HOSTILE = {
    "empty": b"",
    "blank": b"\n\n\n",
    "nuls": b"\0" * 5000 + b"\n",
    "nuls without an end": b"\0" * 5000,
    "deep": b'{"hash":"' + b"0" * 64 + b'",' + b'{"a":' * 100_000 + b"\n",
    "array": b"[" * 100_000 + b"\n",
    "not utf-8": b"\xff\xfe\n",
    "a transcript": b'{"radiolabel":"transcript","version":1,"id":"1","prompt":"","response":""}\n',
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_ledger_is_damaged(hostile):
    _, damages, found = walked(hostile)
    assert damages
    assert not found


def rehashed(json: bytes) -> bytes:
    return chained(json, Head(0, "0" * 64))[0]


RECORDS = {
    "deep": b'{"radiolabel":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "wrong types": b'{"radiolabel":"opened","version":"1","time":3}',
    "a later version": b'{"radiolabel":"opened","version":2}',
    "unknown": b'{"radiolabel":"closed","version":1}',
    "lone surrogate": b'{"radiolabel":"opened","version":1,"time":"\\ud800"}',
    "huge number": b'{"radiolabel":"opened","version":' + b"9" * 10_000 + b"}",
    "not utf-8": b'{"radiolabel":"\xff"}',
}


@pytest.mark.parametrize("json", RECORDS.values(), ids=RECORDS)
def test_what_is_no_record_is_damaged_though_its_hash_holds(json):
    _, damages, found = walked(rehashed(json))
    assert [d.kind for d in damages][:1] == ["malformed"]
    assert not found


def test_a_line_without_end_is_read_in_pieces(monkeypatch, data):
    monkeypatch.setattr("watermark.ledger.walking.MAX_LINE_BYTES", 5000)
    _, damages, found = walked(data + b"x" * 3_000_000 + b"\n" + b"y\n")
    assert [(d.line, d.kind) for d in damages] == [(N + 1, "malformed"), (N + 2, "malformed")]
    assert damages[1].offset == len(data) + 3_000_001
    assert len(found) == N


def test_contents_are_kept_as_the_file_says(lines):
    opened = lines[0].replace(b'"clear"', b'"off"')
    forged = chain([opened, *lines[1:]], Head(0, "0" * 64))
    assert all("contents are not kept" in str(d) for d in walked(b"".join(forged))[1])
    assert len(walked(b"".join(forged))[1]) == N - 1


@pytest.mark.parametrize("text", ["", "3", "3:", "0:" + "0" * 64, "3:" + "0" * 63, "3:" + "G" * 64, "٣:" + "0" * 64])
def test_a_head_has_one_spelling(text):
    with pytest.raises(LedgerError):
        Head.parse(text)
    with pytest.raises(LedgerError):
        Head.from_json(text.encode(), "h")


def test_a_head_file_reads_back():
    head = Head(17, "ab" * 32)
    assert Head.from_json(head.to_json(), "h") == head == Head.parse(str(head))
    with pytest.raises(LedgerError):
        Head.from_json(head.to_json()[:-1], "h")


def test_the_example_of_the_page_is_a_ledger():
    page = (Path(__file__).resolve().parents[2] / "docs" / "spec" / "ledger.md").read_text()
    example, head = (block.split("```")[0].encode() for block in page.split("```json\n")[1:])
    walk, damages, found = walked(example, noted=Head.from_json(head, "page"))
    assert (damages, len(found)) == ([], 2)
    assert found[1].record.content.digest() == found[1].record.digest
    assert walk.head.to_json() == head

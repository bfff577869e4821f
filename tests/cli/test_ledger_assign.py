"""`radiolabel ledger assign`: who has which slot, from CSV that anybody may have written."""

import gzip
import json

import pytest

from tests.cli.conftest import radiolabel
from tests.ledgers import walked

ROWS = 'slot,name\nslot-1,Ann\nslot-2,"Bob, the ""second"""\nslot-3,Zoë 東\n'
NAMES = [("slot-1", "Ann"), ("slot-2", 'Bob, the "second"'), ("slot-3", "Zoë 東")]


@pytest.fixture
def ledger(tmp_path):
    code, _, err = radiolabel("ledger", "new", tmp_path / "l", "--contents", "clear")
    assert code == 0, err
    return tmp_path / "l"


def assigned(path):
    _, damages, found = walked(path.read_bytes())
    assert not damages
    return [entered.record for entered in found[1:]]


def assign(ledger, data, *options):
    """The command's (exit code, stdout, stderr), with these bytes in a file."""
    path = ledger.parent / "slots.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return radiolabel("ledger", "assign", ledger, path, "--epoch", "q4", *options)


@pytest.mark.parametrize(
    "data",
    [
        ROWS.encode(),
        ROWS.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + ROWS.rstrip("\n").encode(),
        gzip.compress(ROWS.encode()),
        ROWS.replace("\nslot-2", "\n\n \nslot-2").encode() + b"\n",
    ],
    ids=["plain", "crlf", "mark-and-no-end", "gzip", "blank-lines"],
)
def test_each_line_is_a_record(ledger, data):
    code, out, err = assign(ledger, data)
    assert (code, err) == (0, "")
    found = assigned(ledger)
    assert [(r.slot, r.content.name) for r in found] == NAMES
    assert {(r.epoch, r.channel) for r in found} == {("q4", "account")}
    assert (json.loads(out)["count"], json.loads(out)["acknowledged"]) == (4, True)
    code, out, _ = radiolabel("ledger", "check", ledger, "--format", "json")
    assert (code, json.loads(out)["assigned"]) == (0, 3)


def test_cohorts_from_standard_input_in_more_than_one_batch(ledger):
    text = "slot,name\n" + "".join(f"c{n},cohort {n}\n" for n in range(600))
    code, _, err = radiolabel("ledger", "assign", ledger, "--epoch", "q4", "--channel", "cohort", input=text)
    assert (code, err) == (0, "")
    found = assigned(ledger)
    assert [(r.channel, r.slot, r.content.name) for r in found] == [
        ("cohort", f"c{n}", f"cohort {n}") for n in range(600)
    ]


def test_names_are_sealed_where_contents_are(tmp_path):
    _, public, _ = radiolabel("ledger", "key", "-o", tmp_path / "sealing.pem")
    radiolabel("ledger", "new", tmp_path / "l", "--seal", public.strip())
    code, _, err = assign(tmp_path / "l", ROWS, "--seal", public.strip())
    assert (code, err) == (0, "")
    assert b"Ann" not in (tmp_path / "l").read_bytes()
    assert [r.slot for r in assigned(tmp_path / "l")] == ["slot-1", "slot-2", "slot-3"]
    code, _, err = assign(tmp_path / "l", ROWS, "--seal", "1" * 64)
    assert code == 2
    assert "does not seal for the key" in err


@pytest.mark.parametrize(
    ("data", "line", "message", "code"),
    [
        ("", 1, "the header is not slot,name", 2),
        ("slot-1,Secretname\n", 1, "the header is not slot,name", 2),
        ("name,slot\n", 1, "the header is not slot,name", 2),
        ("slot,name,more\n", 1, "the header is not slot,name", 2),
        ("\n" + ROWS, 1, "the header is not slot,name", 2),
        (ROWS + "slot-4\n", 5, "a line of 1 field,", 2),
        (ROWS + "slot-4,Secretname,Secretname\n", 5, "a line of 3 fields,", 2),
        (ROWS + 'slot-4,"Secretname\n', 5, "not CSV", 2),
        (ROWS + 'slot-4,"Secretname\nSecretname"\nslot-5,x\n', 5, "not CSV", 2),
        (ROWS + 'slot-4,"Secretname"x\n', 5, "not CSV", 2),
        (ROWS + "slot-4,Secret\rname\n", 5, "not CSV", 2),
        (ROWS + "slot-4,Secret\0name\n", 5, "characters that do not print", 3),
        (ROWS + "slot-4,Secretname\x1b[31m\n", 5, "characters that do not print", 3),
        (ROWS + "slot-4,\n", 5, "a name that is blank", 3),
        (ROWS + "slot-4,  \n", 5, "a name that is blank", 3),
        (ROWS + "slot-4,Secret\u202ename\n", 5, "characters that do not print", 3),
        (ROWS + "Secretname & Sons,17\n", 5, "the slot cannot be part of a key path", 3),
        (ROWS + ",Secretname\n", 5, "the slot cannot be part of a key path", 3),
        (ROWS + "../x,Secretname\n", 5, "cannot be part of a key path", 3),
        (ROWS + "slot 4,Secretname\n", 5, "cannot be part of a key path", 3),
        (ROWS + "\0,Secretname\n", 5, "cannot be part of a key path", 3),
        (ROWS + "x" * 129 + ",Secretname\n", 5, "cannot be part of a key path", 3),
        (ROWS + "slot-2,Secretname\n", 5, "stands in line 3 too", 2),
        (ROWS + "slot-4," + "Secretname" * 6600 + "\n", 5, "longer than 65536 bytes", 2),
        (b"x" * 10_000_000, 1, "longer than 65536 bytes", 2),
        (ROWS.encode() + b"slot-4,Secretname\xff\n", 5, "not utf-8", 2),
        (ROWS.encode("utf-16"), 1, "not utf-8", 2),
        (ROWS.replace(",", ";"), 1, "the header is not slot,name", 2),
    ],
)
def test_what_is_no_list_of_slots_is_refused_and_nothing_written(ledger, data, line, message, code):
    before = ledger.read_bytes()
    found, out, err = assign(ledger, data)
    assert (found, out) == (code, "")
    assert f"slots.csv:{line}: " in err
    assert message in err
    assert "Secretname" not in err
    assert ledger.read_bytes() == before


def test_a_late_error_leaves_nothing_of_the_lines_before(ledger):
    before = ledger.read_bytes()
    code, _, err = assign(ledger, "slot,name\n" + "".join(f"s{n},x\n" for n in range(600)) + "s0,x\n")
    assert code == 2
    assert "slots.csv:602: slot 's0' stands in line 2 too" in err
    assert ledger.read_bytes() == before


def test_other_refusals(ledger, tmp_path):
    for options, message in (
        (("--epoch", "a/b"), "cannot be part of a key path"),
        (("--epoch", "q4", "--channel", "fleet"), "fleet"),
        ((), "--epoch"),
    ):
        code, _, err = radiolabel("ledger", "assign", ledger, *options, input=ROWS)
        assert code == 2
        assert message in err
    code, _, err = radiolabel("ledger", "assign", ledger, tmp_path / "none", "--epoch", "q4")
    assert code == 2
    assert "no such file" in err.lower()
    assert len(ledger.read_bytes().splitlines()) == 1

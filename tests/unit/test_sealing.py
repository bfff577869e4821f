"""Accounts under aliases: the page's vectors, what binds, what is refused, and what is hidden."""

import hashlib
import hmac
import itertools
import json
import os
import re
import stat
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_pairs import make_pair
from verify.accounts.sealing import Sealed, alias, leaf_of, number_of, read_opening, read_sealed
from verify.canonical import canonical
from verify.cli import main
from verify.errors import InputError, Refused
from verify.redaction import aliased, redacted
from watermark.secret import Secret

PAGE = (Path(__file__).resolve().parents[2] / "docs/spec/pseudonym.md").read_text()
K = Secret(bytes(range(32)))
NAMES = ["alice", "bob", "carol", "dave"]
SEALED = Sealed.of(K, NAMES)
names = st.sets(st.text(min_size=1, max_size=30), min_size=1, max_size=40)


def prefixed(text):
    raw = text.encode()
    return len(raw).to_bytes(2, "little") + raw


def mac(label, name):
    return hmac.new(bytes(range(32)), prefixed(f"radiolabel/v1/{label}") + prefixed(name), hashlib.sha256).digest()


def test_the_pages_vectors_written_again_from_its_formulas():
    order = sorted(NAMES, key=lambda name: mac("alias-place", name))
    leaves = [
        hmac.new(mac("alias-salt", n), prefixed("radiolabel/v1/alias") + prefixed(n), hashlib.sha256).digest()
        for n in order
    ]
    hashed = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    left, right = (hashlib.sha256(b"\1" + hashed[i] + hashed[i + 1]).digest() for i in (0, 2))
    root = hashlib.sha256(b"\1" + left + right).hexdigest()
    rows = re.findall(r"^\| (\d) \| `(\w+)` \| `(\w{64})` \| `(\w{64})` \|$", PAGE, re.MULTILINE)
    stated = [
        (str(i), n, mac("alias-salt", n).hex(), x.hex()) for i, (n, x) in enumerate(zip(order, leaves, strict=True), 1)
    ]
    assert rows == stated
    assert f"The root is `{root}`" in PAGE
    talk = mac("alias-conversation", "c-1")[:16].hex()
    assert f"is called `{talk}`" in PAGE
    assert (SEALED.root, SEALED.accounts, SEALED.conversation("c-1")) == (root, tuple(order), talk)


@given(names)
@settings(max_examples=40, deadline=None)
def test_every_account_has_a_number_and_an_opening_of_its_own(some):
    sealed = Sealed.of(K, some)
    assert Counter(sealed.accounts) == Counter(some)
    for name in some:
        opening = sealed.opening(name)
        assert opening.holds
        assert (opening.root, opening.size, sealed.accounts[opening.number - 1]) == (sealed.root, len(some), name)
        assert not any(sealed.opening(name).salt == sealed.opening(other).salt for other in some - {name})


def test_another_secret_is_another_order_salt_and_root():
    many = [f"customer {i}" for i in range(200)]
    a, b = Sealed.of(K, many), Sealed.of(Secret(bytes(32)), many)
    assert a.accounts != b.accounts
    assert a.root != b.root
    same = sum(a.opening(n).salt == b.opening(n).salt for n in many[:20])
    assert same == 0
    assert a.root == Sealed.of(K, reversed(many)).root  # the order in which they came does not show


def test_numbers_do_not_follow_the_alphabet_or_the_order_of_coming():
    many = [f"customer {i:03}" for i in range(300)]
    rng = np.random.default_rng(0)
    places = [Sealed.of(Secret(rng.bytes(32)), many).numbers[name] for name in many]
    rises = sum(b > a for a, b in itertools.pairwise(places))
    assert 100 < rises < 200  # of 299: ten standard deviations either way


@pytest.mark.parametrize("text", ["alias-0", "alias-01", "alias-5", "alias-", "alias-1 ", "Alias-1", "1", "alias--1"])
def test_what_is_no_alias(text):
    with pytest.raises(Refused, match="expected alias-1 to alias-4"):
        number_of(text, 4)
    assert [number_of(alias(i), 4) for i in range(1, 5)] == [1, 2, 3, 4]


@pytest.mark.parametrize("some", [[], [""], ["x" * 1001]])
def test_names_that_cannot_be(some):
    with pytest.raises((InputError, Refused)):
        Sealed.of(K, some)


def write(path, data, mode=0o600):
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def test_the_file_is_read_again(tmp_path):
    found = read_sealed(write(tmp_path / "s.json", SEALED.to_json()))
    assert (found.accounts, found.root, found.secret) == (SEALED.accounts, SEALED.root, K)
    assert "alice" not in repr(found)
    assert bytes(range(32)).hex() not in repr(found)


def fields():
    return json.loads(SEALED.to_json())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"root": "0" * 64}, "do not belong together"),
        ({"secret": "1" * 64}, "do not belong together"),
        ({"accounts": ["alice", "bob", "carol", "dave"]}, "do not belong together"),
        ({"accounts": ["dave", "alice", "bob"]}, "do not belong together"),
        ({"accounts": ["dave", "alice", "bob", "carol", "carol"]}, "do not belong together"),
        ({"version": 2}, "not a sealed file"),
        ({"radiolabel": "opening"}, "not a sealed file"),
        ({"accounts": []}, "not a sealed file"),
        ({"accounts": ["mallory", 7]}, "not a sealed file"),
        ({"added": 1}, "not a sealed file"),
        ({"secret": "00"}, "not a sealed file"),
    ],
)
def test_a_changed_file_is_refused_and_quotes_nobody(tmp_path, change, says):
    with pytest.raises(InputError, match=says) as error:
        read_sealed(write(tmp_path / "s.json", canonical(fields() | change) + b"\n"))
    assert not any(name in str(error.value) for name in [*NAMES, "mallory", bytes(range(32)).hex()])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path, mode):
    with pytest.raises(InputError, match="can be read by others"):
        read_sealed(write(tmp_path / "s.json", SEALED.to_json(), mode))


@pytest.mark.parametrize("data", [b"", b"{}\n", b"[]\n", SEALED.to_json() + b"\n", SEALED.to_json()[:-1], b"\xff\n"])
def test_what_is_no_file_of_this_kind(tmp_path, data):
    with pytest.raises(InputError):
        read_sealed(write(tmp_path / "s.json", data))


def test_a_pipe_a_folder_and_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder", "nothing"):
        with pytest.raises(InputError, match=r"not a regular file|cannot be read"):
            read_sealed(str(tmp_path / name))


def test_no_other_opening_holds():
    own, other = SEALED.opening("alice"), SEALED.opening("carol")
    whole = json.loads(own.to_json())
    assert own.holds
    for name in ("account", "number", "salt", "root"):
        changed = whole | {name: "0" * 64 if name == "root" else json.loads(other.to_json())[name]}
        assert not read_again(changed).holds, name
    for size in (1, 2, 5, 8, 1 << 40):
        assert not read_again(whole | {"size": size}).holds
    assert not read_again(whole | {"siblings": whole["siblings"][:-1]}).holds
    assert not read_again(whole | {"siblings": [*whole["siblings"], "0" * 64]}).holds


def read_again(changed):
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(canonical(changed) + b"\n")
        return read_opening(file.name)


@pytest.mark.parametrize(
    "change", [{"number": 0}, {"number": "1"}, {"salt": "0"}, {"account": ""}, {"siblings": ["0"]}, {"more": 1},
               {"version": 2}, {"radiolabel": "pair"}, {"size": 0}, {"siblings": ["0" * 64] * 65}]
)  # fmt: skip
def test_openings_that_are_none(change):
    with pytest.raises(InputError):
        read_again(json.loads(SEALED.opening("alice").to_json()) | change)


def test_the_leaf_takes_salt_and_name():
    leaves = {leaf_of(salt, name) for salt in (bytes(32), bytes(31) + b"\1") for name in ("a", "b", "ab")}
    assert len(leaves) == 6


def test_pairs_have_other_names_and_nothing_else_is_other():
    pair = make_pair("r1-twin", account="alice", conversation="talk of alice", request="r1")
    found = aliased(pair, SEALED)
    assert (found.account, found.conversation) == ("alias-2", SEALED.conversation("talk of alice"))
    for name in pair.__struct_fields__:
        assert name in ("account", "conversation") or getattr(found, name) == getattr(pair, name)
    assert aliased(redacted(pair), SEALED) == redacted(found)
    bare = make_pair("r2-twin")
    assert aliased(bare, SEALED) == bare


@pytest.mark.parametrize("field", ["id", "request", "model"])
def test_ids_that_hold_the_name_are_refused(field):
    pair = make_pair(**({"id": "r1-twin", "request": "r1"} | {field: "of-ALICE-17"}), account="alice")
    with pytest.raises(Refused, match=f"the {field} of a pair holds the name of its account") as error:
        aliased(pair, SEALED)
    assert "alice" not in str(error.value).casefold()


def test_a_short_name_stands_in_an_id_by_chance():
    assert aliased(make_pair("bob-twin", account="bob"), SEALED).account == "alias-3"


def test_an_account_of_another_campaign_is_refused_and_not_named():
    with pytest.raises(Refused, match="not in the sealed file") as error:
        aliased(make_pair("r1-twin", account="mallory"), SEALED)
    assert "mallory" not in str(error.value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """pairs.jsonl of four accounts, and groups.jsonl."""
    monkeypatch.chdir(tmp_path)
    rows = [make_pair(f"r{i}-twin", account=NAMES[i % 4], conversation=f"c{i}", request=f"r{i}") for i in range(8)]
    Path("pairs.jsonl").write_bytes(b"".join(row.to_json() + b"\n" for row in rows))
    Path("groups.jsonl").write_text("".join(json.dumps({"account": n, "group": "ring"}) + "\n" for n in NAMES[:2]))
    return tmp_path


def cli(capsys, *words):
    code = main(list(words))
    return code, *capsys.readouterr()


def test_the_commands(folder, capsys):
    code, out, _ = cli(capsys, "aliases", "new", "pairs.jsonl", "-o", "s.json")
    assert code == 0
    assert stat.S_IMODE(Path("s.json").stat().st_mode) == 0o600
    assert json.loads(out) == {"file": "s.json", "accounts": 4, "root": read_sealed("s.json").root}
    code, out, _ = cli(capsys, "redact", "pairs.jsonl", "--aliases", "s.json", "-o", "r.jsonl")
    assert (code, json.loads(out)["accounts"], json.loads(out)["kind"]) == (0, 4, "redacted-pair")
    assert cli(capsys, "redact", "pairs.jsonl", "--aliases", "s.json", "--keep-texts", "-o", "t.jsonl")[0] == 0
    assert cli(capsys, "redact", "t.jsonl", "-o", "again.jsonl")[0] == 0
    assert Path("again.jsonl").read_bytes() == Path("r.jsonl").read_bytes()
    assert cli(capsys, "redact", "groups.jsonl", "--aliases", "s.json", "--groups", "-o", "g.jsonl")[0] == 0
    for name in ("r.jsonl", "t.jsonl", "g.jsonl"):
        assert not any(person in Path(name).read_text() for person in NAMES)
    members = [json.loads(line)["account"] for line in Path("g.jsonl").read_text().splitlines()]
    assert members == sorted(members)
    assert cli(capsys, "aliases", "open", "s.json", "alice", "-o", "o.json")[0] == 0
    assert read_opening("o.json").holds


def test_a_sealed_file_is_never_overwritten(folder, capsys):
    assert cli(capsys, "aliases", "new", "pairs.jsonl", "-o", "s.json")[0] == 0
    before = Path("s.json").read_bytes()
    assert cli(capsys, "aliases", "new", "pairs.jsonl", "-o", "s.json")[0] == 2
    assert Path("s.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("redact", "pairs.jsonl", "--keep-texts", "-o", "x"), 2, "go with --aliases"),
        (("redact", "pairs.jsonl", "--groups", "-o", "x"), 2, "go with --aliases"),
        (("redact", "pairs.jsonl", "--aliases", "s.json", "--windows", "2", "-o", "x"), 2, "different inputs"),
        (("redact", "pairs.jsonl", "--aliases", "s.json", "--groups", "--keep-texts", "-o", "x"), 2, "different"),
        (("redact", "pairs.jsonl", "--aliases", "pairs.jsonl", "-o", "x"), 2, "can be read by others"),
        (("redact", "s.json", "--aliases", "s.json", "-o", "s.json", "--force"), 2, "same file"),
        (("aliases", "open", "s.json", "mallory", "-o", "x"), 3, "not in the sealed file"),
        (("aliases", "open", "s.json", "alias-5", "-o", "x"), 3, "expected alias-1 to alias-4"),
        (("aliases", "check", "s.json"), 2, "either --evidence or --plan"),
        (("aliases", "new", "groups.jsonl", "-o", "x"), 2, "radiolabel is None"),
    ],
)
def test_what_does_not_go_together(folder, capsys, words, code, says):
    write(folder / "s.json", SEALED.to_json())
    found, out, err = cli(capsys, *words)
    assert (found, out) == (code, "")
    assert says in err
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("Jos\u00e9 P", "jose\u0301 p-17"), ("\uff21lice", "r-ALICE-2"), ("stra\u00dfe", "STRASSE-1")]
)
def test_another_spelling_of_a_name_gives_it_away_too(name, text):
    assert SEALED.betrays(name, text)
    assert not SEALED.betrays(name, "r-17-twin")

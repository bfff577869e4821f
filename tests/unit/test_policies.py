"""What a checker trusts, as a file; and the ids of the steps."""

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tsa_server import Authority
from verify.canonical import canonical
from verify.errors import InputError
from verify.evidence.policy import Policy, read_policy
from verify.evidence.step_ids import STEP_IDS, is_step

PAGE = Path(__file__).resolve().parents[2] / "docs/spec/evidence.md"
SIGNER = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """PEM text of one certificate."""
    return Path(Authority(tmp_path_factory.mktemp("tsa")).roots_file).read_text()


def fields(**changes):
    value = {
        "radiolabel": "policy",
        "version": 1,
        "signer": SIGNER,
        "roots": "",
        "released": "unknown",
        "beacon_value": "unknown",
        "required": [],
    }
    return {k: v for k, v in (value | changes).items() if v is not ...}


@pytest.fixture
def write(tmp_path):
    def write(data):
        path = tmp_path / "policy.json"
        path.write_bytes(data if isinstance(data, bytes) else canonical(data) + b"\n")
        return str(path)

    return write


def test_a_policy_is_read_as_it_was_written(write, roots):
    policy = Policy(
        signer=SIGNER,
        roots=roots + roots,
        released="2027-05-01T00:00:00Z",
        beacon_value="ab" * 32,
        required=("envelope", "register.6", "slot.12", "measured"),
    )
    assert read_policy(write(policy.to_json())) == policy
    assert len(policy.certificates()) == 1  # twice in the text
    assert policy.released_at() == datetime(2027, 5, 1, tzinfo=UTC)
    assert policy.beacon_bytes() == bytes([0xAB]) * 32


def test_unknown_is_unknown_and_not_some_value(write):
    policy = read_policy(write(fields()))
    assert (policy.released_at(), policy.beacon_bytes(), policy.certificates()) == (None, None, [])


def test_the_file_has_the_bytes_of_the_page():
    policy = Policy(signer=SIGNER, roots="", released="unknown", beacon_value="unknown", required=("plan",))
    assert policy.to_json() == (
        b'{"beacon_value":"unknown","radiolabel":"policy","released":"unknown","required":["plan"],"roots":"",'
        b'"signer":"%s","version":1}\n' % SIGNER.encode()
    )


@pytest.mark.parametrize("field", fields())
def test_no_field_is_optional(write, field):
    with pytest.raises(InputError):
        read_policy(write(fields(**{field: ...})))
    with pytest.raises(InputError):
        read_policy(write(fields(**{field: None})))


REFUSED = [
    ("radiolabel", "commitment", "expected 'policy'"),
    ("version", 2, "expected 1"),
    ("version", True, "expected 1"),
    ("extra", 1, "extra"),
    ("signer", SIGNER.upper(), "signer"),
    ("signer", SIGNER[:-2], "signer"),
    ("signer", SIGNER + "\n", "signer"),
    ("signer", "unknown", "signer"),
    ("roots", "no certificate", "certificates in PEM"),
    ("roots", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificates in PEM"),
    ("roots", [], "roots"),
    ("released", "", "released"),
    ("released", "2027-05-01", "released"),
    ("released", "2027-5-1T00:00:00Z", "released"),
    ("released", "2027-05-01T00:00:00Z\n", "released"),
    ("beacon_value", "ab\n", "beacon_value"),
    ("released", "2027-05-01T00:00:00+00:00", "released"),
    ("released", "2027-02-30T00:00:00Z", "released is '2027-02-30T00:00:00Z', expected unknown, or a time"),
    ("released", 1, "released"),
    ("beacon_value", "", "beacon_value"),
    ("beacon_value", "abc", "beacon_value"),
    ("beacon_value", "AB", "beacon_value"),
    ("beacon_value", "ab" * 1025, "beacon_value"),
    ("required", ["signed"], "required has 'signed'"),
    ("required", ["register.7"], "required has 'register.7'"),
    ("required", ["plan", "plan"], "'plan' twice"),
    ("required", [1], "required"),
    ("required", "plan", "required"),
]


@pytest.mark.parametrize(("field", "value", "message"), REFUSED)
def test_other_values_are_refused(write, field, value, message):
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        read_policy(write(fields(**{field: value})))
    assert "policy.json" in refused.value.message


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: data[:-1],
        lambda data: b" " + data,
        lambda data: data.replace(b'"roots":""', b'"roots":"","roots":""'),
        lambda data: json.dumps(fields()).encode() + b"\n",
        lambda data: data.replace(b'"roots":""', b'"roots":"%s"' % (b"a" * (1 << 20))),
    ],
)
def test_another_spelling_is_refused(write, change):
    data = canonical(fields()) + b"\n"
    read_policy(write(data))
    with pytest.raises(InputError):
        read_policy(write(change(data)))


@pytest.mark.parametrize(
    "changes", [{"required": ("signed",)}, {"released": "soon"}, {"roots": "x"}, {"signer": ""}], ids=str
)
def test_nothing_is_written_that_would_not_be_read(changes):
    whole = {"signer": SIGNER, "roots": "", "released": "unknown", "beacon_value": "unknown", "required": ()}
    Policy(**whole).to_json()
    with pytest.raises(InputError):
        Policy(**(whole | changes)).to_json()


def test_certificates_of_no_known_version_are_refused(write, roots):
    begin, body, end = re.fullmatch(r"(-.*-\n)([^-]*)(-.*-\n)", roots).groups()
    der = base64.b64decode(body)
    assert bytes.fromhex("a003020102") in der
    other = base64.encodebytes(der.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020104"))).decode()
    with pytest.raises(InputError, match="certificates in PEM"):
        read_policy(write(fields(roots=begin + other + end)))


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_arbitrary_files_are_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("policy") / "p.json"
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_policy(str(path))


def test_the_ids_are_those_of_the_page_in_its_order():
    table = PAGE.read_text().partition("## 9. Steps")[2].partition("## 10.")[0]
    named = []
    for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        for first, dots, last in re.findall(r"`([a-z.0-9]+)`(?: (\.\.\.) ?(?:`([a-z.0-9]+)`)?)?", row):
            stem, _, number = first.rpartition(".")
            if not dots:
                named.append(first)
            elif last:
                assert number == "1"
                assert last.startswith(f"{stem}.")
                named += [f"{stem}.{i}" for i in range(1, int(last.rpartition(".")[2]) + 1)]
            else:
                named.append(stem)
    assert tuple(named) == STEP_IDS
    assert len(set(STEP_IDS)) == len(STEP_IDS)


def test_numbered_steps_have_numbers_from_1():
    for name in STEP_IDS:
        assert is_step(name) == (name not in ("slot", "log"))
    for name in ("slot.1", "slot.1024", "log.1", "log.27"):
        assert is_step(name)
    for name in (
        "",
        "slot",
        "slot.",
        "slot.0",
        "slot.01",
        "slot.1.1",
        "log.-1",
        "master.4",
        "master",
        "plan.1",
        "Plan",
    ):
        assert not is_step(name)
    assert not is_step("slot.1\n")
    assert not is_step("slot.\u0661")

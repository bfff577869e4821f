import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import make_epoch
from watermark.deployment import Deployment
from watermark.errors import Error, KeyFileError, TicketError
from watermark.keyfile import read_key, write_key
from watermark.keys import EpochKey, derive
from watermark.secret import Secret
from watermark.serving.tickets import MAX_CHARACTERS, MAX_LIFETIME, Ticket, mint, read

NOW = 1_790_000_000
EPOCH = make_epoch()
KEY = EPOCH.gateway_key()
KEYS = {"test": KEY}
TICKET = Ticket(epoch="test", request="r-17", account="slot-4", cohort="eu", expires=NOW + 60)


def refusal(text, *, keys=KEYS, now=NOW):
    with pytest.raises(TicketError) as caught:
        read(text, keys=keys, now=now)
    return caught.value.reason


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sealed(payload, key=KEY):
    """A ticket with a good seal over any payload: what a gateway could send by mistake."""
    signed = f"rl1.{b64(payload)}"
    return f"{signed}.{b64(key.mac(signed.encode()))}"


def fields(**changes):
    record = {"account": "slot-4", "cohort": "eu", "epoch": "test", "expires": NOW + 60, "request": "r-17"} | changes
    return json.dumps({k: v for k, v in record.items() if v is not None}, separators=(",", ":")).encode()


def test_what_is_minted_is_read():
    assert read(mint(KEY, TICKET), keys=KEYS, now=NOW) == TICKET
    assert read(mint(KEY, TICKET), keys=KEYS.get, now=NOW) == TICKET
    bare = Ticket(epoch="test", request="r", expires=NOW + 1)
    assert read(mint(KEY, bare), keys=KEYS, now=NOW) == bare


def test_the_page_written_out_a_second_time():
    """docs/spec/ticket.md, without the program's own functions."""

    def lp(*parts):
        return b"".join(len(p).to_bytes(2, "little") + p for p in parts)

    def hkdf(node, info):
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(node)

    node = hkdf(EPOCH.secret.reveal(), lp(b"radiolabel/v1/child", b"gateway", b"", b""))
    key = hkdf(node, lp(b"radiolabel/v1/ticket"))
    payload = b'{"account":"slot-4","cohort":"eu","epoch":"test","expires":1790000060,"request":"r-17"}'
    signed = b"rl1." + base64.urlsafe_b64encode(payload).rstrip(b"=")
    seal = base64.urlsafe_b64encode(hmac.new(key, signed, hashlib.sha256).digest()).rstrip(b"=")
    assert mint(KEY, TICKET) == (signed + b"." + seal).decode()


@pytest.mark.parametrize("flip", [1, 0x80])
def test_every_changed_byte_is_refused(flip):
    text = mint(KEY, TICKET)
    for at in range(len(text)):
        changed = text[:at] + chr(ord(text[at]) ^ flip) + text[at + 1 :]
        assert refusal(changed) in ("malformed", "forged", "unknown_epoch"), at


def test_every_truncation_and_extension_is_refused():
    text = mint(KEY, TICKET)
    for end in range(len(text)):
        assert refusal(text[:end]) in ("malformed", "forged")
    for more in ("=", "==", ".", "A", "\n", " ", "\0", text, "." + text):
        assert refusal(text + more) == "malformed"
        assert refusal(more + text) == "malformed"


def test_a_ticket_has_one_spelling():
    """The unused bits of the last base64 character are zero, and the payload is canonical."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    text = mint(KEY, TICKET)
    accepted = [c for c in alphabet if not _refused(text[:-1] + c)]
    assert accepted == [text[-1]]


def _refused(text):
    try:
        read(text, keys=KEYS, now=NOW)
    except TicketError:
        return True
    return False


@pytest.mark.parametrize(
    "payload",
    [
        fields(off=True),
        fields(key="00" * 32),
        fields(epoch=None),
        fields(request=None),
        fields(expires=None),
        fields(expires=str(NOW + 60)),
        fields(expires=NOW + 60.5),
        fields(expires=float(NOW + 60)),
        fields(expires=True),
        fields(expires=-1),
        fields(expires=1 << 53),
        fields(expires=1 << 70),
        fields(account=""),
        fields(account=["slot-4"]),
        fields(account=4),
        *(fields().replace(b'"slot-4"', falsy) for falsy in (b"null", b"0", b"false", b"[]", b"{}")),
        fields(account="slot 4"),
        fields(account="ſlot"),
        fields(epoch="../test"),
        fields(epoch=".."),
        fields(request="r\u0000"),
        fields(request="r.1"),
        fields(request="r.0"),
        fields(request="x" * 97),
        fields(request="r/1"),
        fields() + b" ",
        b" " + fields(),
        fields().replace(b":", b": "),
        fields().replace(b'"eu"', b'"\\u0065u"'),
        fields()[:-1] + b',"request":"r-17"}',
        json.dumps(dict(reversed(json.loads(fields()).items())), separators=(",", ":")).encode(),
        b"",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b"[" * 700,
        b'{"a":' * 120,
        b"\xff\xfe",
        "{'é'}".encode(),
        b"NaN",
    ],
)
def test_what_is_not_a_ticket_is_malformed_even_if_sealed(payload):
    assert refusal(sealed(payload)) == "malformed"


def test_the_plain_payload_would_have_been_good():
    assert read(sealed(fields()), keys=KEYS, now=NOW) == TICKET


@pytest.mark.parametrize("text", [None, 7, b"rl1.AA.AA", "", "rl1", "rl1..", "rl2" + mint(KEY, TICKET)[3:], [], {}])
def test_other_things_are_malformed(text):
    assert refusal(text) == "malformed"


def test_a_huge_ticket_is_refused_unread():
    assert refusal("rl1." + "A" * 10_000_000 + "." + "A" * 43) == "malformed"
    long = Ticket(epoch="e" * 128, request="r" * 96, account="a" * 128, cohort="c" * 128, expires=(1 << 53) - 1)
    key = make_epoch().gateway_key()
    named = type(key)(secret=key.secret, path=f"epoch/{long.epoch}/gateway")
    assert len(mint(named, long)) <= MAX_CHARACTERS


def test_another_epoch_is_unknown_and_its_key_does_not_mint_here():
    other = Ticket(epoch="other", request="r", expires=NOW + 60)
    named = type(KEY)(secret=KEY.secret, path="epoch/other/gateway")
    assert refusal(mint(named, other)) == "unknown_epoch"
    assert refusal(mint(named, other), keys=lambda name: None) == "unknown_epoch"
    with pytest.raises(Error, match="cannot be minted with the gateway key epoch/test/gateway"):
        mint(KEY, other)


def test_another_key_is_a_forgery():
    assert refusal(mint(make_epoch(1).gateway_key(), TICKET)) == "forged"
    assert refusal(mint(KEY, TICKET), keys={"test": make_epoch(1).gateway_key()}) == "forged"


def test_seals_do_not_move_between_tickets():
    one, other = mint(KEY, TICKET), mint(KEY, Ticket(epoch="test", request="r-18", expires=NOW + 60))
    assert refusal(one.rpartition(".")[0] + "." + other.rpartition(".")[2]) == "forged"


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (NOW + 59.999, None),
        (NOW + 60, "expired"),
        (NOW + 1e9, "expired"),
        (NOW + 60 - MAX_LIFETIME, None),
        (NOW + 59 - MAX_LIFETIME, "far_future"),
    ],
)
def test_a_ticket_is_good_for_its_time(now, reason):
    text = mint(KEY, TICKET)
    if reason:
        assert refusal(text, now=now) == reason
    else:
        assert read(text, keys=KEYS, now=now) == TICKET


def test_a_forged_ticket_is_not_told_that_it_expired():
    assert refusal(mint(make_epoch(1).gateway_key(), TICKET), now=NOW + 1e6) == "forged"


def test_errors_quote_nothing_of_the_ticket():
    for text in (mint(KEY, TICKET), sealed(fields(account="ac count")), sealed(b"secret-looking")):
        with pytest.raises(TicketError) as caught:
            read(text, keys={"test": make_epoch(1).gateway_key()}, now=NOW)
        shown = f"{caught.value} {caught.value.hint}"
        assert not any(part in shown for part in ("slot-4", "ac count", "r-17", "secret-looking", text[4:20]))


@given(st.text(max_size=200), st.binary(max_size=200), st.sampled_from(["", "rl1."]))
def test_no_foreign_exception(text, raw, prefix):
    assert refusal(prefix + text) in ("malformed", "forged", "unknown_epoch")
    assert refusal(sealed(raw)) == "malformed"
    assert refusal(f"{prefix}{b64(raw)}.{b64(raw)}") == "malformed"


def test_the_gateway_node_derives_nothing_and_reads_back(tmp_path):
    assert derive(EPOCH, "epoch/test/gateway") == KEY
    with pytest.raises(KeyFileError, match="nothing can be derived from the gateway key epoch/test/gateway"):
        derive(KEY, "epoch/test/fleet")
    write_key(KEY, tmp_path / "k")
    assert read_key(tmp_path / "k") == KEY
    record = json.loads((tmp_path / "k").read_text())
    assert set(record) == {"radiolabel", "version", "kind", "id", "path", "secret"}
    for change in ({"path": "epoch/other/gateway"}, {"kind": "coin"}, {"secret": "00" * 32}, {"width": 2}):
        (tmp_path / "k").write_text(json.dumps(record | change))
        with pytest.raises(KeyFileError, match=r"the id does not follow|unknown field|cannot be part"):
            read_key(tmp_path / "k")
    assert KEY.secret.reveal().hex() not in repr(KEY)
    assert KEY.secret not in (EPOCH.coin_key().secret, EPOCH.secret)


def test_the_example_of_the_page():
    page = (Path(__file__).parents[2] / "docs/spec/ticket.md").read_text()
    text = page.rpartition("```\n")[0].rpartition("```\n")[2].strip()
    key = EpochKey(Secret(bytes(32)), "q4", Deployment.parse()).gateway_key()
    ticket = Ticket(epoch="q4", request="r-000017", account="slot-00412", expires=1_798_761_600)
    assert mint(key, ticket) == text
    assert read(text, keys={"q4": key}, now=1_798_761_599) == ticket

"""The signed envelope: one spelling, one algorithm, one signature; and the keys that sign."""

import base64
import copy
import hashlib
import json
import os
import pickle
import shutil
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.canonical import canonical
from verify.errors import InputError
from verify.evidence import envelope as module
from verify.evidence.envelope import Envelope, pae, parse_envelope, read_envelope, sign
from verify.evidence.signing import Signer, keyid, new_signer, read_public, read_signer

# RFC 8032, section 7.1, test 1.
SECRET = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SECRET)))

OPENSSL = shutil.which("openssl")


def subject(name, digit="0"):
    return {"digest": {"sha256": digit * 64}, "name": name}


def statement(**changes):
    value = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "urn:radiolabel:evidence:1",
        "subject": [subject("answers.jsonl"), subject("tokenizer.json", "a")],
        "predicate": {"plan": {"name": "q4 ü"}, "results": [1, 0.5, None]},
    }
    return {k: v for k, v in (value | changes).items() if v is not ...}


def made(**changes):
    return sign(canonical(statement(**changes)), SIGNER)


def unchecked(payload):
    """Signed, and not looked at."""
    return Envelope(payload, keyid(SIGNER.public), SIGNER.sign(pae(payload)))


def test_a_file_gives_back_what_was_signed(tmp_path):
    envelope = made()
    (tmp_path / "e.json").write_bytes(envelope.to_json())
    read = read_envelope(str(tmp_path / "e.json"))
    assert read == envelope
    assert read.verify(bytes.fromhex(PUBLIC))
    assert read.statement("e.json") == statement()
    assert read.keyid == hashlib.sha256(bytes.fromhex(PUBLIC)).hexdigest()


def test_the_file_is_canonical_json_and_one_line_end():
    data = made().to_json()
    assert canonical(json.loads(data)) + b"\n" == data


def test_pae_is_that_of_the_dsse_specification():
    # The form of https://github.com/secure-systems-lab/dsse/blob/master/protocol.md with this payload type.
    assert pae(b"hello world") == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
    assert pae(b"") == b"DSSEv1 28 application/vnd.in-toto+json 0 "
    assert pae("ü".encode()) == b"DSSEv1 28 application/vnd.in-toto+json 2 \xc3\xbc"


@given(st.binary(max_size=200))
def test_any_payload_survives_its_file(payload):
    envelope = unchecked(payload)
    read = parse_envelope(envelope.to_json(), "e")
    assert read == envelope
    assert read.verify(SIGNER.public)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_a_signature_is_of_one_payload(payload, other):
    signed = Envelope(other, keyid(SIGNER.public), unchecked(payload).signature)
    assert signed.verify(SIGNER.public) == (payload == other)


def test_another_key_did_not_sign_it():
    other = Signer(Ed25519PrivateKey.generate())
    assert not made().verify(other.public)
    # Named as the signer, and still not: the signature is the first one's.
    assert not Envelope(made().payload, keyid(other.public), made().signature).verify(other.public)
    # Signed by the one, and another is named.
    assert not Envelope(made().payload, keyid(other.public), made().signature).verify(SIGNER.public)


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33), bytes(32), b"\xff" * 32])
def test_what_is_no_public_key_verifies_nothing(public):
    assert not Envelope(made().payload, keyid(public), made().signature).verify(public)


def holds(data):
    """Whether a changed file would pass: as canonical, as signed, and as a statement."""
    try:
        return parse_envelope(data, "e").verify(SIGNER.public)
    except InputError:
        return False


def test_no_changed_byte_passes():
    data = made().to_json()
    assert holds(data)
    for place in range(len(data)):
        for pattern in (*(1 << bit for bit in range(8)), 0x20 ^ 0x0A, 0x7F, 0xFF):
            changed = bytearray(data)
            changed[place] ^= pattern
            assert not holds(bytes(changed)), (place, pattern)


def test_no_byte_can_be_left_out_or_put_in():
    data = made().to_json()
    for place in range(len(data) + 1):
        if place < len(data):
            assert not holds(data[:place] + data[place + 1 :]), place
        assert not holds(data[:place]) or place == len(data), place
        for extra in (b" ", b"\n", b"A", b"=", b'"', b"\0"):
            assert not holds(data[:place] + extra + data[place:]), (place, extra)


FIELDS = json.loads(made().to_json())
ONE = FIELDS["signatures"][0]


def spelled(**changes):
    return canonical({k: v for k, v in (FIELDS | changes).items() if v is not ...}) + b"\n"


def with_signature(**changes):
    return spelled(signatures=[{k: v for k, v in (ONE | changes).items() if v is not ...}])


def b64(data):
    return base64.b64encode(data).decode()


def unused_bits(text):
    """The same bytes, in a spelling whose unused bits are not 0."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = len(text.rstrip("=")) - 1
    changed = text[:last] + alphabet[alphabet.index(text[last]) | 1] + text[last + 1 :]
    assert base64.b64decode(changed) == base64.b64decode(text)
    return changed


WHOLE = made().to_json()
REFUSED = {
    "nothing": b"",
    "no object": b"[]\n",
    "half": WHOLE[: len(WHOLE) // 2],
    "byte order mark": b"\xef\xbb\xbf" + WHOLE,
    "no line end": WHOLE[:-1],
    "two line ends": WHOLE + b"\n",
    "crlf": WHOLE[:-1] + b"\r\n",
    "white space": json.dumps(FIELDS).encode() + b"\n",
    "another order": json.dumps(dict(reversed(FIELDS.items())), separators=(",", ":")).encode() + b"\n",
    "an escape": WHOLE.replace(b'"payload"', b'"p\\u0061yload"'),
    "an escaped slash": WHOLE.replace(b"application/vnd", b"application\\/vnd"),
    "not utf-8": WHOLE.replace(b'"payload":"', b'"payload":"\xff'),
    "two objects": WHOLE + WHOLE,
    "payload twice": WHOLE.replace(b'{"payload"', b'{"payload":"","payload"'),
    "keyid twice": WHOLE.replace(b'"keyid"', b'"keyid":"%s","keyid"' % (b"0" * 64)),
    "no payload": spelled(payload=...),
    "no type": spelled(payloadType=...),
    "another type": spelled(payloadType="application/vnd.in-toto+xml"),
    "no signatures": spelled(signatures=...),
    "no signature": spelled(signatures=[]),
    "two signatures": spelled(signatures=[ONE, ONE]),
    "a million signatures": b'{"payload":"","payloadType":"application/vnd.in-toto+json","signatures":['
    + b"[]," * 1_000_000
    + b"[]]}\n",
    "algorithm": spelled(alg="none"),
    "algorithm of the signature": with_signature(alg="HS256"),
    "certificate": with_signature(cert=""),
    "no keyid": with_signature(keyid=...),
    "keyid in capitals": with_signature(keyid=ONE["keyid"].upper()),
    "keyid and line end": with_signature(keyid=ONE["keyid"] + "\n"),
    "short keyid": with_signature(keyid=ONE["keyid"][:-2]),
    "no sig": with_signature(sig=...),
    "empty sig": with_signature(sig=""),
    "short sig": with_signature(sig=b64(bytes(63))),
    "long sig": with_signature(sig=b64(base64.b64decode(ONE["sig"]) + b"\0")),
    "sig without padding": with_signature(sig=ONE["sig"].rstrip("=")),
    "sig with unused bits": with_signature(sig=unused_bits(ONE["sig"])),
    "sig in base64url": with_signature(sig=ONE["sig"].replace("+", "-").replace("/", "_")),
    "payload with a line end": spelled(payload=FIELDS["payload"][:76] + "\n" + FIELDS["payload"][76:]),
    "payload with white space": spelled(payload=" " + FIELDS["payload"]),
    "payload with too much padding": spelled(payload=b64(b"abc") + "="),
    "payload with other letters": spelled(payload="ab\u00e9="),
    "payload as a number": spelled(payload=1),
    "payload null": spelled(payload=None),
    "payload as an object": spelled(payload=statement()),
    "huge number": b'{"payload":1' + b"0" * 5000 + b"}\n",
    "huge exponent": b'{"payload":1e999}\n',
    "nested": b'{"payload":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n",
    "nested in an unknown field": b'{"a":' + b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"}\n",
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_files_are_refused(case):
    assert REFUSED[case] != WHOLE
    with pytest.raises(InputError) as refused:
        parse_envelope(REFUSED[case], "e.json")
    assert refused.value.message.startswith("e.json: ")
    assert len(refused.value.message) < 400


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_arbitrary_bytes_are_refused_and_crash_nothing(data):
    with pytest.raises(InputError):
        parse_envelope(data, "e")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300)
@given(
    st.sampled_from([("payload",), ("payloadType",), ("signatures",), ("signatures", 0), ("signatures", 0, "sig")]),
    JSON,
)
def test_arbitrary_values_in_a_field_never_pass(path, value):
    fields = copy.deepcopy(FIELDS)
    inner = fields
    for step in path[:-1]:
        inner = inner[step]
    if inner[path[-1]] == value:
        return
    inner[path[-1]] = value
    assert not holds(
        json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="replace") + b"\n"
    )


def test_a_file_that_is_too_long_is_refused_before_it_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "MAX_BYTES", len(WHOLE))
    (tmp_path / "e.json").write_bytes(WHOLE)
    assert read_envelope(str(tmp_path / "e.json")) == made()
    (tmp_path / "e.json").write_bytes(WHOLE + b"x")
    with pytest.raises(InputError, match=f"more than {len(WHOLE)} bytes"):
        read_envelope(str(tmp_path / "e.json"))
    monkeypatch.setattr(module, "MAX_BYTES", len(WHOLE) - 1)
    with pytest.raises(InputError, match="bytes, expected at most that"):
        made().to_json()


def test_the_limit_is_that_of_the_page():
    assert module.MAX_BYTES == 67_108_864


@pytest.mark.parametrize("path", ["missing.json", "folder\0", "."])
def test_what_cannot_be_read_is_said(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_envelope(path)


@pytest.mark.parametrize(
    "envelope",
    [
        Envelope(b"", "0" * 63, bytes(64)),
        Envelope(b"", "G" * 64, bytes(64)),
        Envelope(b"", "0" * 64, bytes(63)),
        Envelope(b"", '"', bytes(64)),
    ],
    ids=str,
)
def test_nothing_is_written_that_would_not_be_read(envelope):
    with pytest.raises(InputError):
        envelope.to_json()


STATEMENTS = {
    "no type": statement(_type=...),
    "another type": statement(_type="https://in-toto.io/Statement/v0.1"),
    "no predicate type": statement(predicateType=...),
    "a later version": statement(predicateType="urn:radiolabel:evidence:2"),
    "no subject": statement(subject=...),
    "no predicate": statement(predicate=...),
    "predicate is a list": statement(predicate=[]),
    "unknown field": statement(note=""),
    "null field": statement(note=None),
    "subject is an object": statement(subject={}),
    "same name": statement(subject=[subject("a"), subject("a", "1")]),
    "another order": statement(subject=[subject("b"), subject("a")]),
    "another order by case": statement(subject=[subject("a"), subject("B")]),
    "another digest": statement(subject=[{"digest": {"sha1": "0" * 40}, "name": "a"}]),
    "two digests": statement(subject=[{"digest": {"sha1": "0" * 40, "sha256": "0" * 64}, "name": "a"}]),
    "digest in capitals": statement(subject=[subject("a", "A")]),
    "digest and line end": statement(subject=[{"digest": {"sha256": "0" * 64 + "\n"}, "name": "a"}]),
    "uri": statement(subject=[subject("a") | {"uri": "file:///a"}]),
    **{
        f"name {name!r}"[:40]: statement(subject=[subject(name)])
        for name in ("", "a/b", "..", ".a", "-a", "a\\b", "a\n", "a b", "C:a", "ä", "a\0", "a" * 129)
    },
}


@pytest.mark.parametrize("case", STATEMENTS)
def test_other_statements_are_refused(case):
    payload = canonical(STATEMENTS[case])
    with pytest.raises(InputError) as refused:
        unchecked(payload).statement("e.json")
    assert refused.value.message.startswith("e.json: payload")
    with pytest.raises(InputError):
        sign(payload, SIGNER)  # nor is it signed


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        canonical(statement()) + b"\n",
        b" " + canonical(statement()),
        canonical(statement()).replace(b'"predicate"', b'"predicate":{},"predicate"', 1),
        canonical(statement()).replace(b"0.5", b"0.50"),
        canonical(statement()).replace(b"0.5", b"5e-1"),
        canonical(statement()).replace(b"0.5", b"1e999"),
        canonical(statement()).replace(b"0.5", b"9007199254740993"),
        canonical(statement()).replace(b"0.5", b"1" * 10_000),
        canonical(statement()).replace(b"0.5", b"NaN"),
        canonical(statement()).replace(b"0.5", b"-0"),
        canonical(statement()).replace(b"0.5", b"[" * 100_000 + b"]" * 100_000),
        canonical(statement()).replace(b"0.5", b"[" * 900 + b"]" * 900),
        canonical(statement()).replace(b"q4", b"\\ud800"),
        canonical(statement()).replace(b"q4", b"\xff"),
        canonical(statement()).replace("ü".encode(), b"\\u00fc"),
    ],
    ids=lambda payload: str(payload[:20]),
)
def test_a_payload_that_is_not_canonical_json_is_refused(payload):
    with pytest.raises(InputError, match=r"^e\.json: payload"):
        unchecked(payload).statement("e.json")


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return {"x": value}


def test_objects_and_arrays_nest_64_deep_and_no_deeper():
    # The statement, its predicate, and 62 arrays.
    assert made(predicate=nested(62)).statement("e")["predicate"] == nested(62)
    with pytest.raises(InputError, match="nested too deeply, expected at most 64 levels"):
        made(predicate=nested(63))


def test_names_are_file_names_of_the_page():
    names = sorted(["A", "Z.json", "_x", "a-b", "a.b", "a" * 128, "0"])
    envelope = made(subject=[subject(name) for name in names])
    assert [s["name"] for s in envelope.statement("e")["subject"]] == names


# Keys.


def test_the_signer_is_that_of_rfc_8032():
    assert SIGNER.public.hex() == PUBLIC
    assert SIGNER.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_a_new_signer_is_read_again(tmp_path):
    path = tmp_path / "signer.pem"
    made_ = new_signer(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_signer(path).public == made_.public
    assert new_signer(tmp_path / "other.pem").public != made_.public


def test_it_is_private_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        new_signer(tmp_path / "signer.pem")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "signer.pem").stat().st_mode) == 0o600


def test_a_signer_is_never_overwritten(tmp_path):
    path = tmp_path / "signer.pem"
    path.write_text("mine")
    with pytest.raises(InputError, match="never overwritten"):
        new_signer(path)
    (tmp_path / "link.pem").symlink_to(tmp_path / "nowhere.pem")
    with pytest.raises(InputError, match="never overwritten"):
        new_signer(tmp_path / "link.pem")
    assert path.read_text() == "mine"
    assert not (tmp_path / "nowhere.pem").exists()


def test_a_signer_shows_nothing_secret(tmp_path):
    path = tmp_path / "signer.pem"
    signer = new_signer(path)
    raw = load_pem_private_key(path.read_bytes(), None).private_bytes_raw()
    shown = f"{signer!r} {signer} {[signer]}"
    assert raw.hex() not in shown
    assert b64(raw) not in shown
    assert signer.public.hex() in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(signer)
    assert not hasattr(signer, "__dict__")


def private_pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def write_private(path, data):
    path.touch(0o600)
    path.write_bytes(data)


ED25519 = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SECRET))
BAD_SIGNERS = {
    "empty": (b"", "no private key"),
    "text": (b"hello\n", "no private key"),
    "half": (private_pem(ED25519)[:60], "no private key"),
    "der": (ED25519.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), "no private key"),
    "another curve": (private_pem(generate_private_key(SECP256R1())), "another kind"),
    "encrypted": (private_pem(ED25519, BestAvailableEncryption(b"secret")), "is encrypted"),
    "public": (ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "no private key"),
    "long": (private_pem(ED25519) + b"\n" * 20_000, "longer than"),
}


@pytest.mark.parametrize("case", BAD_SIGNERS)
def test_other_private_keys_are_refused(case, tmp_path):
    data, reason = BAD_SIGNERS[case]
    write_private(tmp_path / "signer.pem", data)
    with pytest.raises(InputError, match=reason) as refused:
        read_signer(tmp_path / "signer.pem")
    text = f"{refused.value} {refused.value.hint}"
    assert b64(ED25519.private_bytes_raw())[:12] not in text
    assert SECRET[:12] not in text
    assert refused.value.hint or case == "long"


def test_a_signer_that_others_can_read_is_refused(tmp_path):
    new_signer(tmp_path / "signer.pem")
    (tmp_path / "signer.pem").chmod(0o640)
    with pytest.raises(InputError, match="can be read by others") as refused:
        read_signer(tmp_path / "signer.pem")
    assert refused.value.hint == f"chmod 600 {tmp_path / 'signer.pem'}"


@pytest.mark.parametrize("path", ["", "-", ".", "missing.pem", "nowhere/signer.pem", "a\0"])
def test_what_is_no_file_is_no_signer(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        read_signer(path)
    if path != "missing.pem":
        with pytest.raises(InputError):
            new_signer(path)


def test_a_public_key_can_be_named_in_three_ways(tmp_path):
    signer = new_signer(tmp_path / "signer.pem")
    key = load_pem_private_key((tmp_path / "signer.pem").read_bytes(), None).public_key()
    (tmp_path / "signer.pub").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for text in (signer.public.hex(), str(tmp_path / "signer.pem"), str(tmp_path / "signer.pub")):
        assert read_public(text) == signer.public
    other = generate_private_key(SECP256R1()).public_key()
    (tmp_path / "other.pub").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "half.pub").write_bytes((tmp_path / "signer.pub").read_bytes()[:40])
    for text in (PUBLIC.upper(), PUBLIC[:-1], PUBLIC + "00", str(tmp_path / "other.pub"), str(tmp_path / "half.pub")):
        with pytest.raises(InputError):
            read_public(text)


@pytest.mark.skipif(OPENSSL is None, reason="needs the openssl binary")
def test_openssl_checks_our_signature_with_our_key_file(tmp_path):
    signer = new_signer(tmp_path / "signer.pem")
    envelope = sign(canonical(statement()), signer)
    (tmp_path / "pae").write_bytes(pae(envelope.payload))
    (tmp_path / "sig").write_bytes(envelope.signature)

    def openssl(*arguments):
        return subprocess.run([OPENSSL, *map(str, arguments)], cwd=tmp_path, capture_output=True, check=False)

    assert openssl("pkey", "-in", "signer.pem", "-pubout", "-out", "signer.pub").returncode == 0
    assert read_public(str(tmp_path / "signer.pub")) == signer.public
    check = ("pkeyutl", "-verify", "-pubin", "-inkey", "signer.pub", "-rawin", "-in", "pae", "-sigfile", "sig")
    assert openssl(*check).returncode == 0
    (tmp_path / "pae").write_bytes(pae(envelope.payload + b" "))
    assert openssl(*check).returncode != 0


@pytest.mark.skipif(OPENSSL is None, reason="needs the openssl binary")
def test_a_key_and_a_signature_of_openssl_are_ours(tmp_path):
    def openssl(*arguments):
        subprocess.run([OPENSSL, *arguments], cwd=tmp_path, capture_output=True, check=True)

    openssl("genpkey", "-algorithm", "ed25519", "-out", "signer.pem")
    (tmp_path / "signer.pem").chmod(0o600)
    signer = read_signer(tmp_path / "signer.pem")
    payload = canonical(statement())
    (tmp_path / "pae").write_bytes(pae(payload))
    openssl("pkeyutl", "-sign", "-inkey", "signer.pem", "-rawin", "-in", "pae", "-out", "sig")
    signature = (tmp_path / "sig").read_bytes()
    assert Envelope(payload, keyid(signer.public), signature).verify(signer.public)
    assert sign(payload, signer).signature == signature  # Ed25519 is deterministic
    openssl("genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x", "-out", "locked.pem")
    (tmp_path / "locked.pem").chmod(0o600)
    with pytest.raises(InputError, match="is encrypted") as refused:
        read_signer(tmp_path / "locked.pem")
    assert "openssl pkey -in" in refused.value.hint
    openssl("pkey", "-in", "locked.pem", "-passin", "pass:x", "-out", "plain.pem")
    (tmp_path / "plain.pem").chmod(0o600)
    read_signer(tmp_path / "plain.pem")

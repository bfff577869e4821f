"""Sealed contents: HPKE as RFC 9180 has it, bound to their place, and keys that do not show themselves."""

import base64
import copy
import hashlib
import hmac
import os
import pickle
import subprocess

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.ledgers import entry
from watermark.errors import LedgerError
from watermark.ledger import Content, Keeping, new_sealing_key, opened, read_sealing_key
from watermark.ledger.contents import Place
from watermark.ledger.records import decode

CONTENT = Content(prompt="warum?", response="darum ü", token_ids=(1, 2, 1_048_575), salt="0" * 32)
PLACE = Place("answer", "q4", "r1")


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return new_sealing_key(tmp_path_factory.mktemp("keys") / "sealing.pem")


def extract(salt, label, ikm, suite):
    return hmac.digest(salt, b"HPKE-v1" + suite + label + ikm, "sha256")


def expand(prk, label, info, length, suite):
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    out, block, n = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(prk, block + labeled + bytes([n]), "sha256")
        out, n = out + block, n + 1
    return out[:length]


def open_by_the_rfc(box, private, info):
    """RFC 9180, sections 4.1, 5.1 and 5.2, from its text; KEM 0x0020, KDF 0x0001, AEAD 0x0003."""
    enc, ct = box[:32], box[32:]
    kem, suite = b"KEM" + b"\0\x20", b"HPKE" + b"\0\x20\0\1\0\3"
    shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(enc))
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    secret = expand(extract(b"", b"eae_prk", shared, kem), b"shared_secret", enc + public, 32, kem)
    context = b"\0" + extract(b"", b"psk_id_hash", b"", suite) + extract(b"", b"info_hash", info, suite)
    prk = extract(secret, b"secret", b"", suite)
    aead_key, nonce = expand(prk, b"key", context, 32, suite), expand(prk, b"base_nonce", context, 12, suite)
    return ChaCha20Poly1305(aead_key).decrypt(nonce, ct, b"")


def test_the_rfcs_own_vector_opens():
    """RFC 9180, appendix A.2.1 (X25519, HKDF-SHA256, ChaCha20Poly1305, base mode): shows that the code above is it."""
    private = "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb"
    enc = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
    assert X25519PrivateKey.from_private_bytes(bytes.fromhex(private)).public_key().public_bytes_raw().hex() == (
        "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"
    )
    kem = b"KEM" + b"\0\x20"
    shared = X25519PrivateKey.from_private_bytes(bytes.fromhex(private)).exchange(
        X25519PublicKey.from_public_bytes(bytes.fromhex(enc))
    )
    public = "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"
    secret = expand(extract(b"", b"eae_prk", shared, kem), b"shared_secret", bytes.fromhex(enc + public), 32, kem)
    assert secret.hex() == "0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7"


def test_a_box_opens_by_the_rfc_alone(tmp_path):
    key = new_sealing_key(tmp_path / "k.pem")
    private = load_pem_private_key((tmp_path / "k.pem").read_bytes(), None).private_bytes_raw()
    box = base64.b64decode(Keeping("sealed", key.public).keep(CONTENT, PLACE))
    info = b"".join(len(p).to_bytes(2, "little") + p for p in (b"radiolabel/v1/ledger", b"answer", b"q4", b"r1"))
    data = open_by_the_rfc(box, private, info)
    expected = '{"prompt":"warum?","response":"darum ü","token_ids":[1,2,1048575],"salt":"' + "0" * 32 + '"}'
    assert data.decode() == expected
    assert CONTENT.digest() == "sha256:" + hashlib.sha256(expected.encode()).hexdigest()


def test_what_was_sealed_opens_in_its_place_alone(key):
    kept = Keeping("sealed", key.public).keep(CONTENT, PLACE)
    assert opened(kept, CONTENT.digest(), PLACE, key=key) == CONTENT
    for other in (Place("twin", "q4", "r1"), Place("answer", "q5", "r1"), Place("answer", "q4", "r2"),
                  Place("answer", "q", "4r1")):  # fmt: skip
        with pytest.raises(LedgerError, match="does not open with this key"):
            opened(kept, CONTENT.digest(), other, key=key)


def test_every_changed_byte_of_a_box_is_refused(key):
    kept = Keeping("sealed", key.public).keep(CONTENT, PLACE)
    box = base64.b64decode(kept)
    for place in range(len(box)):
        changed = bytearray(box)
        changed[place] ^= 1
        with pytest.raises(LedgerError):
            opened(base64.b64encode(changed).decode(), CONTENT.digest(), PLACE, key=key)
    for wrong in (b"", box[:31], box[:47], box + b"x"):
        with pytest.raises(LedgerError):
            opened(base64.b64encode(wrong).decode(), CONTENT.digest(), PLACE, key=key)
    with pytest.raises(LedgerError, match="not base64"):
        opened(kept[:-5] + "!" + kept[-4:], CONTENT.digest(), PLACE, key=key)


def test_other_keys_and_no_key_open_nothing(tmp_path, key):
    kept = Keeping("sealed", key.public).keep(CONTENT, PLACE)
    with pytest.raises(LedgerError, match="does not open"):
        opened(kept, CONTENT.digest(), PLACE, key=new_sealing_key(tmp_path / "other.pem"))
    with pytest.raises(LedgerError, match="expected the private key"):
        opened(kept, CONTENT.digest(), PLACE, key=None)
    with pytest.raises(LedgerError, match="not kept"):
        opened(None, CONTENT.digest(), PLACE, key=key)


def test_a_content_is_the_one_that_was_recorded(key):
    other = Content(prompt="", response="", token_ids=(), salt="1" * 32)
    for keeping in (Keeping("sealed", key.public), Keeping("clear")):
        with pytest.raises(LedgerError, match="not the one whose digest"):
            opened(keeping.keep(other, PLACE), CONTENT.digest(), PLACE, key=key)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[" * 100_000, b'{"prompt":1}', b'{"prompt":"","response":"","token_ids":[-1]}']
)
def test_anybody_can_seal_anything(key, data):
    from watermark.ledger.sealing import seal

    kept = base64.b64encode(seal(data, key.public, PLACE.info())).decode()
    with pytest.raises(LedgerError, match=r"not a content|not the one"):
        opened(kept, CONTENT.digest(), PLACE, key=key)


def test_two_boxes_and_two_digests_of_one_answer_differ(key):
    keeping = Keeping("sealed", key.public)
    assert keeping.keep(CONTENT, PLACE) != keeping.keep(CONTENT, PLACE)
    first, second = (Content(prompt="", response="yes", token_ids=(1,)) for _ in range(2))
    assert first.digest() != second.digest()


def test_a_sealed_record_shows_nothing_of_what_was_said(key):
    made = entry(1, twin=True)
    line = made.kept(Keeping("sealed", key.public))
    for hidden in (
        b"why?",
        made.content.response.encode()[:20],
        made.content.salt.encode(),
        made.withheld.salt.encode(),
    ):
        assert hidden not in line
    record = decode(line)
    assert opened(record.content, record.digest, record.place, key=key) == made.content
    assert opened(record.twin.content, record.twin.digest, record.twin_place, key=key) == made.withheld
    assert b"content" not in made.kept(Keeping("off"))


@pytest.mark.parametrize(
    "public",
    ["", "00" * 31, "G" * 64, "AB" * 32, "00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f",
     "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"],
)  # fmt: skip
def test_a_public_key_is_one(public):
    with pytest.raises(LedgerError, match="sealing key"):
        Keeping("sealed", public)


def test_keeping_and_its_key_go_together(key):
    for contents, sealing in (("sealed", None), ("clear", key.public), ("off", key.public)):
        with pytest.raises(LedgerError):
            Keeping(contents, sealing)


def test_key_files(tmp_path):
    old = os.umask(0)
    try:
        key = new_sealing_key(tmp_path / "k.pem")
    finally:
        os.umask(old)
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600
    assert read_sealing_key(tmp_path / "k.pem").public == key.public
    before = (tmp_path / "k.pem").read_bytes()
    with pytest.raises(LedgerError, match="never overwritten"):
        new_sealing_key(tmp_path / "k.pem")
    assert (tmp_path / "k.pem").read_bytes() == before
    (tmp_path / "k.pem").chmod(0o640)
    with pytest.raises(LedgerError, match="read by others"):
        read_sealing_key(tmp_path / "k.pem")
    os.mkfifo(tmp_path / "fifo")
    for wrong in ("fifo", ".", "none", "-", ""):
        with pytest.raises(LedgerError):
            read_sealing_key(tmp_path / wrong if wrong not in ("-", "") else wrong)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"x" * 20_000, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_key_file(tmp_path, content):
    (tmp_path / "k").write_bytes(content)
    (tmp_path / "k").chmod(0o600)
    with pytest.raises(LedgerError) as found:
        read_sealing_key(tmp_path / "k")
    assert "AAAA" not in str(found.value)


@pytest.mark.parametrize(("kind", "works"), [("X25519", True), ("ED25519", False)])
def test_openssl_makes_keys_that_open(tmp_path, kind, works):
    path = tmp_path / "k.pem"
    done = subprocess.run(["openssl", "genpkey", "-algorithm", kind, "-out", path], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no openssl here")
    path.chmod(0o600)
    if not works:
        with pytest.raises(LedgerError, match="another kind of key"):
            read_sealing_key(path)
        return
    key = read_sealing_key(path)
    assert opened(Keeping("sealed", key.public).keep(CONTENT, PLACE), CONTENT.digest(), PLACE, key=key) == CONTENT


def test_a_private_key_does_not_show_itself(tmp_path):
    key = new_sealing_key(tmp_path / "k.pem")
    private = load_pem_private_key((tmp_path / "k.pem").read_bytes(), None).private_bytes_raw().hex()
    assert private not in repr(key) + str(key) + f"{key}"
    for copying in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            copying(key)


def test_contents_have_one_spelling():
    data = CONTENT.to_json()
    assert msgspec.json.decode(data, type=Content) == CONTENT

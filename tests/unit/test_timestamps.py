"""Timestamps of a real authority (OpenSSL's), and everything that must not pass for one."""

import contextlib
import datetime as dt
import hashlib
import random
import time

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.tsa_server import Authority, TSAServer
from verify.errors import Error, InputError, Refused
from verify.timestamps import check_token, load_roots, request_token

DATA = b"what is to be timestamped"
DIGEST = hashlib.sha256(DATA).digest()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def token(authority):
    with TSAServer(authority) as server:
        return request_token(DATA, server.url)


def test_a_token_is_had_and_holds(authority, token):
    stated = check_token(token, DIGEST, load_roots(str(authority.roots_file)))
    assert abs(dt.datetime.now(dt.UTC) - stated.time) < dt.timedelta(minutes=5)
    assert stated.accuracy == dt.timedelta(seconds=1.5)
    assert stated.latest == stated.time + stated.accuracy
    assert str(stated).endswith(" +- 1.5 s by CN=Test TSA")


def test_openssl_agrees_about_a_token(authority, token):
    (authority.folder / "ours.der").write_bytes(token)
    for digest, code in ((DIGEST, 0), (bytes(32), 1)):
        done = authority.openssl(
            *("-verify", "-token_in", "-in", "ours.der", "-digest", digest.hex(), "-CAfile", "roots.pem"), check=False
        )
        assert done.returncode == code


def test_only_the_digest_is_sent_and_each_request_has_its_nonce(authority):
    with TSAServer(authority) as server:
        request_token(DATA, server.url)
        request_token(DATA, server.url)
    first, second = server.requests
    assert first != second
    assert all(DIGEST in query and DATA not in query for query in server.requests)


def test_no_network_is_needed_to_check(authority, token, monkeypatch):
    import socket

    def refuse(*arguments, **options):
        raise AssertionError("a check opened a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    assert check_token(token, DIGEST, [authority.root])


# --- what an authority, or who speaks for it, may answer -------------------------------------------------------------


def rejection(authority, query):
    """OpenSSL's own: a request with a hash that it does not know."""
    broken = query.replace(bytes.fromhex("608648016503040201"), bytes.fromhex("608648016503040299"))
    authority._write("broken.tsq", broken)
    options = ("-config", "tsa.cnf", "-section", "here", "-signer", "tsa.pem", "-inkey", "key.pem")
    authority.openssl("-reply", "-queryfile", "broken.tsq", *options, "-out", "no.tsr", check=False)
    return (authority.folder / "no.tsr").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, answer: (503, b"busy"), "status 503, expected 200"),
        (lambda a, answer: (302, answer), "status 302, expected 200"),
        (lambda a, answer: b"", "not a timestamp in DER"),
        (lambda a, answer: b"<html>hello</html>", "not a timestamp in DER"),
        (lambda a, answer: answer[:-1], "not a timestamp in DER"),
        (lambda a, answer: answer + b"\0", "not a timestamp in DER"),
        (lambda a, answer: answer * 100, "an answer of more than 65536 bytes"),
        (lambda a, answer: rejection(a, a.query(DATA)), "the request was not granted (status 2)"),
        (lambda a, answer: a.reply(a.query(b"other data")), "the timestamp is of sha256:"),
        (lambda a, answer: a.reply(a.query(DATA)), "its nonce is not the one that was sent"),
        (lambda a, answer: a.reply(a.query(DATA, "-no_nonce")), "its nonce is not the one that was sent"),
        (lambda a, answer: a.reply(a.query(DATA, "-sha1")), "over a digest by SHA-1, expected SHA-256"),
        (lambda a, answer: a.reply(a.query(DATA, "-sha512")), "expected SHA-256"),
    ],
)
def test_answers_that_are_refused(authority, change, message):
    with (
        TSAServer(authority, lambda answer: change(authority, answer)) as server,
        pytest.raises(InputError) as caught,
    ):
        request_token(DATA, server.url)
    assert message in caught.value.message
    assert caught.value.message.startswith(server.url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://[", "ftp://127.0.0.1/", "no url", ""])
def test_nobody_answers(url):
    with pytest.raises(InputError, match="no answer from the timestamp authority"):
        request_token(DATA, url)


# --- what is no proof ------------------------------------------------------------------------------------------------


def test_a_token_for_other_data(authority, token):
    with pytest.raises(Refused, match=r"the timestamp is of sha256:.*, expected sha256:0000"):
        check_token(token, bytes(32), [authority.root])


def test_an_authority_that_is_not_trusted(authority, token, tmp_path):
    """Of the same name, too."""
    for roots in ([Authority(tmp_path).root], []):
        with pytest.raises(Refused, match="cannot be trusted"):
            check_token(token, DIGEST, roots)


def test_one_trusted_root_among_others_is_enough(authority, token, tmp_path):
    assert check_token(token, DIGEST, [Authority(tmp_path).root, authority.root])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"years": (-3, -1)}, "the signer's certificate is valid from"),
        ({"years": (1, 2)}, "the signer's certificate is valid from"),
        ({"usages": (ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING)}, "not one for timestamps"),
        ({"usages": (ExtendedKeyUsageOID.CODE_SIGNING,)}, "not one for timestamps"),
        ({"usages": ()}, "not one for timestamps"),
        ({"critical": False}, "not one for timestamps alone, marked critical"),
    ],
)
def test_signers_that_are_refused(tmp_path, token, options, message):
    bad = Authority(tmp_path, **options)
    with pytest.raises(Refused) as caught:
        check_token(bad.forge(token), DIGEST, [bad.root])
    assert message in caught.value.message


def test_a_good_signer_passes_the_same_way(tmp_path, token):
    """Else the test above would show nothing."""
    good = Authority(tmp_path)
    assert check_token(good.forge(token), DIGEST, [good.root])
    with pytest.raises(Refused, match=r"cannot be trusted: .*certificate verify error"):
        check_token(good.forge(token), DIGEST, [Authority(tmp_path).root])


def test_sha1_in_the_signature_or_in_a_certificate(tmp_path, token):
    bad = Authority(tmp_path)
    with pytest.raises(Refused, match="signed with SHA-1, expected SHA-256 or better"):
        check_token(bad.forge(token, "-md", "sha1"), DIGEST, [bad.root])
    assert check_token(bad.forge(token, "-md", "sha512"), DIGEST, [bad.root])
    bad.weaken()
    with pytest.raises(Refused, match="signed with SHA-1, expected SHA-256 or better"):
        check_token(bad.forge(token), DIGEST, [bad.root])


def test_a_token_stays_good_when_the_signers_certificate_has_expired(tmp_path, token):
    """Evidence is read for years: what counts is the token's own time."""
    second = 1 / (365 * 86400)
    brief = Authority(tmp_path, years=(-1, 2 * second))
    forged = brief.forge(token)
    time.sleep(2.5)
    assert check_token(forged, DIGEST, [brief.root])


def test_a_token_without_the_signers_certificate(authority):
    query = authority.query(DATA)
    (authority.folder / "made.tsq").write_bytes(query)
    authority.openssl("-query", "-data", "data", "-out", "bare.tsq")
    bare = authority.reply((authority.folder / "bare.tsq").read_bytes())
    (authority.folder / "bare.tsr").write_bytes(bare)
    authority.openssl("-reply", "-in", "bare.tsr", "-token_out", "-out", "bare.der")
    with pytest.raises(Refused, match="does not come with the certificate"):
        check_token((authority.folder / "bare.der").read_bytes(), DIGEST, [authority.root])


def test_every_flipped_byte_is_seen_or_says_nothing(authority, token):
    """Unseen are changes of the name of the signature's algorithm, which the signature does not cover."""
    roots = [authority.root]
    stated, unseen = check_token(token, DIGEST, roots), []
    for index in range(len(token)):
        changed = bytearray(token)
        changed[index] ^= 1 << index % 8
        try:
            assert check_token(bytes(changed), DIGEST, roots) == stated
        except Error:
            continue
        unseen.append(index)
    assert len(unseen) <= 8
    algorithm = bytes.fromhex("2a8648ce3d040302")  # ecdsa-with-SHA256, RFC 5758
    start = token.rindex(algorithm)
    assert set(unseen) <= set(range(start, start + len(algorithm)))


def test_nonsense_is_refused_and_nothing_else_happens(authority, token):
    rng = random.Random(0)
    for _ in range(300):
        changed = bytearray(token)
        at = rng.randrange(len(changed))
        changed[at : at + rng.randrange(20)] = rng.randbytes(rng.randrange(8))
        if changed != token:
            with contextlib.suppress(Error):
                assert check_token(bytes(changed), DIGEST, [authority.root]).authority == "CN=Test TSA"
    for junk in (b"", b"\x30", b"\x30\x80", bytes(1000), b"\xff" * 1000, b"\x30\x84\xff\xff\xff\xff", token * 2):
        with pytest.raises(Error):
            check_token(junk, DIGEST, [authority.root])


def test_roots_that_are_none(tmp_path):
    (tmp_path / "x.pem").write_text("no certificate")
    for path in (tmp_path / "x.pem", tmp_path / "none.pem", tmp_path):
        with pytest.raises(InputError, match="expected certificates of timestamp authorities"):
            load_roots(str(path))

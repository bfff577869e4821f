"""Attacks on the form: other algorithms, other spellings, and files that are made to hurt whoever reads them."""

import base64
import hashlib
import hmac
import json
import os
import shutil
import socket
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.cli.conftest import radiolabel
from tests.evidence.lying import Liar, envelope
from tests.evidence_case import Case
from verify.canonical import canonical
from verify.evidence.envelope import MAX_BYTES, pae
from verify.evidence.signing import Signer, keyid


def file_of(liar):
    """The envelope, as an object."""
    return json.loads(liar.data())


def spelled(value):
    return canonical(value) + b"\n"


def fails_at(liar, data):
    """The one step that failed, and after which nothing was looked at."""
    found = liar.check(data)
    assert not found.accepted
    assert list(found.steps)[-1] == found.failed[0]
    return found.failed[0]


def test_the_algorithm_cannot_be_exchanged(rival):
    file, signature = file_of(rival), file_of(rival)["signatures"][0]
    for change in (
        {"payloadType": "application/json"},
        {"payloadType": "application/vnd.in-toto+JSON"},
        {"alg": "none"},
        {"signatures": [signature | {"alg": "HS256"}]},
        {"signatures": [signature | {"sig": ""}]},
        {"signatures": []},
        {"signatures": [signature, signature]},
        {"signatures": [{"sig": signature["sig"]}]},
        {"signatures": signature},
    ):
        assert fails_at(rival, spelled(file | change)) == "envelope"


def test_nobody_else_can_sign(rival):
    file, payload = file_of(rival), base64.b64decode(file_of(rival)["payload"])
    other = Signer(Ed25519PrivateKey.generate())
    mine, public = file["signatures"][0], rival.signer.public
    keyed = hmac.new(public, pae(payload), hashlib.sha512).digest()
    for keyid_, sig in (
        (keyid(other.public), other.sign(pae(payload))),  # who it is, and not the policy's signer
        (mine["keyid"], other.sign(pae(payload))),  # who it is not
        (keyid(other.public), base64.b64decode(mine["sig"])),
        (mine["keyid"], keyed),  # the public key as a secret
        (mine["keyid"], rival.signer.sign(payload)),  # without type and lengths
        (mine["keyid"], rival.signer.sign(b"DSSEv1 16 application/json %d %s" % (len(payload), payload))),
        (mine["keyid"], bytes(64)),
    ):
        signed = file | {"signatures": [{"keyid": keyid_, "sig": base64.b64encode(sig).decode()}]}
        assert fails_at(rival, spelled(signed)) == "signature"
    # S plus the group's order is the same signature in another spelling (RFC 8032, section 5.1.7 refuses it).
    sig = base64.b64decode(mine["sig"])
    order = (1 << 252) + 27742317777372353535851937790883648493
    more = (int.from_bytes(sig[32:], "little") + order).to_bytes(32, "little")
    again = [{"keyid": mine["keyid"], "sig": base64.b64encode(sig[:32] + more).decode()}]
    assert fails_at(rival, spelled(file | {"signatures": again})) == "signature"
    # The small point of order 1 verifies much of what it should not, in lax implementations.
    weak = (1).to_bytes(32, "little")
    forged = file | {"signatures": [{"keyid": keyid(weak), "sig": base64.b64encode(weak + bytes(32)).decode()}]}
    assert fails_at(rival, spelled(forged)) == "signature"


@pytest.mark.parametrize(
    "respell",
    [
        lambda data: data.replace(b'{"payload":', b'{"payload":"","payload":', 1),
        lambda data: data.replace(b'"payloadType"', b'"payload":"e30=","payloadType"', 1),
        lambda data: data.replace(b'{"payload":', b'{ "payload":', 1),
        lambda data: data.replace(b'"payload"', b'"payl\\u006fad"', 1),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: json.dumps(json.loads(data), sort_keys=False, indent=1).encode() + b"\n",
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.decode().encode("utf-16"),
    ],
)
def test_a_file_has_one_spelling(rival, respell):
    assert respell(rival.data()) != rival.data()
    assert fails_at(rival, respell(rival.data())) == "envelope"


@pytest.mark.parametrize(
    "payload",
    [
        lambda text: text.replace(b'"unrun":{}', b'"unrun":{},"unrun":{}', 1),
        lambda text: text.replace(b'"unrun":{}', b'"unrun":{"x":"y"},"unrun":{}', 1),
        lambda text: text.replace(b'"times":', b'"times": ', 1),
        lambda text: text.replace(b'"unrun"', b'"unr\\u0075n"', 1),
        lambda text: text + b"\n",
        lambda text: text.replace(b'"n_seen":', b'"n_seen":1e999,"n_sees":', 1),
        lambda text: text.replace(b'"n_seen":', b'"n_seen":' + b"9" * 5000 + b',"n_sees":', 1),
        lambda text: text.replace(b'"n_seen":', b'"n_seen":NaN,"n_sees":', 1),
        lambda text: text.replace(b'"n_seen":', b'"n_seen":-0,"n_sees":', 1),
        lambda text: text.replace(b'"model rival"', b'"\\ud800"', 1),
        lambda text: text.replace(b'"model rival"', b'"\xed\xa0\x80"', 1),
        lambda text: text.replace(b'"model rival"', b'"\xff"', 1),
        lambda text: text.replace(b'"unrun":{}', b'"unrun":' + b'{"a":' * 70 + b"1" + b"}" * 70, 1),
        lambda text: text.replace(b'"unrun":{}', b'"unrun":' + b"[" * 200_000 + b"]" * 200_000, 1),
        lambda text: b"[" * 3_000_000,
        lambda text: b"",
        lambda text: b"null",
        lambda text: b"[]",
        lambda text: b'"' + b"a" * 3_000_000 + b'"',
    ],
)
def test_a_statement_has_one_spelling_and_ends(rival, payload):
    # All signed by the right key.
    honest = base64.b64decode(file_of(rival)["payload"])
    assert payload(honest) != honest
    started = time.monotonic()
    assert fails_at(rival, envelope(payload(honest), rival.signer)) == "envelope"
    assert time.monotonic() - started < 10


def test_a_file_that_is_too_long_is_not_read(rival, tmp_path):
    file = tmp_path / "long.json"
    with open(file, "wb") as out:
        out.truncate(1 << 40)  # sparse: it takes no disk, and would take all memory
    code, out, _ = radiolabel("check", file, "--policy", rival.case.path("policy.json"))
    assert (code, [s["outcome"] for s in json.loads(out)["steps"]]) == (1, ["failed"])
    assert fails_at(rival, b'{"payload":"' + b"A" * MAX_BYTES) == "envelope"


@pytest.mark.parametrize("name", ["../rival.json", "/etc/passwd", "a/b", "a\0b", ".hidden", "-o", "", "a" * 129, "a\n"])
def test_an_input_names_a_file_of_the_folder(rival, name):
    statement = rival.statement()
    role = next(r for r, n in statement["predicate"]["inputs"].items() if n == statement["subject"][0]["name"])
    statement["subject"][0]["name"] = statement["predicate"]["inputs"][role] = name
    statement["subject"].sort(key=lambda subject: subject["name"])
    assert fails_at(rival, rival.sign(statement)) == "envelope"
    # Only in the predicate: no subject has that name.
    other = rival.statement()
    other["predicate"]["inputs"]["asked"] = name
    assert fails_at(rival, rival.sign(other)) == "fields"
    others = rival.statement()
    others["predicate"]["others"][0]["file"] = name
    assert fails_at(rival, rival.sign(others)) == "fields"


def _link(path, folder):
    shutil.move(path, folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


def _socket(path, folder):
    path.unlink()
    os.chdir(folder)  # such a name is short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(path.name)


def _replaced(make):
    def change(path, folder):
        path.unlink()
        make(path)

    return change


@pytest.mark.parametrize("change", [_link, _socket, _replaced(os.mkfifo), _replaced(os.mkdir)])
@pytest.mark.parametrize(("file", "step"), [("prompts.txt", "inputs"), ("innocent.json", "others")])
def test_what_is_no_regular_file_is_not_opened(rival, tmp_path, monkeypatch, change, file, step):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(rival.case.folder, folder)
    liar = Liar(Case(folder, "rival.json", "fleet.key"), rival.policy, rival.signer)
    change(folder / file, folder)
    assert not (folder / file).is_file() or (folder / file).is_symlink()
    found = liar.check()
    assert step in found.failed
    assert "regular file" in found.reason(step)
    assert not found.accepted


JUNK = {
    "empty": b"",
    "null": b"null",
    "deep": b"[" * 100_000,
    "gzip": b"\x1f\x8b\x08\x00" + bytes(30),
    "zstd": b"(\xb5/\xfd" + bytes(30),
    "huge": b'{"radiolabel":"transcript","version":1e999}\n',
    "surrogate": b'{"radiolabel":"transcript","version":1,"id":"0","prompt":"\\ud800","response":""}\n',
    "panic": b'{"version":"1.0","added_tokens":[],"normalizer":{"type":"Precompiled","precompiled_charsmap":"AAAA"},'
    b'"model":{"type":"BPE","vocab":{},"merges":[]}}',  # this tokenizer brings its library down
}


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize(("name", "role"), [("rival", "input"), ("rival", "tokenizer"), ("rival", "asked"),
                                            ("twin", "pairs"), ("twin", "likelihoods")])  # fmt: skip
def test_inputs_that_are_made_to_hurt_fail_and_nothing_else(request, tmp_path, name, role, junk):
    # The liar signs their digests.
    honest = request.getfixturevalue(name)
    folder = tmp_path / "copy"
    shutil.copytree(honest.case.folder, folder)
    liar, statement = (
        Liar(Case(folder, f"{name}.json", honest.case.key), honest.policy, honest.signer),
        honest.statement(),
    )
    file = statement["predicate"]["inputs"][role]
    (folder / file).write_bytes(JUNK[junk])
    for subject in statement["subject"]:
        if subject["name"] == file:
            subject["digest"]["sha256"] = hashlib.sha256(JUNK[junk]).hexdigest()
    found = liar.check(liar.sign(statement))
    assert found["inputs"] == found["decision"] == "ok"
    assert ("collection.1" if role == "asked" else "measured") in found.failed


def test_the_command_does_not_wait_for_a_pipe(rival, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(rival.case.folder, folder)
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")
    code, out, err = radiolabel(
        *("check", folder / "rival.json", "--policy", folder / "policy.json"),
        *("--inputs", folder, "--key", folder / "fleet.key", "--format", "text"),
        timeout=60,
    )
    assert code == 1, err
    assert "NOT accepted" in out
    assert "FAILED inputs" in out


def test_only_what_may_be_disclosed_is_taken_as_a_key(rival):
    command = ("check", rival.case.path("rival.json"), "--policy", rival.case.path("policy.json"))
    for key in ("epoch.key", "master.key"):
        code, out, err = radiolabel(*command, "--key", rival.case.path(key))
        assert (code, out) == (2, "")
        assert "nobody should have been given it" in " ".join(err.split())

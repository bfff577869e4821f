import json
import stat

import pytest

from tests.cli.conftest import radiolabel
from tests.tsa_server import Authority
from verify.evidence.policy import read_policy
from verify.evidence.signing import keyid, read_signer

WHOLE = {
    "--signer": "signer.pem",
    "--tsa-certs": "none",
    "--released": "unknown",
    "--beacon-value": "unknown",
    "--require": "none",
    "-o": "policy.json",
}


def arguments(**changes):
    given = WHOLE | {"-o" if k == "output" else f"--{k.replace('_', '-')}": v for k, v in changes.items()}
    return [part for pair in given.items() if pair[1] is not None for part in pair]


@pytest.fixture
def folder(tmp_path):
    code, _, err = radiolabel("key", "signer", "-o", "signer.pem", cwd=tmp_path)
    assert (code, err) == (0, "")
    return tmp_path


def test_key_signer_makes_a_key_and_prints_what_is_public(tmp_path):
    code, out, err = radiolabel("key", "signer", "-o", "signer.pem", cwd=tmp_path)
    assert (code, err) == (0, "")
    path = tmp_path / "signer.pem"
    public = read_signer(path).public
    assert out == f"public {public.hex()}\nkeyid {keyid(public)}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    code, out, err = radiolabel("key", "signer", "-o", "signer.pem", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "never overwritten" in err
    assert path.read_bytes() == before


def test_a_policy_says_everything_that_was_given(folder):
    (folder / "tsa").mkdir()
    authority = Authority(folder / "tsa")
    given = arguments(tsa_certs=authority.roots_file, released="2027-05-01T00:00:00Z", beacon_value="ab" * 32)
    code, out, err = radiolabel("policy", *given, "--require", "measured", cwd=folder)
    assert (code, out) == (2, "")
    assert "--require none goes with no other --require" in err
    given[given.index("--require") + 1] = "plan"
    code, out, err = radiolabel("policy", *given, "--require", "measured", cwd=folder)
    assert (code, err) == (0, "")
    policy = read_policy(str(folder / "policy.json"))
    public = read_signer(folder / "signer.pem").public.hex()
    assert policy.signer == public
    assert policy.certificates() == [authority.root]
    assert (policy.released, policy.beacon_value) == ("2027-05-01T00:00:00Z", "ab" * 32)
    assert policy.required == ("plan", "measured")
    said = json.loads(out)
    assert said["signer"] == public
    assert said["keyid"] == keyid(bytes.fromhex(public))
    assert said["roots"] == ["CN=Test CA"]
    text = radiolabel("policy", *given, "--force", "--format", "text", cwd=folder)[1]
    assert f"signer: {public}\n" in text
    assert "required: plan\n" in text


def test_a_policy_that_trusts_little_is_a_policy(folder):
    code, _, err = radiolabel("policy", *arguments(), cwd=folder)
    assert (code, err) == (0, "")
    policy = read_policy(str(folder / "policy.json"))
    assert (policy.roots, policy.released, policy.beacon_value, policy.required) == ("", "unknown", "unknown", ())


@pytest.mark.parametrize("option", WHOLE)
def test_no_option_has_a_default(folder, option):
    given = [part for pair in WHOLE.items() if pair[0] != option for part in pair]
    code, out, err = radiolabel("policy", *given, cwd=folder)
    assert (code, out) == (2, "")
    assert f"'{option}'" in err
    assert not (folder / "policy.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signer": "ab"}, "signer ab cannot be read"),
        ({"signer": "AB" * 32}, "signer has 64 hexadecimal digits, expected 64 in lower case"),
        ({"signer": "."}, "cannot be read: is a directory"),
        ({"tsa_certs": "missing.pem"}, "missing.pem"),
        ({"tsa_certs": "signer.pem"}, "no certificates in pem"),
        ({"released": "yesterday"}, "released is 'yesterday', expected unknown"),
        (
            {"released": "2027-02-30T00:00:00Z"},
            "released is '2027-02-30T00:00:00Z', expected unknown, or a time such as",
        ),
        ({"beacon_value": "xyz"}, "beacon_value is 'xyz', expected unknown"),
        ({"require": "everything"}, "'everything', expected ids of steps"),
        ({"output": "nowhere/policy.json"}, "its folder does not exist"),
        ({"output": "signer.pem"}, "--signer and --output are the same file"),
    ],
)
def test_wrong_options_are_refused_and_no_file_is_made(folder, changes, message):
    before = (folder / "signer.pem").read_bytes()
    code, out, err = radiolabel("policy", *arguments(**changes), "--force", cwd=folder)
    assert (code, out) == (2, "")
    assert message in err
    assert not (folder / "policy.json").exists()
    assert (folder / "signer.pem").read_bytes() == before


def test_a_policy_is_not_replaced_unasked(folder):
    (folder / "policy.json").write_text("mine")
    code, _, err = radiolabel("policy", *arguments(), cwd=folder)
    assert code == 2
    assert "exists" in err
    assert (folder / "policy.json").read_text() == "mine"

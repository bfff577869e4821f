import json
import os
import pickle
import stat

import pytest

from tests.conftest import make_epoch
from watermark.deployment import Deployment
from watermark.errors import KeyFileError
from watermark.keyfile import read_key, write_key
from watermark.keys import MasterKey, derive
from watermark.secret import Secret


def deploy(**options):
    return Deployment.parse(**{"shares": "fleet=0.4,cohort=0.3,account=0.2,leaf=0.1"} | options)


@pytest.fixture
def master():
    return MasterKey(Secret(bytes(range(32))))


def all_secrets(master):
    epoch = master.epoch("e", deployment=deploy())
    keys = [epoch.value_key("fleet"), epoch.value_key("account", "1"), epoch.value_key("cohort", "1")]
    return [master.secret, epoch.secret, epoch.coin_key().secret, keys[0].selector, *(k.value for k in keys)]


def test_no_two_places_in_the_tree_share_a_secret(master):
    secrets = [s.reveal()[:16] for s in all_secrets(master)]
    other_epoch = master.epoch("e", deployment=deploy(), beacon=b"x")
    secrets += [other_epoch.secret.reveal()[:16], other_epoch.value_key("fleet").value.reveal()]
    for deployment in (deploy(width=1), deploy(scheme="tournament")):
        secrets.append(master.epoch("e", deployment=deployment).value_key("fleet").value.reveal())
    assert len(set(secrets)) == len(secrets)


def test_names_that_join_to_the_same_text_are_different_paths(master):
    d = deploy()
    assert master.epoch("a", deployment=d).value_key("account", "bc") != master.epoch("ab", deployment=d).value_key(
        "account", "c"
    )


def test_secrets_never_show(master):
    epoch = make_epoch()
    key = epoch.value_key("fleet")
    shown = "".join(f"{x!r} {x!s}" for x in (master, epoch, key, key.value))
    for secret in (*all_secrets(master), epoch.secret, key.value, key.selector):
        assert secret.reveal().hex() not in shown
        assert repr(secret.reveal()) not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)


@pytest.mark.parametrize(
    "path", ["epoch/e", "epoch/e/fleet", "epoch/e/account/7", "epoch/e/cohort/eu-1", "epoch/e/coin"]
)
def test_file_round_trip(master, tmp_path, path):
    key = derive(master, path, deployment=deploy(scheme="greenlist:gamma=0.5", width=3))
    write_key(key, tmp_path / "k")
    assert read_key(tmp_path / "k") == key
    assert stat.S_IMODE(os.stat(tmp_path / "k").st_mode) == 0o600


def test_value_file_holds_two_aes_keys_and_no_node(master, tmp_path):
    write_key(derive(master, "epoch/e/fleet", deployment=deploy()), tmp_path / "k")
    record = json.loads((tmp_path / "k").read_text())
    assert set(record) == {
        *("radiolabel", "version", "kind", "id", "path", "prf", "scheme", "width", "shares"),
        *("value_key", "selector_key"),
    }
    assert (len(record["value_key"]), len(record["selector_key"])) == (32, 32)


def test_an_epoch_key_derives_what_its_master_derives(master):
    d = deploy()
    epoch = derive(master, "epoch/e", deployment=d)
    assert derive(epoch, "epoch/e/account/7") == derive(master, "epoch/e/account/7", deployment=d)
    with pytest.raises(KeyFileError, match="does not lie below epoch/e"):
        derive(epoch, "epoch/f/fleet")
    with pytest.raises(KeyFileError, match="nothing can be derived from the value key"):
        derive(derive(epoch, "epoch/e/fleet"), "epoch/e/fleet")


def test_the_coin_node_derives_nothing_and_its_file_cannot_be_moved(master, tmp_path):
    key = derive(master, "epoch/e/coin", deployment=deploy())
    assert key == derive(derive(master, "epoch/e", deployment=deploy()), "epoch/e/coin")
    with pytest.raises(KeyFileError, match="nothing can be derived from the coin key epoch/e/coin"):
        derive(key, "epoch/e/fleet")
    write_key(key, tmp_path / "k")
    assert set(json.loads((tmp_path / "k").read_text())) == {"radiolabel", "version", "kind", "id", "path", "secret"}
    good = (tmp_path / "k").read_bytes()
    for change in (edit(path="epoch/f/coin"), edit(path="epoch/e"), edit(secret="00" * 32), edit(width=2)):
        (tmp_path / "k").write_bytes(change(good))
        with pytest.raises(KeyFileError, match=r"the id does not follow|unknown field"):
            read_key(tmp_path / "k")


def test_a_channel_without_a_share_has_no_value_key(master):
    with pytest.raises(KeyFileError, match="channel account has no share in epoch/e"):
        derive(master, "epoch/e/account/7", deployment=Deployment.parse())


@pytest.mark.parametrize(
    "path",
    [
        *("", "epoch", "epoch/", "epoch/..", "epoch/e/", "epoch/e/leaf/1", "epoch/e/selector", "epoch/e/account"),
        *(
            "epoch/e/fleet/1",
            "epoch/e/account/",
            "/epoch/e",
            "epoch/e/fleet/",
            "epoch/e/account/a/b",
            "epoch/é",
            "epoch/e/account/a b",
        ),
        "epoch/" + "x" * 129,
    ],
)
def test_bad_paths_are_refused(master, path):
    with pytest.raises(KeyFileError):
        derive(master, path, deployment=deploy())


def test_key_file_is_never_overwritten(master, tmp_path):
    write_key(master, tmp_path / "k")
    before = (tmp_path / "k").read_bytes()
    with pytest.raises(KeyFileError, match="exists, and a key file is never overwritten"):
        write_key(MasterKey.generate(), tmp_path / "k")
    assert (tmp_path / "k").read_bytes() == before


def spoiled(master, path, change):
    write_key(derive(master, "epoch/e/fleet", deployment=deploy()), path)
    raw = change(path.read_bytes())
    path.write_bytes(raw)
    path.chmod(0o600)


def edit(**fields):
    def change(raw):
        record = json.loads(raw)
        for name, value in fields.items():
            record.pop(name, None) if value is None else record.__setitem__(name, value)
        return json.dumps(record).encode()

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: b"", "not a key file, or is truncated"),
        (lambda raw: raw[:-30], "not a key file, or is truncated"),
        (lambda raw: b"[" * 100_000, "longer than 16384 bytes"),
        (lambda raw: b"[" * 16_000, "not a key file, or is truncated"),
        (lambda raw: b"\xff\xfe" + raw, "not a key file, or is truncated"),
        (lambda raw: b"{}", "not a radiolabel key file"),
        (edit(version=2), "has version 2, and this program reads version 1"),
        (edit(version=True), "has version True"),
        (edit(version="ab" * 16), "has version <hidden>"),
        (edit(version=["ab" * 16]), "has version <hidden>"),
        (edit(kind="other"), "unknown kind 'other'"),
        (edit(extra=1), "unknown field 'extra'"),
        (edit(scheme="kgw"), "unknown scheme 'kgw'"),
        (edit(scheme=None), "field scheme is missing"),
        (edit(width=4), "width 4 is not a whole number in 1..3"),
        (edit(width=True), "width True is not"),
        (edit(width=1), "the id does not follow"),
        (edit(path="epoch/f/fleet"), "the id does not follow"),
        (edit(path="epoch/e/leaf/1"), "is not a value key's"),
        (edit(shares={"fleet": 999_999, "leaf": 1}), "the id does not follow"),
        (edit(shares={"fleet": 999_999}), "add up to 1000000"),
        (edit(shares={"moon": 1_000_000}), "unknown channel 'moon'"),
        (edit(shares={"fleet": 1e6}), "add up to 1000000"),
        (edit(value_key="00" * 15), "value_key is not 32 hexadecimal digits"),
        (edit(selector_key="zz" * 16), "selector_key is not 32 hexadecimal digits"),
        (edit(value_key="00" * 16), "the id does not follow"),
        (edit(id="0" * 32), "the id does not follow"),
        (edit(version=1.0), "has version 1.0"),
        (edit(scheme="gumbel:"), "not in their canonical form"),
        (edit(shares={"fleet": 1_000_000, "leaf": 0}), "not in their canonical form"),
        (edit(value_key="AB" * 16), "value_key is not 32 hexadecimal digits"),
        (edit(value_key="ab " * 16), "value_key is not 32 hexadecimal digits"),
        (edit(kind="ab" * 16), "unknown kind '<hidden>'"),
        (edit(scheme="ab" * 16), "unknown scheme '<hidden>'"),
    ],
)
def test_spoiled_file_is_refused_without_showing_its_keys(master, tmp_path, change, message):
    path = tmp_path / "k"
    spoiled(master, path, change)
    with pytest.raises(KeyFileError, match=message) as caught:
        read_key(path)
    key = derive(master, "epoch/e/fleet", deployment=deploy())
    assert str(path) in str(caught.value)
    assert key.value.reveal().hex() not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_file_that_others_can_read_is_refused(master, tmp_path, mode):
    write_key(master, tmp_path / "k")
    (tmp_path / "k").chmod(mode)
    with pytest.raises(KeyFileError, match="can be read by others") as caught:
        read_key(tmp_path / "k")
    assert caught.value.hint == f"chmod 600 {tmp_path / 'k'}"


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(KeyFileError, match="cannot be read: No such file"):
        read_key(tmp_path / "none")
    with pytest.raises(KeyFileError, match=r"cannot be read|can be read by others"):
        read_key(tmp_path)
    with pytest.raises(KeyFileError, match="cannot be written: No such file"):
        write_key(MasterKey.generate(), tmp_path / "no" / "k")


def test_keys_do_not_pass_through_pipes_or_devices(master, tmp_path):
    for path in ("-", ""):
        with pytest.raises(KeyFileError, match="is not the name of a key file"):
            write_key(master, path)
        with pytest.raises(KeyFileError, match="is not the name of a key file"):
            read_key(path)
    with pytest.raises(KeyFileError, match="key file /dev/zero is not a file"):
        read_key("/dev/zero")


def test_mode_is_0600_whatever_the_umask(master, tmp_path):
    before = os.umask(0o777)
    try:
        write_key(master, tmp_path / "k")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "k").st_mode) == 0o600


def test_beacon_has_a_limit(master):
    master.epoch("e", deployment=deploy(), beacon=bytes(1024))
    with pytest.raises(KeyFileError, match="1025 bytes is longer than 1024"):
        master.epoch("e", deployment=deploy(), beacon=bytes(1025))

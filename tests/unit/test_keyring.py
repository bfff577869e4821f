import logging
import os
import threading
import time

import numpy as np
import pytest

from watermark.deployment import Deployment
from watermark.errors import KeyFileError, SelfTestError, SettingsError
from watermark.keyfile import write_key
from watermark.keys import MasterKey
from watermark.sampling import Request, Sampler
from watermark.secret import Secret
from watermark.serving.keyring import Keyring
from watermark.serving.metrics import Silent
from watermark.serving.service import Service
from watermark.serving.settings import Settings


def epoch_key(name, label=0, **deployment):
    return MasterKey(Secret(bytes([label]) * 32)).epoch(name, deployment=Deployment.parse(**deployment))


@pytest.fixture
def folder(tmp_path):
    write_key(epoch_key("q3"), tmp_path / "q3.key")
    write_key(epoch_key("q4"), tmp_path / "q4.key")
    return tmp_path


def tokens(sampler, request, steps=20, response=None):
    response = sampler.start(Request(request)) if response is None else response
    for step in range(steps):
        sampler.draw([response], np.random.default_rng(step).normal(size=(1, 50)))
    return response


def test_every_epoch_key_is_found_and_has_one_sampler(folder):
    (folder / "notes.txt").write_text("not a key")
    keyring = Keyring(folder)
    assert (keyring.epochs(), keyring.bad) == (["q3", "q4"], {})
    assert keyring.sampler("q3") is keyring.sampler("q3")
    assert keyring.sampler("q3").epoch == epoch_key("q3")
    assert keyring.gateway_key("q4") == epoch_key("q4").gateway_key()
    assert keyring.gateway_key("q5") is None
    with pytest.raises(KeyFileError, match="epoch 'q5' has no key in"):
        keyring.sampler("q5")


def test_nothing_changes_without_a_change(folder):
    keyring = Keyring(folder)
    before = [keyring.sampler(name) for name in keyring.epochs()]
    found = keyring.refresh()
    assert (found.added, found.removed, found.bad) == ((), (), {})
    assert [keyring.sampler(name) for name in keyring.epochs()] == before


def test_rotation_with_overlap_while_an_answer_is_drawn(folder):
    """The new epoch appears, the old one goes, and its answer ends as if nothing had happened."""
    keyring = Keyring(folder)
    old = keyring.sampler("q3")
    answer = tokens(old, "r", 10)
    write_key(epoch_key("q5"), folder / "q5.key")
    assert keyring.refresh().added == ("q5",)
    assert keyring.epochs() == ["q3", "q4", "q5"]
    tokens(old, "r", 5, answer)
    (folder / "q3.key").unlink()
    assert keyring.refresh().removed == ("q3",)
    assert keyring.epochs() == ["q4", "q5"]
    with pytest.raises(KeyFileError):
        keyring.sampler("q3")
    tokens(old, "r", 5, answer)
    alone = Sampler(epoch_key("q3"))
    expected = tokens(alone, "r", 10)
    tokens(alone, "r", 5, expected)
    tokens(alone, "r", 5, expected)
    assert answer.tracker.tokens == expected.tracker.tokens


def test_a_key_that_is_replaced(folder):
    keyring = Keyring(folder)
    old = keyring.sampler("q4")
    write_key(epoch_key("q4", 1), folder / "new")
    os.replace(folder / "new", folder / "q4.key")
    assert keyring.refresh().added == ("q4",)
    assert keyring.sampler("q4").epoch == epoch_key("q4", 1)
    assert old.epoch == epoch_key("q4")
    assert keyring.gateway_key("q4") == epoch_key("q4", 1).gateway_key()


def test_the_same_key_written_again_keeps_its_sampler(folder):
    keyring = Keyring(folder)
    old = keyring.sampler("q4")
    (folder / "q4.key").unlink()
    write_key(epoch_key("q4"), folder / "q4.key")
    assert keyring.refresh().added == ()
    assert keyring.sampler("q4") is old


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:50])


def damage_empty(path):
    path.write_bytes(b"")


def damage_flip(path):
    raw = path.read_bytes()
    at = raw.index(b'"secret": "') + 12
    path.write_bytes(raw[:at] + (b"0" if raw[at : at + 1] != b"0" else b"1") + raw[at + 1 :])


def damage_mode(path):
    path.chmod(0o644)


def damage_folder(path):
    path.unlink()
    path.mkdir(mode=0o700)


def damage_dangling(path):
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = [damage_truncate, damage_empty, damage_flip, damage_mode, damage_folder, damage_dangling]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_file_takes_no_good_one_down(folder, damage, caplog):
    """From the start: the other epochs are served. Later: the epoch goes on with the key it had, and is reported."""
    keyring = Keyring(folder)
    secret = epoch_key("q4").secret.reveal().hex()
    damage(folder / "q4.key")
    with caplog.at_level(logging.ERROR):
        assert set(keyring.refresh().bad) == {"q4.key"}
        assert keyring.epochs() == ["q3", "q4"]
        fresh = Keyring(folder)
    assert (fresh.epochs(), set(fresh.bad)) == (["q3"], {"q4.key"})
    assert "q4.key" in caplog.text
    assert secret[:16] not in caplog.text + str(keyring.bad)
    seen = len(caplog.records)
    keyring.refresh()
    assert len(caplog.records) == seen, "an old trouble is not told again"


def test_a_mended_file_is_served_again(folder):
    damage_mode(folder / "q4.key")
    keyring = Keyring(folder)
    assert keyring.epochs() == ["q3"]
    (folder / "q4.key").chmod(0o600)
    assert (keyring.refresh().added, keyring.bad) == (("q4",), {})


@pytest.mark.parametrize("kind", ["master", "fleet", "coin", "gateway"])
def test_only_epoch_keys_belong_here(folder, kind):
    epoch = epoch_key("q9")
    keys = {"master": MasterKey(Secret(bytes(32))), "fleet": epoch.value_key("fleet")}
    keys |= {"coin": epoch.coin_key(), "gateway": epoch.gateway_key()}
    write_key(keys[kind], folder / "other.key")
    keyring = Keyring(folder)
    assert keyring.epochs() == ["q3", "q4"]
    assert "is not an epoch key" in str(keyring.bad["other.key"])


def test_two_keys_of_one_epoch(folder):
    """The one that is served stays, whatever the other's name; at the start the first by name is served."""
    keyring = Keyring(folder)
    write_key(epoch_key("q4", 1), folder / "a.key")
    assert set(keyring.refresh().bad) == {"a.key"}
    assert keyring.sampler("q4").epoch == epoch_key("q4")
    fresh = Keyring(folder)
    assert (fresh.sampler("q4").epoch, set(fresh.bad)) == (epoch_key("q4", 1), {"q4.key"})
    (folder / "q4.key").unlink()
    assert keyring.refresh().added == ("q4",)
    assert keyring.sampler("q4").epoch == epoch_key("q4", 1)


def test_two_copies_of_one_key_are_no_trouble(folder):
    write_key(epoch_key("q4"), folder / "copy.key")
    keyring = Keyring(folder)
    assert (keyring.epochs(), keyring.bad) == (["q3", "q4"], {})


def test_a_directory_that_goes_away_leaves_the_keys(folder):
    keyring = Keyring(folder)
    folder.rename(folder.with_name(f"{folder.name}-moved"))
    with pytest.raises(KeyFileError, match="cannot be read: No such file"):
        keyring.refresh()
    assert keyring.epochs() == ["q3", "q4"]
    with pytest.raises(KeyFileError, match="cannot be read"):
        Keyring(folder)


def test_a_key_is_tried_before_it_is_served(folder):
    tried = []

    def check(key):
        tried.append(key.name)
        if key.name == "q5":
            raise SelfTestError("no")

    keyring = Keyring(folder, check=check)
    write_key(epoch_key("q5"), folder / "q5.key")
    assert set(keyring.refresh().bad) == {"q5.key"}
    assert (keyring.epochs(), tried) == (["q3", "q4"], ["q3", "q4", "q5"])


def test_ages_are_those_of_the_files(folder):
    os.utime(folder / "q3.key", (1000, 1000))
    assert Keyring(folder).ages(1060)["q3"] == 60
    assert Keyring(folder).ages(900)["q3"] == 0


class Recorder(Silent):
    def __init__(self):
        self.seen = []

    def key_files(self, *, ages, bad):
        self.seen.append((sorted(ages), bad))

    def self_test(self, passed):
        self.seen.append(passed)


def test_a_service_watches_its_keys(folder):
    metrics = Recorder()
    settings = Settings(keys=str(folder), mode="enforce", reload_seconds=0.05)
    service = Service.start(settings, metrics=metrics)
    assert service.keyring.epochs() == ["q3", "q4"]
    write_key(epoch_key("q5"), folder / "part")
    (folder / "part").rename(folder / "q5.key")
    for _ in range(200):
        if service.keyring.gateway_key("q5"):
            break
        time.sleep(0.05)
    assert service.keyring.epochs() == ["q3", "q4", "q5"]
    assert metrics.seen[:2] == [(["q3", "q4"], 0), True]


def test_a_service_does_not_start_without_a_key_or_with_one_that_fails(folder, monkeypatch):
    settings = Settings(keys=str(folder), mode="enforce", reload_seconds=0)
    monkeypatch.setattr("watermark.schemes.gumbel.Gumbel.draw_rows", lambda self, logits, starts, words, leaf: starts)
    with pytest.raises(SelfTestError, match="self-test of key epoch/q3: the mark of channel fleet is not found"):
        Service.start(settings)
    monkeypatch.undo()
    for path in folder.glob("*.key"):
        path.chmod(0o640)
    with pytest.raises(SettingsError, match=r"no epoch key in .* can be used; key file .* can be read by others"):
        Service.start(settings)


def test_a_service_survives_what_look_finds(folder, caplog):
    service = Service.start(Settings(keys=str(folder), mode="enforce", reload_seconds=0, self_test=False))
    folder.rename(folder.with_name(f"{folder.name}-moved"))
    service.look()
    assert "cannot be read" in caplog.text
    assert service.keyring.epochs() == ["q3", "q4"]


def test_a_named_pipe_holds_up_no_other_key(folder):
    os.mkfifo(folder / "a.key", 0o600)
    (folder / "b.key").symlink_to(folder / "a.key")
    looked = []
    thread = threading.Thread(target=lambda: looked.append(Keyring(folder)), daemon=True)
    thread.start()
    thread.join(20)
    assert looked, "it waits for a writer"
    assert looked[0].epochs() == ["q3", "q4"]
    assert {name: str(why).rpartition(" ")[2] for name, why in looked[0].bad.items()} == {
        "a.key": "file",
        "b.key": "file",
    }


def test_a_directory_that_cannot_be(folder):
    for path in (folder / "no", folder / "q3.key", "a\0b"):
        with pytest.raises(KeyFileError, match="cannot be read"):
            Keyring(path)

"""What `embed` refuses before it loads a model, and the files it makes."""

import os
import stat

import pytest

from tests.cli.conftest import radiolabel
from verify.cli.output import new_file


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "m"], "give either --key or --unmarked"),
        (["--model", "m", "--key", "epoch.key", "--unmarked"], "give either --key or --unmarked"),
        (["--model", "m", "--key", "fleet.key"], "fleet.key is not an epoch key"),
        (["--model", "m", "--key", "epoch.key", "-o", "epoch.key"], "epoch.key exists: choose another name, or"),
        (["--model", "m", "--key", "epoch.key", "-o", "no/out"], "no/out cannot be made: its folder does not exist"),
        (["--model", "m", "--key", "epoch.key", "-o", "x", "--tokenizer-out", "x"], "are the same file"),
        (["--model", "m", "--key", "epoch.key", "--account", "7"], "--account has no effect"),
        (["--model", "m", "--unmarked", "--account", "7"], "choose a key, and --unmarked uses none"),
        (["--model", "m", "--unmarked", "--temperature", "nan"], "nan is not a finite number"),
        (["--model", "m", "--unmarked", "--top-p", "nan"], "nan is not a finite number"),
        (["--model", "m", "--key", "account.key"], "names no account, and the account channel has a share"),
        (["--model", "m", "--key", "account.key", "--account", "a/b"], "cannot be part of a key path"),
    ],
)
def test_bad_use_is_found_before_the_model_is_loaded(keys, arguments, message):
    shares = "fleet=0.5,account=0.5"
    made = ("key", "derive", keys / "master.key", "--path", "epoch/a", "--shares", shares, "-o", keys / "account.key")
    radiolabel(*made)
    (keys / "prompts.txt").write_text("Hello\n")
    before = set(keys.iterdir())
    code, out, err = radiolabel("embed", *arguments, "prompts.txt", cwd=keys)
    assert (code, out) == (2, "")
    assert message in err
    assert set(keys.iterdir()) == before


def test_new_file_is_whole_or_not_there(tmp_path):
    def fail():
        with new_file(str(tmp_path / "a"), force=False) as file:
            file.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with new_file(str(tmp_path / "a"), force=False) as file:
        file.write("whole")
    assert (tmp_path / "a").read_text() == "whole"


def test_force_keeps_the_mode_and_follows_links(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with new_file(str(tmp_path / "link"), force=True) as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_device_is_written_and_stays_a_device(tmp_path):
    reader, writer = os.pipe()
    with new_file(f"/dev/fd/{writer}", force=False) as file:
        file.write("through")
    os.close(writer)
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    with new_file("/dev/null", force=True) as file:
        file.write("away")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("umask", [0, 0o77, 0o377])
def test_a_secret_file_is_its_owners_alone(tmp_path, umask):
    """Whatever the umask, and whatever the mode of the file that it replaces."""
    (tmp_path / "old").write_text("old")
    (tmp_path / "old").chmod(0o644)
    before = os.umask(umask)
    try:
        for name in ("new", "old"):
            with new_file(str(tmp_path / name), force=True, secret=True) as file:
                file.write("pairs")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "old")] == [0o600, 0o600]


@pytest.mark.parametrize("command", ["embed", "twins"])
def test_help_says_that_pairs_are_secret(command):
    words = " ".join(radiolabel(command, "--help")[1].split())
    assert "withheld answers and coins" in words
    assert "it is to be kept secret until the evidence is given" in words

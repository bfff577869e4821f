"""Outputs never replace what a command reads, and hostile names in records do not reach a terminal."""

import os

import pytest

from tests.cli.conftest import radiolabel
from tests.conftest import make_epoch
from verify.cli import main
from verify.cli.output import shown
from verify.pairs import Likelihood, Member, Pair
from watermark.keyfile import write_key


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_key(make_epoch(), tmp_path / "epoch.key")
    (tmp_path / "in").write_text("Hello\n")
    (tmp_path / "link").symlink_to("in")
    os.link(tmp_path / "in", tmp_path / "hard")
    monkeypatch.chdir(tmp_path)
    return tmp_path


EMBED = ["embed", "--model", "m", "--key", "epoch.key", "in"]
TWINS = ["twins", "in", "--model", "m", "--key", "epoch.key"]
PROBE = ["probe", "--model", "m"]


@pytest.mark.parametrize(
    "arguments",
    [
        [*EMBED, "-o", "epoch.key"],
        [*EMBED, "-o", "in"],
        [*EMBED, "-o", "x", "--tokenizer-out", "./x"],
        [*EMBED, "-o", "x", "--twins", "1", "--twins-out", "hard"],
        [*TWINS, "-o", "epoch.key"],
        [*TWINS, "-o", "./in"],
        [*PROBE, "--pairs", "in", "-o", "in"],
        [*PROBE, "--pairs", "in", "-o", "link"],
        [*PROBE, "--windows", "link", "-o", "hard"],
        [*PROBE, "--windows", "in", "--tokenizer", "epoch.key", "-o", "epoch.key"],
        ["probe", "--model", "in", "--pairs", "epoch.key", "-o", "in"],
    ],
)
def test_force_replaces_no_input_and_no_key(folder, capsys, arguments):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main([*arguments, "--force"]) == 2
    err = capsys.readouterr().err
    assert "are the same file" in err or "is a key file, and those are never replaced" in err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_probe_takes_no_pipe_that_can_be_read_once(folder, capsys):
    os.mkfifo("pipe")
    assert main([*PROBE, "--pairs", "pipe", "-o", "out"]) == 2
    assert "pipe is not a regular file, expected one: the input is read twice" in capsys.readouterr().err


def test_names_in_records_cannot_steer_a_terminal(tmp_path):
    pairs, likelihoods = [], []
    for i in range(30):
        members = Member(f"one {i}"), Member(f"two {i}")
        pair = Pair.of(id=f"p{i}", prompt="?", members=members, served=0, drawn="serving", account="\x1b[2J\n\x9b")
        pairs.append(pair.to_json())
        fields = {"suspect": "s", "reference_model": "\x1b]0;x\x07\nlog10 p, signs   -99", "reference": (-1.0, -1.0)}
        scores = Likelihood(id=pair.id, digests=pair.digests, tokens=(2, 2), log_likelihood=(-1.0, -2.0), **fields)
        likelihoods.append(scores.to_json())
    (tmp_path / "p").write_bytes(b"\n".join(pairs))
    (tmp_path / "l").write_bytes(b"\n".join(likelihoods))
    code, out, _ = radiolabel("test", "twin", tmp_path / "p", "--likelihoods", tmp_path / "l", "--format", "text")
    assert code == 0
    assert [line for line in out.splitlines() if not line.isprintable() or line.endswith("-99")] == [
        line for line in out.splitlines() if line.startswith("scored by") and line.isprintable()
    ]


def test_text_for_a_terminal_keeps_its_lines():
    assert shown("é\n\x1b[31m\x9b\u202e") == "é\n\\x1b[31m\\x9b\\u202e"

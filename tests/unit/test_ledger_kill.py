"""Real processes, killed at random moments: no acknowledged record is lost, and the chain holds."""

import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ledgers import NOON, walked
from watermark.ledger import Keeping, Ledger

WRITERS = 3
ROOT = Path(__file__).resolve().parents[2]

# Appends until it is killed, and says of each record that it was acknowledged, in one write of 8 + 64 bytes.
WRITER = """
import os, struct, sys
from tests.ledgers import EPOCH, content
from watermark.ledger import Ledger, answer_record
from watermark.sampling import Request
number, out = int(sys.argv[2]), int(sys.argv[3])
entries = [
    answer_record(Request(f"r{number}-{i}", account="a"), content(tuple(i % 1000 for i in range(n))), epoch=EPOCH)
    for i, n in enumerate((3, 400, 20, 3000))
]
with Ledger.open(sys.argv[1]) as ledger:
    os.write(out, b"R" * 72)
    while True:
        for batch in ([entries[0]], [entries[1]], entries[2:], [entries[3]]):
            for receipt in ledger.append_many(batch):
                os.write(out, struct.pack("<Q", receipt.ordinal) + receipt.hash.encode())
"""


class Writer:
    def __init__(self, path, number):
        self.reader, out = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number), str(out)], pass_fds=[out], cwd=ROOT
        )
        os.close(out)

    def wait_until_ready(self):
        assert os.read(self.reader, 72) == b"R" * 72

    def acknowledged(self):
        data = b""
        while chunk := os.read(self.reader, 1 << 16):
            data += chunk
        os.close(self.reader)
        return [(struct.unpack("<Q", data[i : i + 8])[0], data[i + 8 : i + 72]) for i in range(0, len(data) - 71, 72)]


@pytest.mark.parametrize("rounds", [16, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment_loses_nothing_acknowledged(tmp_path, rounds):
    """Each round starts one writer anew and kills one at a random moment, while the others go on."""
    rng = random.Random(0)
    path = tmp_path / "l.jsonl"
    Ledger.create(path, keeping=Keeping("clear"), time=NOON).close()
    writers = [Writer(path, number) for number in range(WRITERS)]
    for writer in writers:
        writer.wait_until_ready()
    acknowledged = []
    for number in range(rounds):
        time.sleep(rng.random() * 0.03)
        together = writers if number % 8 == 7 else [writers[rng.randrange(len(writers))]]
        for writer in together:
            writer.process.send_signal(signal.SIGKILL)
        for writer in list(together):
            assert writer.process.wait() == -signal.SIGKILL
            acknowledged += writer.acknowledged()
            writers.remove(writer)
        if not writers:
            walk, damages, _ = walked(path.read_bytes())
            assert damages == []
        fresh = [Writer(path, 10 + number) for _ in range(WRITERS - len(writers))]
        for writer in fresh:
            writer.wait_until_ready()
        writers += fresh
    for writer in writers:
        writer.process.kill()
        writer.process.wait()
        acknowledged += writer.acknowledged()
    with Ledger.open(path) as ledger:
        count = ledger.head().count
    walk, damages, _ = walked(path.read_bytes())
    assert (damages, walk.unfinished, walk.head.count) == ([], 0, count)
    hashes = [line[9:73] for line in path.read_bytes().splitlines()]
    assert len(acknowledged) > 10 * rounds
    assert len(acknowledged) == len(set(acknowledged))
    assert all(hashes[ordinal] == hash_ for ordinal, hash_ in acknowledged)


def test_a_writer_killed_inside_its_write_is_overtaken(tmp_path):
    """A kill between the two halves of a line, which a lucky moment alone would give."""
    path = tmp_path / "l.jsonl"
    Ledger.create(path, keeping=Keeping("clear"), time=NOON).close()
    halved = WRITER.replace("with Ledger.open", """
real = os.write
def write(descriptor, data):
    if descriptor != out and len(data) > 2000:
        real(descriptor, bytes(data)[:len(data) // 2])
        os.kill(os.getpid(), 9)
    return real(descriptor, data)
os.write = write
with Ledger.open""")  # fmt: skip
    acknowledged = []
    for _ in range(3):
        reader, out = os.pipe()
        process = subprocess.Popen([sys.executable, "-c", halved, str(path), "0", str(out)], pass_fds=[out], cwd=ROOT)
        os.close(out)
        assert process.wait() == -signal.SIGKILL
        data = os.read(reader, 1 << 16)
        os.close(reader)
        acknowledged += [data[at + 8 : at + 72] for at in range(72, len(data), 72)]
        walk, damages, _ = walked(path.read_bytes())
        assert damages == []
        assert walk.unfinished > 0
    with Ledger.open(path) as ledger:
        ledger.head()
    walk, damages, _ = walked(path.read_bytes())
    assert (damages, walk.unfinished) == ([], 0)
    hashes = {line[9:73] for line in path.read_bytes().splitlines()}
    assert acknowledged
    assert set(acknowledged) <= hashes

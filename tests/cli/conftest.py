import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import make_epoch
from watermark.keyfile import write_key
from watermark.sampling import Request, Sampler

RADIOLABEL = [sys.executable, "-m", "verify"]


def radiolabel(*arguments, **options):
    """Run the real command: (exit code, stdout, stderr)."""
    options.setdefault("stdin", subprocess.DEVNULL)
    if "input" in options:
        del options["stdin"]
    done = subprocess.run([*RADIOLABEL, *map(str, arguments)], capture_output=True, text=True, check=False, **options)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def keys(tmp_path) -> Path:
    """A folder with master.key, epoch.key and fleet.key."""
    for arguments in (
        ("key", "new", "-o", tmp_path / "master.key"),
        ("key", "derive", tmp_path / "master.key", "--path", "epoch/e", "-o", tmp_path / "epoch.key"),
        ("key", "derive", tmp_path / "epoch.key", "--path", "epoch/e/fleet", "-o", tmp_path / "fleet.key"),
    ):
        code, _, err = radiolabel(*arguments)
        assert (code, err) == (0, "")
    return tmp_path


@pytest.fixture(scope="session")
def marked(tmp_path_factory, small_tokenizer):
    """A folder with fleet.key, other.key, and what a uniform "model" over letters-and-space tokens answered."""
    folder = tmp_path_factory.mktemp("marked")
    epoch = make_epoch(5)
    write_key(epoch.value_key("fleet"), folder / "fleet.key")
    write_key(make_epoch(6).value_key("fleet"), folder / "other.key")
    sampler = Sampler(epoch)
    words = [
        i
        for t, i in sorted(small_tokenizer.get_vocab().items())
        if t.startswith("Ġ") and t[1:].isalpha() and len(t) > 3
    ]
    logits = np.full((1, 4096), -np.inf)
    logits[0, words] = np.random.default_rng(0).normal(size=len(words))
    with open(folder / "marked.jsonl", "w") as file:
        for index in range(12):
            response = sampler.start(Request(f"r{index}"))
            for _ in range(100):
                sampler.draw([response], logits)
            text = small_tokenizer.decode(response.tracker.tokens)
            file.write(json.dumps({"prompt": "Say some words.", "response": text}) + "\n")
    return folder


def limit_file_size():
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

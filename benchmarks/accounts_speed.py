"""`radiolabel accounts` on as many accounts as have been reported: `python -m benchmarks.accounts_speed`.

Redacted pairs with random coins, and likelihoods of a suspect that prefers what a tenth of the accounts was served.
The command runs as its own process: seconds, peak memory, pairs a second. Making the files is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from verify.canonical import digest
from verify.pairs import Likelihood
from verify.redaction import RedactedPair

OUTPUT: Final = Path(__file__).with_name("results") / "accounts_speed.json"
RATE: Final = 0.8  # share of their pairs that the accounts of the ring win
BLOCK: Final = 10_000  # pairs written together


def write(folder: Path, accounts: int, pairs: int) -> None:
    """pairs.jsonl and likelihoods.jsonl: one pair of each account after the other, as traffic comes."""
    rng = np.random.default_rng(0)
    with open(folder / "pairs.jsonl", "wb") as one, open(folder / "likelihoods.jsonl", "wb") as two:
        for first in range(0, accounts * pairs, BLOCK):
            number = np.arange(first, min(first + BLOCK, accounts * pairs))
            account, served = number % accounts, rng.integers(2, size=len(number))
            won = rng.random(len(number)) < np.where(account < accounts // 10, RATE, 0.5)
            logs = np.round(-100 * rng.random((len(number), 2)) - 1, 4)
            logs.sort(axis=1)  # the second member is the likelier one, until the winner is put in its place
            flip = np.where(won, served, 1 - served) == 0
            logs[flip] = logs[flip, ::-1]
            for n, a, s, log in zip(number.tolist(), account.tolist(), served.tolist(), logs.tolist(), strict=True):
                name = f"r{n}"
                digests = (digest(f"{name}.0".encode()), digest(f"{name}.1".encode()))
                pair = RedactedPair(id=f"{name}-twin", request=name, account=f"account-{a:05}", served=s,
                                    drawn="serving", digests=digests, equal=False)  # fmt: skip
                found = Likelihood(id=pair.id, digests=pair.digests, tokens=(48, 48), log_likelihood=tuple(log),
                                   suspect="random")  # fmt: skip
                one.write(pair.to_json() + b"\n")
                two.write(found.to_json() + b"\n")


def timed(folder: Path) -> dict[str, Any]:
    """Run the command line: what it found, seconds, and peak memory in MB."""
    arguments = ["accounts", "pairs.jsonl", "--likelihoods", "likelihoods.jsonl", "--format", "json"]
    # Out of the folder that it was started in, the command still has to find its packages.
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with open(folder / "found.json", "wb") as out:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "verify", *arguments], cwd=folder, stdout=out, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if status:
        sys.exit(f"this command failed: {' '.join(arguments)}")
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found | {
        "seconds": round(seconds, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accounts_speed", description=__doc__)
    parser.add_argument("--accounts", type=int, default=25_000)
    parser.add_argument("--pairs", type=int, default=100, help="of each account")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, options.accounts, options.pairs)
        size = sum(path.stat().st_size for path in folder.iterdir())
        found = timed(folder)
    ring = sum(int(name.removeprefix("account-")) < options.accounts // 10 for name in found["named_fwer"])
    result = {
        "accounts": found["n_accounts"],
        "pairs": found["n_pairs"],
        "input_mb": round(size / 1e6),
        "ring": options.accounts // 10,
        "ring_named": ring,
        "others_named": len(found["named_fwer"]) - ring,
        "seconds": found["seconds"],
        "peak_mb": found["peak_mb"],
        "pairs_per_second": round(found["n_pairs"] / found["seconds"]),
    }
    print(json.dumps(result, indent=1))
    OUTPUT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Making evidence against checking it, on text that is already tokenized: `python -m benchmarks.evidence_speed`.

Each runs as its own process, in turn; seconds and peak memory of each, and the ratio.
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

OUTPUT: Final = Path(__file__).with_name("results") / "evidence_speed.json"
VOCABULARY: Final = 49_152
LENGTH: Final = 500  # tokens of a document
DECOYS: Final = 20


def corpus(path: Path, tokens: int) -> int:
    """Documents of random ids, commoner ones first; how many."""
    rng = np.random.default_rng(0)
    n = tokens // LENGTH
    with open(path, "w") as file:
        for _ in range(n):
            ids = np.minimum(rng.zipf(1.2, LENGTH), VOCABULARY - 1)
            file.write(json.dumps({"token_ids": ids.tolist()}) + "\n")
    return n


def tokenizer(path: Path) -> str:
    """A tokenizer that nothing is tokenized with; its digest."""
    vocabulary = {"<unk>": 0} | {f"t{i}": i for i in range(1, VOCABULARY)}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    data = json.dumps({"version": "1.0", "model": model}).encode()
    path.write_bytes(data)
    return digest(data)


def timed(*arguments: object) -> dict[str, float]:
    """Run the command line: seconds, and peak memory in MB."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "verify", *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"this command failed: {' '.join(map(str, arguments))}")
    return {"seconds": round(time.monotonic() - began, 2), "peak_mb": round(usage.ru_maxrss / 1024)}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence_speed", description=__doc__)
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n = corpus(folder / "answers.jsonl", options.tokens)
        tokenizer(folder / "tokenizer.json")
        for arguments in (
            ("key", "new", "-o", folder / "master.key"),
            ("key", "signer", "-o", folder / "signer.pem"),
            ("key", "derive", folder / "master.key", "--path", "epoch/q4/fleet", "-o", folder / "fleet.key"),
            ("plan", "new", "--hypothesis", "closed", "--name", "speed", "--key", folder / "fleet.key", "--tokenizer",
             folder / "tokenizer.json", "--suspect", "random", "--origin", "random ids", "--alpha", "1e-6",
             "--family", "speed", "--correction", "none", "--no-filters", "--input",
             f"input={folder / 'answers.jsonl'}", "--n", n, "--decoys", DECOYS,
             "--repeated-windows", "skip", "--pair-weights", "distinct", "--token-ids", "yes", "--with-prompts", "no",
             "--served", "no", "--input-format", "jsonl", "-o", folder / "plan.json"),
            ("policy", "--signer", folder / "signer.pem", "--tsa-certs", "none", "--released", "unknown",
             "--beacon-value", "unknown", "--require", "measured", "-o", folder / "policy.json"),
        ):  # fmt: skip
            timed(*arguments)
        rows: list[dict[str, Any]] = []
        for repeat in range(options.repeats):
            evidence = folder / f"evidence-{repeat}.json"
            made = timed("evidence", folder / "plan.json", "--input", f"input={folder / 'answers.jsonl'}", "--input",
                         f"tokenizer={folder / 'tokenizer.json'}", "--key", folder / "fleet.key", "--signer",
                         folder / "signer.pem", "--unsafe-no-plan", "-o", evidence)  # fmt: skip
            checked = timed("check", evidence, "--policy", folder / "policy.json", "--inputs", folder, "--key",
                            folder / "fleet.key")  # fmt: skip
            rows.append({"make": made, "check": checked})
            print(f"make {made}, check {checked}, ratio {checked['seconds'] / made['seconds']:.2f}", flush=True)
    ratios = [row["check"]["seconds"] / row["make"]["seconds"] for row in rows]
    result = {
        "tokens": options.tokens,
        "decoys": DECOYS,
        "rows": rows,
        "ratio": {
            "median": round(float(np.median(ratios)), 3),
            "low": round(min(ratios), 3),
            "high": round(max(ratios), 3),
        },
    }
    OUTPUT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

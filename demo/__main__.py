"""Mark a real model's answers, leave others unmarked, verify both, and show what came out."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PROMPTS = Path(__file__).with_name("prompts.txt")
EPOCH = "epoch/demo"


def radiolabel(*arguments: str | Path) -> str:
    """Run the command line as a person would: its progress shows, its output comes back."""
    command = [sys.executable, "-m", "verify", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        shown = " ".join(["radiolabel", *map(str, arguments)])
        sys.exit(f"demo: this command failed with exit code {done.returncode}: {shown}")
    return done.stdout


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--model", default="smollm2", help="a .gguf file, a directory, a hub name, or smollm2")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for everything it makes")
    parser.add_argument("--max-tokens", type=int, default=160, help="per answer")
    parser.add_argument("--decoys", type=int, default=10_000)
    options = parser.parse_args()
    began = time.monotonic()
    out = options.out / time.strftime("%Y%m%d-%H%M%S")
    out.mkdir(parents=True)

    step(began, "keys: a master, the epoch's key for the sampler, one value key for the verifier")
    master, epoch, fleet, other = (out / f"{name}.key" for name in ("master", "epoch", "fleet", "other-epoch"))
    radiolabel("key", "new", "-o", master)
    radiolabel("key", "derive", master, "--path", EPOCH, "-o", epoch)
    radiolabel("key", "derive", epoch, "--path", f"{EPOCH}/fleet", "-o", fleet)
    radiolabel("key", "derive", master, "--path", "epoch/another/fleet", "-o", other)

    prompts = len(PROMPTS.read_text().splitlines())
    marked, unmarked, tokenizer = out / "marked.jsonl", out / "unmarked.jsonl", out / "tokenizer.json"
    common = ("--model", options.model, "--max-tokens", str(options.max_tokens), "--batch-size", "60")
    step(began, f"{options.model} answers {prompts} prompts with marked sampling")
    radiolabel("embed", PROMPTS, "--key", epoch, *common, "-o", marked, "--tokenizer-out", tokenizer)
    step(began, f"{options.model} answers the same prompts unmarked")
    radiolabel("embed", PROMPTS, "--unmarked", *common, "-o", unmarked)

    rows: list[tuple[str, dict[str, Any]]] = []
    for label, answers, key in (
        ("marked answers", marked, fleet),
        ("unmarked answers", unmarked, fleet),
        ("marked answers, another epoch's key", marked, other),
    ):
        step(began, f"verify: {label}")
        # The text alone, as an outsider has it: the token ids in the transcripts are not used.
        printed = radiolabel(
            *("verify", "--key", key, "--tokenizer", tokenizer, "--format", "json"),
            *("--decoys", str(options.decoys), answers),
        )
        (out / f"finding-{len(rows) + 1}.json").write_text(printed)
        rows.append((label, json.loads(printed)))
    print()
    print(table(rows))
    print()
    for label, finding in rows:
        print(f"* {label}: {finding['sentence']}")
    print(f"\n{time.monotonic() - began:.0f} seconds. Everything made lies in {out}/:")
    for file in sorted(out.iterdir()):
        print(f"  {file}")
    verdicts = [finding["found"] for _, finding in rows]
    if verdicts != [True, False, False]:
        sys.exit("demo: the verdicts are not the ones expected")


def step(began: float, text: str) -> None:
    """Say what comes next."""
    print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)


def table(rows: list[tuple[str, dict[str, Any]]]) -> str:
    """A table for people."""
    lines = [f"{'':36}{'verdict':>10}{'log10 p':>10}{'pairs':>8}{'decoy rank':>16}"]
    for label, f in rows:
        verdict = "FOUND" if f["found"] else "not found"
        rank = f"{f['decoys']['rank']:,} of {f['decoys']['n'] + 1:,}"
        lines.append(f"{label:36}{verdict:>10}{f['log10_p']:>10.2f}{f['n_scored']:>8,}{rank:>16}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

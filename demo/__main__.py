"""Mark a real model's answers, verify them, train two students, and say which one learned from what was served."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROMPTS = Path(__file__).with_name("prompts.txt")
EPOCH = "epoch/demo"
TOP_K = 128  # likeliest candidates recorded for the open test


def run(*command: str | Path) -> str:
    """Run a command as a person would: its progress shows, its output comes back."""
    done = subprocess.run([sys.executable, "-m", *map(str, command)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        shown = " ".join(["python -m", *map(str, command)])
        sys.exit(f"demo: this command failed with exit code {done.returncode}: {shown}")
    return done.stdout


def radiolabel(*arguments: str | Path) -> str:
    """Run the command line."""
    return run("verify", *arguments)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--model", default="smollm2", help="a .gguf file, a directory, a hub name, or smollm2")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for everything it makes")
    parser.add_argument("--max-tokens", type=int, default=60, help="per answer")
    parser.add_argument("--decoys", type=int, default=10_000)
    parser.add_argument("--no-students", action="store_true", help="leave the second act out")
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
    pairs = out / "pairs.jsonl"
    common = ("--model", options.model, "--max-tokens", str(options.max_tokens), "--batch-size", "60")
    step(began, f"{options.model} answers {prompts} prompts with marked sampling, each twice: one answer is served")
    twins = ("--twins", "1", "--twins-out", pairs)
    radiolabel("embed", PROMPTS, "--key", epoch, *common, *twins, "-o", marked, "--tokenizer-out", tokenizer)
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

    students: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    if not options.no_students:
        for label, name, taught in (
            ("trained on the marked answers", "student", marked),
            ("trained on the unmarked ones", "innocent", unmarked),
        ):
            step(began, f"a copy of {options.model} is {label}")
            folder = out / name
            run("demo.student", taught, "--model", options.model, "--out", folder)
            step(began, "probe: how likely are both answers of each pair, and what does it predict in served text")
            likelihoods, predictions = out / f"{name}-likelihoods.jsonl", out / f"{name}-predictions.jsonl"
            probe = ("probe", "--model", folder, "--reference", options.model, "--dtype", "bfloat16")
            radiolabel(*probe, "--pairs", pairs, "-o", likelihoods)
            radiolabel(*probe, "--windows", marked, "--served", "--top-k", str(TOP_K), "-o", predictions)
            shutil.rmtree(folder)  # a quarter of a gigabyte that nothing below needs
            twin = radiolabel("test", "twin", pairs, "--likelihoods", likelihoods, "--format", "json")
            opened = radiolabel("test", "open", predictions, "--key", fleet, "--format", "json")
            (out / f"{name}-twin.json").write_text(twin)
            (out / f"{name}-open.json").write_text(opened)
            students.append((label, json.loads(twin), json.loads(opened)))

    print()
    print(table(rows))
    print()
    for label, finding in rows:
        print(f"* {label}: {finding['sentence']}")
    if students:
        print()
        print(student_table(options.model, students))
        print()
        for label, twin_finding, _ in students:
            print(f"* {options.model} {label}: {twin_finding['sentence']}")
    print(f"\n{time.monotonic() - began:.0f} seconds. Everything made lies in {out}/:")
    for file in sorted(out.iterdir()):
        print(f"  {file}")
    verdicts = [finding["found"] for _, finding in rows] + [twin["found"] for _, twin, _ in students]
    innocent_open = [opened["found"] for _, _, opened in students[1:]]
    if verdicts != [True, False, False, True, False][: len(verdicts)] or any(innocent_open):
        sys.exit("demo: the verdicts are not the ones expected")


def step(began: float, text: str) -> None:
    """Say what comes next."""
    print(f"[{time.monotonic() - began:5.0f} s] {text}", file=sys.stderr, flush=True)


def table(rows: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The answers, for people."""
    lines = [f"{'Did our sampler write this?':36}{'verdict':>10}{'log10 p':>10}{'pairs':>8}{'decoy rank':>16}"]
    for label, f in rows:
        rank = f"{f['decoys']['rank']:,} of {f['decoys']['n'] + 1:,}"
        lines.append(f"{label:36}{verdict(f):>10}{f['log10_p']:>10.2f}{f['n_scored']:>8,}{rank:>16}")
    return "\n".join(lines)


def student_table(model: str, students: Sequence[tuple[str, dict[str, Any], dict[str, Any]]]) -> str:
    """The students, for people."""
    lines = [f"{'Was it trained on what we served?':36}{'verdict':>10}{'log10 p':>10}{'wins':>10}{'open log10 e':>14}"]
    for label, twin, opened in students:
        wins = f"{twin['wins']} of {twin['wins'] + twin['losses']}"
        lines.append(f"{label:36}{verdict(twin):>10}{twin['log10_p']:>10.2f}{wins:>10}{opened['log10_e']:>14.1f}")
    lines.append(f"Both are copies of {model}; wins: the served answer became likelier than its unserved twin.")
    return "\n".join(lines)


def verdict(finding: dict[str, Any]) -> str:
    """In one word."""
    return "FOUND" if finding["found"] else "not found"


if __name__ == "__main__":
    main()

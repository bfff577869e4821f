"""What the mark costs in vLLM: tokens a second plain against marked, same engine options, in alternating runs.

    python -m benchmarks.overhead_vllm --model FOLDER

It runs where vLLM is installed. Each run is an offline engine in a process of its own: `plain` without the plugin,
`marked` with it, a ticket for every request, and the keys of this benchmark. In one process a batch of B requests of
`--tokens` tokens each is timed `--repeats` times after a warm-up; the processes alternate `--rounds` times.

On a machine that others use the spread says how much the ratio means: run it on an idle one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from watermark.deployment import Deployment
from watermark.keyfile import read_key, write_key
from watermark.keys import EpochKey, MasterKey
from watermark.serving.tickets import Ticket, mint

NAME: Final = "watermark.engines.vllm:Radiolabel"
SETTINGS: Final[dict[str, dict[str, Any]]] = {"temperature 1": {}, "top-p 0.9": {"top_p": 0.9}}
BATCHES: Final = (1, 8, 32)
RESULTS: Final = Path(__file__).parent / "results" / "overhead_vllm.json"


def measure(model: str, keys: str, tokens: int, repeats: int) -> dict[str, list[float]]:
    """Tokens a second of one engine, by sampling setting and batch.

    Args:
        model: folder of the model.
        keys: folder of the epoch key, or empty for an engine without the plugin.
        tokens: of each answer.
        repeats: timed batches.
    """
    from vllm import LLM, SamplingParams

    options: dict[str, Any] = {"logits_processors": [NAME]} if keys else {}
    llm = LLM(model=model, max_model_len=512, max_num_seqs=32, enforce_eager=True, seed=0, **options)
    epoch = read_key(Path(keys) / "epoch.key") if keys else None
    found: dict[str, list[float]] = {}
    for name, sampling in SETTINGS.items():
        for batch in BATCHES:
            speeds = []
            for run in range(repeats + 1):
                params = [
                    SamplingParams(max_tokens=tokens, ignore_eos=True, **sampling, extra_args=_extra(epoch, i))
                    for i in range(batch)
                ]
                begin = time.perf_counter()
                llm.generate(["Once upon a time there was"] * batch, params, use_tqdm=False)
                if run:  # the first warms up
                    speeds.append(batch * tokens / (time.perf_counter() - begin))
            found[f"{name}, batch {batch}"] = speeds
    return found


def _extra(epoch: object, number: int) -> dict[str, str] | None:
    if not isinstance(epoch, EpochKey):
        return None
    request, expires = f"r-{number}-{time.monotonic_ns()}", int(time.time()) + 3600
    ticket = Ticket(epoch=epoch.name, request=request, account=f"acct-{number % 16}", expires=expires)
    return {"radiolabel": mint(epoch.gateway_key(), ticket)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the model, as transformers saves it")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", choices=("plain", "marked"), help=argparse.SUPPRESS)
    parser.add_argument("--keys", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        found = measure(options.model, options.keys, options.tokens, options.repeats)
        options.out.write_text(json.dumps(found))
        return
    speeds: dict[str, dict[str, list[float]]] = {"plain": {}, "marked": {}}
    with tempfile.TemporaryDirectory() as folder:
        deployment = Deployment.parse(shares="fleet=0.5,account=0.25,leaf=0.25")
        write_key(MasterKey.generate().epoch("bench", deployment=deployment), Path(folder) / "epoch.key")
        for number in range(2 * options.rounds):
            # Which one goes first changes from round to round.
            kind = ("plain", "marked")[(number + number // 2) % 2]
            for name, values in _run(kind, folder, options).items():
                speeds[kind].setdefault(name, []).extend(values)
    cases = [_case(name, plain, speeds["marked"][name]) for name, plain in speeds["plain"].items()]
    result = {
        "command": f"python -m benchmarks.overhead_vllm --model {Path(options.model).name} --tokens {options.tokens}"
        f" --repeats {options.repeats} --rounds {options.rounds}",
        "cores": os.cpu_count(),
        "cases": cases,
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for case in cases:
        low, high = case["ratio_range"]
        print(f"{case['name']:24} {case['plain']:7.1f} {case['marked']:7.1f} tokens/s  {case['ratio']:.3f}", end=" ")
        print(f"({low:.3f} to {high:.3f})")


def _run(kind: str, folder: str, options: argparse.Namespace) -> dict[str, list[float]]:
    out = Path(folder) / "out.json"
    command = [sys.executable, "-m", "benchmarks.overhead_vllm", "--one", kind, "--model", options.model]
    command += ["--tokens", str(options.tokens), "--repeats", str(options.repeats), "--out", str(out)]
    environment = os.environ | {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    if kind == "marked":
        command += ["--keys", folder]
        environment |= {"RADIOLABEL_KEYS": folder, "RADIOLABEL_MODE": "enforce"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    found: dict[str, list[float]] = json.loads(out.read_text())
    return found


def _case(name: str, plain: list[float], marked: list[float]) -> dict[str, Any]:
    ratios = [m / p for m in marked for p in plain]
    return {
        "name": name,
        "plain": statistics.median(plain),
        "marked": statistics.median(marked),
        "ratio": statistics.median(marked) / statistics.median(plain),
        "ratio_range": [min(ratios), max(ratios)],
        "runs": {"plain": plain, "marked": marked},
    }


if __name__ == "__main__":
    main()

"""What the mark costs in vLLM: two engines in one process, plain and marked, take turns with the same batches.

    python -m benchmarks.overhead_vllm [--tokens 24] [--repeats 9] [-o benchmarks/results/overhead_vllm.json]

It runs where vLLM is installed. Both engines have the same options; `plain` has no plugin that marks, `marked` has the
plugin, a ticket for every request, accounts, and the keys of this benchmark. A turn times B requests of `--tokens`
tokens each, from the prompt on; a ratio is marked over plain time within one turn, and intervals are of the median over
turns. `own_share` is the time that the plugin's `apply` took, as its own metric counts it, over that of the marked
turns: it needs no comparison, and leaves out what `apply` makes slower or faster behind it.
An engine computes with one thread: its other processes need cores too, and with two threads on two cores the ratios of
single turns spread from 0.5 to 1.5.
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.ratios import spread, turns, write_json
from watermark.deployment import Deployment
from watermark.keyfile import write_key
from watermark.keys import EpochKey, MasterKey
from watermark.serving.tickets import Ticket, mint

NAME: Final = "watermark.engines.vllm:Radiolabel"
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "temperature 0.8, top-p 0.95, top-k 50": {"temperature": 0.8, "top_p": 0.95, "top_k": 50},
    "temperature 1, top-k 50": {"top_k": 50},
    "temperature 1": {},
}
BATCHES: Final = (1, 8, 32)
PROMPT: Final = "Once upon a time there was"
RESULTS: Final = Path(__file__).parent / "results" / "overhead_vllm.json"

Run = Callable[[int], float]


def cases(model: str, epoch: EpochKey, keys: str, tokens: int, port: int) -> Iterator[tuple[str, int, dict[str, Run]]]:
    """(sampling, batch, what each engine does in a turn and in how many seconds).

    Args:
        model: folder of the model.
        epoch: the key that draws.
        keys: folder of its key file.
        tokens: of each answer.
        port: where the plugin shows its metrics.
    """
    from vllm import LLM, SamplingParams

    options: dict[str, Any] = {"max_model_len": 512, "max_num_seqs": 32, "enforce_eager": True, "seed": 0}
    engines = {"plain": LLM(model=model, **options)}
    switched_on = {"RADIOLABEL_KEYS": keys, "RADIOLABEL_MODE": "enforce", "RADIOLABEL_METRICS_PORT": str(port)}
    os.environ |= switched_on  # the engine's process reads them; this one has no door, so that plain requests pass
    engines["marked"] = LLM(model=model, logits_processors=[NAME], **options)
    for name in switched_on:
        del os.environ[name]

    def run(kind: str, sampling: dict[str, Any], batch: int) -> Run:
        def timed(turn: int) -> float:
            extra = [_extra(epoch, turn, i) if kind == "marked" else None for i in range(batch)]
            params = [SamplingParams(max_tokens=tokens, ignore_eos=True, **sampling, extra_args=e) for e in extra]
            begin = time.perf_counter()
            engines[kind].generate([PROMPT] * batch, params, use_tqdm=False)
            return time.perf_counter() - begin

        return timed

    try:
        for name, sampling in SETTINGS.items():
            for batch in BATCHES:
                yield name, batch, {kind: run(kind, sampling, batch) for kind in engines}
    finally:
        for engine in engines.values():
            engine.llm_engine.engine_core.shutdown()  # or their processes outlive this one, which waits for them


def drawn_seconds(port: int) -> float:
    """Seconds that the plugin has drawn for so far."""
    for line in httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text.splitlines():
        if line.startswith("radiolabel_draw_seconds_sum "):
            return float(line.split()[1])
    raise SystemExit("the plugin shows no draw seconds")


def _extra(epoch: EpochKey, turn: int, number: int) -> dict[str, str]:
    request, expires = f"r-{turn}-{number}-{time.monotonic_ns()}", int(time.time()) + 3600
    ticket = Ticket(epoch=epoch.name, request=request, account=f"acct-{number % 16}", expires=expires)
    return {"radiolabel": mint(epoch.gateway_key(), ticket)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; the result is written after every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="", help="folder of a model, as transformers saves it; else SmolLM2")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    os.environ |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
    batches: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or _save_smollm2(f"{folder}/model")
        epoch = MasterKey.generate().epoch(
            "bench", deployment=Deployment.parse(shares="fleet=0.5,account=0.25,leaf=0.25")
        )
        Path(folder, "keys").mkdir()
        write_key(epoch, Path(folder, "keys", "epoch.key"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        for sampling, batch, contestants in cases(model, epoch, f"{folder}/keys", options.tokens, port):
            shares: list[float] = []

            def marked(turn: int, run: Run = contestants["marked"], shares: list[float] = shares) -> float:
                before = drawn_seconds(port)
                took = run(turn)
                shares.append((drawn_seconds(port) - before) / took)
                return took

            seconds = turns(contestants | {"marked": marked}, options.repeats)
            ratios = [m / p for m, p in zip(seconds["marked"], seconds["plain"], strict=True)]
            rates = {kind: spread([batch * options.tokens / s for s in seconds[kind]]) for kind in seconds}
            r = spread(ratios)
            own = spread(shares[1:])
            wall = {"marked_over_plain_time": r, "own_share": own, "tokens_per_second": rates}
            batches.append({"sampling": sampling, "batch": batch, "wall": wall})
            print(f"{sampling:38} batch {batch:2}  plain {rates['plain']['median']:6.1f}  marked "
                  f"{rates['marked']['median']:6.1f} tokens/s  time ratio {r['median']:.3f} "
                  f"({r['low']:.3f} to {r['high']:.3f})  own share {own['median']:.3f} "
                  f"({own['low']:.3f} to {own['high']:.3f})", flush=True)  # fmt: skip
            record = {
                "command": f"python -m benchmarks.overhead_vllm --tokens {options.tokens} --repeats {options.repeats}",
                "model": Path(options.model).name if options.model else "SmolLM2-135M-Instruct, bfloat16",
                "cores": os.cpu_count(),
                "load_before": os.getloadavg()[0],
                "repeats": options.repeats,
                "tokens": options.tokens,
                "batches": batches,
            }
            write_json(options.output, {"vllm": record})


def _save_smollm2(folder: str) -> str:
    import subprocess
    import sys

    code = (
        "import sys, torch; from watermark.engines.models import load; m = load('smollm2'); "
        "m.model.to(torch.bfloat16).save_pretrained(sys.argv[1]); m.tokenizer.save_pretrained(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True)  # what it loads stays out of this process
    return folder


if __name__ == "__main__":
    main()

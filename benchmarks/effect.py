"""What a full-strength mark adds to each score, on a real model: the `full_excess` constants of the schemes.

    python -m benchmarks.effect [--model smollm2] [-o benchmarks/results/effect.json]

The model answers the demo's prompts without truncation, at temperatures 1 and 0.7, every window on the fleet channel,
width 2. The constants are those of temperature 0.7: the weaker, so that no more is promised than is found.
Printed: mean excess score per distinct pair in the law's natural units with a 95 % interval, the same in standard
deviations of the null (which compares schemes), and log10 p.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from verify import finding
from verify.scoring import score, summarize
from watermark.decoding import Decoding
from watermark.deployment import Deployment
from watermark.engines.models import answer, load
from watermark.keys import MasterKey
from watermark.sampling import Request, Sampler
from watermark.secret import Secret
from watermark.windows import TokenBatch

PROMPTS = Path("demo/prompts.txt")
TEMPERATURES = (1.0, 0.7)
SCHEMES = ("gumbel", "tournament", "greenlist")


def main() -> None:
    """Run all schemes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/effect.json"))
    options = parser.parse_args()
    model, prompts = load(options.model), PROMPTS.read_text().splitlines()
    records: dict[str, Any] = {"model": options.model, "seed": options.seed, "prompts": len(prompts), "runs": []}
    for name, temperature in product(SCHEMES, TEMPERATURES):
        deployment = Deployment.parse(scheme=name, width=2, shares="fleet=1")
        secret = Secret(np.random.default_rng(options.seed).bytes(32))
        epoch = MasterKey(secret).epoch("effect", deployment=deployment)
        requests = [Request(f"r{i}") for i in range(len(prompts))]
        with tqdm(
            total=len(prompts) * options.max_tokens, desc=f"{name} at {temperature}", unit=" tokens", disable=None
        ) as bar:
            answers = answer(
                model,
                prompts,
                Decoding(temperature=temperature, max_tokens=options.max_tokens),
                requests=requests,
                sampler=Sampler(epoch),
                batch_size=len(prompts),
                progress=bar.update,
            )
            documents = [np.array(a.token_ids, dtype=np.uint32) for a in answers]
        summary, key = summarize(TokenBatch.from_documents(documents), 2), epoch.value_key("fleet")
        f = finding.find(summary, key, score(summary.pairs, key), alpha=1e-6, decoys=None, tokenizer=None, options={})
        deviation = deployment.scheme.law.variance**0.5
        records["runs"].append(
            {
                "scheme": f.scheme,
                "temperature": temperature,
                "n_scored": f.n_scored,
                "excess": f.excess,
                "excess_interval": list(f.excess_interval),
                "excess_in_null_deviations": f.excess / deviation,
                "log10_p": f.log10_p,
            }
        )
        low, high = f.excess_interval
        print(
            f"{f.scheme:30} T={temperature:<4}{f.n_scored:6,} pairs  excess {f.excess:.3f} ({low:.3f} to {high:.3f})  "
            f"{f.excess / deviation:.2f} sd  log10 p {f.log10_p:.1f}",
            flush=True,
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()

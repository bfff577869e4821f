"""Golden vectors of transformers' marks and of SynthID-Text, made by the real packages. Tests never run this.

In an environment that has both (transformers 5.24.0, synthid-text 0.2.1 and torch 2.13.0 made the file that is kept):

    python tests/vectors/native/make_transformers.py > tests/vectors/native/transformers.json
"""

import hashlib
import json
import random
import sys
from importlib.metadata import version
from typing import Any

import torch
from synthid_text.logits_processing import SynthIDLogitsProcessor
from transformers import PreTrainedConfig, SynthIDTextWatermarkLogitsProcessor, WatermarkDetector, WatermarkingConfig
from transformers.generation.logits_process import WatermarkLogitsProcessor

VOCABULARY = 512
CPU = torch.device("cpu")


def synthid(draw: random.Random) -> list[dict[str, Any]]:
    """g-values of both packages over the same ids."""
    cases = []
    for ngram, size, seed, depth in ((5, 2**16, 0, 30), (2, 2**16, 7, 4), (3, 2**10, 2**40 + 5, 9), (5, 2**17, 1, 3)):
        keys = [draw.randrange(-(2**62), 2**62) if depth > 4 else draw.randrange(1000) for _ in range(depth)]
        common = {"ngram_len": ngram, "keys": keys, "sampling_table_size": size, "sampling_table_seed": seed,
                  "context_history_size": 64, "device": CPU}  # fmt: skip
        ids = [draw.randrange(2**20) for _ in range(20)]
        theirs = SynthIDTextWatermarkLogitsProcessor(**common)
        original = SynthIDLogitsProcessor(**common, temperature=1.0, top_k=40)
        values = [p.compute_g_values(torch.tensor([ids]))[0].tolist() for p in (theirs, original)]
        assert values[0] == values[1]
        table = bytes(theirs.sampling_table.to(torch.uint8).tolist())
        cases.append({"ngram_len": ngram, "keys": keys, "sampling_table_size": size, "sampling_table_seed": seed,
                      "ids": ids,
                      "g_values": ["".join(map(str, row)) for row in values[0]],
                      "table_sha256": hashlib.sha256(table).hexdigest()})  # fmt: skip
    return cases


def synthid_answers(keys: list[int]) -> list[list[int]]:
    """Four answers of 60 tokens through transformers' processor, from one fixed law that is far from uniform."""
    made = []
    for seed in range(4):
        processor = SynthIDTextWatermarkLogitsProcessor(
            ngram_len=5,
            keys=keys,
            sampling_table_size=2**16,
            sampling_table_seed=0,
            context_history_size=1024,
            device=CPU,
        )
        generator, tokens = torch.Generator().manual_seed(seed), [1]
        for _ in range(60):
            logits = 2 * torch.randn((1, VOCABULARY), generator=generator)
            law = torch.softmax(processor(torch.tensor([tokens]), logits), -1)
            tokens.append(int(torch.multinomial(law, 1, generator=generator)[0]))
        made.append(tokens[1:])
    return made


def greenlists(draw: random.Random) -> list[dict[str, Any]]:
    """Green tokens of a few windows."""
    cases = []
    for scheme, width in (("lefthash", 1), ("lefthash", 3), ("selfhash", 2), ("selfhash", 4), ("selfhash", 1)):
        for key in (15485863, 7, 2**31 + 11, 2**62 + 12345):
            vocabulary, ratio = draw.choice([(512, 0.25), (1000, 0.5), (4096, 0.1)])
            processor = WatermarkLogitsProcessor(
                vocabulary, "cpu", greenlist_ratio=ratio, hashing_key=key, seeding_scheme=scheme, context_width=width
            )
            windows = []
            for _ in range(3):
                window = [draw.randrange(vocabulary) for _ in range(width)]
                green = processor._get_greenlist_ids(torch.tensor(window)).tolist()
                windows.append({"window": window, "green": sorted(green)[:40], "n_green": len(green),
                                "last_is_green": window[-1] in green,
                                "red": sorted(set(range(vocabulary)) - set(green))[:40]})  # fmt: skip
            cases.append({"seeding_scheme": scheme, "context_width": width, "hashing_key": key,
                          "vocabulary": vocabulary, "greenlist_ratio": ratio, "windows": windows})  # fmt: skip
    return cases


def greenlist_answers(config: WatermarkingConfig) -> tuple[list[list[int]], list[dict[str, float]]]:
    """Four answers of 60 tokens, and what transformers' own detector says of them."""
    made, found = [], []
    detector = WatermarkDetector(
        PreTrainedConfig(vocab_size=VOCABULARY, bos_token_id=VOCABULARY - 1), "cpu", config, ignore_repeated_ngrams=True
    )
    for seed in range(4):
        processor = config.construct_processor(VOCABULARY, "cpu")
        generator, tokens = torch.Generator().manual_seed(seed), [1, 2, 3]
        for _ in range(60):
            logits = 2 * torch.randn((1, VOCABULARY), generator=generator)
            law = torch.softmax(processor(torch.tensor([tokens]), logits), -1)
            tokens.append(int(torch.multinomial(law, 1, generator=generator)[0]))
        made.append(tokens[3:])
        assert made[-1][0] != VOCABULARY - 1  # or the detector would take it for the beginning of text
        result = detector(torch.tensor([made[-1]]), return_dict=True)
        found.append({"n": int(result.num_tokens_scored[0]), "green": int(result.num_green_tokens[0])})
    return made, found


def main() -> None:
    """Print the vectors."""
    draw = random.Random(0)
    keys = [draw.randrange(2**62) for _ in range(30)]
    kgw = {}
    for scheme, width in (("lefthash", 1), ("selfhash", 2)):
        config = WatermarkingConfig(greenlist_ratio=0.25, bias=4.0, hashing_key=987_654_321_012_345,
                                    seeding_scheme=scheme, context_width=width)  # fmt: skip
        texts, found = greenlist_answers(config)
        kgw[scheme] = {"config": config.to_dict(), "vocabulary": VOCABULARY, "answers": texts, "detected": found}
    record = {
        "made_by": ", ".join(f"{name} {version(name)}" for name in ("transformers", "synthid-text", "torch")),
        "synthid": synthid(draw),
        "synthid_keys": keys,
        "synthid_answers": synthid_answers(keys),
        "greenlists": greenlists(draw),
        "greenlist_answers": kgw,
    }
    json.dump(record, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

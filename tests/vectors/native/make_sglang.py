"""Golden vectors of SGLang's own mark, made by the real package. Tests read the file and never run this.

In an environment that has SGLang's files (sglang 0.5.23 made the file that is kept), torch and msgspec. Detector and
selector are loaded as single files, since the package as a whole imports CUDA libraries:

    python tests/vectors/native/make_sglang.py > tests/vectors/native/sglang.json
"""

import importlib.util
import json
import random
import sys
import types
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(str(distribution("sglang").locate_file("sglang/srt/sampling/watermarking")))
VOCABULARY = 512
KEYS = ["0", "1", "ffffffff", "0x100000000", "FFFFFFFFFFFFFFFF", "0123456789abcdef", "8000000000000000"]


def load() -> tuple[Any, Any]:
    """The package's `detector` and `core` modules."""
    package = types.ModuleType("watermarking")
    package.__path__ = [str(FOLDER)]
    sys.modules["watermarking"] = package
    loaded = []
    for name in ("config", "detector", "core"):
        spec = importlib.util.spec_from_file_location(f"watermarking.{name}", FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        loaded.append(module)
    return loaded[1], loaded[2]


def answers(detector: Any, core: Any, key: str, key_b: str | None) -> list[list[int]]:
    """Four answers of 60 tokens after a prompt of four, from one fixed law that is far from uniform."""
    made = []
    number = torch.tensor([core.parse_watermark_key(key)])
    second = None if key_b is None else torch.tensor([core.parse_watermark_key(key_b)])
    threshold = None if key_b is None else torch.tensor([1 << 31])
    for seed in range(4):
        generator, tokens = torch.Generator().manual_seed(seed), [1, 2, 3, 4 + seed]
        for _ in range(60):
            law = torch.softmax(2 * torch.randn((1, VOCABULARY), generator=generator), -1)
            context = torch.tensor([detector.hash_context(tokens[-4:])])
            tokens.append(int(core.select_watermark_tokens_torch(law, context, number, second, threshold)[0]))
        made.append(tokens[4:])
    return made


def main() -> None:
    """Print the vectors."""
    detector, core = load()
    draw, key, key_b = random.Random(0), "5eeded5a17ed1234", "c0ffee0123456789"
    hashes = []
    for name in KEYS:
        number = core.parse_watermark_key(name)
        for width in (1, 2, 4, 5, 16):
            context = [draw.randrange(2**20) for _ in range(width)]
            token, hashed = draw.randrange(2**18), detector.hash_context(context)
            word = detector.watermark_hash(number, hashed, token)
            coin = detector.position_coin(number, core.parse_watermark_key(KEYS[-2]), hashed)
            hashes.append({"key": name, "context": context, "token": token, "context_hash": hashed, "word": word,
                           "key_b": KEYS[-2], "coin": coin})  # fmt: skip

    def detected(ids: list[int], second: str | None) -> dict[str, Any]:
        found = detector.WatermarkDetector(key, key_b=second).detect_tokens(ids).combined
        return {"score": found.score, "log_p_value": found.log_p_value, "n": found.num_contexts}

    single, dual = answers(detector, core, key, None), answers(detector, core, key, key_b)
    record = {
        "made_by": f"sglang {version('sglang')}, torch {torch.__version__}",
        "hashes": hashes,
        "key": key,
        "key_b": key_b,
        "single": single,
        "dual": dual,
        "single_detected": [detected(ids, None) for ids in single],
        "dual_detected": [detected(ids, key_b) for ids in dual],
    }
    json.dump(record, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

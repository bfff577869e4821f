"""From text to a verdict: which share of the time is the tokenizer's.

Real prose and code, the packaged model's tokenizer, `verify.corpus` and `verify.scoring` as `radiolabel verify` calls
them, in this process; the time inside `Tokenizer.encode_batch` is taken apart. The tokenizer runs on all cores, and the
rest on one, so the share of the time is stated for as many threads as the machine has, and the share of the
processors' time beside it, which other work on the machine does not change.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.ratios import spread
from benchmarks.suite import texts
from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context, Unit

NAME = "text-to-verdict"
ABOUT = "the tokenizer's share of the time from text to a verdict"
NEEDS = Needs(minutes={"smoke": 0.2, "quick": 0.5, "full": 3})

DOCUMENT: Final = 4000  # characters
SIZES: Final = {"smoke": (1, 1), "quick": (3, 3), "full": (20, 7)}  # copies of the text, repeats


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """Repeats of one text."""
    copies, repeats = SIZES[profile]
    file = _tokenizer_file(context, packaged=profile != "smoke")
    rows = context.each(
        [{"copies": copies, "repeat": i, "tokenizer": file.name, "path": str(file)} for i in range(repeats)],
        measure,
        jobs=1,
    )
    first = rows[0]
    return {
        "characters": first["characters"],
        "tokens": first["tokens"],
        "documents": first["documents"],
        "repeats": repeats,
        "threads": os.cpu_count(),
        "seconds": spread([row["seconds"] for row in rows]),
        "tokenizer_seconds": spread([row["tokenizer_seconds"] for row in rows]),
        "tokenizer_share": spread([row["tokenizer_seconds"] / row["seconds"] for row in rows]),
        "tokenizer_share_of_cpu": spread([row["tokenizer_cpu_seconds"] / row["cpu_seconds"] for row in rows]),
        "tokens_per_second": spread([row["tokens"] / row["seconds"] for row in rows]),
    }


def measure(unit: Unit) -> dict[str, Any]:
    """One pass over the text."""
    import numpy as np

    from verify import finding
    from verify.corpus import summarize_documents
    from verify.records import Document
    from verify.scoring import score
    from verify.tokenization import Tokenizer
    from watermark.deployment import Deployment
    from watermark.keys import MasterKey
    from watermark.secret import Secret

    whole = texts.text("prose") + texts.text("code")
    pieces = [whole[i : i + DOCUMENT] for i in range(0, len(whole), DOCUMENT)]
    tokenizer, spent, encode = Tokenizer.load(unit["path"]), [], Tokenizer.encode_batch

    def timed(self: Tokenizer, batch: Sequence[str]) -> Any:
        began, cpu = time.perf_counter(), time.process_time()
        found = encode(self, batch)
        spent.append((time.perf_counter() - began, time.process_time() - cpu))
        return found

    # Copies that differ, so that the distinct step has as much to do as with as much text.
    documents = [Document(name=f"{copy}-{i}", text=f"{copy} {piece}")
                 for copy in range(unit["copies"]) for i, piece in enumerate(pieces)]  # fmt: skip
    deployment = Deployment.parse(width=2, shares="fleet=1")
    key = MasterKey(Secret(np.random.default_rng(1).bytes(32))).epoch("t", deployment=deployment).value_key("fleet")
    Tokenizer.encode_batch = timed  # type: ignore[method-assign, assignment]
    try:
        began, cpu = time.perf_counter(), time.process_time()
        summary = summarize_documents(iter(documents), 2, tokenizer=tokenizer)
        finding.find(summary, key, score(summary.pairs, key), alpha=1e-6, decoys=None, tokenizer=tokenizer.digest,
                     options={})  # fmt: skip
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    finally:
        Tokenizer.encode_batch = encode  # type: ignore[method-assign]
    return {"seconds": seconds, "cpu_seconds": cpu_seconds,
            "tokenizer_seconds": sum(s for s, _ in spent), "tokenizer_cpu_seconds": sum(c for _, c in spent),
            "tokens": summary.n_seen, "documents": len(documents),
            "characters": len(whole) * unit["copies"]}  # fmt: skip


def _tokenizer_file(context: Context, *, packaged: bool) -> Path:
    """The packaged model's tokenizer where it is wanted and can be read, else the suite's own."""
    file = context.shared / ("tokenizer.json" if packaged else "own-tokenizer.json")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not packaged:
                raise ImportError
            from benchmarks.suite.answers import model_of

            data = model_of(context.model).tokenizer_json
        except ImportError:
            data = texts.bpe().to_str().encode()
        part = file.with_suffix(".part")
        part.write_bytes(data)
        part.replace(file)
    return file

"""Accounts traced by the mark: how fast, how long a document has to be, and how often an innocent is named.

    python -m benchmarks.trace serve [--accounts 100] [--tokens 1000]     real marked answers (resumable; minutes)
    python -m benchmarks.trace run [-o benchmarks/results/trace.json]     everything else

Deployments: `rare` gives the account channel a quarter of the windows, `most` three quarters; gumbel, width 2.
A document is the answers of one account to the demo's prompts by a real model, end to end, cut to a length.
Keys looked at: 25,000 accounts, Holm at a family-wise level of 1e-3 over documents times accounts.
Innocents: documents of unmarked prose and of accounts that are not among those looked at; both are tested as one
family, and again each by itself, where each document is a family of 25,000 keys at 1e-3.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from math import log10
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.stats import beta
from tqdm import tqdm

from benchmarks.texts import prose_ids
from verify.records import Document
from verify.tracing.answer import conclude
from verify.tracing.keysets import KeySet, of_epoch
from verify.tracing.scan import scan
from verify.tracing.texts import Texts, one_by_one
from watermark.deployment import Deployment
from watermark.keys import EpochKey, MasterKey
from watermark.secret import Secret

SHARES: Final = {"rare": "fleet=0.5,account=0.25,leaf=0.25", "most": "account=0.75,leaf=0.25"}
LENGTHS: Final = (50, 100, 150, 200, 300, 400, 500, 700, 1000)
KEYS: Final = 25_000
LEVEL: Final = 1e-3
INNOCENTS: Final = 10_000
FOLDER: Final = Path(".lab/trace")
Ids = np.ndarray[Any, np.dtype[np.uint32]]


def epoch(deployment: str, seed: int = 1) -> EpochKey:
    """A fixed epoch."""
    secret = Secret(np.random.default_rng(seed).bytes(32))
    return MasterKey(secret).epoch("trace", deployment=Deployment.parse(width=2, shares=SHARES[deployment]))


def serve(deployment: str, accounts: int, tokens: int, *, model: str) -> None:
    """Answers of a real model, account by account, until each account has enough; a line of `FOLDER` each."""
    from watermark.decoding import Decoding
    from watermark.engines.models import answer, load
    from watermark.sampling import Request, Sampler

    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{deployment}.jsonl"
    done = {json.loads(line)["account"] for line in file.read_text().splitlines()} if file.exists() else set()
    prompts, lm = Path("demo/prompts.txt").read_text().splitlines(), load(model)
    sampler = Sampler(epoch(deployment))
    wanted = [a for a in range(accounts) if a not in done]
    for first in tqdm(range(0, len(wanted), 16), desc=deployment, unit="block", disable=None):
        block = wanted[first : first + 16]
        texts: dict[int, list[int]] = {a: [] for a in block}
        turn = 0
        while short := [a for a in block if len(texts[a]) < tokens]:
            asked = [(a, prompts[(7 * a + 16 * turn + k) % len(prompts)]) for a in short for k in range(6)]
            requests = [Request(f"{a}-{turn}-{k}", account=str(a)) for a in short for k in range(6)]
            for got in answer(lm, [p for _, p in asked], Decoding(max_tokens=120), requests=requests, sampler=sampler,
                              batch_size=96):  # fmt: skip
                texts[asked[got.index][0]] += got.token_ids
            turn += 1
        with open(file, "a") as out:
            for a in block:
                out.write(json.dumps({"account": a, "token_ids": texts[a][:tokens]}) + "\n")


def read(deployment: str) -> dict[int, Ids]:
    """What `serve` wrote, by account."""
    rows = [json.loads(line) for line in (FOLDER / f"{deployment}.jsonl").read_text().splitlines()]
    return {row["account"]: np.array(row["token_ids"], dtype=np.uint32) for row in rows}


def texts_of(documents: list[Ids]) -> Texts:
    """Each a document."""
    named = (Document(name=str(i), token_ids=ids) for i, ids in enumerate(documents))
    return one_by_one(named, 2, tokenizer=None, trust_ids=True)


def named(texts: Texts, keys: KeySet) -> list[tuple[int, str]]:
    """(document, account) of all names given."""
    with tqdm(total=len(keys), unit="key", unit_scale=True, desc=f"{len(texts.names)} texts", disable=None) as bar:
        found = conclude([texts], [keys], [scan(texts, keys, progress=bar.update)])
    return [(int(row["text"]), row["account"]) for row in map(found.row, found.named(LEVEL, by="holm"))]


def interval(k: int, n: int) -> list[float]:
    """Clopper and Pearson's 95 % interval of a share."""
    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    return [low, 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))]


def lengths(deployment: str) -> dict[str, Any]:
    """The share of documents traced to their account, against their length; other names given."""
    served, keys = read(deployment), of_epoch(epoch(deployment), "account", tuple(map(str, range(KEYS))))
    rows = {}
    for length in LENGTHS:
        documents = [ids[:length] for ids in served.values()]
        found = named(texts_of(documents), keys)
        right = sum(account == str(list(served)[text]) for text, account in found)
        rows[length] = {
            "documents": len(documents), "traced": right, "share": right / len(documents),
            "interval": interval(right, len(documents)), "others_named": len(found) - right,
        }  # fmt: skip
        print(f"  {deployment} {length:5} tokens: {right} of {len(documents)} traced, {len(found) - right} others")
    return {"shares": SHARES[deployment], "keys": KEYS, "level": LEVEL, "by_length": rows}


def innocents(deployment: str, count: int) -> dict[str, Any]:
    """Names given for documents of unmarked prose, and of accounts that are not among those looked at.

    Documents are cut at random places, so that they overlap: names are counted per document and per key seed.
    """
    rng, prose = np.random.default_rng(11), prose_ids()
    served = list(read(deployment).values())
    keys = of_epoch(epoch(deployment), "account", tuple(f"other-{i}" for i in range(KEYS)))
    rows: dict[str, Any] = {}
    for kind in ("prose", "other accounts"):
        documents = []
        for _ in range(count // 2):
            length = int(rng.choice(LENGTHS))
            source = prose if kind == "prose" else served[rng.integers(len(served))]
            start = int(rng.integers(max(len(source) - length, 0) + 1))
            documents.append(source[start : start + length])
        texts = texts_of(documents)
        with tqdm(total=len(keys), unit="key", unit_scale=True, desc=kind, disable=None) as bar:
            hits = scan(texts, keys, progress=bar.update)
        family = conclude([texts], [keys], [hits]).named(LEVEL, by="holm")
        alone = np.unique(hits.text[hits.log10_p <= log10(LEVEL / KEYS)])
        rows[kind] = {
            "documents": len(documents), "tests": hits.n_tests, "names_in_the_family": len(family),
            "documents_named_each_by_itself": len(alone), "expected_at_most": LEVEL * len(documents),
            "rate": len(alone) / len(documents), "interval": interval(len(alone), len(documents)),
        }  # fmt: skip
        print(f"  {deployment}, {kind}: {len(family)} names in one family of {hits.n_tests:,} tests; "
              f"{len(alone)} of {len(documents):,} documents each by itself")  # fmt: skip
    return rows


def speed(repeats: int) -> dict[str, Any]:
    """Seconds for one document of 1,000 tokens under 25,000 and a million keys, derivation included.

    The yardstick is AES alone over the same blocks with the same keys, derived beforehand.
    """
    from verify.scoring import summarize
    from watermark.prf import Prf, pack_blocks
    from watermark.windows import TokenBatch

    ids = prose_ids()[:1000]
    texts, master = texts_of([ids]), epoch("rare")
    pairs = summarize(TokenBatch.from_documents([ids]), 2).pairs[: 1000 // 4]
    blocks = pack_blocks(pairs.windows(), pairs.tokens())
    rows: dict[str, Any] = {}
    for count, times in ((KEYS, repeats), (1_000_000, 1)):
        keys = of_epoch(master, "account", tuple(map(str, range(count))))
        secrets = list(keys.keys(0, KEYS))

        def trace(keys: KeySet = keys) -> object:
            return conclude([texts], [keys], [scan(texts, keys)]).named(LEVEL, by="holm")

        def aes(secrets: list[Secret] = secrets) -> None:
            for secret in secrets:
                Prf(secret).words(blocks)

        seconds, bare = [], []
        for _ in range(times):
            seconds.append(_timed(trace))
            bare.append(_timed(aes) * count / KEYS)
        rows[str(count)] = {
            "seconds": sorted(seconds), "median": float(np.median(seconds)),
            "times_bare_aes": float(np.median(np.array(seconds) / np.array(bare))),
        }  # fmt: skip
        print(f"  {count:,} keys, 1,000 tokens: {np.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
              f"{rows[str(count)]['times_bare_aes']:.1f} times bare AES")  # fmt: skip
    return rows


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """One of the two parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", choices=["serve", "run"])
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--innocents", type=int, default=INNOCENTS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/trace.json"))
    options = parser.parse_args()
    if options.part == "serve":
        for deployment in SHARES:
            serve(deployment, options.accounts, options.tokens, model=options.model)
        return
    found: dict[str, Any] = {"speed": speed(options.repeats)}
    for deployment in SHARES:
        found[deployment] = {"traced": lengths(deployment), "innocents": innocents(deployment, options.innocents)}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Observed against nominal false-alarm rates: random keys, real text, the shipped code.

    python -m benchmarks.calibration [--trials 1000000] [--jobs 2] [-o benchmarks/results/calibration.json]

Null: the text does not depend on the key. Each trial draws a new value key and a new selector key, scores one corpus,
and takes the shipped p-value; the first thousand scores of a run are compared with the shipped `score`.
The share of p-values at or below 10^-k must lie in
the two-sided 99.99 % binomial band around 10^-k, or below it. Finished configurations are kept and not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr
from tqdm import tqdm

from benchmarks.texts import KINDS, corpora
from verify.distinct import Pairs
from verify.hypotheses.closed import log10_p
from verify.scoring import score
from watermark import __version__
from watermark.channels import CHANNELS
from watermark.deployment import Deployment
from watermark.keys import AES_BYTES, ValueKey
from watermark.prf import Prf, pack_blocks
from watermark.secret import Secret

LEVELS = (1, 2, 3, 4, 5)
CHECKED = 1000
BAND = 0.9999
SHARES = "fleet=0.4,cohort=0.3,account=0.3"


@dataclass(frozen=True)
class Configuration:
    """One calibration run."""

    scheme: str
    width: int
    channel: str
    kind: str

    @property
    def name(self) -> str:
        """Key in the results file."""
        return f"{self.scheme} h={self.width} {self.channel} {self.kind}"


def configurations() -> Iterator[Configuration]:
    """Every scheme, width and channel on prose; the hard texts on the fleet channel."""
    for scheme in ("gumbel", "tournament:layers=30", "greenlist:delta=2,gamma=0.25"):
        for width in (1, 2, 3):
            for channel in ("fleet", "cohort", "account"):
                yield Configuration(scheme, width, channel, "prose")
            for kind in KINDS[1:]:
                yield Configuration(scheme, width, "fleet", kind)


def p_values(c: Configuration, trials: int, seed: int) -> NDArray[np.float64]:
    """(trials,) log10 p under the null, one new key each."""
    deployment = Deployment.parse(scheme=c.scheme, width=c.width, shares=SHARES)
    texts = corpora(c.kind, c.width, length=256, count=64)
    path = f"epoch/null/{c.channel}" + ("" if c.channel == "fleet" else "/1")
    scored = [_scorer(text, deployment, c.channel) for text in texts]
    generator = np.random.default_rng(seed)
    n, totals = np.empty(trials, dtype=np.int64), np.empty(trials, dtype=np.int64)
    for trial in range(trials):
        value, selector = (Secret(generator.bytes(AES_BYTES)) for _ in range(2))
        n[trial], totals[trial] = scored[trial % len(texts)](value, selector)
        if trial < CHECKED:
            s = score(texts[trial % len(texts)], ValueKey(value, selector, path, deployment))
            assert (n[trial], totals[trial]) == (s.n, s.total)
    out = np.zeros(trials)
    for size in np.unique(n[n > 0]):
        out[n == size] = log10_p(deployment.scheme.law, int(size), totals[n == size])
    return out


def _scorer(text: Pairs, deployment: Deployment, channel: str) -> Callable[[Secret, Secret], tuple[int, int]]:
    """`verify.scoring.score` for many keys on one text: what does not depend on the key is done once."""
    windows, own = text.windows(), CHANNELS.index(channel)
    selector_blocks, blocks = pack_blocks(windows, None), pack_blocks(windows, text.tokens())
    low, high = deployment.shares.edges()[own : own + 2]

    def run(value: Secret, selector: Secret) -> tuple[int, int]:
        x = Prf(selector).first_words(selector_blocks) & np.uint64(0xFFFFFFFF)
        scores = deployment.scheme.score(Prf(value).words(blocks[(x >= low) & (x < high)]))
        return len(scores), int(scores.sum())

    return run


def band(trials: int, level: int) -> tuple[int, int]:
    """Two-sided binomial band for the number of p-values at or below 10^-level."""
    rate, tail = 10.0**-level, (1 - BAND) / 2
    grid = np.arange(0, trials + 1)[: int(trials * rate + 40 * (trials * rate) ** 0.5 + 60)]
    cdf = bdtr(grid, trials, rate)
    return int(np.searchsorted(cdf, tail)), int(np.searchsorted(cdf, 1 - tail))


def run(c: Configuration, trials: int, seed: int) -> dict[str, Any]:
    """One configuration's record."""
    log10 = p_values(c, trials, seed)
    levels = {}
    for level in LEVELS:
        low, high = band(trials, level)
        count = int((log10 <= -level).sum())
        levels[str(level)] = {"count": count, "band": [low, high], "holds": count <= high}
    return asdict(c) | {"trials": trials, "seed": seed, "smallest_log10_p": float(log10.min()), "levels": levels}


def main() -> None:
    """Run what is not yet in the results file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/calibration.json"))
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(options.output.read_text()) if options.output.exists() else {}
    results["machine"] = {"python": platform.python_version(), "numpy": np.__version__, "radiolabel": __version__}
    runs = results.setdefault("runs", {})
    todo = [
        (seed, c) for seed, c in enumerate(configurations()) if runs.get(c.name, {}).get("trials", 0) < options.trials
    ]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(options.jobs) as pool, tqdm(total=len(todo), unit=" runs") as bar:
        futures = {pool.submit(run, c, options.trials, seed): c.name for seed, c in todo}
        for future in as_completed(futures):
            runs[futures[future]] = future.result()
            temporary = options.output.with_suffix(".tmp")
            temporary.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
            temporary.replace(options.output)
            bar.update()
    print(f"{'configuration':50} " + " ".join(f"{'<=1e-' + str(level):>10}" for level in LEVELS))
    for name, record in sorted(runs.items()):
        counts = " ".join(
            f"{record['levels'][str(level)]['count']:>9}{' ' if record['levels'][str(level)]['holds'] else '!'}"
            for level in LEVELS
        )
        print(f"{name:50} {counts}")
    failed = [name for name, r in runs.items() if not all(level["holds"] for level in r["levels"].values())]
    print(f"{len(runs) - len(failed)} of {len(runs)} configurations hold at every level")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()

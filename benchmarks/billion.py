"""How time and memory grow from 10^4 to 10^9 token ids: Parquet in, verdict out, exact distinct, two processes.

    python -m benchmarks.billion [--most 1e9 | --tokens 2e7 ...] [--jobs 2] [--memory 2G] [--repeats 3] [--runner local]
        [--work DIR] [-o benchmarks/results/billion.json]

Ids are synthetic: documents of 256 with a Zipf law over a vocabulary of 49,152, as in benchmarks.throughput, from a
seed for each million. Each size is `--repeats` runs of `radiolabel verify`, a process of its own each, of which the
median counts. The digest of what the command prints tells whether two runners agree.
Wall time is the whole command's. Memory is the largest sum of the resident sets of all its processes, sampled from
/proc every 50 ms, and, beside it, of their proportional sets, in which what processes share counts once.
The exponent is that of seconds = start-up + c ids^exponent, all three fitted to the logarithms of all sizes by least
squares: for wall time, and for processor time, which other work on the machine disturbs less; an engine's own servers
are not in it. Beside it stands the exponent of a line through the sizes from 10^6 on, after the time of the smallest
size is taken off: the first sizes then hang on tenths of a second.
Results are kept as they come: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from benchmarks.throughput import DOCUMENT, VOCABULARY, _processor, epoch
from watermark.keyfile import write_key

BLOCK = 1_000_000 // DOCUMENT * DOCUMENT  # ids of one seed
GROUP_ROWS = 1 << 14
SAMPLE_SECONDS = 0.05
LINE_FROM = 0.9e6  # whole documents: a little under 10^6
TARGET_EXPONENT = (0.95, 1.05)


def write_corpus(path: Path, tokens: int) -> None:
    """A Parquet file of `tokens` ids, rounded down to whole documents, a block at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    temporary = path.with_suffix(".part")
    schema = pa.schema([("token_ids", pa.list_(pa.int32()))])
    with pq.ParquetWriter(temporary, schema) as writer:
        for block, start in enumerate(range(0, tokens, BLOCK)):
            count = min(BLOCK, tokens - start) // DOCUMENT * DOCUMENT
            drawn = np.random.default_rng([2, block]).zipf(1.2, count)
            ids = (np.minimum(drawn, VOCABULARY) - 1).astype(np.int32)
            offsets = np.arange(0, count + 1, DOCUMENT, dtype=np.int32)
            lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))
            writer.write_table(pa.table({"token_ids": lists}, schema=schema), row_group_size=GROUP_ROWS)
    temporary.rename(path)


class Watch(threading.Thread):
    """Samples the memory of a process and of all below it, until told to stop.

    Attributes:
        resident: largest sum of resident sets, in bytes.
        proportional: largest sum of proportional sets.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._stopped = pid, threading.Event()
        self.resident = self.proportional = 0

    def run(self) -> None:
        """Sample."""
        while not self._stopped.wait(SAMPLE_SECONDS):
            resident = proportional = 0
            for pid in _tree(self._pid):
                fields = _memory(pid)
                resident += fields.get("Rss", 0)
                proportional += fields.get("Pss", 0)
            self.resident = max(self.resident, resident)
            self.proportional = max(self.proportional, proportional)

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        self.join()


def _tree(root: int) -> list[int]:
    found, todo = [root], [root]
    while todo:
        pid = todo.pop()
        try:
            tasks = [Path(f"/proc/{pid}/task/{task}/children").read_text() for task in os.listdir(f"/proc/{pid}/task")]
        except OSError:
            continue
        below = [int(child) for text in tasks for child in text.split()]
        found += below
        todo += below
    return found


def _memory(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: 1024 * int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


def measure(corpus: Path, key: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One run of the command."""
    arguments = ["verify", "--key", str(key), "--format", "json", "--jobs", str(options.jobs)]
    arguments += ["--memory", options.memory, "--runner", options.runner, str(corpus)]
    environment = os.environ | {"TMPDIR": str(options.work), "PYSPARK_PYTHON": sys.executable}
    load, began, before = os.getloadavg()[0], time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    running = subprocess.Popen(
        [sys.executable, "-m", "verify", *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )
    watch = Watch(running.pid)
    watch.start()
    out, _ = running.communicate()
    seconds = time.perf_counter() - began
    watch.stop()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if running.returncode:
        raise SystemExit(f"radiolabel verify ended with {running.returncode}")
    found = json.loads(out)
    return {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "resident_bytes": watch.resident,
        "proportional_bytes": watch.proportional,
        "load_before": load,
        "n_seen": found["n_seen"],
        "n_scored": found["n_scored"],
        "log10_p": found["log10_p"],
        "sha256_of_output": hashlib.sha256(out.encode()).hexdigest(),
    }


def fit(rows: dict[str, Any], field: str) -> dict[str, float] | None:
    """Start-up a, constant c and exponent b of seconds = a + c n^b; `field` is `seconds` or `cpu_seconds`."""
    if len(rows) < 5:
        return None
    n, seconds = (np.array([float(r[name]) for r in rows.values()]) for name in ("n_seen", field))
    largest = float(n.max())

    def off(p: NDArray[np.float64]) -> NDArray[np.float64]:
        error: NDArray[np.float64] = np.log(np.exp(p[0]) + np.exp(p[1]) * (n / largest) ** p[2]) - np.log(seconds)
        return error

    rest = (n >= LINE_FROM) & (seconds > seconds[n.argmin()])
    line = np.polyfit(np.log(n[rest]), np.log(seconds[rest] - seconds[n.argmin()]), 1)[0] if rest.sum() > 1 else np.nan
    found = least_squares(off, [np.log(seconds.min()), np.log(seconds.max()), 1.0])
    start_up, constant, exponent = np.exp(found.x[0]), np.exp(found.x[1]), found.x[2]
    return {
        "exponent": float(exponent),
        "log10_constant": float(log10(constant) - exponent * log10(largest)),
        "start_up_seconds": float(start_up),
        "exponent_of_line": float(line),
        "largest_error": float(np.expm1(np.abs(found.fun).max())),
    }


def main() -> None:
    """Measure every size that has no result yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--most", type=float, default=1e9, help="10^4, 10^5, ... up to this")
    parser.add_argument("--tokens", type=float, nargs="*", help="these sizes in their place")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--runner", choices=["local", "spark", "ray"], default="local")
    parser.add_argument("--work", type=Path, default=Path("/tmp/radiolabel-billion"))
    parser.add_argument("--again", action="store_true", help="measure all sizes again")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/billion.json"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    key = options.work / "fleet.key"
    if not key.exists():
        write_key(epoch().value_key("fleet"), key)
    record: dict[str, Any] = json.loads(options.output.read_text()) if options.output.exists() else {}
    name = f"{options.runner}, {options.jobs} jobs, {options.memory}"
    rows: dict[str, Any] = {} if options.again else record.get(name, {}).get("sizes", {})
    powers = [10**power for power in range(4, round(log10(options.most)) + 1)]
    for tokens in map(int, options.tokens) if options.tokens else powers:
        if str(tokens) in rows:
            continue
        corpus = options.work / f"{tokens}.parquet"
        if not corpus.exists():
            write_corpus(corpus, tokens)
        runs = [measure(corpus, key, options) for _ in range(options.repeats)]
        middle = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
        spread = [min(r["seconds"] for r in runs), max(r["seconds"] for r in runs)]
        rows[str(tokens)] = middle | {"repeats": len(runs), "seconds_spread": spread}
        rows[str(tokens)]["cpu_seconds"] = sorted(r["cpu_seconds"] for r in runs)[len(runs) // 2]
        rows[str(tokens)]["resident_bytes"] = max(r["resident_bytes"] for r in runs)
        machine = {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()}
        record[name] = {"machine": machine, "sizes": rows}
        options.output.write_text(json.dumps(record, indent=1) + "\n")
        r = rows[str(tokens)]
        resident, once = (r[field] / 2**20 for field in ("resident_bytes", "proportional_bytes"))
        print(f"{tokens:>13,} ids {r['seconds']:8.2f} s {r['cpu_seconds']:8.2f} CPU s", end="")
        print(f"{resident:7.0f} MiB resident {once:6.0f} MiB shared once  load {r['load_before']:.1f}", flush=True)
    for field, measured, what in (("fit", "seconds", "wall time"), ("cpu_fit", "cpu_seconds", "processor time")):
        record[name][field] = found = fit(rows, measured)
        if found:
            low, high = TARGET_EXPONENT
            print(f"exponent of {what}: {found['exponent']:.3f} (target {low} to {high}), start-up "
                  f"{found['start_up_seconds']:.2f} s, every size within {found['largest_error']:.0%}; of the line "
                  f"{found['exponent_of_line']:.3f}")  # fmt: skip
    options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

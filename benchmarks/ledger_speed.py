"""The served log: records a second on disk, and seconds to check a million: `python -m benchmarks.ledger_speed`.

Appending: processes that each append one record after the other, an fsync before each is acknowledged, against the
same processes writing the same bytes to one file with an fsync of their own each. Repeats alternate between the two.
Checking: `radiolabel ledger check` and `coverage` as processes of their own, with one process and with one a core,
against SHA-256 of the same file.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.ratios import write_json
from verify.cli.ledger_parts import cores
from watermark.deployment import Deployment
from watermark.keys import EpochKey, MasterKey
from watermark.ledger import Content, Keeping, Ledger, answer_record, new_sealing_key
from watermark.ledger.lines import START, chained
from watermark.ledger.records import Opened, Served, encode
from watermark.sampling import Request
from watermark.secret import Secret

OUTPUT: Final = Path("benchmarks/results/ledger_speed.json")
TOKENS: Final = 200
TEXT: Final = "word " * 160  # 800 bytes: about what 200 tokens are
PROMPT: Final = "word " * 40
DISTINCT: Final = 64  # answers that are made before the clock starts; which one is written does not matter


def epoch() -> EpochKey:
    """A key that is always the same."""
    deployment = Deployment.parse(shares="fleet=0.5,account=0.25,leaf=0.25")
    return MasterKey(Secret(bytes(32))).epoch("bench", deployment=deployment)


def contents(rng: np.random.Generator) -> list[Content]:
    """Answers of `TOKENS` tokens."""
    ids = rng.integers(0, 49_152, size=(DISTINCT, TOKENS)).tolist()
    return [Content(prompt=PROMPT, response=TEXT, token_ids=tuple(row)) for row in ids]


def appending(path: str, batch: int) -> Callable[[], int]:
    """What appends once and says how many records."""
    key, answers = epoch(), contents(np.random.default_rng(os.getpid()))
    entries = [
        answer_record(Request(f"r{n}", account=f"a{n}"), content, epoch=key) for n, content in enumerate(answers)
    ]
    ledger = Ledger.open(path)

    def once() -> int:
        return len(ledger.append_many(entries[:batch]))

    return once


def writing(path: str, batch: int) -> Callable[[], int]:
    """The same with a plain write and fsync, of as many bytes."""
    size = os.stat(path + ".line").st_size
    data = os.urandom(size) * batch
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)

    def once() -> int:
        os.write(descriptor, data)
        os.fdatasync(descriptor)
        return batch

    return once


def worker(make: Any, path: str, batch: int, threads: int, seconds: float, ready: Any, out: Any) -> None:
    """One process: records in the given time."""
    once = make(path, batch)
    once()
    ready.wait()
    stop, done = time.monotonic() + seconds, [0] * threads

    def work(number: int) -> None:
        while time.monotonic() < stop:
            done[number] += once()

    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    out.put(sum(done))


def rate(make: Any, path: str, *, processes: int, threads: int, batch: int, seconds: float) -> float:
    """Records a second of all processes together."""
    context = multiprocessing.get_context("fork")
    ready, out = context.Barrier(processes), context.Queue()
    running = [
        context.Process(target=worker, args=(make, path, batch, threads, seconds, ready, out)) for _ in range(processes)
    ]
    for process in running:
        process.start()
    counts: list[int] = [out.get() for _ in running]
    for process in running:
        process.join()
    return sum(counts) / seconds


def append_rates(folder: Path, *, seconds: float, repeats: int) -> list[dict[str, Any]]:
    """One row a way of appending: median and range, and the ratio to plain writing in the same repeat."""
    public = new_sealing_key(folder / "sealing.pem").public
    rows = []
    for processes, threads, batch in ((1, 1, 1), (4, 1, 1), (1, 16, 1), (4, 16, 1), (1, 1, 64)):
        ours, plain, ratios = [], [], []
        for repeat in range(repeats):
            path = folder / f"l{processes}-{threads}-{batch}-{repeat}"
            Ledger.create(path, keeping=Keeping("sealed", public)).close()
            how = {"processes": processes, "threads": threads, "batch": batch, "seconds": seconds}
            found = rate(appending, str(path), **how)  # type: ignore[arg-type]
            line = path.read_bytes().splitlines(keepends=True)[-1]
            beside = folder / "plain"
            beside.write_bytes(b"")
            (folder / "plain.line").write_bytes(line)
            other = rate(writing, str(beside), **how)  # type: ignore[arg-type]
            ours.append(found)
            plain.append(other)
            ratios.append(found / other)
            path.unlink()
        rows.append(
            {"processes": processes, "threads": threads, "batch": batch, "bytes": len(line)}
            | {"records_per_second": spread(ours), "plain_per_second": spread(plain)}
            | {"ratio": spread(ratios, 2)}
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def spread(values: list[float], digits: int = 0) -> dict[str, float]:
    """Median and range."""
    return {name: round(f(values), digits) for name, f in (("median", statistics.median), ("min", min), ("max", max))}


def write_ledger(path: Path, records: int, accounts: int) -> None:
    """A ledger of many records, chained as the writer does it, with boxes of the right size."""
    rng = np.random.default_rng(0)
    opened = Opened(version=1, time="2026-10-01T00:00:00Z", ledger="0" * 32, contents="sealed",
                    sealing=(b"\x09" + bytes(31)).hex())  # fmt: skip
    one = answer_record(Request("r", account="a"), contents(rng)[0], epoch=epoch())
    box = base64.b64encode(rng.bytes(len(one.content.to_json()) + 48)).decode()
    fields = {name: getattr(one.record, name) for name in Served.__struct_fields__}
    record = encode(Served(**fields | {"content": box}))
    before, _, after = record.partition(b'"request":"r","account":"a"')
    with open(path, "wb") as file:
        line, head = chained(encode(opened), START)
        file.write(line)
        for n in range(records - 1):
            line, head = chained(before + b'"request":"r%d","account":"a%d"' % (n, n % accounts) + after, head)
            file.write(line)


def timed(*arguments: str) -> tuple[float, float, float, dict[str, Any]]:
    """(seconds, seconds on processors, peak MB of its largest process, what it printed) of a command."""
    with tempfile.TemporaryFile() as out:
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "verify", *arguments, "--format", "json"], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        if status:
            sys.exit(f"this command failed: {' '.join(arguments)}")
        out.seek(0)
        return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.load(out)


def check_speed(folder: Path, records: int, repeats: int) -> dict[str, Any]:
    """Seconds to check and to audit, and how that compares with reading and hashing the file."""
    path = folder / "million.jsonl"
    write_ledger(path, records, accounts=25_000)
    result: dict[str, Any] = {"records": records, "megabytes": round(path.stat().st_size / 1e6)}
    hashing, on_processor = [], []
    for _ in range(repeats):
        began, ran = time.monotonic(), time.process_time()
        with open(path, "rb") as file:
            hashlib.file_digest(file, "sha256")
        hashing.append(time.monotonic() - began)
        on_processor.append(time.process_time() - ran)
    result["sha256_seconds"], result["sha256_cpu_seconds"] = spread(hashing, 1), spread(on_processor, 1)
    result["jobs"] = cores()
    for command in ("check", "coverage"):
        for name, jobs in ((f"{command}_one_job", 1), (command, cores())):
            runs = [timed("ledger", command, "--jobs", str(jobs), str(path)) for _ in range(repeats)]
            result[f"{name}_seconds"] = spread([run[0] for run in runs], 1)
            result[f"{name}_cpu_seconds"] = spread([run[1] for run in runs], 1)
            result[f"{name}_peak_mb"] = round(max(run[2] for run in runs))
            answers = runs[0][3]["answers"] if command == "check" else runs[0][3]["total"]["answers"]
            if answers != records - 1:
                sys.exit(f"{command} counted {answers} answers")
    return result


def record_cost(repeats: int) -> dict[str, Any]:
    """Microseconds to make one record from ids and key, and to seal and encode it."""
    key, answers = epoch(), contents(np.random.default_rng(1))
    with tempfile.TemporaryDirectory() as folder:
        keeping = Keeping("sealed", new_sealing_key(Path(folder) / "k.pem").public)
    making, sealing = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        entries = [answer_record(Request("r", account="a"), content, epoch=key) for content in answers]
        between = time.perf_counter()
        for entry in entries:
            entry.kept(keeping)
        making.append((between - began) / DISTINCT * 1e6)
        sealing.append((time.perf_counter() - between) / DISTINCT * 1e6)
    return {"tokens": TOKENS, "make_us": spread(making), "seal_us": spread(sealing)}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger_speed", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each repeat of appending")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--check-repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    parser.add_argument("--folder", type=Path, help="on the disk that is to be measured  [default: the temporary one]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        result = {
            "repeats": options.repeats,
            "seconds": options.seconds,
            "record": record_cost(options.repeats),
            "append": append_rates(folder, seconds=options.seconds, repeats=options.repeats),
            "check": check_speed(folder, options.records, options.check_repeats),
        }
    print(json.dumps(result, indent=1))
    write_json(options.output, result)


if __name__ == "__main__":
    main()

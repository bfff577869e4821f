"""Runs benchmarks one after the other, and says what each needs."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.suite import machine, results
from benchmarks.suite.benchmark import Benchmark, NotRun, Profile, benchmarks
from benchmarks.suite.context import Context


def perform(
    chosen: Sequence[Benchmark],
    profile: Profile,
    *,
    pythons: Mapping[str, str],
    jobs: int,
    model: str,
    folder: Path | None,
    again: bool = False,
    collect: bool = False,
) -> int:
    """Run benchmarks and write their results.

    A benchmark whose result of this profile is there is not run again.

    Args:
        chosen: which.
        profile: how much.
        pythons: interpreters by environment.
        jobs: processes at once.
        model: the language model.
        folder: where results go, if not where the profile puts them.
        again: forget what was done.
        collect: write what finished units have, and do none.

    Returns:
        0, or 1 if one failed; what was not run for a reason that it says is no failure.
    """
    failed = 0
    for benchmark in chosen:
        where = folder or results.folder_of(profile)
        work = results.WORK / profile / benchmark.NAME
        if again:
            shutil.rmtree(work, ignore_errors=True)
        elif _is_done(where, benchmark.NAME, profile):
            _say(f"{benchmark.NAME}: done before ({where / benchmark.NAME}.json); --again runs it anew")
            continue
        context = Context(
            folder=work,
            shared=results.WORK / "shared",
            pythons=pythons,
            jobs=max(jobs, 1),
            model=model,
            collect=collect,
        )
        began, facts = time.perf_counter(), machine.facts()
        try:
            _check(benchmark, profile)
            numbers = benchmark.run(profile, context)
        except NotRun as error:
            _say(f"{benchmark.NAME}: not run: {error}")
            continue
        except Exception as error:  # the others still run
            _say(f"{benchmark.NAME}: failed: {type(error).__name__}: {error}")
            failed = 1
            continue
        about = {
            "profile": profile,
            "units": {"done": sum(done for done, _ in context.units), "of": sum(of for _, of in context.units)},
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - began, 1),  # of this run: units done before took none
            "commit": machine.commit(),
            "machine": facts,
            "versions": machine.versions(),
        }
        file = results.write(where, benchmark.NAME, numbers, about)
        _say(f"{benchmark.NAME}: {about['seconds']} s, {file}")
    return failed


def listing() -> str:
    """What there is, as a table."""
    lines = [f"{'benchmark':18} {'quick':>6} {'full':>6}  what it measures (minutes on two idle cores)"]
    for name, benchmark in benchmarks().items():
        times = benchmark.NEEDS.minutes
        cells = " ".join(f"{times[p]:6g}" if p in times else "     -" for p in ("quick", "full"))
        lines.append(f"{name:18} {cells}  {benchmark.ABOUT}")
        extra = [f"packages {', '.join(benchmark.NEEDS.packages)}"] if benchmark.NEEDS.packages else []
        if benchmark.NEEDS.environments:
            extra.append("uses " + ", ".join(f"--python {name}=PATH" for name in benchmark.NEEDS.environments))
        missing = benchmark.NEEDS.missing()
        extra += [f"MISSING {', '.join(missing)}"] if missing else []
        lines += [f"{'':34}{part}" for part in extra]
    return "\n".join(lines)


def _check(benchmark: Benchmark, profile: Profile) -> None:
    missing = benchmark.NEEDS.missing()
    if missing:
        raise NotRun(f"the packages {', '.join(missing)} are not installed")
    if profile not in benchmark.NEEDS.minutes:
        raise NotRun(f"the {profile} profile has no part of it")


def _is_done(folder: Path, name: str, profile: str) -> bool:
    found = results.read_all(folder).get(name) if folder.is_dir() else None
    if found is None or found.about.get("profile") != profile:
        return False
    units = found.about.get("units", {"done": 0, "of": 0})
    return bool(units["done"] == units["of"])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

"""Result files: numbers with how they were made. Written whole, and a full run is never lost to a quick one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.ratios import write_json
from benchmarks.suite.machine import ROOT

FORMAT: Final = "radiolabel-benchmark/1"
COMMITTED: Final = ROOT / "benchmarks" / "results"
WORK: Final = ROOT / ".lab" / "bench"


class WouldLose(RuntimeError):
    """A result of a longer run stands where a shorter one would be written."""


@dataclass(frozen=True)
class Result:
    """One result file.

    Attributes:
        name: of the benchmark.
        numbers: what it measured.
        about: how: profile, seconds, machine, versions, commit; empty for a file that its own command wrote.
        file: where it stands.
    """

    name: str
    numbers: dict[str, Any]
    about: dict[str, Any]
    file: Path


def folder_of(profile: str) -> Path:
    """Full results are committed; others stay in the work folder."""
    return COMMITTED / "suite" if profile == "full" else WORK / profile / "results"


def write(folder: Path, name: str, numbers: dict[str, Any], about: dict[str, Any]) -> Path:
    """Write a result.

    Raises:
        WouldLose: a result of the full profile stands there, and this one is shorter.
    """
    file = folder / f"{name}.json"
    if file.exists() and about["profile"] != "full":
        before = json.loads(file.read_text()).get("about", {}).get("profile")
        if before == "full":
            raise WouldLose(f"{file} is a result of the full profile, and this run was {about['profile']!r}")
    write_json(file, {"format": FORMAT, "name": name, "about": about, "numbers": numbers})
    return file


def read_all(folder: Path) -> dict[str, Result]:
    """Results by name: those of the suite, and as `own/NAME` those that a benchmark's own command wrote beside them."""
    return {result.name: result for result in _read(folder)}


def _read(folder: Path) -> Iterator[Result]:
    own = folder / "suite" if (folder / "suite").is_dir() else folder
    for file in sorted(folder.glob("*.json")) if own != folder else []:
        record = json.loads(file.read_text())
        if record.get("format") != FORMAT:
            yield Result("own/" + file.stem.replace("_", "-"), record, {}, file)
    for file in sorted(own.glob("*.json")):
        record = json.loads(file.read_text())
        if record.get("format") == FORMAT:
            yield Result(record["name"], record["numbers"], record["about"], file)

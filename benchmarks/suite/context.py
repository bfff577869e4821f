"""What a running benchmark is given: where to work, which interpreters, and resumable units with progress."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.ratios import write_json
from benchmarks.suite.machine import ROOT

Unit = Mapping[str, Any]


@dataclass(frozen=True)
class Context:
    """One benchmark's run.

    Attributes:
        folder: its work folder: finished units, caches, files of the commands it calls.
        shared: a folder that all benchmarks of all profiles share, for what costs long to make and is the same.
        pythons: paths of interpreters by the environment's name.
        jobs: processes at once.
        model: as `watermark.engines.models.load` names it.
        collect: take what is done, and do nothing more.
        units: done and all, of each call of `each`.
    """

    folder: Path
    shared: Path
    pythons: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1
    model: str = "smollm2"
    collect: bool = False
    units: list[tuple[int, int]] = field(default_factory=list)

    def each(
        self, units: Iterable[Unit], work: Callable[[Unit], dict[str, Any]], *, jobs: int | None = None
    ) -> list[dict[str, Any]]:
        """Do the units that are not done: the unit of resumption. Killed at any moment, the next run goes on.

        Args:
            units: configurations, seeds included; plain JSON, each its own.
            work: a function of a module, for another process.
            jobs: processes, if not as many as the context says.

        Returns:
            Each unit with what `work` made of it, in order; with `collect`, those that are done.
        """
        files = {self._file(unit): unit for unit in units}
        todo = [(file, unit) for file, unit in files.items() if not file.exists()]
        self.units.append((len(files) - (len(todo) if self.collect else 0), len(files)))
        if self.collect:
            return [json.loads(file.read_text()) for file in files if file.exists()]
        jobs = min(jobs or self.jobs, max(len(todo), 1))
        with tqdm(total=len(files), initial=len(files) - len(todo), desc=self.folder.name, disable=None) as bar:
            if jobs == 1:
                for file, unit in todo:
                    write_json(file, {**unit, **work(unit)})
                    bar.update()
            else:
                with ProcessPoolExecutor(jobs) as pool:
                    running = {pool.submit(work, unit): (file, unit) for file, unit in todo}
                    for future in as_completed(running):
                        file, unit = running[future]
                        write_json(file, {**unit, **future.result()})
                        bar.update()
        return [json.loads(file.read_text()) for file in files]

    def command(self, module: str, *arguments: str, python: str = sys.executable) -> None:
        """Run a module of this checkout in a process of its own, its output to standard error."""
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(
            [python, "-m", module, *arguments], cwd=ROOT, check=True, stdout=sys.stderr.fileno(), env=environment
        )

    def _file(self, unit: Unit) -> Path:
        text = json.dumps(unit, sort_keys=True)
        return self.folder / "units" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"

"""The lab's command line: `python -m benchmarks.lab run NAME... | list | status | collect`."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from benchmarks.lab import runs

EXPERIMENTS: Final = (
    "innocents",
    "trap",
    "shares",
    "marks",
    "decoys",
    "foreign",
    "growth",
    "roots",
    "counts",
    "edits",
    "ring",
    "crowd",
    "access",
    "joined",
)


def experiment(name: str) -> Any:
    """The module of an experiment."""
    return import_module(f"benchmarks.lab.{name}")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="do what is not done yet; stop and start it at will")
    run.add_argument("names", nargs="+", metavar="NAME", help="an experiment, EXPERIMENT/RUN, or all")
    commands.add_parser("list", help="experiments and what each costs")
    commands.add_parser("status", help="what is done")
    commands.add_parser("collect", help=f"write {runs.OUTPUT}")
    options = parser.parse_args()
    if options.command == "run":
        for asked in EXPERIMENTS if options.names == ["all"] else options.names:
            name, _, only = asked.partition("/")
            if name not in EXPERIMENTS:
                parser.error(f"no experiment {name!r}, expected one of {', '.join(EXPERIMENTS)}")
            chosen = [r for r in experiment(name).runs() if only in ("", r.id)]
            runs.perform(name, chosen, lambda line: print(line, flush=True))
    elif options.command == "collect":
        found = {name: experiment(name).report(results) for name in EXPERIMENTS if (results := runs.done(name))}
        Path(runs.OUTPUT).write_text(json.dumps(found, indent=1) + "\n")
    else:
        for name in EXPERIMENTS:
            module, finished = experiment(name), len(runs.done(name))
            about = f"about {module.ESTIMATE / 60:.0f} min" if options.command == "list" else f"{finished} done"
            print(f"{name:16} {len(list(module.runs())):4} runs, {about:16} {module.__doc__.splitlines()[0]}")


if __name__ == "__main__":
    main()

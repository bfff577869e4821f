"""The benchmarks' command line: `python -m benchmarks list | run NAME... | report -o report.html`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before any array library: the processes are the parallel part

from benchmarks.suite.benchmark import PROFILES, benchmarks  # noqa: E402
from benchmarks.suite.results import COMMITTED, WouldLose  # noqa: E402
from benchmarks.suite.running import listing, perform  # noqa: E402

QUICK = ".lab/bench/quick/results"


def main() -> int:
    """Do what is asked for."""
    options = _parser().parse_args()
    if options.command == "list":
        print(listing())
        return 0
    if options.command == "report":
        from benchmarks.report.pages import write

        for file in write(options.results, html=options.output, markdown=options.markdown):
            print(file)
        return 0
    known = benchmarks()
    unknown = [name for name in options.names if name not in {*known, "all"}]
    if unknown:
        print(f"no benchmark {unknown[0]!r}, expected one of {', '.join(known)} or all", file=sys.stderr)
        return 2
    pythons = dict(pair.split("=", 1) for pair in options.python if "=" in pair)
    names = list(known) if "all" in options.names else options.names
    try:
        return perform(
            [known[name] for name in names],
            options.profile,
            pythons=pythons,
            jobs=options.jobs,
            model=options.model,
            folder=options.results,
            again=options.again,
            collect=options.collect,
        )
    except WouldLose as error:
        print(f"{error}: name another folder with --results", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="benchmarks, what each needs and how long it takes")
    run = commands.add_parser("run", help="run benchmarks; stop and start it at will")
    run.add_argument("names", nargs="+", metavar="NAME", help="a benchmark, or all")
    run.add_argument("--profile", choices=PROFILES, default="quick", help="quick: minutes; full: hours (%(default)s)")
    run.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    run.add_argument("--model", default="smollm2", help="smollm2, a .gguf file, a directory or a hub name")
    run.add_argument(
        "--python", action="append", default=[], metavar="NAME=PATH", help="an interpreter that has another package"
    )
    run.add_argument("--results", type=Path, help="where results go, if not where the profile puts them")
    run.add_argument("--again", action="store_true", help="forget finished units and results, and begin anew")
    run.add_argument(
        "--collect", action="store_true", help="write what a run that goes on has finished, and do nothing"
    )
    report = commands.add_parser("report", help="make the report of what is there")
    report.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="the page (%(default)s)")
    report.add_argument("--markdown", type=Path, help="a summary in Markdown, too")
    report.add_argument(
        "--results",
        type=Path,
        default=COMMITTED,
        help=f"a folder of results (those that are committed; quick runs leave theirs in {QUICK})",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

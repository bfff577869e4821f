"""Benchmarks that have a command of their own: run in a process, their file taken into the suite's result."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from typing import Any

from benchmarks.suite.benchmark import NotRun
from benchmarks.suite.context import Context


def wrapped(context: Context, module: str, *arguments: str, python: str = sys.executable) -> dict[str, Any]:
    """Run `python -m MODULE ARGUMENTS -o FILE` and read the file, which stays in the work folder.

    Args:
        context: of the run.
        module: of `benchmarks`.
        *arguments: as its own command line takes them.
        python: an interpreter, if another one has what it needs.

    Raises:
        NotRun: the module is not there.
    """
    if find_spec(module) is None:
        raise NotRun(f"there is no module {module}")
    output = context.folder / f"{module.rpartition('.')[2]}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    context.command(module, *arguments, "-o", str(output), python=python)
    numbers: dict[str, Any] = json.loads(output.read_text())
    return {"command": " ".join(["python -m", module, *arguments]), **numbers}


def named(context: Context, *names: str) -> list[str]:
    """`--NAME-python PATH` for the interpreters that are there."""
    return [part for name in names if name in context.pythons for part in (f"--{name}-python", context.pythons[name])]

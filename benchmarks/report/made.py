"""How the numbers were made: machine, versions, seeds' files, commit, and what was not run."""

from __future__ import annotations

from typing import Any

from benchmarks.report.blocks import Block, Part, Results, number, table
from benchmarks.suite.benchmark import benchmarks
from verify.report.document import Text


def part(results: Results) -> Part:
    """The last one."""
    own = [r for r in results if r.about]
    others = [r for r in results if not r.about]
    absent = [(name, b.ABOUT) for name, b in benchmarks().items() if results.get(name) is None]
    blocks: list[Block] = [
        Text(
            "Every number above stands in a result file, with its configuration and seeds, and is written there by the "
            "command that the table names. Times are those of the machine and its load at the time; where other work "
            "ran beside, ratios within one run say more than rates."
        ),
        table(
            "Results",
            ("benchmark", "profile", "units", "finished", "seconds", "commit", "load before"),
            (
                (r.name, r.about["profile"], _units(r.about), r.about["finished"], number(r.about["seconds"]),
                 str(r.about["commit"] or "none")[:13], number(r.about["machine"]["load_before"]))
                for r in own
            ),
        ),
        table("Machines", ("machine", "of"), _grouped([(_machine(r.about["machine"]), r.name) for r in own])),
        table("Versions", ("versions", "of"), _grouped([(_versions(r.about["versions"]), r.name) for r in own])),
    ]  # fmt: skip
    if others:
        blocks.append(table("Results of benchmarks' own commands", ("file", "machine"),
                            ((r.file.name, _stated(r.numbers.get("machine"))) for r in others)))  # fmt: skip
    if absent:
        blocks.append(table("Not run", ("benchmark", "what it measures"), absent))
    return Part("made", "How were the numbers made?", tuple(blocks))


def _units(about: dict[str, Any]) -> str:
    units = about.get("units", {"of": 0})
    if not units["of"]:
        return "whole"
    return f"all {units['of']}" if units["done"] == units["of"] else f"{units['done']} of {units['of']}"


def _machine(facts: dict[str, object]) -> str:
    return f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB, {facts['system']}"


def _versions(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _stated(machine: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in machine.items()) if isinstance(machine, dict) else "not stated"


def _grouped(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(text, ", ".join(name for t, name in pairs if t == text)) for text in dict.fromkeys(t for t, _ in pairs)]

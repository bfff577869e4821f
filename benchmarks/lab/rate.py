"""The measured rate of false accusations of one test, as `radiolabel evidence --rate` takes it.

`python -m benchmarks.lab.rate "twin with the base" --level 0.001 -o rate.json`; without a test, a list of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.lab import runs


def rate(data: bytes, test: str, level: float) -> dict[str, Any]:
    """The record of docs/spec/evidence.md, section 7.

    Args:
        data: of `runs.OUTPUT`.
        test: as the results call it.
        level: one at which it was measured.

    Raises:
        KeyError: no such test or level.
    """
    innocents = json.loads(data)["innocents"]
    found = {row["level"]: row for row in innocents["tests"][test]}[level]
    return {
        "method": f"{test}: {innocents['students']} small transformers that never saw what was served, under "
        f"{innocents['keys']} true keys; the interval allows for students that share a key",
        "hypothesis": hypothesis_of(test),
        "n_trials": found["n"],
        "n_accused": found["rejected"],
        "n_independent": int(found["effective"]),
        "alpha": level,
        "low": found["low"],
        "high": found["high"],
        "source": f"{Path(runs.OUTPUT).name}, sha256:{hashlib.sha256(data).hexdigest()}",
    }


def hypothesis_of(test: str) -> str:
    """As plans call it."""
    if "twin" in test:
        return "twin"
    if test.startswith("open"):
        return "open"
    return "closed-reference" if "control variate" in test or "reference" in test else "closed"


def main() -> None:
    """Write one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lab.rate", description=__doc__)
    parser.add_argument("test", nargs="?", help="as the results call it")
    parser.add_argument("--level", type=float, default=0.001, help="0.05, 0.01 or 0.001")
    parser.add_argument("-o", "--output", type=Path, default=Path("rate.json"))
    options = parser.parse_args()
    data = Path(runs.OUTPUT).read_bytes()
    if options.test is None:
        print("\n".join(json.loads(data)["innocents"]["tests"]))
        return
    try:
        record = rate(data, options.test, options.level)
    except KeyError as error:
        parser.error(f"nothing was measured for {error}")
    options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Where the two kernels run: processes of this machine, Spark, or Ray."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from verify.inputs.needs import require
from verify.scaling.counts import Counts, Sums


def runner_of(name: str) -> Callable[..., tuple[Counts, Sums]]:
    """`spark.run` or `ray.run`.

    Raises:
        InputError: its package is not installed.
    """
    require({"spark": "pyspark", "ray": "ray"}[name])
    run: Any = import_module(f"verify.scaling.runners.{name}").run
    return run  # type: ignore[no-any-return]

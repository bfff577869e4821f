"""What a benchmark is, and where all of them are."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast

from benchmarks.suite import cases

if TYPE_CHECKING:
    from benchmarks.suite.context import Context

Profile = Literal["smoke", "quick", "full"]
PROFILES: Final[tuple[Profile, ...]] = ("smoke", "quick", "full")


class NotRun(RuntimeError):
    """What a benchmark needs is not here; the message says what."""


@dataclass(frozen=True)
class Needs:
    """What a benchmark needs.

    Attributes:
        minutes: on two idle cores, by profile; a profile that is left out does not run it.
        packages: import names without which it cannot run at all.
        environments: interpreters it can use, as `--python NAME=PATH` names them; without one its part is not run.
    """

    minutes: Mapping[str, float]
    packages: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]


class Benchmark(Protocol):
    """A module of `benchmarks.suite.cases`."""

    NAME: str
    ABOUT: str
    NEEDS: Needs

    def run(self, profile: Profile, context: Context) -> dict[str, Any]:
        """Numbers as they are reported: plain JSON, every configuration with its seed."""


def benchmarks() -> dict[str, Benchmark]:
    """All of them by name, in the order of their names."""
    modules = (import_module(f"{cases.__name__}.{m.name}") for m in pkgutil.iter_modules(cases.__path__))
    found = [cast(Benchmark, module) for module in modules]
    return {b.NAME: b for b in sorted(found, key=lambda b: b.NAME)}

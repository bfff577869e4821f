"""Whether a test runs under a plan. If not, it is called what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from verify.errors import Refused, quoted
from verify.plans import Plan, read_plan

EXPLORATORY: Final = "Exploratory: no plan was committed before looking."


@dataclass(frozen=True)
class UnsafeNoPlan:
    """No plan: whoever looks may have chosen anything after looking, and nobody can see how often they looked."""

    options: ClassVar[dict[str, Any]] = {"plan": None}

    def require(self, **used: object) -> None:
        """Anything goes."""


@dataclass(frozen=True)
class Planned:
    """A committed plan that a test has to follow.

    Attributes:
        plan: the plan.
        name: of its file, for errors.
    """

    plan: Plan
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """For the Finding."""
        return {"plan": self.plan.digest, "decision": self.plan.decision}

    def require(self, **used: object) -> None:
        """Refuse the first difference.

        Args:
            used: `hypothesis` first, `alpha`, `n`, `key` (id), `inputs` (name -> SHA-256 in hexadecimal or None), and
                fields of the test.

        Raises:
            Refused: something is used that is not the plan's.
        """
        plan, keys = self.plan, [key.id for key in self.plan.keys]
        fixed = {name: getattr(plan.test, name) for name in plan.test.__struct_fields__}
        fixed |= {"hypothesis": plan.hypothesis, "alpha": plan.alpha, "n": getattr(fixed["stopping"], "n", None)}
        for name, value in used.items():
            if name == "key":
                if value not in keys:
                    ids = ", ".join(f"{key.path} ({key.id[:16]}...)" for key in plan.keys)
                    raise self._refused(f"key has id {str(value)[:16]}...", ids)
            elif name == "inputs":
                assert isinstance(value, dict)
                for file, stated in plan.inputs.items():
                    if value.get(file) is None or f"sha256:{value[file]}" != stated:
                        raise self._refused(f"{file} is not the file of the plan", f"digest {stated[:23]}...")
            elif value != fixed[name]:
                raise self._refused(f"{name} is {quoted(value)}", quoted(fixed[name]))

    def _refused(self, found: str, expected: str) -> Refused:
        return Refused(f"{found}, and {self.name} says {expected}", hint="a test under a plan changes nothing of it")


PlanUse = Planned | UnsafeNoPlan


def read_committed(path: str) -> Planned:
    """The committed plan in a file.

    Raises:
        InputError: not a plan.
        Refused: one that was never timestamped.
    """
    plan = read_plan(path)
    if not plan.timestamps:
        raise Refused(
            f"{path}: the plan is not committed, expected one with a timestamp", hint="radiolabel plan commit"
        )
    return Planned(plan, path)


def plan_use(path: str | None) -> PlanUse:
    """The committed plan in a file, or none; see `read_committed`."""
    return UnsafeNoPlan() if path is None else read_committed(path)


def plan_sentence(options: dict[str, Any]) -> str:
    """What a Finding's sentence adds, from its options."""
    if "plan" not in options:
        return ""
    if options["plan"] is None:
        return f" {EXPLORATORY}"
    return f" The plan decides, {options['plan'][:23]}...: {options['decision']}."

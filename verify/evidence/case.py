"""What a checker has in hand: the file, the policy, the inputs, the keys."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from verify.commitment_checks import stamp
from verify.errors import InputError
from verify.evidence.deriving import derive
from verify.evidence.folder import digest_of
from verify.evidence.policy import Policy
from verify.evidence.predicate import Predicate
from verify.measuring.progress import Progress
from verify.register import RegisterEntry, line_of
from verify.steps import Step
from verify.timestamps import Timestamp
from watermark.keys import CoinKey, ValueKey

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PLAN_STAMPED = "the plan was committed: its timestamps are of it and by trusted authorities"


@dataclass(frozen=True)
class Given:
    """Inputs that were given.

    Attributes:
        paths: by role, of those with the right digest.
        missing: roles of files that are not there.
        wrong: what is the matter with others.
    """

    paths: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One evidence file with all that a checker has for it.

    Attributes:
        predicate: what it says.
        subjects: SHA-256 by file name.
        policy: what is trusted.
        roots: the policy's certificates.
        folder: of inputs, or None.
        keys: disclosed.
        progress: how far the measurement is.
    """

    predicate: Predicate
    subjects: dict[str, str]
    policy: Policy
    roots: tuple[Certificate, ...]
    folder: str | None
    keys: tuple[ValueKey | CoinKey, ...]
    progress: Progress

    @cached_property
    def plan_stamp(self) -> tuple[Step, Timestamp | None]:
        """The step of the plan's timestamps, and the earliest that holds."""
        if self.predicate.exploratory:
            return Step.open(PLAN_STAMPED, "exploratory: no plan was committed before looking"), None
        return stamp(self.predicate.plan, self.roots, name=PLAN_STAMPED)

    @cached_property
    def line(self) -> RegisterEntry | None:
        """The plan's line in the register, or None."""
        return None if self.predicate.exploratory else line_of(self.predicate.register, self.predicate.plan)

    @cached_property
    def registered(self) -> Timestamp | None:
        """The earliest timestamp of the plan's line, if they hold."""
        return None if self.line is None else stamp(self.line, self.roots)[1]

    @cached_property
    def given(self) -> Given:
        """The inputs, by what their digests are."""
        if self.folder is None:
            return Given(missing=tuple(sorted(self.predicate.inputs)))
        paths, missing, wrong = {}, [], []
        for role, name in sorted(self.predicate.inputs.items()):
            try:
                found = digest_of(self.folder, name)
            except InputError as error:
                wrong.append(f"{role}: {error}")
                continue
            if found is None:
                missing.append(role)
            elif found != self.subjects[name]:
                wrong.append(f"{role}: {name} has digest {found[:16]}..., and {self.subjects[name][:16]}... was signed")
            else:
                paths[role] = os.path.join(self.folder, name)
        return Given(paths, tuple(missing), tuple(wrong))

    @cached_property
    def derived(self) -> list[dict[str, Any]]:
        """What follows from what was measured, by result.

        Raises:
            Error: a measurement from which nothing follows.
        """
        predicate = self.predicate
        return [derive(predicate.plan, index, result.measured) for index, result in enumerate(predicate.results)]

    def digests(self) -> dict[str, str]:
        """SHA-256 by role, as signed."""
        return {role: self.subjects[name] for role, name in self.predicate.inputs.items()}

"""A provider who lies: takes what was signed, changes it, and signs it again with the right key."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.evidence_case import Case
from verify.canonical import canonical
from verify.evidence.checking import accepted, check
from verify.evidence.envelope import PAYLOAD_TYPE, pae
from verify.evidence.policy import Policy, read_policy
from verify.evidence.signing import Signer, keyid, read_signer
from watermark.keyfile import read_key
from watermark.keys import CoinKey, ValueKey

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Outcome:
    """What a check came to.

    Attributes:
        accepted: under the policy.
        steps: (outcome, reason) by id.
    """

    accepted: bool
    steps: dict[str, tuple[str, str]]

    def __getitem__(self, step: str) -> str:
        return self.steps[step][0]

    def reason(self, step: str) -> str:
        """Of a step."""
        return self.steps[step][1]

    def of(self, outcome: str) -> list[str]:
        """The ids with this outcome."""
        return [name for name, (found, _) in self.steps.items() if found == outcome]

    @property
    def failed(self) -> list[str]:
        """The ids of the steps that failed."""
        return self.of("failed")


@dataclass(frozen=True)
class Liar:
    """A case, its policy and its signer.

    Attributes:
        case: what was made honestly.
        policy: of whoever checks.
        signer: of whoever made the evidence.
    """

    case: Case
    policy: Policy
    signer: Signer

    @classmethod
    def of(cls, case: Case) -> Liar:
        """With the policy and the signer in the case's folder."""
        return cls(case, read_policy(str(case.path("policy.json"))), read_signer(case.path("signer.pem")))

    def data(self) -> bytes:
        """The honest file."""
        return self.case.path(self.case.evidence).read_bytes()

    def statement(self) -> dict[str, Any]:
        """What it says: a copy that may be changed."""
        return self.statement_of(self.data())

    @staticmethod
    def statement_of(data: bytes) -> dict[str, Any]:
        """What a file says."""
        found: dict[str, Any] = json.loads(base64.b64decode(json.loads(data)["payload"]))
        return found

    def sign(self, statement: dict[str, Any]) -> bytes:
        """An evidence file that says something else."""
        return envelope(canonical(statement), self.signer)

    def says(self, change: Callable[[dict[str, Any]], object], *, folder: bool = True) -> Outcome:
        """Check a file whose predicate was changed."""
        statement = self.statement()
        change(statement["predicate"])
        return self.check(self.sign(statement), folder=folder)

    def check(
        self,
        data: bytes | None = None,
        *,
        folder: bool = True,
        keys: Sequence[ValueKey | CoinKey] | None = None,
        **policy: Any,
    ) -> Outcome:
        """Check a file, or the honest one, with all that there is; `policy` changes fields of the policy."""
        where = str(self.case.folder) if folder else None
        mine = read_key(self.case.path(self.case.key))
        assert isinstance(mine, ValueKey | CoinKey)
        trusted = Policy(**({name: getattr(self.policy, name) for name in Policy.__struct_fields__} | policy))
        steps = check(
            self.data() if data is None else data,
            trusted,
            name="evidence",
            folder=where,
            keys=[mine] if keys is None else keys,
        )
        return Outcome(accepted(steps, trusted), {s.id: (s.step.outcome, s.step.reason) for s in steps})

    def with_evidence(self, name: str, *, key: str | None = None) -> Liar:
        """The same with another evidence file of the folder."""
        return replace(self, case=replace(self.case, evidence=name, key=key or self.case.key))


def envelope(payload: bytes, signer: Signer) -> bytes:
    """A signed file of any payload, also of one that no reader takes."""
    signature = {"keyid": keyid(signer.public), "sig": base64.b64encode(signer.sign(pae(payload))).decode()}
    file = {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}
    return canonical(file) + b"\n"


def nodes(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value in a JSON value, with the way to it; of a long array the ends and the middle."""
    yield path, value
    if isinstance(value, dict):
        for name, child in value.items():
            yield from nodes(child, (*path, name))
    elif isinstance(value, list):
        n = len(value)
        for index in range(n) if n <= 4 else (0, n // 2, n - 1):
            yield from nodes(value[index], (*path, index))


def lies(value: Any) -> Iterator[Any]:
    """Other values of the same kind, all near."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, float):
        yield value + 1
        yield value * 1.01
        yield round(value * 1.01 + 0.01, 6)
    elif isinstance(value, str):
        yield from _strings(value)
    elif isinstance(value, list):
        yield from ([*value[:i], *value[i + 1 :]] for i in sorted({0, len(value) - 1}) if value)
        yield from ([*value, copy.deepcopy(value[0])] for _ in value[:1])
        yield from ([] for _ in value[1:2])
        yield from (value[::-1] for _ in value[1:2] if value != value[::-1])
    elif isinstance(value, dict):
        yield from ({k: v for k, v in value.items() if k != name} for name in value)
        yield {**value, "added": 1}


def _strings(text: str) -> Iterator[str]:
    """One character exchanged for its neighbour, the first and one in the middle; a number one higher."""
    for at in sorted({0, len(text) // 2}) if text else ():
        yield text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]
    if text.lstrip("-").isdigit():
        yield str(int(text) + 1)


def put(statement: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A statement with another value at a place."""
    changed = copy.deepcopy(statement)
    at: Any = changed
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return changed


def spelled(path: Path) -> str:
    """A place as people write it; places of arrays are all one."""
    return "".join("[]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")

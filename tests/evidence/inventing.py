"""Evidence that no command would make: from answers, plans and logs that somebody invented."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tests.evidence.lying import envelope
from tests.evidence_case import Provider, run
from verify.collecting.settings import digest_of
from verify.evidence.citations import citations
from verify.evidence.decision import decide
from verify.evidence.deriving import derive
from verify.evidence.folder import digest_of as digest_in
from verify.evidence.making import software, statement
from verify.evidence.predicate import Commitments, Other, Predicate, Result, Times
from verify.evidence.signing import read_signer
from verify.measuring.planned import AnyKey, measure
from verify.ordering import Ordering
from verify.plan_parts import Endpoint
from verify.plans import Plan, parse_plan, read_plan
from verify.records import Transcript
from verify.register import RegisterEntry, line_of, read_register
from verify.stamped import Stamped

_S = TypeVar("_S", bound=Stamped)
NOW = "2026-11-24T15:00:00Z"


def carried_out(
    provider: Provider,
    plan: Plan,
    files: Mapping[str, str],
    key: AnyKey | None,
    *,
    register: Sequence[RegisterEntry] = (),
    commitments: Commitments | None = None,
    others: Sequence[Other] = (),
) -> bytes:
    """A signed file in which everything follows from its inputs, whatever they are: nothing is refused.

    Args:
        provider: who signs; `files` lie in its folder.
        plan: of one key.
        files: name by role.
        key: the plan's, or None.
        register: its lines.
        commitments: of keys and logs.
        others: other evidence.
    """
    measured = measure(
        plan, {role: str(provider.file(name)) for role, name in files.items()}, key, line=line_of(register, plan)
    )
    derived = derive(plan, 0, measured)
    predicate = Predicate(
        plan=plan,
        inputs=dict(files),
        register=tuple(register),
        unrun={},
        commitments=commitments or Commitments(),
        results=(Result(plan.keys[0].id, measured, derived),),
        decision=decide(plan, [derived]),
        others=tuple(others),
        rate=None,
        citations=citations(plan, [measured]),
        software=software(),
        times=Times(made=NOW),
    )
    subjects = {name: str(digest_in(str(provider.folder), name)) for name in files.values()}
    return envelope(statement(subjects, predicate.fields()), read_signer(provider.file("signer.pem")))


def planned(provider: Provider, like: Plan, name: str, *, register: str = "", **changed: Any) -> Plan:
    """A plan like another, committed now, in a register of this name: by default one of its own."""
    fields = like.fields() | {"timestamps": [], "name": name, "family": {"tests": [name], "correction": "none"}}
    plan = parse_plan(fields | changed, name)
    draft, made = provider.file(f"{name}-draft.json"), provider.file(f"{name}-plan.json")
    draft.write_bytes(plan.to_json())
    lines = provider.file(f"{register or name}-register.jsonl")
    run("plan", "commit", draft, "--register", lines, *provider.stamp, "-o", made)
    return read_plan(str(made))


def entries(provider: Provider, register: str) -> list[RegisterEntry]:
    """The lines of such a register."""
    return read_register(str(provider.file(f"{register}-register.jsonl")))


def stamped(provider: Provider, record: _S) -> _S:
    """A record with the time of now, whatever it had."""
    bare = msgspec.structs.replace(record, timestamps=())
    return bare.stamped(provider.tsa.authority.token(bare.body()))


def written(
    plan: Plan, path: Path, prompts: Sequence[str], answer: Callable[[str], str], *, nonces: RegisterEntry, ago: int = 0
) -> None:
    """A file of answers as if they had been collected.

    Args:
        plan: that they name, with its settings.
        path: new file.
        prompts: of the plan.
        answer: what the suspect said.
        nonces: the line of the register whose token gives order and nonces.
        ago: how many seconds before now the endpoint says that it answered.
    """
    suspect, ordering = plan.suspect, Ordering.of(nonces)
    assert isinstance(suspect, Endpoint)
    assert suspect.prompts == digest_of(list(prompts))
    settings = suspect.settings() | {"plan": plan.digest}
    lines = []
    for question in ordering.order(suspect.n_questions):
        prompt = prompts[question % len(prompts)]
        meta = {"settings": settings, "nonce": ordering.nonce(question), "created": int(time.time()) - ago}
        lines.append(Transcript(id=str(question), prompt=prompt, response=answer(prompt), meta=meta).to_json() + b"\n")
    path.write_bytes(b"".join(lines))


def exploratory(provider: Provider, name: str) -> str:
    """Evidence on texts that somebody found, without any commitment: the evidence file's name."""
    f, answer = provider.file, provider.answers(marked=True)
    f(f"{name}.txt").write_text(" ".join(answer(f"p{i}") for i in range(6)))
    run("plan", "new", "--hypothesis", "closed", "--name", name, "--key", f("fleet.key"), "--tokenizer",
        f("tokenizer.json"), "--origin", "somewhere", "--suspect", name, "--alpha", "1e-6", "--family", name,
        "--correction", "none", "--no-filters", "--input", f"input={f(f'{name}.txt')}", "--n", 1, "--decoys", 0,
        "--repeated-windows", "skip",
        "--pair-weights", "distinct", "--token-ids", "no", "--with-prompts", "no", "--served", "no",
        "--input-format", "text", "-o", f(f"{name}-draft.json"))  # fmt: skip
    run("evidence", f(f"{name}-draft.json"), "--input", f"input={f(f'{name}.txt')}", "--input",
        f"tokenizer={f('tokenizer.json')}", "--key", f("fleet.key"), "--signer", f("signer.pem"), "--unsafe-no-plan",
        "-o", f(f"{name}.json"))  # fmt: skip
    return f"{name}.json"

"""What lies behind a result: plan, inputs, commitments, register, check, software, and how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import PurePath

import msgspec

from verify.commitments import Commitment
from verify.errors import Error
from verify.evidence.predicate import Other
from verify.report.basis import drawer
from verify.report.checks import Check
from verify.report.document import Block, Commands, Facts, Items, Notice, Quotation, Section, Table, Text
from verify.report.others import no_control
from verify.report.source import Source
from verify.report.tables import capped
from verify.report.words import called, number, plain, yes
from verify.stamped import Stamped
from verify.timestamps import stated_time

STATED = "Times of timestamps are as the timestamps state them"


def plan(source: Source) -> Section:
    """What was fixed."""
    p = source.plan
    suspect = msgspec.to_builtins(p.suspect)
    test = msgspec.to_builtins(p.test)
    rows = [
        ("Name", called(p.name)),
        ("Digest", p.digest),
        ("Committed", times(p) if p.timestamps else "never: the result is exploratory"),
        ("Suspect", "; ".join(f"{name} {plain(str(value))}" for name, value in suspect.items())),
        ("Test", "; ".join(f"{name} {_flat(value)}" for name, value in test.items())),
        ("Scheme, width", f"{plain(p.scheme)}, {p.width}"),
        ("Shares", "; ".join(f"{name} {n / 10_000:g} %" for name, n in p.shares.items())),
        ("Filters", "; ".join(map(plain, p.filters)) or "none"),
    ]
    keys = capped("Keys", ("path", "public id"), ((plain(key.path), key.id) for key in p.keys))
    fixed = capped("Inputs that the plan fixed", ("input", "digest"), ((plain(n), d) for n, d in p.inputs.items()))
    return Section("plan", "The plan", (Facts(tuple(rows)), keys, fixed))


def _flat(value: object) -> str:
    return ", ".join(f"{k} {yes(v)}" for k, v in value.items()) if isinstance(value, dict) else yes(value)


def times(record: Stamped) -> str:
    """What a record's timestamps state; nothing of it is checked."""
    found = []
    for token in record.tokens():
        try:
            found.append(f"{stated_time(token):%Y-%m-%dT%H:%M:%SZ}")
        except Error:
            found.append("a timestamp that cannot be read")
    return ", ".join(found) if found else "no timestamp"


def inputs(source: Source) -> Section:
    """Every input with its digest."""
    rows = ((plain(role), plain(name), source.subjects[name]) for role, name in sorted(source.predicate.inputs.items()))
    table = capped("Inputs", ("role", "file", "SHA-256"), rows)
    return Section("inputs", "Inputs", (table,))


def commitments(source: Source, check: Check | None) -> Section:
    """What was fixed before it was used, as the file states it."""
    stated = source.predicate.commitments
    named: dict[str, Commitment | None] = {"master": stated.master, "epoch": stated.epoch}
    named |= {f"log of {plain(role)}": record for role, record in stated.logs.items()}
    rows = [(name, record.digest, times(record)) for name, record in named.items() if record is not None]
    note = f"{STATED}{', and were not checked here' if check is None else '; the steps say what of them was checked'}."
    slots = [(plain(slot.path), f"{slot.index:,}", slot.id) for slot in stated.slots]
    blocks: list[Block] = [capped("Commitments", ("record", "digest", "timestamps"), rows), Text(note)]
    blocks.append(capped("Places of the keys in the epoch's commitment", ("path", "index", "public id"), slots))
    return Section("commitments", "Commitments and timestamps", tuple(blocks))


def register(source: Source) -> Section:
    """Every plan under the keys, and what became of it."""
    mine = {key.id for key in source.plan.keys}
    others = {other.plan: other for other in source.predicate.others}
    rows = []
    for entry in source.predicate.register:
        shared = len(mine.intersection(entry.keys))
        fate = _fate(source, entry.plan, others)
        rows.append((f"{entry.number:,}", entry.plan, f"{shared:,}", times(entry), fate))
    blocks: list[Block] = []
    if not source.predicate.register:
        blocks.append(Notice("There is no register: nothing shows how many plans were tried under these keys."))
    elif text := drawer(source):
        blocks.append(Notice(text))
    columns = ("number", "plan", "of this plan's keys", "timestamps", "what became of it")
    blocks.append(capped("The register", columns, rows))
    return Section("register", "Register of plans", tuple(blocks))


def _fate(source: Source, digest: str, others: dict[str, Other]) -> str:
    if digest == source.plan.digest:
        return "this evidence"
    if digest in others:
        return f"evidence {plain(others[digest].file)}: {_outcome(others[digest])}"
    if digest in source.predicate.unrun:
        return f"no result here, as the maker states: {plain(source.predicate.unrun[digest])}"
    return "NOT ACCOUNTED FOR"


def _outcome(other: Other) -> str:
    found = sum(test.found for test in other.tests)
    return f"{found:,} of {len(other.tests):,} tests found"


def others(source: Source) -> Table:
    """Evidence on other models under the same keys."""
    rows = (
        (
            plain(other.suspect),
            _control(source, other),
            plain(other.hypothesis) + (", exploratory" if other.exploratory else ""),
            _outcome(other),
            number(min((test.log10_adjusted for test in other.tests), default=None)),
            plain(other.file),
            other.sha256,
        )
        for other in source.predicate.others
    )
    columns = ("model", "innocent control", "test", "outcome", "least corrected log10 p", "file", "SHA-256")
    return capped("Other models under the same keys", columns, rows)


def _control(source: Source, other: Other) -> str:
    why = no_control(source, other)
    return "no" if not other.control else f"not counted: {why}" if why else "yes, as stated"


def steps(source: Source, check: Check | None) -> Section:
    """The numbered steps, or a note that there were none."""
    if check is None:
        text = f"This report checked nothing. It was made from the evidence file with SHA-256 {source.sha256}."
        return Section("check", "Check", (Notice(text),))
    rows = [
        (f"{i}", name, step.outcome, plain(step.name), plain(step.reason))
        for i, (name, step) in enumerate(check.steps, 1)
    ]
    table = Table("Steps of the check", ("", "step", "outcome", "what must hold", "reason"), tuple(rows))
    return Section("check", "Check", (table,))


def assumptions(source: Source) -> Section:
    """What the numbers rest on, in the file's words, each once."""
    stated = dict.fromkeys(plain(text) for result in source.outcomes for text in result.derived.assumptions)
    blocks: list[Block] = [Quotation(tuple(stated))]
    if source.plan.family.correction == "bh":
        blocks.append(
            Text(
                "The correction after Benjamini and Hochberg assumes tests that are independent, or positively "
                "dependent."
            )
        )
    return Section("assumptions", "Assumptions", tuple(blocks))


def limits() -> Section:
    """What such a file cannot show, whatever was checked."""
    items = (
        "A timestamp says that something existed by its time, never that it did not exist before.",
        "Nobody but the holder of the master key can show that the keys were derived as committed; a neutral expert "
        "with that key can.",
        "Nothing shows that there is only one register, or that no lines were cut from its end.",
        "Nothing shows that a suspect was not asked before the plan, or that texts were not chosen where the steps say "
        "“not checked”.",
        "Models that share a base, a key or prompts are not independent: several controls may count as one.",
        "A mark shows that text came from a sampler with the key. It does not show by whom, or under which terms.",
    )
    return Section("what-is-not-shown", "What is not shown", (Items(items),))


def software(source: Source) -> Section:
    """What computed it, and after whom."""
    rows = ((plain(name), plain(version)) for name, version in sorted(source.predicate.software.items()))
    made = Facts((("Made, as the maker states", plain(source.predicate.times.made)),))
    signer = Facts((("Id of the signer's key, as the file states", plain(source.signer)),))
    blocks: list[Block] = [capped("Software", ("name", "version"), rows), made, signer]
    blocks += [Text("Methods:"), Items(tuple(map(plain, source.predicate.citations)) or ("none stated",))]
    if source.predicate.unknown:
        names = ", ".join(map(plain, sorted(source.predicate.unknown)))
        blocks.append(Notice(f"Fields of the file that this report does not know, and does not show: {names}."))
    return Section("software", "Software and sources", tuple(blocks))


def again(source: Source) -> Section:
    """The commands that compute every number again."""
    file = plain(shlex.quote(PurePath(source.file).name))
    keys = " ".join(f"--key key-{i}.key" for i in range(1, min(len(source.plan.keys), 3) + 1))
    more = " ..." if len(source.plan.keys) > 3 else ""
    common = f"{file} --policy policy.json --inputs inputs/ {keys}{more}"
    blocks = (
        Text(
            "Put the inputs, under the names above, into one folder, and write a policy with what you trust "
            "(docs/spec/evidence.md, section 8). The keys are the disclosed ones; their ids stand in the plan."
        ),
        Commands(tuple(_commands(file, common))),
        Text(
            "The first line names the bytes of this file. The second goes through every step and computes every number "
            "again. The third does so with a second program that shares no code with the first."
        ),
    )
    return Section("again", "How to compute this again", blocks)


def _commands(file: str, common: str) -> Iterator[str]:
    yield f"sha256sum {file}"
    yield f"radiolabel check {common}"
    yield f"python docs/spec/check_evidence.py {file} policy.json inputs/ key-1.key"

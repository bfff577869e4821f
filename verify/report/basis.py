"""Page one, at its end: what it rests on, and what the register leaves open."""

from __future__ import annotations

from verify.report.checks import Check
from verify.report.document import Notice, Section, Text
from verify.report.others import registered
from verify.report.source import Source
from verify.report.words import counted, plain


def basis(source: Source, check: Check | None) -> Section:
    """What this page rests on."""
    made = (
        f"Made from the file {plain(source.file[:80])} with SHA-256 {source.sha256}. It names as its signer the key "
        f"with id {source.signer[:16]}..., and as its time {source.predicate.times.made}."
    )
    drawer = _drawer(source)
    if check is None:
        text = f"This report checked nothing. It shows what the file states. {made}"
        return Section("basis", "What was checked", (Notice(text), *drawer))
    outcomes = [step.outcome for _, step in check.steps]
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in ("ok", "failed", "not checked"))
    verdict = "accepted" if check.accepted else "NOT accepted"
    text = f"The file was {verdict} under the policy that was given: of {len(outcomes)} steps {counts}. {made}"
    return Section("basis", "What was checked", ((Text if check.accepted else Notice)(text), *drawer))


def _drawer(source: Source) -> tuple[Notice, ...]:
    """That other tests may not have been shown."""
    if not source.predicate.register:
        return (Notice("There is no register of plans: nothing shows how many tests were planned under these keys."),)
    return (Notice(text),) if (text := drawer(source)) else ()


def drawer(source: Source) -> str:
    """Which registered plans have no result in the file; empty if all have."""
    found, total = registered(source), len(source.predicate.register)
    parts = []
    if found.unrun:
        parts.append(f"{found.unrun:,} without a result here, for reasons that are asserted, not shown")
    if found.unknown:
        parts.append(f"{found.unknown:,} of which nothing is known, neither a result nor why there is none")
    return f"Of {counted(total, 'registered plan')}: {'; '.join(parts)}." if parts else ""

"""Page one, below the answer: how often the method accuses the innocent, what else could explain it, and its limits."""

from __future__ import annotations

from typing import Final

from verify.measured import MeasuredClosed, MeasuredForm
from verify.plan_parts import Closed, ClosedReference, Open, Twin
from verify.report.checks import DISHONESTY, Check, spoken
from verify.report.document import Facts, Items, Notice, Section, Table, Text
from verify.report.source import Source
from verify.report.words import called, counted, level, percent, plain, some

LIMITS: Final = (
    "“Not found” is not “not used”: rewording, mixing with other text or too little data hides a mark.",
    "“Found” is about training on these tokens, at first or second hand, and not about intent, or what was allowed.",
)
PUBLIC: Final = {
    "fleet": "A key for all traffic was found: training on any published copy of the answers would give that result.",
    "cohort": "A key for some accounts was found: a published copy explains that only if it holds answers to them.",
    "account": "A key for one account was found: a published copy explains that only if it holds answers to it.",
}


def rate(source: Source) -> Section:
    """How often the method accuses an innocent model."""
    stated, alpha = source.predicate.rate, source.plan.alpha
    if stated is None:
        text = (
            f"No measured rate was given with this evidence. By the mathematics of the test, and if the assumptions in "
            f"this report hold, at most {level(alpha)} innocent models would be called found; no measurement "
            f"here confirms that."
        )
        return Section("rate", "How often this method accuses an innocent model", (Notice(text),))
    text = (
        f"Measured: {stated.n_accused:,} of {counted(stated.n_trials, 'trial')} with innocent models, worth "
        f"{stated.n_independent:,} independent ones, were called found at the level of {level(stated.alpha)}. "
        f"The rate lies between {100 * stated.low:.3g} % and {percent(stated.high)} (95 % interval)."
    )
    if stated.alpha != alpha:
        text += f" This plan's level is another one, {level(alpha)}."
    if stated.high > alpha:
        text += (
            f" So few trials cannot confirm a rate as small as {level(alpha)}: below the interval's upper end "
            f"it rests on the mathematics of the test and the assumptions in this report."
        )
    return Section("rate", "How often this method accuses an innocent model", (Text(text),))


def controls(source: Source) -> Section:
    """Innocent models under the same keys."""
    known = [other for other in source.predicate.others if other.control]
    heading = "Innocent models tested under the same key"
    if not known:
        return Section(
            "controls", heading, (Text("None: this evidence holds no test of a model known to be innocent."),)
        )
    accused = [other for other in known if any(test.found for test in other.tests)]
    text = f"{counted(len(known), 'model')} that, as the maker of this file says, never saw marked text."
    if accused:
        text += f" Called found as well: {some([called(o.suspect) for o in accused])}."
        return Section("controls", heading, (Notice(text),))
    return Section(
        "controls",
        heading,
        (Text(f"{text} None of them was called found: {some([called(other.suspect) for other in known])}."),),
    )


def causes(source: Source, check: Check | None) -> Section:
    """What else could explain a finding, or why one may be missing."""
    rows: tuple[tuple[str, str], ...]
    if not source.found:
        rows = (
            ("Little marked text", "The suspect may have been trained on little of it, or on much besides."),
            ("Other text", "It may have been trained on answers under other keys, from other accounts or other times."),
            ("Rewording", "Answers that were reworded, translated or filtered before training lose their mark."),
            ("Too little data", "A longer look may show what this one could not."),
        )
        return Section("causes", "What else could explain this result", (Facts(rows),))
    rows = (
        ("A public copy", _public(source)),
        ("Second hand", "Training on another model, or on its text, that was itself trained on the marked answers."),
        ("Quotation", _quotation(source)),
        (
            "A leaked key",
            "Whoever has the key, or learned enough of it from marked text, can write text with its mark.",
        ),
    )
    acts = tuple((act, ", ".join(groups), spoken(check, groups)) for act, groups in DISHONESTY)
    table = Table(
        "What a dishonest provider could do", ("act", "steps of a check that speak to it", "this report"), acts
    )
    return Section("causes", "What else could explain this result", (Facts(rows), table))


def _public(source: Source) -> str:
    if source.plan.hypothesis == "twin":
        return "Training on a published copy of the served answers would give the same result."
    parts = [outcome.path.split("/") for outcome in source.found]
    channels = dict.fromkeys(part[2] if len(part) > 2 else "" for part in parts)
    return " ".join(text for channel, text in PUBLIC.items() if channel in channels)


def _quotation(source: Source) -> str:
    test, measured = source.plan.test, source.found[0].measured
    if isinstance(test, Twin):
        return "A suspect whose prompts hold the served answers would prefer them."
    if isinstance(test, Closed) and test.prompts and isinstance(measured, MeasuredClosed):
        n = measured.n_dropped.get("copied_from_prompt", 0)
        return (
            f"Answers can repeat marked prompts. What could be copied from its own prompt was left out ({n:,} tokens)."
        )
    counts = isinstance(test, ClosedReference | Open) and test.prompt_windows == "count"
    if counts and isinstance(measured, MeasuredForm) and (measured.served or isinstance(test, ClosedReference)):
        return "Answers can repeat marked prompts. What stood in its own prompt before was left out."
    return "Answers can repeat marked prompts. This test left nothing out, and assumes that no prompt held marked text."


def limits() -> Section:
    """What no result of this kind says."""
    return Section("limits", "Limits", (Items(LIMITS),))


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
    """That other tests under the keys may not have been shown."""
    if not source.predicate.register:
        return (Notice("There is no register of plans: nothing shows how many tests were planned under these keys."),)
    if source.unknown_plans:
        many = counted(source.unknown_plans, "registered plan")
        return (Notice(f"Of {many} under these keys nothing is known, neither a result nor why there is none."),)
    return ()

"""The whole report of an evidence file, as sections: for a judge on one page, and for an expert after it."""

from __future__ import annotations

from verify.report import answer, basis, doubts, figures, innocents, question, record, tables, which
from verify.report.checks import Check
from verify.report.document import Block, Section, View
from verify.report.source import Source
from verify.report.words import called

EXPLORATORY = "Exploratory: no plan was committed before looking."


def view(source: Source, check: Check | None = None) -> View:
    """Everything that a report shows.

    Args:
        source: the evidence file.
        check: what a check of it found, if there was one.

    Raises:
        InputError: sums that cannot be.
    """
    trace = "a preference for what a provider served" if source.plan.paired else "the mark of a provider's key"
    title = f"Test of {called(source.plan.suspect.name)} for {trace}"
    first = (
        question.question(source, check),
        answer.answer(source, check),
        innocents.rate(source, check),
        doubts.causes(source, check),
        innocents.controls(source),
        doubts.limits(),
        basis.basis(source, check),
    )
    rest = (
        record.steps(source, check),
        record.plan(source),
        tables.decision(source),
        _overview(source),
        *tables.results(source),
        record.inputs(source),
        record.commitments(source, check),
        record.register(source),
        record.assumptions(source),
        record.limits(),
        record.software(source),
        record.again(source),
    )
    return View(
        title=f"Exploratory: {title}" if source.exploratory else title,
        banner=EXPLORATORY if source.exploratory else "",
        first=first,
        accounts=tuple(which.sections(source, check)),
        rest=rest,
        source=source.sha256,
    )


def _overview(source: Source) -> Section:
    drawn = (figures.effects(source), figures.others(source), figures.rate(source))
    blocks: list[Block] = [figure for figure in drawn if figure is not None]
    if source.predicate.rate is not None:
        blocks.append(tables.rate(source.predicate.rate))
    blocks.append(record.others(source))
    return Section("beside", "The result beside others", tuple(blocks))

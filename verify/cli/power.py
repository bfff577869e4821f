"""`radiolabel power`: how much is needed, from a pilot or an assumed share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from verify.cli.output import FORMAT, counted, finite, print_record
from watermark import defaults

if TYPE_CHECKING:
    from verify.power import Need

FULL_PAIRS_PER_ANSWER = 100


@click.command()
@click.option("--pilot", type=click.Path(), help="A finding as JSON: from verify, test open, test closed or test twin.")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), callback=finite,
              help="Instead: the share of the suspect's text taken to be marked, at full strength.")  # fmt: skip
@click.option("--scheme", default=defaults.SCHEME, show_default=True, help="With --share: the marking scheme.")
@click.option("--pairs-per-answer", type=click.FloatRange(1e-6), default=FULL_PAIRS_PER_ANSWER,
              callback=finite, show_default=True, help="With --share: scored pairs an answer gives.")  # fmt: skip
@click.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True), callback=finite, default=1e-6, show_default=True,
              help="The p-value to reach.")  # fmt: skip
@click.option("--power", type=click.FloatRange(0.5, 1, max_open=True), callback=finite, default=0.95, show_default=True,
              help="The chance to reach it.")  # fmt: skip
@FORMAT
def power(
    pilot: str | None,
    share: float | None,
    scheme: str,
    pairs_per_answer: float,
    alpha: float,
    power: float,
    output_format: str | None,
) -> None:
    """Plan a test: how many answers, pairs or windows reach a target p.

    A pilot's own data must not be used again in the test that it plans. The interval is what the pilot's 95 %
    interval of the effect leads to; "no end" means that the pilot does not exclude that there is no effect.
    Where the pilot's p is 1 / e-value, the plan is for the e-value too.

    \b
    Examples:
      radiolabel power --pilot finding.json --alpha 1e-6
      radiolabel power --share 0.01
    """
    from verify import power as planner
    from watermark.schemes import parse

    if (pilot is None) == (share is None):
        raise click.UsageError("give either --pilot or --share")
    if share is not None:
        law, full = parse(scheme).law, parse(scheme).full_excess
        if full is None:
            raise click.UsageError(f"the full strength of {scheme} was not measured: use --pilot")
        need = planner.closed_need(law, share * full, alpha=alpha, power=power)
        whole = planner.Need(need, need, need)
        record = _record("closed", "distinct pairs", whole, by_e=False, per_answer=pairs_per_answer)
    else:
        record = _from_pilot(str(pilot), alpha, power)
    record |= {"alpha": alpha, "power": power, "pilot": pilot is not None}
    print_record(record, lambda: _text(record), output_format)


def _from_pilot(path: str, alpha: float, power: float) -> dict[str, Any]:
    from verify import pilot
    from verify import power as planner
    from watermark.schemes import parse

    f = pilot.read(path)
    asked: dict[str, Any] = {"alpha": alpha, "power": power, "by_e": f.by_e}
    if isinstance(f, pilot.Twin):
        need = planner.Need.over(lambda r: planner.twin_need(r, **asked), f.win_rate, f.win_interval)
        return _record("twin", "pairs", need, by_e=f.by_e, per_answer=None)
    if isinstance(f, pilot.Linear):
        ends = f.z - 1.96, f.z + 1.96
        need = planner.Need.over(lambda x: planner.open_need(x, f.n_scored, **asked), f.z, ends)
        return _record(f.test, "windows", need, by_e=f.by_e, per_answer=None)
    law = parse(f.scheme).law
    need = planner.Need.over(lambda x: planner.closed_need(law, x, **asked), f.excess, f.excess_interval)
    return _record("closed", "distinct pairs", need, by_e=f.by_e, per_answer=f.n_scored / f.n_documents)


def _record(test: str, unit: str, need: Need, *, by_e: bool, per_answer: float | None) -> dict[str, Any]:
    record: dict[str, Any] = {"test": test, "unit": unit, "needed": need.n, "interval": [need.low, need.high]}
    record["p"] = "1/e" if by_e else "tail"
    if per_answer is not None:
        amounts = [None if n is None else int(-(-n // per_answer)) for n in (need.n, need.low, need.high)]
        record |= {"pairs_per_answer": per_answer, "answers": amounts[0], "answers_interval": amounts[1:]}
    return record


def _text(record: dict[str, Any]) -> str:
    def amount(n: int | None, none: str) -> str:
        return none if n is None else f"{n:,}"

    def line(n: int | None, interval: list[int | None], unit: str) -> str:
        if n is None:
            shows = ", as far as the pilot shows" if record["pilot"] else ""
            return f"{unit}: no amount would be enough{shows}"
        low, high = amount(interval[0], "?"), amount(interval[1], "no end")
        return counted(n, unit.removesuffix("s")) + (f"  (95 % interval {low} to {high})" if interval != [n, n] else "")

    p = "1 / e-value" if record["p"] == "1/e" else "p"
    head = f"To reach {p} = {record['alpha']:g} with probability {record['power']:g} the {record['test']} test needs"
    lines = [head, "  " + line(record["needed"], record["interval"], record["unit"])]
    if "answers" in record and record["answers"] is not None:
        lines.append("  " + line(record["answers"], record["answers_interval"], "answers"))
        lines.append("Pairs repeat as a corpus grows, so that later answers bring fewer than the first.")
    return "\n".join(lines)

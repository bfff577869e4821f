"""`radiolabel plan`: fix a test before anybody looks, and register that it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from verify.cli.commit_make import TSA
from verify.cli.committed import CERTS, FORCE, OUTPUT, roots_in, stamped
from verify.cli.output import FORMAT, check_distinct, check_new_file, new_file, print_record
from verify.cli.plan_new import new

if TYPE_CHECKING:
    from verify.plans import Plan
    from verify.steps import Step


@click.group()
def plan() -> None:
    """Fix a test before anybody looks, and register that it was.

    A plan names everything that can move the number. Committing it gets it a timestamp and a line in the register,
    which holds every plan ever run under a key. Without a plan a test is exploratory, and says so.

    \b
    Example:
      radiolabel plan new --hypothesis sequential ... -o draft.json
      radiolabel plan commit draft.json --register register.jsonl --tsa https://tsa.example -o plan.json
      radiolabel collect prompts.txt --plan plan.json ... -o answers.jsonl
      radiolabel plan check plan.json --register register.jsonl --tsa-certs roots.pem --answers answers.jsonl
    """


@click.command()
@click.argument("plan_file", metavar="PLAN", type=click.Path())
@click.option("--register", "register_file", required=True, type=click.Path(),
              help="Register of all plans; made if it does not exist.")  # fmt: skip
@TSA
@CERTS
@OUTPUT
@FORCE
@FORMAT
def commit(
    plan_file: str,
    register_file: str,
    tsa: tuple[str, ...],
    tsa_certs: str | None,
    output: str,
    force: bool,
    output_format: str | None,
) -> None:
    """Get PLAN a timestamp, write it with that to the output, and add it to the register, which gets one too.

    If the register could not be written, commit the output again: it keeps its timestamp.

    \b
    Example:
      radiolabel plan commit draft.json --register register.jsonl --tsa https://tsa.example -o plan.json
    """
    from verify.plans import read_plan
    from verify.register import next_entry
    from verify.registering import open_register

    if not tsa:
        raise click.UsageError("give --tsa: a plan without a timestamp shows nothing")
    check_distinct({"PLAN": plan_file, "--register": register_file}, {"--output": output})
    check_new_file(output, force=force)
    planned = read_plan(plan_file)
    with open_register(register_file) as register:
        committed: Plan = planned if planned.timestamps else stamped(planned, tsa, tsa_certs)
        entry = stamped(next_entry(register.entries, committed), tsa, tsa_certs)
        data = committed.to_json().decode()
        with new_file(output, force=force) as file:
            file.write(data)
        register.append(entry)
    summary = {"file": output, "digest": committed.digest, "number": entry.number, "head": entry.head}
    print_record(summary, lambda: "\n".join(f"{k}: {v}" for k, v in summary.items()), output_format)


@click.command()
@click.argument("plan_file", metavar="PLAN", type=click.Path())
@click.option("--register", "register_file", type=click.Path(), help="Register of all plans.")
@CERTS
@click.option("--answers", type=click.Path(), help="What radiolabel collect --plan wrote.")
@click.option("--prompts", type=click.Path(), help="With --answers: what was asked.")
@FORMAT
def check(
    plan_file: str,
    register_file: str | None,
    tsa_certs: str | None,
    answers: str | None,
    prompts: str | None,
    output_format: str | None,
) -> None:
    """Print PLAN, and check what can be checked with what is given; no network.

    The exit code is 1 if a step failed. What was not checked says what it takes.

    \b
    Examples:
      radiolabel plan check plan.json
      radiolabel plan check plan.json --register register.jsonl --tsa-certs roots.pem
      radiolabel plan check plan.json --tsa-certs roots.pem --answers answers.jsonl --prompts prompts.txt
    """
    from verify.plans import read_plan
    from verify.steps import failed

    planned = read_plan(plan_file)
    if prompts is not None and answers is None:
        raise click.UsageError("--prompts goes with --answers")
    steps = _steps(planned, register_file, tsa_certs, answers, prompts)
    fields = planned.fields() | {"timestamps": len(planned.timestamps), "digest": planned.digest}
    fields["decision"] = planned.decision
    printed = fields | {"steps": [{"name": s.name, "outcome": s.outcome, "reason": s.reason} for s in steps]}
    print_record(printed, lambda: _text(fields, steps), output_format)
    if failed(steps):
        raise click.exceptions.Exit(1)


def _steps(
    planned: Plan, register_file: str | None, tsa_certs: str | None, answers: str | None, prompts: str | None
) -> list[Step]:
    from verify.collection_checks import check_answers, read_answers
    from verify.commitment_checks import stamp
    from verify.register import check_register, line_of, read_register
    from verify.steps import Step

    roots = roots_in(tsa_certs)
    first, when = stamp(planned, roots, name="every timestamp is of this plan and by a trusted authority")
    steps = [first]
    entries = [] if register_file is None else read_register(register_file)
    if register_file is None:
        steps.append(Step.open("the plan is registered, with its keys and timestamps", "no register was given"))
    else:
        steps += check_register(entries, roots, plan=planned, when=when)
    name = "the answers were asked for under the plan"
    line = line_of(entries, planned)
    if answers is None or line is None:
        missing = "no answers were given" if answers is None else "no register with the plan's line was given"
        return [*steps, Step.open(name, missing)]
    asked = None if prompts is None else planned_prompts(planned, prompts)
    _, registered = stamp(line, roots)
    return [*steps, *check_answers(planned, read_answers(answers), line=line, prompts=asked, when=registered)]


def planned_prompts(planned: Plan, path: str) -> list[str]:
    """The prompts of a file.

    Raises:
        Refused: they are not the plan's.
    """
    from verify.collecting.settings import digest_of
    from verify.errors import Refused
    from verify.inputs import read_prompts

    prompts = read_prompts(path)
    stated = getattr(planned.suspect, "prompts", None)
    if digest_of(prompts) != stated:
        raise Refused(f"{path}: other prompts than the plan's, expected those with digest {str(stated)[:23]}...")
    return prompts


def _text(fields: dict[str, Any], steps: list[Step]) -> str:
    lines = []
    for name, value in fields.items():
        nested = value.items() if isinstance(value, dict) else None
        lines += [f"{name}.{k}: {v}" for k, v in nested] if nested is not None else [f"{name}: {value}"]
    lines += [f"{i}. {s.outcome}: {s.name} ({s.reason})" for i, s in enumerate(steps, 1)]
    return "\n".join(lines)


for command in (new, check, commit):
    plan.add_command(command)

"""`radiolabel report`: an evidence file as a page for a judge, and for an expert after it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from verify.cli.committed import FORCE, OUTPUT
from verify.cli.output import check_distinct, check_new_file, check_unchanged, digests, new_file, print_record

if TYPE_CHECKING:
    from verify.report import Format
    from verify.report.checks import Check


@click.command()
@click.argument("evidence_file", metavar="EVIDENCE", type=click.Path())
@OUTPUT
@click.option("--format", "form", type=click.Choice(["html", "md", "json"]), default="html", show_default=True,
              help="One HTML file that needs no network, Markdown, or every word and number as JSON.")  # fmt: skip
@click.option("--policy", "policy_file", type=click.Path(), help="Check EVIDENCE under this policy first.")
@click.option("--inputs", type=click.Path(), help="With --policy: folder of the inputs.")
@click.option("--key", "key_files", multiple=True, type=click.Path(),
              help="With --policy: disclosed key file; may be repeated.")  # fmt: skip
@FORCE
def report(
    evidence_file: str,
    output: str,
    form: Format,
    policy_file: str | None,
    inputs: str | None,
    key_files: tuple[str, ...],
    force: bool,
) -> None:
    """Write EVIDENCE as a report: one page in plain words, then every number with its figures and tables.

    Without --policy nothing is checked, and the report says so. With it, the report holds every step as radiolabel
    check prints it. A file that is not accepted gets a report without an answer, and the exit code is 1.

    \b
    Examples:
      radiolabel report evidence.json -o report.html
      radiolabel report evidence.json --policy policy.json --inputs folder --key fleet.key -o report.html
      radiolabel report evidence.json --format md -o report.md
    """
    from verify.report import render
    from verify.report.source import read_source
    from verify.report.view import view

    if policy_file is None and (inputs is not None or key_files):
        raise click.UsageError("--inputs and --key go with --policy")
    read = {"EVIDENCE": evidence_file, "--policy": policy_file}
    read |= {f"--key {path}": path for path in key_files}
    check_distinct(read, {"--output": output})
    if inputs is not None and os.path.isdir(inputs) and os.path.isfile(output):
        check_distinct({f"an input, {f.name}": f.path for f in os.scandir(inputs)}, {"--output": output})
    check_new_file(output, force=force)
    files: dict[str, str | None] = {"EVIDENCE": evidence_file}
    before = digests(files)
    source = read_source(evidence_file)
    check = None if policy_file is None else _check(evidence_file, policy_file, inputs, key_files)
    check_unchanged(files, before)  # what was checked is what is shown
    text = render(view(source, check), form)
    with new_file(output, force=force) as file:
        file.write(text)
    accepted = None if check is None else check.accepted
    summary = {"file": output, "evidence": source.sha256, "accepted": accepted}
    said = {None: "not checked", True: "accepted", False: "NOT accepted"}[accepted]
    print_record(summary, lambda: f"file: {output}\nevidence: {source.sha256}, {said}", None)
    if accepted is False:
        raise click.exceptions.Exit(1)


def _check(evidence_file: str, policy_file: str, inputs: str | None, key_files: tuple[str, ...]) -> Check:
    from verify.cli.check import run
    from verify.evidence.checking import accepted
    from verify.evidence.policy import read_policy
    from verify.report.checks import Check

    steps = run(evidence_file, policy_file, inputs, key_files)
    return Check(tuple((s.id, s.step) for s in steps), accepted(steps, read_policy(policy_file)))

"""`radiolabel check`: is an evidence file what it says?"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verify.cli.output import FORMAT, bars, print_record

if TYPE_CHECKING:
    from verify.evidence.checking import Checked
    from watermark.keys import CoinKey, ValueKey


@click.command()
@click.argument("evidence_file", metavar="EVIDENCE", type=click.Path())
@click.option("--policy", "policy_file", required=True, type=click.Path(), help="What is trusted: radiolabel policy.")
@click.option("--inputs", type=click.Path(), help="Folder of the inputs, and of other evidence files.")
@click.option("--key", "key_files", multiple=True, type=click.Path(),
              help="Disclosed key file: the plan's value key, or epoch/NAME/coin; may be repeated.")  # fmt: skip
@FORMAT
def check(
    evidence_file: str,
    policy_file: str,
    inputs: str | None,
    key_files: tuple[str, ...],
    output_format: str | None,
) -> None:
    """Check EVIDENCE step by step, and compute its numbers again; no network.

    Every step is ok, failed or not checked. With the file alone its parts are seen to fit together; with --inputs and
    --key every number is computed again. What nobody can prove is "not checked", and says that it is asserted.

    The exit code is 1 if a step failed, or one that the policy requires is not ok.

    \b
    Examples:
      radiolabel check evidence.json --policy policy.json
      radiolabel check evidence.json --policy policy.json --inputs folder --key fleet.key
    """
    from verify.evidence.checking import accepted
    from verify.evidence.policy import read_policy

    policy = read_policy(policy_file)
    steps = run(evidence_file, policy_file, inputs, key_files)
    holds = accepted(steps, policy)
    fine = {s.id for s in steps if s.step.outcome == "ok"}
    record = {
        "accepted": holds,
        "required_not_ok": [name for name in policy.required if name not in fine],
        "steps": [{"id": s.id} | vars(s.step) for s in steps],
    }
    print_record(record, lambda: text(record), output_format)
    if not holds:
        raise click.exceptions.Exit(1)


def run(evidence_file: str, policy_file: str, inputs: str | None, key_files: tuple[str, ...]) -> list[Checked]:
    """The steps of a file, with progress on a terminal.

    Raises:
        click.UsageError: a folder that does not exist, a key that no test takes, or a package that is not installed.
        Error: an unreadable evidence, policy or key file.
    """
    try:
        import rfc3161_client  # noqa: F401
    except ModuleNotFoundError as error:
        raise click.UsageError(f"{error.name} is not installed: pip install radiolabel[evidence]") from None
    from verify.canonical import read_bytes
    from verify.evidence.checking import check as check_steps
    from verify.evidence.envelope import MAX_BYTES
    from verify.evidence.policy import read_policy
    from verify.inputs.streams import display_name

    if inputs is not None and not Path(inputs).is_dir():
        raise click.UsageError(f"--inputs {inputs}: not a folder")
    policy, keys = read_policy(policy_file), [_key(path) for path in key_files]
    data = read_bytes(evidence_file, MAX_BYTES)
    name = display_name(evidence_file)
    units = {"reading": " tokens", "served": " tokens", "decoys": " keys", "scoring": " windows", "answers": " answers"}
    with bars(**units, pairs=" pairs") as progress:
        return check_steps(data, policy, name=name, folder=inputs, keys=keys, progress=progress)


def _key(path: str) -> ValueKey | CoinKey:
    from watermark.keyfile import read_key
    from watermark.keys import CoinKey, ValueKey

    key = read_key(path)
    if not isinstance(key, ValueKey | CoinKey):
        raise click.UsageError(f"{path} is neither a value key nor a node of coins: nobody should have been given it")
    return key


def text(record: dict[str, Any]) -> str:
    """The steps for people, at 80 columns."""
    lines = []
    for number, s in enumerate(record["steps"], 1):
        mark = {"ok": "ok", "failed": "FAILED", "not checked": "-"}[s["outcome"]]
        head = f"{number:>3}. {mark:<7}{s['id']:<14}"
        lines.append(textwrap.fill(s["name"], 80, initial_indent=head, subsequent_indent=" " * 26))
        lines.append(textwrap.fill(s["reason"], 80, initial_indent=" " * 26, subsequent_indent=" " * 26))
    n = {outcome: sum(s["outcome"] == outcome for s in record["steps"]) for outcome in ("ok", "failed", "not checked")}
    counts = f"{n['ok']} ok, {n['failed']} failed, {n['not checked']} not checked (-)."
    if record["accepted"]:
        verdict = f"Accepted: {counts} What was not checked is asserted by whoever signed."
    elif n["failed"]:
        verdict = f"NOT accepted: {counts}"
    else:
        verdict = f"NOT accepted: {counts} Required and not ok: {', '.join(record['required_not_ok'])}."
    return "\n".join([*lines, "", textwrap.fill(verdict, 80)])

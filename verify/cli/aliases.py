"""`radiolabel aliases`: accounts under numbers, the sealed file that says who is who, and one account opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from verify.cli.committed import FORCE, OUTPUT
from verify.cli.output import FORMAT, bars, check_distinct, check_new_file, new_file, print_record

if TYPE_CHECKING:
    from verify.accounts.sealing import Opening
    from verify.plans import Plan


@click.group()
def aliases() -> None:
    """Call accounts by numbers, and open one of them without the others.

    Evidence on accounts holds numbers and a root that fixes who is who. The sealed file stays with the provider.

    \b
    Example:
      radiolabel aliases new pairs.jsonl -o sealed.json
      radiolabel redact pairs.jsonl --aliases sealed.json -o redacted.jsonl
      radiolabel aliases open sealed.json alias-17 -o opening.json
      radiolabel aliases check opening.json --evidence evidence.json
    """


@click.command()
@click.argument("pairs", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o", "--output", required=True, type=click.Path(), help="New file, never overwritten; its owner's alone."
)
@FORMAT
def new(pairs: tuple[str, ...], output: str, output_format: str | None) -> None:
    """Give every account of PAIRS a number, in an order that nobody can guess, and write who is who to a sealed file.

    Nothing brings the file back: without it no account can be opened. Make it once for all pairs of a campaign.

    \b
    Example:
      radiolabel aliases new pairs.jsonl -o sealed.json
    """
    import secrets

    from verify.accounts.sealing import Sealed
    from verify.private import create_private
    from verify.redaction import read_twins
    from watermark.secret import Secret

    check_distinct({f"PAIRS {path}": path for path in pairs}, {"--output": output})
    check_new_file(output, force=False)
    names = set[str]()
    with bars(reading=" pairs") as progress:
        for path in pairs:
            for pair in read_twins(path):
                names |= set() if pair.account is None else {pair.account}
                progress("reading", 1)
    sealed = Sealed.of(Secret(secrets.token_bytes(32)), names)
    create_private(output, sealed.to_json(), output)
    _print({"file": output, "accounts": len(sealed.accounts), "root": sealed.root}, output_format)


@click.command("open")
@click.argument("sealed_file", metavar="SEALED", type=click.Path())
@click.argument("account")
@OUTPUT
@FORCE
@FORMAT
def open_(sealed_file: str, account: str, output: str, force: bool, output_format: str | None) -> None:
    """Write what shows who ACCOUNT is, an alias or a name, and nothing of any other account.

    What has the form of an alias is one, also if a customer is called so.

    \b
    Example:
      radiolabel aliases open sealed.json alias-17 -o opening.json
    """
    from verify.accounts.sealing import alias, is_alias, number_of, read_sealed

    check_distinct({"SEALED": sealed_file}, {"--output": output})
    check_new_file(output, force=force)
    sealed = read_sealed(sealed_file)
    name = sealed.accounts[number_of(account, len(sealed.accounts)) - 1] if is_alias(account) else account
    opening = sealed.opening(name)
    data = opening.to_json().decode()
    with new_file(output, force=force) as file:
        file.write(data)
    _print({"file": output, "alias": alias(opening.number), "root": opening.root}, output_format)


@click.command()
@click.argument("opening_file", metavar="OPENING", type=click.Path())
@click.option("--evidence", "evidence_file", type=click.Path(), help="Evidence whose alias it opens.")
@click.option("--plan", "plan_file", type=click.Path(), help="Or its plan.")
@FORMAT
def check(opening_file: str, evidence_file: str | None, plan_file: str | None, output_format: str | None) -> None:
    """See whether OPENING says who an alias of an evidence file or a plan is. The exit code is 1 if it does not.

    That the file itself holds is for radiolabel check.

    \b
    Example:
      radiolabel aliases check opening.json --evidence evidence.json
    """
    from verify.accounts.sealing import alias, read_opening

    if (evidence_file is None) == (plan_file is None):
        raise click.UsageError("give either --evidence or --plan")
    opening = read_opening(opening_file)
    plan, found = _read(evidence_file, plan_file)
    reason = _wrong(opening, plan)
    record: dict[str, Any] = {"opens": not reason, "alias": alias(opening.number), "account": opening.account}
    record |= {"plan": plan.digest, "reason": reason or "name, number and salt are those that the plan fixed"}
    if not reason and found is not None:
        wins, losses, ties = found["counts"][opening.number - 1]
        record |= {"named": opening.number in found["named"], "wins": wins, "losses": losses, "ties": ties}
    _print(record, output_format)
    if reason:
        raise click.exceptions.Exit(1)


def _read(evidence_file: str | None, plan_file: str | None) -> tuple[Plan, dict[str, Any] | None]:
    """The plan, and of evidence what it says of its accounts."""
    from verify.accounts.finding import AccountsFinding
    from verify.errors import Refused
    from verify.evidence.deriving import conclude
    from verify.evidence.envelope import read_envelope
    from verify.evidence.predicate import parse_predicate
    from verify.plans import read_plan

    if evidence_file is None:
        return read_plan(str(plan_file)), None
    said = parse_predicate(read_envelope(evidence_file).statement(evidence_file)["predicate"], evidence_file)
    # Who is named follows from the counts, whatever is written beside them.
    found = conclude(said.plan, 0, said.results[0].measured)
    if not isinstance(found, AccountsFinding):
        raise Refused(f"{evidence_file}: evidence of a {said.plan.hypothesis} test, expected one of accounts")
    counts, planned = found.measured.accounts, getattr(said.plan.test, "accounts", None)
    if len(counts) != planned:
        raise Refused(f"{evidence_file}: counts of {len(counts):,} accounts, and its plan says {planned}")
    return said.plan, {"counts": counts, "named": found.named}


def _wrong(opening: Opening, plan: Plan) -> str:
    """Why an opening does not hold under a plan; empty if it does."""
    from verify.errors import Refused
    from verify.plan_parts import Accounts

    if not isinstance(plan.test, Accounts):
        raise Refused(f"a plan of a {plan.hypothesis} test, expected one of accounts")
    if (opening.root, opening.size) != (plan.test.aliases, plan.test.accounts):
        return "it is of another sealed file than the plan's"
    return "" if opening.holds else "name, number and salt are not those under the root"


def _print(record: dict[str, Any], output_format: str | None) -> None:
    def text() -> str:
        from verify.decoding import printable

        return "\n".join(f"{k}: {printable(str(v)) if k == 'account' else v}" for k, v in record.items())

    print_record(record, text, output_format)


for command in (new, open_, check):
    aliases.add_command(command)

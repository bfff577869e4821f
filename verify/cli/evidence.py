"""`radiolabel evidence`: carry out a plan, and write down what came of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verify.cli.committed import FORCE, OUTPUT, read_as
from verify.cli.output import FORMAT, bars, check_distinct, check_new_file, new_file, print_record

if TYPE_CHECKING:
    from verify.evidence.predicate import Commitments, Other, Rate
    from verify.register import RegisterEntry


@click.command()
@click.argument("plan_file", metavar="PLAN", type=click.Path())
@click.option("--input", "inputs", multiple=True, required=True, metavar="ROLE=FILE",
              help="An input of the test, such as input=answers.jsonl; may be repeated.")  # fmt: skip
@click.option("--key", "key_files", multiple=True, type=click.Path(),
              help="Value key file of the plan; of a twin test the epoch's, or its epoch/NAME/coin.")  # fmt: skip
@click.option("--signer", required=True, type=click.Path(), help="Ed25519 key that signs: radiolabel key signer.")
@click.option("--register", "register_file", type=click.Path(), help="Register of all plans.")
@click.option("--master", "master_file", type=click.Path(), help="Commitment of the master key.")
@click.option("--epoch", "epoch_file", type=click.Path(), help="Commitment of the epoch's keys.")
@click.option("--slot", "slot_files", multiple=True, type=click.Path(), help="Inclusion proof of a key.")
@click.option("--log", "logs", multiple=True, metavar="ROLE=FILE", help="Commitment of an input's lines.")
@click.option("--control", "controls", multiple=True, type=click.Path(),
              help="Evidence on a model that never saw marked text, under one of the same keys.")  # fmt: skip
@click.option("--other", "others", multiple=True, type=click.Path(),
              help="Evidence of another plan of the register.")  # fmt: skip
@click.option("--unrun", multiple=True, metavar="DIGEST=REASON",
              help="A registered plan that is not shown here; rest=REASON is all others.")  # fmt: skip
@click.option("--rate", "rate_file", type=click.Path(), help="Measured rate of false accusations, JSON.")
@click.option("--unsafe-no-plan", is_flag=True, help="Take a plan that was never committed: exploratory.")
@OUTPUT
@FORCE
@FORMAT
def evidence(
    plan_file: str,
    inputs: tuple[str, ...],
    key_files: tuple[str, ...],
    signer: str,
    register_file: str | None,
    master_file: str | None,
    epoch_file: str | None,
    slot_files: tuple[str, ...],
    logs: tuple[str, ...],
    controls: tuple[str, ...],
    others: tuple[str, ...],
    unrun: tuple[str, ...],
    rate_file: str | None,
    unsafe_no_plan: bool,
    output: str,
    force: bool,
    output_format: str | None,
) -> None:
    """Carry out PLAN, and write one signed file from which every number can be computed again.

    Roles of inputs: input, tokenizer, prompts and served (closed); predictions (open); pairs, likelihoods or answers
    (twin, accounts), groups (accounts); asked, the prompts of an endpoint. The file holds digests of them, ids of keys,
    and no text and no key.

    The same inputs give the same file, but for the time in it.

    \b
    Example:
      radiolabel evidence plan.json --input input=answers.jsonl --input tokenizer=tokenizer.json \\
        --input asked=prompts.txt --key fleet.key --register register.jsonl \\
        --master m.json --epoch e.json --slot proof.json --signer signer.pem -o evidence.json
    """
    from verify.errors import Refused
    from verify.evidence.checking import check
    from verify.evidence.envelope import sign
    from verify.evidence.making import make
    from verify.evidence.policy import UNKNOWN, Policy
    from verify.evidence.signing import read_signer
    from verify.plans import read_plan
    from verify.register import read_register
    from watermark.keyfile import read_key
    from watermark.keys import CoinKey, EpochKey, MasterKey, ValueKey

    files, stated = _pairs(inputs, "--input"), _pairs(unrun, "--unrun")
    committed = _pairs(logs, "--log")
    given = {"PLAN": plan_file, "--signer": signer, "--register": register_file, "--rate": rate_file}
    given |= {"--master": master_file, "--epoch": epoch_file} | {f"--slot {path}": path for path in slot_files}
    given |= {f"--input {role}": path for role, path in files.items()}
    given |= {f"--log {role}": path for role, path in committed.items()}
    given |= {f"--key {path}": path for path in key_files} | {f"--other {path}": path for path in (*controls, *others)}
    check_distinct(given, {"--output": output})
    check_new_file(output, force=force)
    planned = read_plan(plan_file)
    if not planned.timestamps and not unsafe_no_plan:
        raise Refused(
            f"{plan_file}: the plan is not committed, expected one with a timestamp",
            hint="radiolabel plan commit; --unsafe-no-plan makes exploratory evidence, and says so",
        )
    keys = []
    for path in key_files:
        found = read_key(path)
        if isinstance(found, MasterKey):
            raise click.UsageError("a master key takes no part in evidence: derive the plan's keys")
        if not isinstance(found, ValueKey | CoinKey | EpochKey):
            raise click.UsageError(
                f"{path} takes no part in evidence, expected a value key, or an epoch's or its coins'"
            )
        keys.append(found)
    key = read_signer(signer)
    lines = read_register(register_file) if register_file else []
    beside = [*(_other(path, control=True) for path in controls), *(_other(path, control=False) for path in others)]
    units = {"reading": " tokens", "served": " tokens", "decoys": " keys", "scoring": " windows", "answers": " answers"}
    with bars(**units, pairs=" pairs") as progress:
        payload = make(
            planned,
            files,
            keys,
            register=lines,
            unrun=_unrun(stated, lines, {planned.digest, *(other.plan for other in beside)}),
            commitments=_commitments(master_file, epoch_file, slot_files, committed),
            others=beside,
            rate=None if rate_file is None else _rate(rate_file),
            made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            progress=progress,
        )
    envelope = sign(payload, key)
    data = envelope.to_json().decode()
    policy = Policy(signer=key.public.hex(), roots="", released=UNKNOWN, beacon_value=UNKNOWN, required=())
    for checked in check(data.encode(), policy, name=output):
        if checked.step.outcome == "failed":
            raise Refused(f"the evidence would not pass its check: {checked.id}: {checked.step.reason}")
    with new_file(output, force=force) as file:
        file.write(data)
    predicate = envelope.statement(output)["predicate"]
    summary = {
        "file": output,
        "signer": key.public.hex(),
        "exploratory": not planned.timestamps,
        "tests": predicate["decision"]["tests"],
        "sentence": predicate["decision"]["sentence"],
    }
    print_record(summary, lambda: _text(summary), output_format)


def _text(summary: dict[str, Any]) -> str:
    lines = [f"{name}: {summary[name]}" for name in ("file", "signer")]
    lines += [
        f"{t['name']}: {'found' if t['found'] else 'not found'} (log10 {t['log10_adjusted']:g} after correction)"
        for t in summary["tests"]
    ]
    return "\n".join(
        [*lines, *(["exploratory: no plan was committed before looking"] if summary["exploratory"] else [])]
    )


def _pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        name, separator, rest = value.partition("=")
        if not separator or not name or not rest:
            raise click.UsageError(f"{option} {value}: expected two parts with = between")
        if name in found:
            raise click.UsageError(f"{option} {name} is there twice")
        found[name] = rest
    return found


def _unrun(stated: dict[str, str], register: list[RegisterEntry], shown: set[str]) -> dict[str, str]:
    """Reasons by digest; `rest` is a reason for every plan that is neither shown nor named."""
    rest = stated.pop("rest", None)
    left = [entry.plan for entry in register if entry.plan not in shown and entry.plan not in stated]
    return stated if rest is None else stated | dict.fromkeys(left, rest)


def _commitments(master: str | None, epoch: str | None, slots: tuple[str, ...], logs: dict[str, str]) -> Commitments:
    from verify.commitments import EpochCommitment, LogCommitment, MasterCommitment, SlotInclusion
    from verify.evidence.predicate import Commitments

    return Commitments(
        master=None if master is None else read_as(master, MasterCommitment, "a master commitment"),
        epoch=None if epoch is None else read_as(epoch, EpochCommitment, "an epoch commitment"),
        slots=tuple(read_as(path, SlotInclusion, "the inclusion proof of a slot") for path in slots),
        logs={role: read_as(path, LogCommitment, "a log commitment") for role, path in logs.items()},
    )


def _other(path: str, *, control: bool) -> Other:
    from verify.canonical import digest, read_bytes
    from verify.evidence.envelope import MAX_BYTES, parse_envelope
    from verify.evidence.predicate import Other, parse_predicate
    from verify.inputs.streams import display_name

    name = display_name(path)
    data = read_bytes(path, MAX_BYTES)
    said = parse_predicate(parse_envelope(data, name).statement(name)["predicate"], name)
    return Other(
        file=Path(path).name,
        sha256=digest(data).removeprefix("sha256:"),
        plan=said.plan.digest,
        suspect=said.plan.suspect.name,
        hypothesis=said.plan.hypothesis,
        control=control,
        exploratory=said.exploratory,
        tests=said.decision.tests,
    )


def _rate(path: str) -> Rate:
    import msgspec

    from verify.canonical import MAX_BYTES, read_bytes
    from verify.errors import InputError
    from verify.evidence.predicate import Rate

    data = read_bytes(path, MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: no measured rate: more than {MAX_BYTES} bytes, expected at most that")
    try:
        rate = msgspec.json.decode(data, type=Rate)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no measured rate: {str(error).replace('`', '')}") from None
    rate.check(path)
    return rate

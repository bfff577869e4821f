"""`radiolabel plan new`: every choice that can move the number, and no default for any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from verify.cli.output import FORMAT, check_new_file, finite, new_file, print_record, sha256

if TYPE_CHECKING:
    from watermark.keys import EpochKey, ValueKey

HYPOTHESES = ("closed", "closed-reference", "open", "twin", "accounts", "sequential")
RULES = ("difference", "root", "soft", "top1", "hellinger", "log-ratio")


class _OrWord(click.ParamType[Any]):
    """A number, or a word that says who decides."""

    def __init__(self, number: type[int] | type[float], word: str) -> None:
        self.number, self.word, self.name = number, word, f"number|{word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == self.word:
            return value
        try:
            return finite(ctx, param, self.number(value))  # type: ignore[arg-type]
        except ValueError:
            self.fail(f"{value!r} is neither a number nor {self.word}", param, ctx)


def _choice(name: str, *values: str, text: str) -> Callable[[Any], Any]:
    return click.option(name, type=click.Choice(values), help=text)


def _yes_no(name: str, text: str) -> Callable[[Any], Any]:
    return click.option(name, type=click.Choice(["yes", "no"]), help=text)


def _positive(name: str, text: str, *, least: int = 1) -> Callable[[Any], Any]:
    return click.option(name, type=click.IntRange(min=least), help=text)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--hypothesis", required=True, type=click.Choice(HYPOTHESES), help="Which test."),
    click.option("--name", required=True, help="Of the test."),
    click.option("--key", "key_files", required=True, multiple=True, type=click.Path(),
                 help="Key file to be tested: a value key, for twin and accounts the epoch key; may be repeated."),
    click.option("--alpha", required=True, type=click.FloatRange(0, 0.5, min_open=True), callback=finite,
                 help="Level of the decision."),
    click.option("--family", required=True, multiple=True, metavar="NAME",
                 help="A test that is or will be looked at, this one too; repeat for all."),
    click.option("--correction", required=True, type=click.Choice(["none", "holm", "bh", "e-bh"]),
                 help="For the family; none if it is one test."),
    click.option("--filter", "filters", multiple=True, metavar="TEXT", help="What is left out; may be repeated."),
    click.option("--no-filters", is_flag=True, help="Nothing is left out."),
    click.option("--input", "inputs", multiple=True, metavar="NAME=FILE",
                 help="Input that is fixed already, such as pairs=pairs.jsonl; may be repeated."),
    click.option("--no-inputs", is_flag=True, help="No input is fixed yet."),
    click.option("--suspect", required=True, help="What people call the suspect."),
    click.option("--weights", metavar="FILE|DIGEST", help="Suspect with open weights: its file, or sha256:..."),
    click.option("--origin", help="Suspect whose outputs were found: where."),
    click.option("--base-url", help="Suspect that is asked: such as https://host/v1."),
    click.option("--model", help="As the endpoint calls it."),
    click.option("--prompts", type=click.Path(), help="What the endpoint will be asked."),
    _positive("--repeat", "Ask each prompt so often."),
    _positive("--concurrency", "Requests in flight."),
    click.option("--system", help="System message, or none."),
    click.option("--max-tokens", type=_OrWord(int, "endpoint"), help="Per answer; endpoint leaves it to it."),
    click.option("--temperature", type=_OrWord(float, "endpoint"), help="Likewise."),
    click.option("--top-p", type=_OrWord(float, "endpoint"), help="Likewise."),
    click.option("--logprobs", type=_OrWord(int, "none"), help="How many likeliest tokens to ask for, or none."),
    click.option("--tokenizer", type=click.Path(), help="The provider's tokenizer.json."),
    _positive("--n", "Answers, pairs or texts to be tested."),
    _positive("--budget", "sequential: answers at most."),
    _choice("--repeated-windows", "skip", "score", text="closed: as verify has it."),
    _choice("--pair-weights", "distinct", "counts", text="closed: as verify --weights has it."),
    _choice("--input-format", "auto", "text", "jsonl", "openai", "sharegpt", text="closed: how the input is read."),
    _positive("--decoys", "closed: decoy keys.", least=0),
    _yes_no("--token-ids", "closed: whether the input's token ids are trusted where it has text."),
    _yes_no("--with-prompts", "closed: whether a file of prompts is given."),
    _yes_no("--served", "closed: whether only served windows are scored; open: whether texts were served."),
    _choice("--prompt-windows", "count", "ignore", text="closed-reference, open: as test open has it."),
    click.option("--reference", help="Reference model as the records name it, or none."),
    _choice("--rule", *RULES, text="open: from predictions to coefficients."),
    _choice("--records", "predictions", "answers", text="open: what is read."),
    _choice("--scores", "likelihoods", "ngram", "subsequence", text="twin, accounts: what pairs are compared by."),
    _choice("--coins", "recomputed", "stated", text="twin, accounts: whether the epoch key is at hand."),
    _choice("--statistic", "sign", "rank", text="twin: what p is of."),
    _choice("--missing", "loss", text="twin, accounts: what pairs without a score count as."),
    click.option("--aliases", type=click.Path(), help="accounts: sealed file of all accounts, who are the family."),
    click.option("--fdr", type=_OrWord(float, "none"),
                 help="accounts: rate of false discoveries at which e-BH names accounts too, or none."),
    click.option("-o", "--output", required=True, type=click.Path(), help="New file."),
    click.option("--force", is_flag=True, help="Replace the output if it exists."),
    FORMAT,
)  # fmt: skip


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


@click.command()
@_options
def new(
    hypothesis: str,
    name: str,
    key_files: tuple[str, ...],
    alpha: float,
    family: tuple[str, ...],
    correction: str,
    filters: tuple[str, ...],
    no_filters: bool,
    inputs: tuple[str, ...],
    no_inputs: bool,
    suspect: str,
    output: str,
    force: bool,
    output_format: str | None,
    **given: Any,
) -> None:
    """Write a plan: everything that can move the number, before anybody looks.

    A plan has all the fields of its hypothesis and of its kind of suspect, and no others; nothing has a default. Give
    one of --weights, --origin and --base-url. Key files are read for their public ids; the plan holds no secret.

    \b
    Example:
      radiolabel plan new --hypothesis twin --name q4 --family q4 --correction none --alpha 1e-6 --key epoch.key \\
        --suspect rival-7b --weights model.safetensors --scores likelihoods --reference base-7b --coins recomputed \\
        --statistic sign --missing loss --n 2000 --input pairs=pairs.jsonl --no-filters -o plan.json
    """
    from verify.plans import VERSION, Plan, parse_plan

    check_new_file(output, force=force)
    if bool(filters) == no_filters:
        raise click.UsageError("give either --filter or --no-filters")
    if bool(inputs) == no_inputs:
        raise click.UsageError("give either --input or --no-inputs")
    stated = {option: value for option, value in given.items() if value is not None}
    record = {
        "version": VERSION,
        "radiolabel": "plan",
        "name": name,
        **_keys(key_files, hypothesis),
        **_parts(hypothesis, suspect, stated),
        "alpha": alpha,
        "family": {"tests": list(family), "correction": correction},
        "filters": list(filters),
        "inputs": dict(map(_input, inputs)),
        "timestamps": [],
    }
    if len(record["inputs"]) < len(inputs):
        raise click.UsageError("--input names a file twice")
    plan: Plan = parse_plan(record, "plan")
    data = plan.to_json().decode()
    with new_file(output, force=force) as file:
        file.write(data)
    summary = {"file": output, "digest": plan.digest, "decision": plan.decision}
    click.echo("not committed: nothing shows when it was made; see radiolabel plan commit --help", err=True)
    print_record(summary, lambda: "\n".join(f"{k}: {v}" for k, v in summary.items()), output_format)


def _keys(paths: tuple[str, ...], hypothesis: str) -> dict[str, Any]:
    from verify.cli.committed import key_as
    from verify.errors import Refused
    from watermark.keys import EpochKey, ValueKey

    twin = hypothesis in ("twin", "accounts")
    expected = "the epoch key that served" if twin else "a value key"
    keys: list[EpochKey | ValueKey] = [key_as(path, EpochKey if twin else ValueKey, expected) for path in paths]
    parts = [
        {"scheme": d.scheme.spec, "width": d.width, "shares": d.shares.mapping()} for d in (k.deployment for k in keys)
    ]
    if any(part != parts[0] for part in parts):
        raise Refused("the keys have different schemes, widths or shares, expected one plan for each")
    return {"keys": [{"id": key.id, "path": key.path} for key in keys], **parts[0]}


def _parts(hypothesis: str, suspect: str, given: dict[str, Any]) -> dict[str, Any]:
    """`suspect` and `test` of the record, from the options that were given."""
    from verify.plan_parts import SUSPECTS, TESTS

    chosen = [option for option in ("weights", "origin", "base_url") if option in given]
    if len(chosen) != 1:
        raise click.UsageError("give one of --weights, --origin and --base-url")
    kind = dict(zip(("weights", "origin", "base_url"), SUSPECTS, strict=True))[chosen[0]]
    test = next(t for t in TESTS if t.__struct_config__.tag == hypothesis)
    # Options that are called otherwise than their fields.
    renamed = {"digest": "weights", "stopping": "budget" if hypothesis == "sequential" else "n"}
    of_suspect = {f: renamed.get(f, f) for f in kind.__struct_fields__ if f not in ("name", "n_prompts")}
    renamed |= {"prompts": "with_prompts", "weights": "pair_weights"}
    of_test = {f: renamed.get(f, f) for f in test.__struct_fields__}
    if "accounts" in of_test:
        of_test["accounts"] = "aliases"  # one file says both
    needed = {*of_suspect.values(), *of_test.values()}
    for options, what in ((needed - set(given), "needs"), (set(given) - needed, "does not use")):
        if options:
            listed = ", ".join("--" + option.replace("_", "-") for option in sorted(options))
            raise click.UsageError(f"a plan for {hypothesis} with such a suspect {what} {listed}")
    values = _values(given)
    asked = {f: values[o] for f, o in of_suspect.items()} | {"kind": kind.__struct_config__.tag, "name": suspect}
    if "n_prompts" in kind.__struct_fields__:
        asked |= {"n_prompts": values["n_prompts"]}
    tested = {f: values[o] for f, o in of_test.items()} | {"hypothesis": hypothesis}
    if "accounts" in of_test:
        tested |= {"aliases": values["aliases"].root, "accounts": len(values["aliases"].accounts)}
    return {"suspect": asked, "test": tested}


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """What stands in the record for what was given."""
    values = given | {o: given[o] == "yes" for o in ("token_ids", "with_prompts", "served") if o in given}
    if "n" in given:
        values["n"] = {"rule": "fixed", "n": given["n"]}
    if "budget" in given:
        values["budget"] = {"rule": "e-process", "budget": given["budget"]}
    if "aliases" in given:
        from verify.accounts.sealing import read_sealed

        values["aliases"] = read_sealed(given["aliases"])
    if "tokenizer" in given:
        from verify.tokenization import Tokenizer

        values["tokenizer"] = Tokenizer.load(given["tokenizer"]).digest
    if "weights" in given and not given["weights"].startswith("sha256:"):
        values["weights"] = _digest(given["weights"])
    if "base_url" in given:
        try:
            from verify.collecting.endpoint import base_url
        except ModuleNotFoundError:
            raise click.UsageError("httpx is not installed: pip install radiolabel[collect]") from None
        from verify.collecting.settings import digest_of
        from verify.inputs import read_prompts

        prompts = read_prompts(given["prompts"])
        values |= {"base_url": base_url(given["base_url"]), "prompts": digest_of(prompts), "n_prompts": len(prompts)}
        values["system"] = "none" if given["system"] == "none" else digest_of([given["system"]])
    return values


def _input(text: str) -> tuple[str, str]:
    name, found, path = text.partition("=")
    if not found:
        raise click.UsageError(f"--input is {text!r}, expected NAME=FILE")
    return name, _digest(path)


def _digest(path: str) -> str:
    found = sha256(path)
    if found is None:
        raise click.UsageError(f"{path} is not a regular file, expected one")
    return f"sha256:{found}"

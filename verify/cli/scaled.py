"""What `radiolabel verify` and `radiolabel merge` share: corpora read in parts, by several processes or machines."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from verify.cli.output import bars

if TYPE_CHECKING:
    from verify.finding import Finding
    from verify.planned import PlanUse
    from verify.scaling.counts import Counts, Sums
    from verify.scaling.job import Job, Settings
    from verify.scaling.pool import Run
    from verify.scaling.tasks import Worker
    from watermark.keys import ValueKey

_SHARED: tuple[Callable[[Any], Any], ...] = (
    click.option("--jobs", type=click.IntRange(1, 1024), help="Read and score in parts, with so many processes."),
    click.option("--memory", default="2G", show_default=True,
                 help="What all processes may take together, where INPUT is read in parts."),
)  # fmt: skip
_READING: tuple[Callable[[Any], Any], ...] = (
    click.option("--work", type=click.Path(), help="Folder for what is done: a run that was ended goes on there."),
    click.option("--shard", metavar="I/N", help="Read only the I-th of N shares into --work; see radiolabel merge."),
    click.option("--width", type=click.IntRange(1, 3), help="With --shard, in place of --key: the windows' width."),
    click.option("--runner", type=click.Choice(["local", "spark", "ray"]), default="local", show_default=True,
                 help="Who runs the parts."),
)  # fmt: skip


def sharing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of everything that works in parts."""
    for decorate in reversed(_SHARED):
        command = decorate(command)
    return command


def reading(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of what reads in parts."""
    for decorate in reversed((*_SHARED, *_READING)):
        command = decorate(command)
    return command


def wanted(sources: tuple[str, ...], parts: dict[str, Any]) -> bool:
    """Whether the input is read in parts: it was asked for, or there are several files, a pattern, a URL or Parquet.

    Args:
        sources: what was named.
        parts: the values of `reading`.
    """
    asked = any(parts[name] is not None for name in ("jobs", "work", "shard")) or parts["runner"] != "local"
    if asked or len(sources) > 1:
        return True
    if sources == ("-",):
        return False
    from verify.inputs.places import is_pattern, is_url

    return is_url(sources[0]) or is_pattern(sources[0]) or _begins(sources[0], b"PAR1")


def _begins(path: str, magic: bytes) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic


def parse_shard(text: str) -> tuple[int, int]:
    """(I, N) of `I/N`.

    Raises:
        click.UsageError: not 1 <= I <= N.
    """
    first, slash, count = text.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count) <= 1_000_000):
        raise click.UsageError(f"--shard {text[:40]!r} is not of the form I/N, such as 3/16")
    return int(first), int(count)


def read_in_parts(
    sources: tuple[str, ...],
    settings: Settings,
    *,
    key: ValueKey | None,
    key_file: str | None,
    tokenizer_file: str | None,
    jobs: int | None,
    memory: str,
    work: str | None,
    shard: str | None,
    runner: str,
) -> tuple[Counts, Sums, str] | None:
    """Count and score a corpus in parts: counts, sums, and the digest of the input; None for a shard.

    Raises:
        InputError: of an input, or of options that do not go together.
        Refused: of an input, or of a work folder that somebody else uses.
    """
    from verify.inputs.needs import require

    require("pyarrow")
    from verify.inputs.places import digest
    from verify.scaling.budget import most_pairs, parse_bytes
    from verify.scaling.folder import WorkFolder
    from verify.scaling.job import plan_job
    from verify.scaling.pool import pool
    from verify.scaling.result import digest_of
    from verify.scaling.tasks import Worker

    share = parse_shard(shard) if shard else (1, 1)
    processes = jobs or 1
    held = most_pairs(parse_bytes(memory), jobs=processes, tokenizer=tokenizer_file is not None)
    if runner != "local":
        if work is not None or shard is not None:
            raise click.UsageError(
                f"--runner {runner} has its own work folders and shards: leave --work and --shard out"
            )
        from verify.scaling.runners import runner_of

        job = plan_job(sources, settings)
        assert key is not None and key_file is not None  # noqa: PT018
        counts, sums = runner_of(runner)(
            job, tokenizer_file=tokenizer_file, key_file=key_file, key_id=key.id, most_pairs=held, jobs=processes
        )
        return counts, sums, digest_of([digest(known.name) for known in job.inputs])
    with ExitStack() as stack:
        folder = work or stack.enter_context(tempfile.TemporaryDirectory(prefix="radiolabel-"))
        found = WorkFolder(folder)
        stack.enter_context(found.lock(shared=shard is not None))
        found.begin(plan_job(sources, settings))
        if shard is None:
            found.remove_leftovers()
        worker = Worker(folder, tokenizer_file, held, key_file, key.id if key else None)
        run = stack.enter_context(pool(worker.do, jobs=processes))
        _count(worker, found.job(), run, share=share)
        if shard is not None:
            click.echo(f"shard {shard} is done; when all are: radiolabel merge {folder} --key KEY", err=True)
            return None
        return (*_add(worker, run), digest_of(found.digests()))


def merge_folder(
    folder: str, key: ValueKey, *, key_file: str, jobs: int | None, memory: str
) -> tuple[Counts, Sums, str]:
    """Score what shards have read: see `read_in_parts`.

    Raises:
        InputError: no work folder.
        Refused: shards are missing, another width, or somebody else works there.
    """
    from verify.errors import Refused
    from verify.inputs.needs import require

    require("pyarrow")
    from verify.scaling.budget import most_pairs, parse_bytes
    from verify.scaling.folder import WorkFolder
    from verify.scaling.pool import pool
    from verify.scaling.result import digest_of
    from verify.scaling.tasks import Worker

    found, processes = WorkFolder(folder), jobs or 1
    job = found.job()
    with found.lock(shared=False):
        digests = digest_of(found.digests())
        found.unit_markers()
        if job.settings.width != key.deployment.width:
            raise Refused(
                f"{folder}: read with windows of width {job.settings.width}, and the key is for {key.deployment.width}"
            )
        found.remove_leftovers()
        held = most_pairs(parse_bytes(memory), jobs=processes, tokenizer=False)
        worker = Worker(folder, None, held, key_file, key.id)
        with pool(worker.do, jobs=processes) as run:
            return (*_add(worker, run), digests)


def options_of(settings: Settings, digest: str) -> dict[str, Any]:
    """The Finding's options, as for a corpus in memory."""
    sha256: dict[str, str | None] = {"input": digest}
    if settings.tokenizer is not None:
        sha256["tokenizer"] = settings.tokenizer.removeprefix("sha256:")
    return {
        "input_format": settings.input_format,
        "repeated_windows": "skip" if settings.skip_repeated else "score",
        "weights": "distinct",
        "token_ids": settings.trust_ids,
        "prompts": False,
        "served": False,
        "sha256": sha256,
    }


def conclude(
    counts: Counts, sums: Sums, digest: str, *, settings: Settings, key: ValueKey, alpha: float, plan_file: str | None
) -> Finding:
    """The Finding, as for a corpus in memory.

    Raises:
        Refused: too few pairs, or something that is not the plan's.
    """
    from verify import finding
    from verify.scaling.result import measured
    from verify.tested import Tested

    options, found = options_of(settings, digest), measured(counts, sums)
    use = planned(plan_file, settings=settings, key=key, alpha=alpha)
    use.require(inputs=options["sha256"], n=found.n_documents)
    return finding.conclude(
        found, Tested.of(key), alpha=alpha, tokenizer=settings.tokenizer, options=options | use.options
    )


def planned(plan_file: str | None, *, settings: Settings, key: ValueKey, alpha: float) -> PlanUse:
    """The plan, after what can be compared before the corpus is read.

    Raises:
        Refused: something that is not the plan's.
    """
    from verify.planned import plan_use

    use, fixed = plan_use(plan_file), options_of(settings, "")
    del fixed["sha256"]
    use.require(hypothesis="closed", key=key.id, alpha=alpha, tokenizer=settings.tokenizer, decoys=0, **fixed)
    return use


def _count(worker: Worker, job: Job, run: Run, *, share: tuple[int, int]) -> None:
    from verify.scaling.runners import local

    total = sum(unit.size for unit in job.units[share[0] - 1 :: share[1]])
    with bars(reading=f"B/{total}") as advance:
        local.count(worker, run, shard=share, advance=advance)


def _add(worker: Worker, run: Run) -> tuple[Counts, Sums]:
    from verify.scaling.runners import local
    from verify.scaling.tasks import N_GROUPS

    with bars(scoring=f" groups/{N_GROUPS}") as advance:
        return local.add(worker, run, advance=advance)


def verify_in_parts(
    sources: tuple[str, ...],
    *,
    key_file: str | None,
    tokenizer_file: str | None,
    input_format: str,
    repeated_windows: str,
    token_ids: bool,
    width: int | None,
    alpha: float,
    plan_file: str | None,
    exit_code: bool,
    output_format: str | None,
    memory_only: dict[str, bool],
    **parts: Any,
) -> int:
    """`radiolabel verify` where the input is read in parts.

    Args:
        sources: files, patterns and URLs.
        key_file: None only for a shard with a width.
        tokenizer_file: as in `verify`, like the options that follow.
        input_format: likewise.
        repeated_windows: likewise.
        token_ids: likewise.
        width: in place of a key.
        alpha: likewise.
        plan_file: likewise.
        exit_code: likewise.
        output_format: likewise.
        memory_only: options that need the corpus in memory, and whether they were given.
        parts: see `read_in_parts`.
    """
    from verify.cli.output import print_record
    from verify.scaling.job import Settings
    from verify.tokenization import Tokenizer
    from watermark.keyfile import read_key
    from watermark.keys import ValueKey

    for name, given in memory_only.items():
        if given:
            raise click.UsageError(f"{name} needs one INPUT that is read whole, without --jobs, --work or --runner")
    if parts["shard"] is not None and parts["work"] is None:
        raise click.UsageError("--shard needs --work, a folder that all shards share")
    if (width is None) == (key_file is None) or (width is not None and parts["shard"] is None):
        raise click.UsageError("expected --key, or --width with --shard")
    key = read_key(key_file) if key_file is not None else None
    if key is not None and not isinstance(key, ValueKey):
        raise click.UsageError(f"{key_file} is not a value key: derive one with radiolabel key derive")
    tokenizer = Tokenizer.load(tokenizer_file) if tokenizer_file else None
    settings = Settings(
        width=key.deployment.width if key else width or 0,
        input_format=input_format,
        skip_repeated=repeated_windows == "skip",
        trust_ids=token_ids,
        ids_alone=token_ids or plan_file is None,
        tokenizer=tokenizer.digest if tokenizer else None,
    )
    if key is not None:
        planned(plan_file, settings=settings, key=key, alpha=alpha)
    found = read_in_parts(sources, settings, key=key, key_file=key_file, tokenizer_file=tokenizer_file, **parts)
    if found is None or key is None:
        return 0
    from verify.cli.verify import finding_text

    result = conclude(*found, settings=settings, key=key, alpha=alpha, plan_file=plan_file)
    print_record(result.to_dict(), lambda: finding_text(result), output_format)
    return 1 if exit_code and not result.found else 0

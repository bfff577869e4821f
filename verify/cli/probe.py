"""`radiolabel probe`: what a suspect model thinks of twins, or predicts inside known texts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import IO, Any

import click

from verify.cli.output import check_distinct, check_new_file

CHUNK = 4  # times the batch size: items that are sorted by length together, and then written


@click.command()
@click.option("--model", required=True, help="Suspect: a .gguf file, a directory, a hub name, or smollm2.")
@click.option("--suspect", help="What records call it: the name that a plan gives it.  [default: as --model]")
@click.option("--reference", help="A model that did not see the answers, to compare with, such as the suspect's base.")
@click.option("--pairs", type=click.Path(), help="Score both answers of each pair.")
@click.option("--windows", type=click.Path(), help="Record the predictions inside each transcript.")
@click.option("-o", "--output", required=True, type=click.Path(), help="Records, JSONL.")
@click.option("--served", is_flag=True, help="With --windows: the provider's sampler drew these texts, in this order.")
@click.option("--tokenizer", "tokenizer_file", type=click.Path(dir_okay=False),
              help="With --windows: the tokenizer.json of the transcripts, if the suspect's is another file of the "
              "same vocabulary.")  # fmt: skip
@click.option("--top-k", type=click.IntRange(min=1), default=1024, show_default=True,
              help="With --windows: candidates per position, the likeliest under either model.")  # fmt: skip
@click.option("--from", "begin", type=click.IntRange(min=0), default=0, show_default=True,
              help="With --windows: the first position to record.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=2), default=8, show_default=True, help="Texts at a time.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32", show_default=True,
              help="What the models compute in.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="As torch names it, such as cuda:0.")
@click.option("--resume", is_flag=True, help="Continue an output that was interrupted.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
def probe(
    model: str,
    suspect: str | None,
    reference: str | None,
    pairs: str | None,
    windows: str | None,
    output: str,
    served: bool,
    tokenizer_file: str | None,
    top_k: int,
    begin: int,
    batch_size: int,
    dtype: str,
    device: str,
    resume: bool,
    force: bool,
) -> None:
    """Run a suspect model over pairs or transcripts, and write records that tests read without a model.

    --pairs scores texts, so that the suspect and the reference may have any tokenizer. Nothing here looks at which
    answer of a pair was served. --windows needs the tokenizer that the transcripts' token ids are of. Prompts are
    shown in each model's own chat template.
    Needs the lab extra: pip install radiolabel[lab].

    \b
    Examples:
      radiolabel probe --model suspect/ --pairs pairs.jsonl -o likelihoods.jsonl
      radiolabel probe --model suspect/ --windows a.jsonl --served -o p.jsonl
    """
    if (pairs is None) == (windows is None):
        raise click.UsageError("give either --pairs or --windows")
    if pairs is not None and (served or tokenizer_file or begin):
        raise click.UsageError("--served, --tokenizer and --from go with --windows")
    if resume and force:
        raise click.UsageError("give either --resume or --force")
    if "-" in (pairs, windows, output):
        raise click.UsageError("input and output are files here: the input is read twice, and a run can be resumed")
    from tqdm import tqdm

    from verify.cli.probing import PairsTask, Task, WindowsTask, written

    check_new_file(output, force=force or resume)
    inputs = {"--pairs": pairs, "--windows": windows, "--tokenizer": tokenizer_file, "--model": model}
    check_distinct(inputs | {"--reference": reference}, {"--output": output})
    source = pairs if pairs is not None else str(windows)
    if os.path.exists(source) and not os.path.isfile(source):
        raise click.UsageError(f"{source} is not a regular file, expected one: the input is read twice")
    task: Task[Any] = (
        PairsTask(pairs, suspect or model, reference)
        if pairs is not None
        else WindowsTask(str(windows), suspect or model, reference, served, begin, top_k, tokenizer_file)
    )
    total = sum(1 for _ in task.items())  # everything wrong with the input is found before hours of work
    with ExitStack() as stack:
        # What is there is locked before it is read; a new file is made when there is something to write.
        file = stack.enter_context(_opened(output, new=False)) if os.path.exists(output) else None
        done, size = written(output, task) if resume and file else (0, 0)
        try:
            from watermark.engines.models import load
        except ModuleNotFoundError as error:
            raise click.UsageError(f"{error.name} is not installed: pip install radiolabel[lab]") from None
        models = []
        for spec in filter(None, (model, reference)):
            with tqdm(desc=f"loading {spec}", bar_format="{desc}", disable=None, leave=False):
                models.append(load(spec, dtype=dtype, device=device))
        task.check_models(models)
        file = file or stack.enter_context(_opened(output, new=True))
        if os.path.isfile(output):
            file.truncate(size)
            file.seek(size)
        bar = stack.enter_context(
            tqdm(total=total, initial=done, unit=f" {task.unit}", desc="probing", disable=None, leave=False)
        )
        items = islice(task.items(), done, None)
        while chunk := list(islice(items, CHUNK * batch_size)):
            for line in task.lines(models, chunk, batch_size):
                _write(file, line + b"\n", output)
                bar.update()


@contextmanager
def _opened(path: str, *, new: bool) -> Iterator[IO[bytes]]:
    """The output as it is, or a new one; a file is this process's alone."""
    from verify.inputs.streams import display_name
    from verify.locking import lock

    mode = "xb" if new else "r+b" if os.path.isfile(path) else "wb"
    with open(os.path.realpath(path), mode, buffering=0) as file:
        if os.path.isfile(path):
            lock(file, display_name(path), "radiolabel probe")
        yield file


def _write(file: IO[bytes], line: bytes, path: str) -> None:
    rest = memoryview(line)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None

"""`radiolabel merge`: the result of a corpus that shards have read."""

from __future__ import annotations

import click

from verify.cli.output import FORMAT, PLAN, finite, print_record
from verify.cli.scaled import sharing


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--key", "key_file", required=True, type=click.Path(), help="Value key file.")
@click.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True), callback=finite, default=1e-6, show_default=True,
              help="Call the mark found if p is at most this.")  # fmt: skip
@sharing
@PLAN
@click.option("--exit-code", is_flag=True, help="Exit with 1 if the mark is not found.")
@FORMAT
def merge(
    folder: str,
    key_file: str,
    alpha: float,
    jobs: int | None,
    memory: str,
    plan_file: str | None,
    exit_code: bool,
    output_format: str | None,
) -> int:
    """Score what shards have read into DIR, and say what verify would say.

    Shards of radiolabel verify --shard need no key, only --width. They may run at the same time, on one machine or on
    many that share a disk, and a shard that was ended goes on when it is run again.

    \b
    Examples:
      radiolabel verify --width 2 --shard 1/2 --work DIR 'part-*.parquet'
      radiolabel verify --width 2 --shard 2/2 --work DIR 'part-*.parquet'
      radiolabel merge DIR --key fleet.key --jobs 2
    """
    from verify.cli.scaled import conclude, merge_folder
    from verify.cli.verify import finding_text
    from verify.scaling.folder import WorkFolder
    from watermark.keyfile import read_key
    from watermark.keys import ValueKey

    key = read_key(key_file)
    if not isinstance(key, ValueKey):
        raise click.UsageError(f"{key_file} is not a value key: derive one with radiolabel key derive")
    found = merge_folder(folder, key, key_file=key_file, jobs=jobs, memory=memory)
    settings = WorkFolder(folder).job().settings
    result = conclude(*found, settings=settings, key=key, alpha=alpha, plan_file=plan_file)
    print_record(result.to_dict(), lambda: finding_text(result), output_format)
    return 1 if exit_code and not result.found else 0

"""`radiolabel commit`: fix keys and logs before they are used, and show later that they were."""

from __future__ import annotations

import click

from verify.cli.commit_make import epoch, log, master, stamp
from verify.cli.commit_show import prove, show


@click.group()
def commit() -> None:
    """Fix keys and logs before they are used, and show later that they were.

    First the master key and a round of public randomness that is not yet published, then the epoch's keys, before
    they serve, then the served log. Nothing secret is in any of the files.

    \b
    radiolabel commit master master.key --path epoch/q4 --round 50000000 --tsa https://tsa.example -o m.json
    radiolabel commit epoch master.key --master m.json --beacon-value 9f2e.. --tsa https://tsa.example -o e.json
    radiolabel commit log answers.jsonl --epoch e.json --tsa https://tsa.example -o log.json
    radiolabel commit prove e.json --key epoch.key --path epoch/q4/fleet -o proof.json
    radiolabel commit show proof.json --against e.json --key fleet.key
    """


for command in (master, epoch, log, stamp, prove, show):
    commit.add_command(command)

"""`radiolabel ledger`: the served log."""

from __future__ import annotations

import click

from verify.cli.ledger_check import check, coverage, head
from verify.cli.ledger_open import pairs, served
from verify.cli.ledger_write import append, assign, key, new


@click.group()
def ledger() -> None:
    """Keep, check and open the served log: one record per answer, chained, with its contents sealed.

    The gateway writes it. What was asked and answered is sealed for the holder of one private key, who is needed
    only when somebody is to be tested.

    \b
    Example:
      radiolabel ledger key -o sealing.pem
      radiolabel ledger new served.jsonl --seal 5f0c...
      radiolabel ledger assign served.jsonl accounts.csv --epoch 2026-q4
      radiolabel ledger check served.jsonl
      radiolabel ledger coverage served.jsonl
      radiolabel ledger pairs served.jsonl --key sealing.pem -o pairs.jsonl
    """


for command in (key, new, append, assign, check, head, coverage, served, pairs):
    ledger.add_command(command)

"""`radiolabel test`: does a model, or do its answers, depend on a key?"""

from __future__ import annotations

import click

from verify.cli.test_open import closed_command, open_command
from verify.cli.test_twin import twin


@click.group("test")
def test() -> None:
    """Test a suspect model for a key.

    The tests read records that radiolabel probe and radiolabel collect wrote, so that anybody can repeat them without
    the model. Every one states what it assumes.

    \b
    Example:
      radiolabel probe --model suspect/ --pairs pairs.jsonl -o suspect.jsonl
      radiolabel test twin pairs.jsonl --likelihoods suspect.jsonl
    """


test.add_command(open_command)
test.add_command(closed_command)
test.add_command(twin)

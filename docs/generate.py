"""Writes docs/cli.md from the commands' own help texts: `make docs`. A test keeps the page true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from verify.cli import cli

PAGE = Path(__file__).with_name("cli.md")


def page() -> str:
    """The whole page."""
    parts = ["# Command line", "Made by `make docs` from `radiolabel --help`; do not edit.", EXIT_CODES]
    parts += [f"## {name}\n\n```text\n{text}\n```" for name, text in helps(cli, "radiolabel", None)]
    return "\n\n".join(parts) + "\n"


EXIT_CODES = """| exit | meaning |
|---|---|
| 0 | the whole job was done (a null finding is a finding) |
| 1 | `--exit-code` was given and the mark was not found, or a step of `commit show` or `plan check` failed |
| 2 | usage, configuration, input or output |
| 3 | refused: valid input that cannot be used (too few scorable tokens, another tokenizer) |
| 70 | internal error |
| 130 | interrupted |
| 141 | whoever read the output closed it |"""


def helps(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    """(name, help text) of a command and all below it."""
    settings = {**command.context_settings, "help_option_names": ["-h", "--help"]}
    context = click.Context(command, info_name=name.rsplit(" ", 1)[-1], parent=parent, terminal_width=96, **settings)
    yield name, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from helps(found, f"{name} {child}", context)


if __name__ == "__main__":
    PAGE.write_text(page())

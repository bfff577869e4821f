"""`python -m verify` is the `radiolabel` command."""

from verify.cli import entry_point

entry_point()

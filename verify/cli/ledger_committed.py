"""A ledger's lines, or its head, compared with a log commitment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watermark.ledger import Damage, Head


def committed(
    path: str, noted: Head | None, file: str
) -> tuple[Callable[[bytes], None] | None, Callable[[], Damage | None]]:
    """(what looks at each line, what compares at the end).

    Args:
        path: of the commitment: of the ledger's first lines, or of the head file if a head was noted.
        noted: that head, or None.
        file: the ledger's name, for damages.

    Raises:
        InputError: not a log commitment, or it cannot be read.
    """
    from verify.cli.committed import read_as
    from verify.commitments import LogCommitment
    from verify.merkle import Tree, tree_of
    from watermark.ledger.walking import Damage

    made: LogCommitment = read_as(path, LogCommitment, "a log commitment")
    tree = Tree()

    def add(line: bytes) -> None:
        if tree.size < made.size:
            tree.add(line)

    def compare() -> Damage | None:
        if tree.size < made.size:
            return Damage(file, 0, 0, tree.size, "cut", f"{tree.size} lines, and {made.size} were committed")
        if tree.root().hex() != made.root:
            return Damage(file, 0, 0, 0, "rewritten", f"its first {made.size} lines are not those committed")
        return None

    def of_head() -> Damage | None:
        line = b"" if noted is None else noted.to_json()[:-1]
        if (made.size, made.root) == (1, tree_of([line]).root().hex()):
            return None
        return Damage(path, 0, 0, 0, "rewritten", "the commitment is not of the head that was given")

    return (add, compare) if noted is None else (None, of_head)

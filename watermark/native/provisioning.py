"""An engine's own key, derived from an epoch's: one more branch of the tree.

Normative text: docs/spec/key-file.md, section 7.
"""

from __future__ import annotations

from pathlib import Path

from watermark.keys import EpochKey
from watermark.native import AnyMark
from watermark.native.configuration import write_configuration


def provision(epoch: EpochKey, mark: type[AnyMark], path: str | Path) -> None:
    """Write the configuration of a mark under the epoch's key for it to a new file of mode 0600.

    Raises:
        KeyFileError: the file exists, or cannot be written.
    """
    key = epoch.native_bytes(mark.name, mark.key_length())
    write_configuration(mark.configuration(key.reveal()), path)

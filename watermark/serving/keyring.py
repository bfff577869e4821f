"""A directory of epoch keys that may change while answers are drawn.

A key that was handed out goes on working: an answer ends under the key it began with.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watermark.errors import Error, KeyFileError
from watermark.keyfile import read_key
from watermark.keys import EpochKey, GatewayKey
from watermark.sampling import Sampler

SUFFIX: Final = ".key"
_log = logging.getLogger(__name__)

_Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Loaded:
    """One epoch as it is served.

    Attributes:
        key: the epoch's key.
        sampler: its only sampler: one thread draws with it.
        gateway: what checks its tickets.
        since: Unix time in seconds at which the key file was written.
    """

    key: EpochKey
    sampler: Sampler
    gateway: GatewayKey
    since: float


@dataclass(frozen=True)
class Refresh:
    """What a look at the directory found.

    Attributes:
        added: epochs that are new, or have another key than before.
        removed: epochs that are gone.
        bad: file name to why the file is not used; never its content.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    bad: dict[str, Error]


class Keyring:
    """The epoch keys of a directory: every file `*.key`, mode 0600.

    Args:
        directory: where the key files are.
        check: called with every key before it is served; raises `Error` if it is not to be.

    Attributes:
        bad: file name to why the file is not used, as of the last look.

    Raises:
        KeyFileError: the directory cannot be read.
    """

    def __init__(self, directory: str | Path, *, check: Callable[[EpochKey], None] | None = None) -> None:
        self.directory = Path(directory)
        self._check = check
        self.bad: dict[str, Error] = {}
        self._lock = threading.Lock()
        self._files: dict[str, tuple[_Stamp, Loaded | None]] = {}
        self._epochs: dict[str, Loaded] = {}
        self.refresh()

    def epochs(self) -> list[str]:
        """Names of the epochs whose keys are here."""
        return sorted(self._epochs)

    def loaded(self, epoch: str) -> Loaded:
        """One epoch.

        Raises:
            KeyFileError: it is not here.
        """
        found = self._epochs.get(epoch)
        if found is None:
            raise KeyFileError(
                f"epoch {epoch[:60]!r} has no key in {self.directory}",
                hint=f"epochs here: {', '.join(self.epochs())[:200] or 'none'}",
            )
        return found

    def sampler(self, epoch: str) -> Sampler:
        """The epoch's sampler, always the same one until its key changes.

        Raises:
            KeyFileError: the epoch is not here.
        """
        return self.loaded(epoch).sampler

    def gateway_key(self, epoch: str) -> GatewayKey | None:
        """What checks the epoch's tickets, or None: an argument for `tickets.read`."""
        found = self._epochs.get(epoch)
        return found.gateway if found else None

    def ages(self, now: float | None = None) -> dict[str, float]:
        """Seconds since each epoch's key file was written."""
        now = time.time() if now is None else now
        return {name: max(0.0, now - loaded.since) for name, loaded in self._epochs.items()}

    def refresh(self) -> Refresh:
        """Look at the directory again: read what is new or changed, forget what is gone.

        A file that turned bad keeps the key it had, and is reported, until it is mended or removed.

        Raises:
            KeyFileError: the directory cannot be read; the keys stay as they were.
        """
        with self._lock:
            try:
                paths = sorted(path for path in self.directory.iterdir() if path.name.endswith(SUFFIX))
            except (OSError, ValueError) as error:  # ValueError: a NUL in the path
                reason = (isinstance(error, OSError) and error.strerror) or error
                raise KeyFileError(f"key directory {str(self.directory)!r} cannot be read: {reason}") from None
            files: dict[str, tuple[_Stamp, Loaded | None]] = {}
            bad: dict[str, Error] = {}
            for path in paths:
                stamp, (known, loaded) = _stamp(path), self._files.get(path.name, ((), None))
                if known != stamp or path.name in self.bad:
                    try:
                        loaded = self._read(path, loaded)
                    except Error as error:
                        bad[path.name] = error
                files[path.name] = stamp, loaded
            epochs = self._choose({name: loaded for name, (_, loaded) in files.items() if loaded}, bad)
            for name, why in bad.items():
                if str(self.bad.get(name)) != str(why):
                    _log.error("key file not used: %s", why)
            before, self._epochs, self._files, self.bad = self._epochs, epochs, files, bad
            return Refresh(
                added=tuple(sorted(name for name in epochs if before.get(name) is not epochs[name])),
                removed=tuple(sorted(before.keys() - epochs.keys())),
                bad=bad,
            )

    def _choose(self, files: dict[str, Loaded], bad: dict[str, Error]) -> dict[str, Loaded]:
        """One key per epoch: the one that is served, else the first by file name."""
        epochs: dict[str, Loaded] = {}
        for name in sorted(files, key=lambda n: (self._epochs.get(files[n].key.name) is not files[n], n)):
            chosen = epochs.setdefault(files[name].key.name, files[name])
            if chosen.key != files[name].key:
                bad[name] = KeyFileError(f"key file {name} has another key of epoch {chosen.key.name}, which has one")
        return epochs

    def _read(self, path: Path, before: Loaded | None) -> Loaded:
        # A named pipe would wait for a writer, and all other keys with it.
        if os.path.exists(path) and not os.path.isfile(path):
            raise KeyFileError(f"key file {path} is not a file")
        key = read_key(path)
        if not isinstance(key, EpochKey):
            raise KeyFileError(f"key file {path} is not an epoch key: an engine needs no other")
        if before is not None and before.key == key:
            return before
        if self._check:
            self._check(key)
        return Loaded(key, Sampler(key), key.gateway_key(), _stamp(path)[1] / 1e9)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    # The change time also tells a change of mode.
    kept = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return kept

"""What an engine's plugin starts once: settings, metrics, keys that are tried and watched, and the door."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from watermark.errors import Error, SelfTestError, SettingsError
from watermark.serving.admission import Admission
from watermark.serving.keyring import Keyring
from watermark.serving.metrics import Metrics, start
from watermark.serving.self_test import self_test
from watermark.serving.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """A running serving side.

    Attributes:
        settings: the operator's.
        metrics: its counters.
        keyring: its keys, looked at again every `reload_seconds`.
        admission: its door.
    """

    settings: Settings
    metrics: Metrics
    keyring: Keyring
    admission: Admission

    @classmethod
    def start(cls, settings: Settings | None = None, *, metrics: Metrics | None = None) -> Service:
        """Read keys, try them, and begin to watch them.

        Args:
            settings: None is `Settings.load()`.
            metrics: None is what `metrics_port` says.

        Raises:
            SettingsError: settings that cannot be used, or no key that can.
            SelfTestError: a key fails: nothing may be served.
        """
        settings = Settings.load() if settings is None else settings
        metrics = start(settings.metrics_port) if metrics is None else metrics
        keyring = Keyring(settings.keys, check=self_test if settings.self_test else None)
        for error in keyring.bad.values():
            if isinstance(error, SelfTestError):
                metrics.self_test(False)
                raise error
        if not keyring.epochs():
            raise SettingsError(
                f"no epoch key in {settings.keys} can be used"
                + "".join(f"; {error}" for error in list(keyring.bad.values())[:3]),
                hint="radiolabel key derive writes epoch key files",
            )
        service = cls(settings, metrics, keyring, Admission(settings, keyring, metrics))
        service.look()
        if settings.reload_seconds:
            threading.Thread(target=service._watch, name="radiolabel-keys", daemon=True).start()
        return service

    def look(self) -> None:
        """Look at the key directory now. It never raises: a directory that cannot be read is logged."""
        try:
            found = self.keyring.refresh()
        except Error as error:
            _log.error("%s", error)
            return
        for epoch in found.added:
            _log.info("epoch %s is served now, key id %s", epoch, self.keyring.loaded(epoch).key.id)
        for epoch in found.removed:
            _log.info("epoch %s is no longer served", epoch)
        self.metrics.key_files(ages=self.keyring.ages(), bad=len(found.bad))
        if self.settings.self_test:
            self.metrics.self_test(not any(isinstance(error, SelfTestError) for error in found.bad.values()))

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(self.settings.reload_seconds):
            self.look()

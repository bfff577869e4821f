"""Counts for Prometheus. No label holds an account, a request or anything a client wrote."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from watermark.errors import SettingsError

# Draws take 20 us to some ms.
SECONDS: Final = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 0.1)


class Metrics(ABC):
    """What the serving side counts."""

    @abstractmethod
    def tokens(self, counts: Mapping[str, int]) -> None:
        """Tokens served, by status: a channel's name, `first_h`, `repeated`, `forced`, `greedy` or `unmarked`."""

    @abstractmethod
    def request(self, reason: str) -> None:
        """One answer admitted or not: `marked`, `anonymous`, or why not (see `admission`)."""

    @abstractmethod
    def placeholders(self, count: int = 1) -> None:
        """Placeholders that an engine showed where a token belongs."""

    @abstractmethod
    def drawn(self, seconds: float) -> None:
        """One call of the draw for a batch."""

    @abstractmethod
    def key_files(self, *, ages: Mapping[str, float], bad: int) -> None:
        """The key directory as it is: seconds since each epoch's key was written, and files that are not used."""

    @abstractmethod
    def self_test(self, passed: bool) -> None:
        """The outcome of the last self-test."""


class Silent(Metrics):
    """Counts nothing."""

    def tokens(self, counts: Mapping[str, int]) -> None:
        """See `Metrics`."""

    def request(self, reason: str) -> None:
        """See `Metrics`."""

    def placeholders(self, count: int = 1) -> None:
        """See `Metrics`."""

    def drawn(self, seconds: float) -> None:
        """See `Metrics`."""

    def key_files(self, *, ages: Mapping[str, float], bad: int) -> None:
        """See `Metrics`."""

    def self_test(self, passed: bool) -> None:
        """See `Metrics`."""


class Prometheus(Metrics):
    """Counts with prometheus-client (extra `serving`).

    Args:
        registry: where to register; None is the process's own.

    Raises:
        SettingsError: prometheus-client is not installed.
    """

    def __init__(self, registry: Any = None) -> None:
        client = _client()
        registry = client.REGISTRY if registry is None else registry
        self._tokens = client.Counter("radiolabel_tokens", "Tokens served", ["status"], registry=registry)
        self._requests = client.Counter("radiolabel_requests", "Answers admitted or not", ["reason"], registry=registry)
        self._placeholders = client.Counter("radiolabel_placeholders", "Placeholders seen", registry=registry)
        self._drawn = client.Histogram("radiolabel_draw_seconds", "One batch drawn", buckets=SECONDS, registry=registry)
        self._ages = client.Gauge("radiolabel_key_age_seconds", "Since a key was written", ["epoch"], registry=registry)
        self._bad = client.Gauge("radiolabel_bad_key_files", "Key files that are not used", registry=registry)
        self._self_test = client.Gauge("radiolabel_self_test", "1 if the last self-test passed", registry=registry)
        self._epochs: set[str] = set()

    def tokens(self, counts: Mapping[str, int]) -> None:
        """See `Metrics`."""
        for status, count in counts.items():
            self._tokens.labels(status).inc(count)

    def request(self, reason: str) -> None:
        """See `Metrics`."""
        self._requests.labels(reason).inc()

    def placeholders(self, count: int = 1) -> None:
        """See `Metrics`."""
        self._placeholders.inc(count)

    def drawn(self, seconds: float) -> None:
        """See `Metrics`."""
        self._drawn.observe(seconds)

    def key_files(self, *, ages: Mapping[str, float], bad: int) -> None:
        """See `Metrics`."""
        for gone in self._epochs - set(ages):
            self._ages.remove(gone)
        for epoch, seconds in ages.items():
            self._ages.labels(epoch).set(seconds)
        self._epochs = set(ages)
        self._bad.set(bad)

    def self_test(self, passed: bool) -> None:
        """See `Metrics`."""
        self._self_test.set(int(passed))


def start(port: int) -> Metrics:
    """Metrics that Prometheus finds at `port` of the loopback address; with port 0 nothing is counted.

    Raises:
        SettingsError: prometheus-client is not installed, the port is taken, or this process counts already.
    """
    if not port:
        return Silent()
    client = _client()
    try:
        client.start_http_server(port, addr="127.0.0.1")
    except OSError as error:
        raise SettingsError(f"metrics_port {port} cannot be opened: {error.strerror}") from None
    try:
        return Prometheus()
    except ValueError:  # names are registered once
        raise SettingsError("metrics are counted in this process already", hint="start one service a process") from None


def _client() -> Any:
    try:
        import prometheus_client
    except ImportError:
        raise SettingsError(
            "metrics need prometheus-client", hint="pip install 'radiolabel[serving]', or metrics_port = 0"
        ) from None
    return prometheus_client

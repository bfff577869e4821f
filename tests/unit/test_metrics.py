import socket
import sys
import urllib.request

import pytest

from watermark.errors import SettingsError
from watermark.serving.metrics import Metrics, Prometheus, Silent, start

client = pytest.importorskip("prometheus_client")


@pytest.fixture
def registry():
    return client.CollectorRegistry()


def value(registry, name, **labels):
    return registry.get_sample_value(name, labels)


def test_what_is_counted_is_what_prometheus_reads(registry):
    metrics = Prometheus(registry)
    metrics.tokens({"fleet": 7, "repeated": 2})
    metrics.tokens({"fleet": 1})
    metrics.request("forged")
    metrics.placeholders()
    metrics.placeholders(3)
    metrics.drawn(0.0003)
    metrics.drawn(5.0)
    metrics.self_test(True)
    assert value(registry, "radiolabel_tokens_total", status="fleet") == 8
    assert value(registry, "radiolabel_tokens_total", status="repeated") == 2
    assert value(registry, "radiolabel_requests_total", reason="forged") == 1
    assert value(registry, "radiolabel_placeholders_total") == 4
    assert value(registry, "radiolabel_draw_seconds_bucket", le="0.0002") == 0
    assert value(registry, "radiolabel_draw_seconds_bucket", le="0.0005") == 1
    assert value(registry, "radiolabel_draw_seconds_count") == 2
    assert value(registry, "radiolabel_self_test") == 1
    metrics.self_test(False)
    assert value(registry, "radiolabel_self_test") == 0


def test_an_epoch_that_is_gone_has_no_age(registry):
    metrics = Prometheus(registry)
    metrics.key_files(ages={"q3": 60.0, "q4": 5.0}, bad=1)
    metrics.key_files(ages={"q4": 6.0}, bad=0)
    assert value(registry, "radiolabel_key_age_seconds", epoch="q3") is None
    assert value(registry, "radiolabel_key_age_seconds", epoch="q4") == 6
    assert value(registry, "radiolabel_bad_key_files") == 0


def test_labels_are_few_and_name_nobody(registry):
    metrics = Prometheus(registry)
    metrics.tokens({"account": 1})
    metrics.request("marked")
    metrics.key_files(ages={"q4": 1.0}, bad=0)
    labels = {label for family in registry.collect() for sample in family.samples for label in sample.labels}
    assert labels == {"status", "reason", "epoch", "le"}


def test_silent_counts_nothing_and_takes_everything():
    metrics = Silent()
    for name, arguments in {
        "tokens": ({"fleet": 1},),
        "request": ("marked",),
        "placeholders": (),
        "drawn": (0.1,),
        "self_test": (True,),
    }.items():
        assert getattr(metrics, name)(*arguments) is None
    assert metrics.key_files(ages={}, bad=0) is None
    assert isinstance(start(0), Silent)
    assert {name for name in vars(Metrics) if not name.startswith("_")} <= set(vars(Silent))


def test_without_the_package_only_silence_starts(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert isinstance(start(0), Silent)
    with pytest.raises(SettingsError, match="metrics need prometheus-client") as caught:
        start(9100)
    assert "radiolabel[serving]" in caught.value.hint


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_on_the_loopback_address(monkeypatch, registry):
    monkeypatch.setattr(client, "REGISTRY", registry)
    serve = client.start_http_server
    monkeypatch.setattr(client, "start_http_server", lambda port, addr: servers.append(serve(port, addr, registry)))
    servers, port = [], free_port()
    metrics = start(port)
    try:
        metrics.request("no_ticket")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert 'radiolabel_requests_total{reason="no_ticket"} 1.0' in answer.read().decode()
        with pytest.raises(SettingsError, match="metrics are counted in this process already"):
            start(free_port())
        with pytest.raises(SettingsError, match=f"metrics_port {port} cannot be opened: Address already in use"):
            start(port)
    finally:
        for server, thread in servers:
            server.shutdown()
            server.server_close()
            thread.join()

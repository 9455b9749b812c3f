"""Metrics and health over HTTP: real requests to a real server, read by Prometheus' own parsers and `promtool`."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import prometheus_client
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from pytest_marketreplay.errors import CollectError, MissingExtra
from pytest_marketreplay.metrics import Meter, Metrics, MetricsServer, NoMetrics, server
from pytest_marketreplay.metrics.backups import BackupMetrics

FIXED = {
    "storage_write_operations": "counter",
    "storage_read_operations": "counter",
    "storage_write_duration_seconds": "histogram",
    "storage_size_bytes": "gauge",
    "storage_file_count": "gauge",
    "storage_file_size_bytes": "histogram",
}


def a_capture(meter: Meter) -> None:
    meter.wrote("binance", "api_v3_depth", "local", 20, 0.003, "ok")
    meter.wrote("binance", "api_v3_depth", "local", 1, 12.0, "ok")
    meter.wrote("kraken", "public_Depth", "parquet", 5, 0.5, "failed")
    meter.read("binance", "api_v3_depth", "local", 7, "ok")
    meter.gap("binance", "missed", 3)
    meter.gap("binance", "missed", 4)
    meter.gap("kraken", "disconnected", 0)
    meter.queue("local", 17)
    meter.queue("local", 4)
    meter.request("binance", "api_v3_depth", 200, 0.04)
    meter.request("binance", "api_v3_depth", 429, 0.01)
    meter.request("kraken", "public_Depth", "timeout", 10.0)
    meter.reconnected("kraken")
    meter.dropped("local", 3)
    meter.restarted("kraken")
    meter.loop_lag(0.0004)
    meter.size("binance", 123_456, 12)
    meter.closed_file("binance", 2_000)
    meter.checked("kraken", "empty_book")


class Served:
    """A server, its health, and a client of it."""

    def __init__(self) -> None:
        self.metrics = Metrics(process=True)
        self.health: dict[str, object] = {"ok": True, "sessions": 2}
        self.server = MetricsServer(self.metrics, "127.0.0.1", 0, lambda: self.health)

    def get(self, path: str, *, method: str = "GET", accept: str = "") -> tuple[int, str, str]:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        request = urllib.request.Request(url, method=method, headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read().decode()


@pytest.fixture
def served() -> Iterator[Served]:
    before = threading.active_count()
    a_server = Served()
    with a_server.server:
        yield a_server
    assert threading.active_count() == before


# ---------------------------------------------------------------- what is counted


def test_what_a_capture_tells_is_what_prometheus_reads(served: Served) -> None:
    a_capture(served.metrics)
    status, content_type, text = served.get("/metrics")
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    families = list(parse(text))
    types = {family.name: family.type for family in families}
    assert types.items() >= FIXED.items()
    value = {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }
    depth = ("api_v3_depth", "binance", "local", "ok")  # endpoint, platform, sink, status
    assert value["storage_write_operations_total", *depth] == 21
    assert value["storage_write_operations_total", "public_Depth", "kraken", "parquet", "failed"] == 5
    assert value["storage_read_operations_total", *depth] == 7
    assert value["storage_write_duration_seconds_count", "binance", "local"] == 2
    assert value["storage_write_duration_seconds_sum", "binance", "local"] == 12.003
    assert value["storage_size_bytes", "binance"] == 123_456
    assert value["storage_file_count", "binance"] == 12
    assert value["collect_dropped_items_total", "local"] == 3
    assert value["collect_feed_restarts_total", "kraken"] == 1
    assert value["storage_file_size_bytes_bucket", "1024.0", "binance"] == 0
    assert value["storage_file_size_bytes_bucket", "4096.0", "binance"] == 1
    assert value["collect_gaps_total", "missed", "binance"] == 2
    assert value["collect_missing_total", "missed", "binance"] == 7
    assert value["collect_missing_total", "disconnected", "kraken"] == 0
    assert value["collect_queue_items", "local"] == 4
    assert value["collect_requests_total", "api_v3_depth", "binance", "429"] == 1
    assert value["collect_requests_total", "public_Depth", "kraken", "timeout"] == 1
    assert value["collect_request_duration_seconds_count", "api_v3_depth", "binance"] == 2
    assert value["collect_reconnects_total", "kraken"] == 1
    assert value["collect_event_loop_lag_seconds_bucket", "0.001"] == 1
    assert value["collect_check_findings_total", "empty_book", "kraken"] == 1
    assert value["process_open_fds",] > 0


def test_durations_are_sorted_into_buckets_from_1_ms_to_10_s(served: Served) -> None:
    a_capture(served.metrics)
    buckets = [
        (sample.labels["le"], sample.value)
        for family in parse(served.get("/metrics")[2])
        for sample in family.samples
        if sample.name == "storage_write_duration_seconds_bucket" and sample.labels["platform"] == "binance"
    ]
    assert buckets[0] == ("0.001", 0)
    assert buckets[1:3] == [("0.0025", 0), ("0.005", 1)]
    assert buckets[-2:] == [("10.0", 1), ("+Inf", 2)]


def test_openmetrics_is_served_to_who_asks_for_it(served: Served) -> None:
    a_capture(served.metrics)
    _, content_type, text = served.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")
    assert {family.name for family in parse_openmetrics(text)} >= set(FIXED)


def test_the_page_of_the_metrics_lists_their_names_types_and_labels() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    listed = {name.strip("`"): (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels, _ in rows}
    metrics = Metrics()
    a_capture(metrics)
    backups = BackupMetrics(metrics)
    backups.done("label", "backup")
    backups.failed("label", "backup", "down")
    backups.backed_up("label", 1.0, 2, 3.0)
    backups.verified("label", 4.0)
    made = {}
    for family in metrics.registry.collect():
        labels = [name for name in family.samples[0].labels if name != "le"]
        made[family.name + "_total" * (family.type == "counter")] = (family.type, labels)
    assert listed == made


def test_nothing_enters_the_registry_of_others_and_two_captures_do_not_mix() -> None:
    before = {family.name for family in prometheus_client.REGISTRY.collect()}
    one, two = Metrics(), Metrics()
    one.reconnected("binance")
    assert "collect_reconnects_total{" not in two.exposed()[0].decode()
    assert 'collect_reconnects_total{platform="binance"} 1.0' in one.exposed()[0].decode()
    assert "process_open_fds" not in one.exposed()[0].decode()
    assert {family.name for family in prometheus_client.REGISTRY.collect()} == before


def test_counts_from_many_threads_are_all_there() -> None:
    metrics = Metrics()
    threads = [
        threading.Thread(target=lambda: [metrics.wrote("a", "b", "c", 2, 0.001, "ok") for _ in range(500)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 'storage_write_operations_total{endpoint="b",platform="a",sink="c",status="ok"} 4000.0' in (
        metrics.exposed()[0].decode()
    )


def test_the_meter_without_metrics_takes_the_same_calls_and_does_nothing() -> None:
    a_capture(NoMetrics())
    for name, method in inspect.getmembers(Meter, inspect.isfunction):
        if not name.startswith("_"):
            assert getattr(NoMetrics(), name)(*[0] * (len(inspect.signature(method).parameters) - 1)) is None
            for other in (NoMetrics, Metrics):
                assert inspect.signature(getattr(other, name)) == inspect.signature(method)


def test_without_the_client_library_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtra, match="pip install prometheus-client"):
        Metrics()


def test_the_client_library_is_imported_only_when_metrics_are_made() -> None:
    code = "import sys, pytest_marketreplay.metrics; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


def test_promtool_accepts_what_is_served_but_for_one_name_that_is_fixed(served: Served, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        assert not os.environ.get("CI"), "in CI promtool must be there: Debian's package prometheus"
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    a_capture(served.metrics)
    text = served.get("/metrics")[2]
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    remarks = [line for line in (done.stdout + done.stderr).splitlines() if line]
    assert [line.partition(" ")[0] for line in remarks] == ["storage_file_count"], remarks
    bad = subprocess.run([promtool, "check", "metrics"], input="9bad{ 1\n", capture_output=True, text=True, timeout=60)
    assert bad.returncode != 0


# ---------------------------------------------------------------- health


@pytest.mark.parametrize(
    ("health", "status"),
    [({"ok": True}, 200), ({"ok": False, "why": "no heartbeat"}, 503), ({"ok": 1}, 503), ({}, 503)],
    ids=str,
)
def test_health_is_200_only_where_ok_is_true(served: Served, health: dict[str, object], status: int) -> None:
    served.health = health
    got, content_type, text = served.get("/healthz")
    assert (got, content_type, json.loads(text)) == (status, "application/json", health)


def test_values_that_json_has_not_are_shown_as_text(served: Served) -> None:
    served.health = {"ok": True, "path": Path("cassettes")}
    assert json.loads(served.get("/healthz")[2]) == {"ok": True, "path": "cassettes"}


def test_health_that_cannot_be_told_is_bad_health(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> dict[str, object]:
        raise KeyError("secret detail")

    served = Served()
    served.server.health = broken
    with served.server:
        status, _, text = served.get("/healthz")
    assert (status, json.loads(text)) == (503, {"ok": False, "error": "KeyError"})
    assert "the health of the capture cannot be told" in caplog.text


# ---------------------------------------------------------------- the server


def test_other_paths_are_not_found_and_other_methods_not_taken(served: Served) -> None:
    assert served.get("/")[0] == 404
    assert served.get("/metrics/../healthz")[0] == 404
    assert served.get("/healthz?full=1")[0] == 200
    assert served.get("/metrics", method="POST")[0] == 501
    status, _, text = served.get("/metrics", method="HEAD")
    assert (status, text) == (200, "")


def test_requests_are_logged_for_debugging_only(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pytest_marketreplay.collect.metrics")
    served.get("/healthz")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("DEBUG", '127.0.0.1: "GET /healthz HTTP/1.1" 200 -')
    ]


def test_an_address_that_cannot_be_had_is_told_with_the_cure(served: Served) -> None:
    for host, port in (("127.0.0.1", served.server.port), ("192.0.2.1", 0), ("127.0.0.1", 70_000)):
        with pytest.raises(CollectError, match=f"at {host}:{port}: .*Name another port, or 0"):
            MetricsServer(served.metrics, host, port, lambda: {}).start()


def test_it_serves_ipv6_where_the_machine_has_it() -> None:
    served = Served()
    served.server.host = "::1"
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        with pytest.raises(CollectError, match="metrics cannot be served at ::1"):
            served.server.start()
        return
    with served.server, urllib.request.urlopen(f"http://[::1]:{served.server.port}/healthz", timeout=10) as answer:
        assert answer.status == 200


def test_closing_ends_connections_that_clients_hold_open_and_frees_the_port(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server._Handler, "timeout", 3600)
    inside = threading.Event()
    served.server.health = lambda: inside.set() or {"ok": True}  # type: ignore[func-returns-value]
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as idle:
        idle.sendall(b"GET /metrics HTTP/1.1\r\n")  # and never the end of it
        served.get("/healthz")  # the idle one, which came before, has been accepted
        assert inside.is_set()
        port = served.server.port
        closing = threading.Thread(target=served.server.close)
        closing.start()
        closing.join(10)
        assert not closing.is_alive()
        served.server.close()
        assert idle.recv(100) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
    with MetricsServer(served.metrics, "127.0.0.1", port, lambda: {"ok": True}) as again:
        assert again.port == port


def test_a_client_that_takes_too_long_is_hung_up_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server._Handler.timeout == server.TIMEOUT_S <= 5
    monkeypatch.setattr(server._Handler, "timeout", 0.05)
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as idle:
        idle.sendall(b"GET /metr")
        assert idle.recv(100) == b""
    assert served.get("/healthz")[0] == 200


def test_a_client_that_goes_in_the_middle_is_noted_and_stops_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    noted = threading.Event()
    real = server._Server.handle_error

    def noting(self: server._Server, request: object, client_address: object) -> None:
        real(self, request, client_address)
        noted.set()

    def gone(self: Metrics, accept: str) -> tuple[bytes, str]:
        raise ConnectionResetError("the client is gone")

    monkeypatch.setattr(server._Server, "handle_error", noting)
    monkeypatch.setattr(Metrics, "exposed", gone)
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert client.recv(100) == b""
    assert noted.wait(10)
    assert "the client is gone" in caplog.text
    assert served.get("/healthz")[0] == 200

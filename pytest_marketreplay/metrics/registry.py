"""The metrics as Prometheus reads them; their names are fixed (docs/reference/metrics.md).

`prometheus_client` is imported only here, and only when `Metrics` are made.
"""

from __future__ import annotations

from pytest_marketreplay.errors import MissingExtra

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of every duration."""
BYTES = tuple(float(1 << power) for power in range(10, 31, 2))
"""Upper bounds of the buckets of file sizes, from 1 KiB to 1 GiB."""


class Metrics:
    """A `Meter` that Prometheus can read, in a registry of its own.

    With `process`, the registry also has the metrics of this process (`process_cpu_seconds_total`,
    `process_resident_memory_bytes`, `process_open_fds` ...). Raises MissingExtra without `prometheus_client`.
    """

    def __init__(self, *, process: bool = False) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise MissingExtra("metrics", "prometheus-client") from None
        self.registry = to = prometheus.CollectorRegistry()
        self._writes = prometheus.Counter(
            "storage_write_operations_total",
            "Items that a sink was given to write.",
            ["platform", "endpoint", "sink", "status"],
            registry=to,
        )
        self._write_seconds = prometheus.Histogram(
            "storage_write_duration_seconds",
            "Duration of one call that wrote a batch of items.",
            ["platform", "sink"],
            registry=to,
            buckets=SECONDS,
        )
        self._reads = prometheus.Counter(
            "storage_read_operations_total",
            "Items that were read back.",
            ["platform", "endpoint", "sink", "status"],
            registry=to,
        )
        self._size = prometheus.Gauge("storage_size_bytes", "Bytes on the disk.", ["platform"], registry=to)
        self._files = prometheus.Gauge("storage_file_count", "Files on the disk.", ["platform"], registry=to)
        self._file_sizes = prometheus.Histogram(
            "storage_file_size_bytes", "Sizes of complete files.", ["platform"], registry=to, buckets=BYTES
        )
        self._gaps = prometheus.Counter("collect_gaps_total", "Gaps.", ["platform", "kind"], registry=to)
        self._missing = prometheus.Counter(
            "collect_missing_total",
            "Ticks, requests or items that are missing in gaps.",
            ["platform", "kind"],
            registry=to,
        )
        self._queue = prometheus.Gauge("collect_queue_items", "Items that wait for a sink.", ["sink"], registry=to)
        self._requests = prometheus.Counter(
            "collect_requests_total", "Requests to a venue.", ["platform", "endpoint", "status"], registry=to
        )
        self._request_seconds = prometheus.Histogram(
            "collect_request_duration_seconds",
            "Duration of requests to a venue.",
            ["platform", "endpoint"],
            registry=to,
            buckets=SECONDS,
        )
        self._reconnects = prometheus.Counter(
            "collect_reconnects_total", "Streams that were connected again.", ["platform"], registry=to
        )
        self._dropped = prometheus.Counter(
            "collect_dropped_items_total", "Items that a sink never got.", ["sink"], registry=to
        )
        self._restarts = prometheus.Counter(
            "collect_feed_restarts_total", "Feeds that broke and were started again.", ["platform"], registry=to
        )
        self._lag = prometheus.Histogram(
            "collect_event_loop_lag_seconds", "How late the event loop woke up.", registry=to, buckets=SECONDS
        )
        self._checks = prometheus.Counter(
            "collect_check_findings_total", "Findings of the checks.", ["platform", "check"], registry=to
        )
        if process:
            prometheus.ProcessCollector(registry=to)

    def wrote(self, platform: str, endpoint: str, sink: str, count: int, seconds: float, status: str) -> None:
        """Count items that one call of a sink wrote, or failed to write, and the duration of that call."""
        self._writes.labels(platform, endpoint, sink, status).inc(count)
        self._write_seconds.labels(platform, sink).observe(seconds)

    def read(self, platform: str, endpoint: str, sink: str, count: int, status: str) -> None:
        """Count items that were read back."""
        self._reads.labels(platform, endpoint, sink, status).inc(count)

    def gap(self, platform: str, kind: str, count: int) -> None:
        """Count a gap, and what is missing in it (0 where that is not known)."""
        self._gaps.labels(platform, kind).inc()
        self._missing.labels(platform, kind).inc(count)

    def queue(self, sink: str, length: int) -> None:
        """Tell how many items wait for a sink."""
        self._queue.labels(sink).set(length)

    def request(self, platform: str, endpoint: str, status: int | str, seconds: float) -> None:
        """Count a request to a venue, and its duration."""
        self._requests.labels(platform, endpoint, str(status)).inc()
        self._request_seconds.labels(platform, endpoint).observe(seconds)

    def reconnected(self, platform: str) -> None:
        """Count a stream that was connected again."""
        self._reconnects.labels(platform).inc()

    def dropped(self, sink: str, count: int) -> None:
        """Count items that a sink never got because its queue was full."""
        self._dropped.labels(sink).inc(count)

    def restarted(self, platform: str) -> None:
        """Count a feed that broke and was started again."""
        self._restarts.labels(platform).inc()

    def loop_lag(self, seconds: float) -> None:
        """Note how much later than asked the event loop woke up."""
        self._lag.observe(seconds)

    def size(self, platform: str, size_bytes: int, files: int) -> None:
        """Tell what a platform's part of the tree takes on the disk."""
        self._size.labels(platform).set(size_bytes)
        self._files.labels(platform).set(files)

    def closed_file(self, platform: str, size_bytes: int) -> None:
        """Note the size of a file that is complete."""
        self._file_sizes.labels(platform).observe(size_bytes)

    def checked(self, platform: str, what: str) -> None:
        """Count a finding of a check: `empty_book`, `clock`, `update_id`."""
        self._checks.labels(platform, what).inc()

    def exposed(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics in the format that an `Accept` header asks for, Prometheus' text or OpenMetrics, and its type."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

"""What backups tell of themselves, as Prometheus reads it; the names are fixed (docs/reference/metrics.md)."""

from __future__ import annotations

from typing import Protocol

from pytest_marketreplay.metrics.registry import SECONDS, Metrics

LONG_SECONDS = (*SECONDS, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Upper bounds of the buckets of a backup's duration; those of all durations, and then some."""


class BackupMeter(Protocol):
    """What a backup tells of its work. `label` is whose snapshots they are; times are Unix epoch in seconds."""

    def done(self, label: str, operation: str) -> None:
        """Count an operation that went well: `backup`, `verify`, `prune`."""

    def failed(self, label: str, operation: str, kind: str) -> None:
        """Count an operation that failed, and why: the kind of a RemoteError, or the name of another error."""

    def backed_up(self, label: str, at_s: float, size_bytes: int, seconds: float) -> None:
        """Tell when the last good backup began, its size and its duration."""

    def verified(self, label: str, at_s: float) -> None:
        """Tell when a snapshot was last read back and found whole."""


class NoBackupMetrics:
    """A `BackupMeter` that notes nothing."""

    def done(self, label: str, operation: str) -> None:
        """Do nothing."""

    def failed(self, label: str, operation: str, kind: str) -> None:
        """Do nothing."""

    def backed_up(self, label: str, at_s: float, size_bytes: int, seconds: float) -> None:
        """Do nothing."""

    def verified(self, label: str, at_s: float) -> None:
        """Do nothing."""


class BackupMetrics:
    """A `BackupMeter` that Prometheus can read, in the registry of `Metrics`."""

    def __init__(self, metrics: Metrics) -> None:
        import prometheus_client as prometheus  # `Metrics` are there, and so is it

        to = metrics.registry
        self._operations = prometheus.Counter(
            "storage_backup_operations_total",
            "Backups, verifications and prunings.",
            ["label", "operation", "status"],
            registry=to,
        )
        self._failures = prometheus.Counter(
            "storage_backup_failures_total", "Those that failed, by why.", ["label", "operation", "kind"], registry=to
        )
        self._last = prometheus.Gauge(
            "storage_backup_last_timestamp_seconds", "When the last good backup began.", ["label"], registry=to
        )
        self._verified = prometheus.Gauge(
            "storage_backup_last_verified_timestamp_seconds",
            "When a snapshot was last read back and found whole.",
            ["label"],
            registry=to,
        )
        self._size = prometheus.Gauge(
            "storage_backup_size_bytes", "Size of the last good backup.", ["label"], registry=to
        )
        self._seconds = prometheus.Histogram(
            "storage_backup_duration_seconds",
            "Duration of good backups, from the scan to the move.",
            ["label"],
            registry=to,
            buckets=LONG_SECONDS,
        )

    def done(self, label: str, operation: str) -> None:
        """Count an operation that went well: `backup`, `verify`, `prune`."""
        self._operations.labels(label, operation, "ok").inc()

    def failed(self, label: str, operation: str, kind: str) -> None:
        """Count an operation that failed, and why: the kind of a RemoteError, or the name of another error."""
        self._operations.labels(label, operation, "failed").inc()
        self._failures.labels(label, operation, kind).inc()

    def backed_up(self, label: str, at_s: float, size_bytes: int, seconds: float) -> None:
        """Tell when the last good backup began, its size and its duration."""
        self._last.labels(label).set(at_s)
        self._size.labels(label).set(size_bytes)
        self._seconds.labels(label).observe(seconds)

    def verified(self, label: str, at_s: float) -> None:
        """Tell when a snapshot was last read back and found whole."""
        self._verified.labels(label).set(at_s)

    def known(self, label: str, last_ms: int | None, verified_ms: int | None, size_bytes: int) -> None:
        """Tell what is known from before this process began, so that a restart is no gap."""
        if last_ms is not None:
            self._last.labels(label).set(last_ms / 1000)
            self._size.labels(label).set(size_bytes)
        if verified_ms is not None:
            self._verified.labels(label).set(verified_ms / 1000)

"""What a capture does as numbers, for Prometheus, and whether it is well, for whoever restarts it."""

from pytest_marketreplay.metrics.meter import Meter, NoMetrics
from pytest_marketreplay.metrics.registry import Metrics
from pytest_marketreplay.metrics.server import MetricsServer

__all__ = ["Meter", "Metrics", "MetricsServer", "NoMetrics"]

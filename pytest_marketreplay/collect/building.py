"""The parts of a capture, made from its settings: sinks and queues, feeds, metrics, the log."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pytest_marketreplay import logs
from pytest_marketreplay.cassette import names
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.collect.engine import Engine, Feed
from pytest_marketreplay.collect.queueing import SinkQueue
from pytest_marketreplay.collect.settings import CollectSettings
from pytest_marketreplay.metrics import Meter, Metrics, MetricsServer, NoMetrics
from pytest_marketreplay.sinks.items import Gap, Item, Sink
from pytest_marketreplay.venues.registry import Registry

if TYPE_CHECKING:
    from pytest_marketreplay.collect.sessions import SessionState

Emit = Callable[[Item], None]


class Parts(NamedTuple):
    """What a capture is run from."""

    engine: Engine
    meter: Meter
    server: MetricsServer | None
    """Not started."""


def build(settings: CollectSettings, health: Callable[[], dict[str, object]]) -> Parts:
    """Make the parts of a capture; nothing is opened yet. Raises UsageMistake, MissingExtra, CollectError."""
    meter: Meter = NoMetrics()
    server = None
    if settings.metrics_port is not None:
        meter = metrics = Metrics(process=True)
        server = MetricsServer(metrics, settings.metrics_host, settings.metrics_port, health)

    def on_write(sink: str, batch: Sequence[Item], took: float, how: str) -> None:
        status = "ok" if how == "ok" else "failed"
        for (venue, endpoint), count in Counter((each.place.venue, each.place.endpoint) for each in batch).items():
            meter.wrote(venue, endpoint, sink, count, took, status)

    def on_gap(place: Place, gap: Gap) -> None:
        meter.gap(place.venue, gap.kind, gap.count)

    def on_restart(venue: str) -> None:
        meter.restarted(names.venue_folder(venue))

    queues = [
        SinkQueue(sink, on_write=on_write, on_gap=on_gap, on_drop=meter.dropped) for sink in make_sinks(settings, meter)
    ]
    engine = Engine(queues, on_restart=on_restart, on_gap=on_gap)
    for venue, pairs in settings.pairs.items():
        engine.add_feed(venue, _feed_maker(settings, venue, pairs, meter))
    return Parts(engine, meter, server)


def make_sinks(settings: CollectSettings, meter: Meter | None = None) -> list[Sink]:
    """Make the sinks that the settings name. Raises UsageMistake for an unknown one, MissingExtra."""
    from pytest_marketreplay.sinks import registry

    options: dict[str, object] = {
        "rotate_entries": settings.rotate_entries,
        "rotate_bytes": settings.rotate_bytes,
        "rotate_s": settings.rotate_s,
        "seal": settings.seal,
        "retain_s": settings.retain_s,
        "meter": meter,
    }
    return [registry.make(name, {**options, "to": settings.to[name]}) for name in settings.storage]


def _feed_maker(settings: CollectSettings, venue: str, pairs: Sequence[str], meter: Meter) -> Callable[[Emit], Feed]:
    def make(emit: Emit) -> Feed:
        profile = Registry().venues[venue]
        base_url = settings.base_urls.get(venue)
        if settings.feed == "stream":
            from pytest_marketreplay.collect.streaming import StreamFeed

            return StreamFeed(
                profile,
                pairs,
                emit=emit,
                ws_url=base_url and "ws" + base_url.removeprefix("http"),
                rest_url=base_url,
                interval_s=settings.interval_s,
                meter=meter,
            )
        from pytest_marketreplay.collect.polling import PollFeed

        return PollFeed(profile, pairs, settings.interval_s, emit=emit, base_url=base_url, meter=meter)

    return make


def numbers(stats: Any) -> dict[str, int]:
    """Return the whole numbers of a feed's statistics, a mapping or a struct, flat; deeper ones as `outer.inner`."""
    plain = stats if isinstance(stats, Mapping) else msgspec.structs.asdict(stats)
    out: dict[str, int] = {}
    for name, value in plain.items():
        if isinstance(value, Mapping | msgspec.Struct):
            out |= {f"{name}.{inner}": number for inner, number in numbers(value).items()}
        elif isinstance(value, int) and not isinstance(value, bool):
            out[str(name)] = value
    return out


def health(state: SessionState, silent_ms: int, now_ms: int) -> dict[str, object]:
    """Return what a health endpoint says: well is a session that runs, has a fresh heartbeat and no sink that fails."""
    failing = [queue.sink for queue in state.queues if queue.failing]
    age_ms = now_ms - state.heartbeat_ms
    return {
        "ok": state.status == "running" and not failing and age_ms <= silent_ms,
        "session_id": state.session_id,
        "status": state.status,
        "heartbeat_age_ms": age_ms,
        "failing_sinks": failing,
        "items": state.counts.get("items", 0),
        "last_error": state.last_error,
    }


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Log into a session's file. Raises CollectError where it cannot be written."""
    stop = logs.start(path)
    try:
        yield
    finally:
        stop()

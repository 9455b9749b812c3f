"""A cassette as a server on loopback, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from datetime import datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from pytest_marketreplay.cassette.names import venue_folder
from pytest_marketreplay.config import ORDERS, Settings, one_of
from pytest_marketreplay.errors import CassetteNotFound, MarketReplayError, UsageMistake

if TYPE_CHECKING:
    from pytest_marketreplay.venues.profile import Venue
    from pytest_marketreplay.venues.registry import Registry

    from .listener import Listener
    from .loading import Loaded
    from .seam import Faults
    from .tally import Miss, Served

_PATIENCE_S = 10.0
Begin = Literal["first_request", "start"]


class CassetteServer:
    """Serve cassettes as live exchanges on loopback: HTTP and WebSocket, each venue on a port of its own.

    A context manager. Several cassettes are layers: all are read. Paths are those of the exchange. The tape's time
    starts at the first entry (or at `start_at`: Unix epoch in milliseconds, or a datetime with its zone), when the first
    client comes (`begin="start"`: when the server starts), and moves with real time times `speed`. A speed of 0 or None
    waits for nothing: messages come as fast as the client takes them, REST answers in recorded order.

    REST: `order="time"` gives the newest recorded answer not later than the tape's now; one that is first recorded later
    is held up to `patience_s` real seconds. `order="sequence"` gives one after the other, and the last one again.
    Requests match as in a test: secrets, signatures and nonces do not count.

    WebSocket: on Binance and Kraken a client gets the streams it subscribes to, from whatever connection recorded them;
    who comes late gets a book from its recorded snapshot on, all up to now at once, so that it can be built. Elsewhere a URL that was recorded is played as it was recorded. At the end of the tape connections are closed with
    1001; with `loop` the tape starts over: update ids go backwards, as in a fresh session, and a book needs a new
    snapshot. A client that does not read for `slow_client_s` seconds is cut.

    `port`: that of the first venue (in the order of their names), the others follow; 0 takes free ones. `hosts` and
    `venues` are those of `use_cassette`. `on_end` is called once, in the server's thread, when the tape has ended.

    Raises UsageMistake for a wrong argument; `start` raises CassetteNotFound, DamagedCassette.
    """

    def __init__(
        self,
        cassettes: str | PathLike[str] | Iterable[str | PathLike[str]],
        *,
        speed: float | None = 1.0,
        loop: bool = False,
        order: str = "time",
        start_at: int | datetime | None = None,
        begin: Begin = "first_request",
        port: int = 0,
        hosts: Mapping[str, str] | None = None,
        venues: Iterable[Venue] = (),
        registry: Registry | None = None,
        ignore_params: Iterable[str] = (),
        faults: Faults | None = None,
        on_end: Callable[[], None] | None = None,
        patience_s: float = _PATIENCE_S,
        slow_client_s: float = 10.0,
    ) -> None:
        one = isinstance(cassettes, str | PathLike)
        self.cassettes = [Path(cassettes)] if one else [Path(path) for path in cassettes]  # type: ignore[arg-type, union-attr]
        if not self.cassettes:
            raise UsageMistake("a server needs a cassette, as in CassetteServer('cassettes/btc_crash')")
        if speed is not None and not 0 <= speed < float("inf"):
            raise UsageMistake(f"speed is {speed!r}; it is a factor of real time, and 0 or None waits for nothing")
        if isinstance(start_at, datetime) and start_at.tzinfo is None:
            raise UsageMistake(f"start_at is {start_at!r}, which has no time zone: datetime(..., tzinfo=UTC)")
        if not 0 <= port <= 65535:
            raise UsageMistake(f"port is {port}; it is 0 to 65535")
        self.speed, self.loop = speed or None, loop
        self.order = one_of("order", order, ORDERS) if self.speed else "sequence"
        self._begin = one_of("begin", begin, ("first_request", "start"))
        self._start_at, self._port = start_at, port
        self._settings = Settings.of(hosts=hosts, ignore_params=ignore_params)
        self._registry, self._venues = registry, tuple(venues)
        self._faults, self._on_end = faults, on_end
        self._patience_s, self._slow_client_s = patience_s, slow_client_s
        self._ports: dict[str, int] = {}
        self._loaded: Loaded | None = None
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._has_ended = threading.Event()

    # Serving

    def start(self) -> Self:
        """Read the cassettes, listen, and return when it does; starting twice changes nothing.

        Raises CassetteNotFound, DamagedCassette, UsageMistake for a `start_at` that is not on the tape, OSError where a
        port cannot be had.
        """
        if self._thread is not None:
            return self
        self._has_ended.clear()
        for cassette in self.cassettes:
            if not cassette.is_dir():
                raise CassetteNotFound(cassette)
        from .listener import Listener  # aiohttp is imported here, not before
        from .loading import load

        loaded = self._loaded = load(
            self.cassettes,
            self._registry,
            self._settings,
            self._venues,
            speed=self.speed,
            loop=self.loop,
            order=self.order,
            start_at=self._start_at,
            faults=self._faults,
            patience_s=self._patience_s,
            ended=self._end,
            local=self._local,
        )
        try:
            self._listen(loaded, Listener)
        except BaseException:
            self.stop()
            raise
        return self

    def _listen(self, loaded: Loaded, listener: type[Listener]) -> None:
        ports = {venue: self._port and self._port + number for number, venue in enumerate(loaded.sides)}
        if any(port > 65535 for port in ports.values()):
            raise UsageMistake(f"port {self._port} leaves no room for {len(ports)} venues")
        self._listener = listener(
            loaded.sides,
            ports,
            loaded.pace,
            begin_at_once=self._begin == "start",
            slow_client_s=self._slow_client_s,
            ended=self._end,
        )
        ready: Future[dict[str, int]] = Future()
        self._thread = threading.Thread(target=self._listener.run, args=(ready,), name="cassette-server", daemon=True)
        self._thread.start()
        self._ports = ready.result(_PATIENCE_S)

    def stop(self) -> None:
        """Close every connection and wait for the thread; stopping twice changes nothing.

        Raises MarketReplayError when the thread does not end within ten seconds.
        """
        thread, listener, self._thread, self._listener = self._thread, self._listener, None, None
        if thread is not None and listener is not None:
            listener.stop()
            thread.join(_PATIENCE_S)
            if thread.is_alive():
                raise MarketReplayError(f"the cassette server did not stop within {_PATIENCE_S:g} s")
        if self._loaded is not None:
            self._loaded.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _end(self) -> None:
        if not self._has_ended.is_set():
            self._has_ended.set()
            from .tally import log

            log.info("the recording has ended: %s", ", ".join(map(str, self.cassettes)))
            if self._on_end is not None:
                self._on_end()

    # What a user asks

    @property
    def venues(self) -> tuple[str, ...]:
        """The venues that are served, in the order of their ports."""
        return tuple(self._ports)

    def url(self, venue: str) -> str:
        """Give the base URL of a venue's REST API, without a slash at its end; kept after `stop`.

        Raises UsageMistake for a venue that the cassettes do not have.
        """
        return f"http://127.0.0.1:{self._port_of(venue)}"

    def ws_url(self, venue: str) -> str:
        """Give the base URL of a venue's WebSocket API, without a slash at its end; kept after `stop`."""
        return f"ws://127.0.0.1:{self._port_of(venue)}"

    def _port_of(self, venue: str) -> int:
        if not self._ports:
            raise UsageMistake(f"the cassette server has no URL for {venue!r} before it is started: call start()")
        if venue not in self._ports:
            raise UsageMistake(f"the cassettes have nothing of {venue!r}; they have {', '.join(self._ports)}")
        return self._ports[venue]

    def _local(self, host: str) -> str | None:
        assert self._loaded is not None  # whoever asks is being served
        name = self._loaded.registry.of(host).name
        return self.url(name) if name in self._ports else None

    def hosts(self) -> dict[str, str]:
        """Give where each host of the served venues is: `api.binance.com` -> `127.0.0.1:40123`. Patterns are left out."""
        loaded = self._started()
        return {
            host: f"127.0.0.1:{port}"
            for venue, port in self._ports.items()
            for host in loaded.registry.by_folder(venue_folder(venue)).hosts
            if not set("*?[") & set(host)
        }

    def now(self) -> int:
        """Return the tape's time, Unix epoch in milliseconds: that of the recording, in a later lap too."""
        return self._started().pace.now_ns() // 1_000_000

    @property
    def lap(self) -> int:
        """How often the tape has started over."""
        return self._started().pace.lap()

    @property
    def served(self) -> dict[str, Served]:
        """What each venue served so far."""
        return dict(self._started().tally.served)

    @property
    def misses(self) -> list[Miss]:
        """What was asked that nothing recorded answers, the first thousand."""
        return list(self._started().tally.misses)

    def wait_end(self, timeout_s: float | None = None) -> bool:
        """Wait until the tape has ended; False where it has not within so many seconds.

        Without a clock it ends when the first connection has got all of its streams.
        """
        return self._has_ended.wait(timeout_s)

    def _started(self) -> Loaded:
        if self._loaded is None:
            raise UsageMistake("the cassette server is not started: call start()")
        return self._loaded

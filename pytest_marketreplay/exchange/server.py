"""The simulated exchange as a server on loopback, in a thread of its own."""

from __future__ import annotations

import base64
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pytest_marketreplay.errors import MarketReplayError, UsageMistake

from .account import Account
from .binance import BinanceSide
from .instruments import BINANCE_INSTRUMENTS, KRAKEN_INSTRUMENTS
from .kraken import KrakenSide
from .limits import Limits
from .market import Market
from .wire import Answer, Asked, Call, Failure, VenueSide

if TYPE_CHECKING:
    from .listener import Listener

API_KEY = "SIMULATEDKEY".ljust(64, "0")
API_SECRET = "SIMULATEDSECRET".ljust(64, "0")
"""Credentials that are accepted unless others are given; they open nothing but the simulated exchange."""

_TRADED = ("binance", "kraken")
VENUES = (*_TRADED, "lab")
_BINANCE_FUNDS = {"BTC": 10**8, "ETH": 20 * 10**8, "BNB": 50 * 10**8, "USDT": 100_000 * 10**8}
_KRAKEN_FUNDS = {
    "BNB": 50 * 10**8,
    "USDT": 50_000 * 10**8,
    "XETH": 20 * 10**8,
    "XXBT": 10**8,
    "ZUSD": 100_000 * 10**8,
}
_PATIENCE_S = 10.0


class SimulatedExchange:
    """Serve a seeded exchange on loopback: Binance- and Kraken-shaped REST, each venue on a port of its own.

    A context manager. The same seed and the same requests give the same bodies: the market moves by one step with
    every request for market data, and by `advance`, never with the wall clock. `clock` gives the market's time as
    Unix epoch in milliseconds; without it time is simulated, from 2025-10-02T10:00:00Z, 100 ms a step. A venue's
    market begins when it is first asked for. `real_time` gives Unix epoch in seconds and serves rate limits, bans and
    the check of signed timestamps, which is also content with the market's own time. `compress` answers in gzip or
    deflate when the client accepts it.

    `url("lab")` serves awkward answers under `/__lab__/` for tests of HTTP clients (see `exchange.lab`).

    Raises UsageMistake for an unknown venue, and for a key or secret that the venues' formats do not allow.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        api_key: str = API_KEY,
        api_secret: str = API_SECRET,
        clock: Callable[[], int] | None = None,
        limits: Limits | None = None,
        real_time: Callable[[], float] = time.time,
        compress: bool = False,
    ) -> None:
        if not (len(api_key) == 64 and api_key.isascii() and api_key.isalnum()):
            raise UsageMistake("api_key of the simulated exchange must be 64 letters and digits, as Binance's keys are")
        if not api_secret:
            raise UsageMistake("api_secret of the simulated exchange must not be empty")
        self.seed = seed
        self.compress = compress
        self.requests: list[Asked] = []
        self._api_key = api_key
        self._api_secret = api_secret
        self._lock = threading.RLock()
        self._failures: dict[str, deque[Failure]] = {venue: deque() for venue in VENUES}
        self._urls: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        self._listener: Listener | None = None
        self._clock = clock
        self._limits = limits or Limits()
        self._real_time = real_time
        self._markets: dict[str, Market] = {}
        self._sides: dict[str, VenueSide] = {}

    # Serving

    def start(self) -> Self:
        """Listen on loopback and return when it does; starting twice changes nothing.

        Raises OSError when no port can be had.
        """
        if self._thread is not None:
            return self
        from .listener import Listener  # aiohttp is imported here, not before

        ready: Future[dict[str, str]] = Future()
        self._listener = Listener(self)
        self._thread = threading.Thread(
            target=self._listener.run, args=(ready,), name="simulated-exchange", daemon=True
        )
        self._thread.start()
        try:
            self._urls = ready.result(_PATIENCE_S)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Close every connection and wait for the thread; stopping twice changes nothing.

        Raises MarketReplayError when the thread does not end within ten seconds.
        """
        thread, listener, self._thread, self._listener = self._thread, self._listener, None, None
        if thread is not None and listener is not None:
            listener.stop()
            thread.join(_PATIENCE_S)
            if thread.is_alive():
                raise MarketReplayError(f"the simulated exchange did not stop within {_PATIENCE_S:g} s")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What a user asks

    def url(self, venue: str) -> str:
        """Give the base URL of `binance`, `kraken` or `lab`, without a slash at its end; kept after `stop`."""
        self._known(venue, VENUES)
        if venue not in self._urls:
            raise UsageMistake(f"the simulated exchange has no URL for {venue!r} before it is started: call start()")
        return self._urls[venue]

    def api_key(self, venue: str) -> str:
        """Give the key that a venue accepts."""
        self._known(venue, _TRADED)
        return self._api_key

    def api_secret(self, venue: str) -> str:
        """Give the secret that a venue accepts; Kraken's is the same text in base64, as its clients expect."""
        self._known(venue, _TRADED)
        return base64.b64encode(self._api_secret.encode()).decode() if venue == "kraken" else self._api_secret

    def market(self, venue: str) -> Market:
        """Give the market behind a venue; hold no part of it while requests are under way."""
        self._known(venue, _TRADED)
        with self._lock:
            self._side(venue)
            return self._markets[venue]

    def advance(self, steps: int = 1, venue: str | None = None) -> None:
        """Let the market of one venue, or of both, move without a request."""
        with self._lock:
            for each in _TRADED if venue is None else (venue,):
                self.market(each).advance(steps)

    def fail_next(
        self, venue: str, *, status: int, times: int = 1, retry_after: int = 1, message: str | None = None
    ) -> None:
        """Make the next requests to a venue fail with an HTTP status, in the venue's own words.

        `retry_after`, in seconds, goes out with 429 and 418. `message` replaces the text of the error, such as
        `EGeneral:Too many requests` with status 200, as Kraken tells most of its errors.
        """
        self._known(venue, VENUES)
        if not 200 <= status <= 599 or times < 1:
            raise UsageMistake(
                f"fail_next needs a status from 200 to 599 and times of 1 or more, not {status}, {times}"
            )
        with self._lock:
            self._failures[venue].extend([Failure(status, retry_after, message)] * times)

    def count(self, venue: str | None = None) -> int:
        """Count the requests that a venue, or all, received so far."""
        with self._lock:
            return sum(venue in (None, asked.venue) for asked in self.requests)

    # What the listener asks

    def answer(self, venue: str, call: Call) -> Answer:
        """Answer one call to a venue, and note it."""
        with self._lock:
            side, failure = self._side(venue), self.next_failure(venue)
            answer = side.answer(call) if failure is None else side.failure(failure)
            self.note(Asked(venue, call.method, call.path, answer.status))
            return answer

    def next_failure(self, venue: str) -> Failure | None:
        """Take the next failure that was asked for."""
        with self._lock:
            return self._failures[venue].popleft() if self._failures[venue] else None

    def note(self, asked: Asked) -> None:
        """Note a request that was received."""
        with self._lock:
            self.requests.append(asked)

    def _side(self, venue: str) -> VenueSide:
        """Give a venue's side, made when it is first needed: its books take some 10 ms each."""
        if venue not in self._sides:
            kraken = venue == "kraken"
            instruments = KRAKEN_INSTRUMENTS if kraken else BINANCE_INSTRUMENTS
            market = Market(instruments, f"{self.seed}/{venue}", clock=self._clock)
            self._markets[venue] = market
            self._sides[venue] = (KrakenSide if kraken else BinanceSide)(
                market,
                Account(market, _KRAKEN_FUNDS if kraken else _BINANCE_FUNDS),
                api_key=self._api_key,
                api_secret=self.api_secret(venue),
                limits=self._limits,
                real_time=self._real_time,
            )
        return self._sides[venue]

    def _known(self, venue: str, venues: Iterable[str]) -> None:
        names = tuple(venues)
        if venue not in names:
            raise UsageMistake(f"the simulated exchange has no venue {venue!r}; it has {', '.join(names)}")

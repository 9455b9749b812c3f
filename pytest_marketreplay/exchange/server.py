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
from .connection import OpenStream
from .instruments import BINANCE_INSTRUMENTS, KRAKEN_INSTRUMENTS
from .kraken import KrakenSide
from .limits import Limits
from .market import Market
from .streaming import Streaming
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
    """Serve a seeded exchange on loopback: Binance- and Kraken-shaped REST and WebSocket, a port for each venue.

    A context manager. The same seed and the same requests give the same bodies: the market moves by one step with
    every request for market data, and by `advance`, never with the wall clock. `clock` gives the market's time as
    Unix epoch in milliseconds; without it time is simulated, from 2025-10-02T10:00:00Z, 100 ms a step. A venue's
    market begins when it is first asked for. `real_time` gives Unix epoch in seconds and serves rate limits, bans and
    the check of signed timestamps, which is also content with the market's own time. `compress` answers in gzip or
    deflate when the client accepts it.

    WebSocket frames go out when the market moves: the same seed, requests and subscriptions give the same frames.
    `step_every`, in seconds, moves the markets that were begun by themselves too, so that a stream needs no other
    traffic; what a client then sees depends on when it came. The attribute of that name can be set at any time.

    `url("lab")` serves awkward answers under `/__lab__/` for tests of HTTP clients (see `exchange.lab`).

    Raises UsageMistake for an unknown venue, for a key or secret that the venues' formats do not allow, and for a
    `step_every` that is not above 0.
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
        step_every: float | None = None,
    ) -> None:
        if not (len(api_key) == 64 and api_key.isascii() and api_key.isalnum()):
            raise UsageMistake("api_key of the simulated exchange must be 64 letters and digits, as Binance's keys are")
        if not api_secret:
            raise UsageMistake("api_secret of the simulated exchange must not be empty")
        self.seed = seed
        self.compress = compress
        self._step_every = _above_0(step_every)
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
        self.streaming = Streaming(self._lock, _TRADED, lambda venue: self._side(venue).streams)

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

    @property
    def step_every(self) -> float | None:
        """How often the market moves by itself, in seconds; None: only with requests and `advance`."""
        return self._step_every

    @step_every.setter
    def step_every(self, seconds: float | None) -> None:
        self._step_every = _above_0(seconds)
        if (listener := self._listener) is not None:
            listener.wake()

    def url(self, venue: str) -> str:
        """Give the base URL of `binance`, `kraken` or `lab`, without a slash at its end; kept after `stop`."""
        self._known(venue, VENUES)
        if venue not in self._urls:
            raise UsageMistake(f"the simulated exchange has no URL for {venue!r} before it is started: call start()")
        return self._urls[venue]

    def ws_url(self, venue: str) -> str:
        """Give the base URL of the WebSocket side of `binance` or `kraken`, without a slash at its end.

        Binance: `/ws/<stream>`, `/stream?streams=<stream>/<stream>`. Kraken: `/ws` speaks version 1, `/v2` version 2.
        """
        self._known(venue, _TRADED)
        return self.url(venue).replace("http://", "ws://", 1)

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
        if steps < 0:
            raise UsageMistake(f"the simulated market cannot advance by {steps} steps: time only moves forward")
        for each in _TRADED if venue is None else (venue,):
            market = self.market(each)
            for _ in range(steps):
                self.streaming.wait_for_room()  # a client that reads gets every frame, however many steps there are
                with self._lock:
                    market.advance()

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

    def streams(self, venue: str) -> tuple[OpenStream, ...]:
        """List the open WebSocket connections of a venue, oldest first, with what they are subscribed to."""
        self._known(venue, _TRADED)
        return self.streaming.listed(venue)

    def drop_streams(self, venue: str, code: int | None = None, reason: str = "") -> int:
        """End the WebSocket connections of a venue; gives how many there were.

        Without a code the TCP connections are cut and what was not sent yet is lost; with one, such as 1001 or 1012,
        a close frame follows it.
        """
        self._known(venue, _TRADED)
        if code is not None and not (1000 <= code <= 1014 or 3000 <= code <= 4999):
            raise UsageMistake(f"a close code is 1000 to 1014 or 3000 to 4999 (RFC 6455, section 7.4), not {code}")
        return self.streaming.drop(venue, code, reason)

    def refuse_upgrades(self, venue: str, status: int = 503, times: int = 1) -> None:
        """Answer the next WebSocket handshakes of a venue with an HTTP status, in the venue's own words."""
        self._known(venue, _TRADED)
        if not 400 <= status <= 599 or times < 1:
            raise UsageMistake(
                f"refuse_upgrades needs a status from 400 to 599 and times of 1 or more, not {status}, {times}"
            )
        self.streaming.refuse(venue, status, times)

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
            self.streaming.flush(venue)
            self.note(Asked(venue, call.method, call.path, answer.status))
            return answer

    def answer_upgrade(self, venue: str, path: str) -> Answer | None:
        """Answer a WebSocket handshake that is refused, or that no stream is behind; None when it is welcome."""
        with self._lock:
            status = self.streaming.refusal(venue)
            if status is None and self.streaming.serves(venue, path):
                self.note(Asked(venue, "GET", path, 101))
                return None
            side = self._side(venue)
            answer = side.answer(Call("GET", path)) if status is None else side.failure(Failure(status, 1))
            self.note(Asked(venue, "GET", path, answer.status))
            return answer

    def step(self) -> None:
        """Move the markets that were begun by one step, as `step_every` does."""
        with self._lock:
            for market in self._markets.values():
                market.advance()

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
            market.after_step(lambda: self.streaming.flush(venue))  # after the account, so that its fills go out too
        return self._sides[venue]

    def _known(self, venue: str, venues: Iterable[str]) -> None:
        names = tuple(venues)
        if venue not in names:
            raise UsageMistake(f"the simulated exchange has no venue {venue!r}; it has {', '.join(names)}")


def _above_0(seconds: float | None) -> float | None:
    if seconds is not None and not seconds > 0:
        raise UsageMistake(f"step_every of the simulated exchange must be above 0 s, or None, not {seconds}")
    return seconds

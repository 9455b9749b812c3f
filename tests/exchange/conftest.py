"""A running simulated exchange, and clients of the least possible kind for its two venues."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from websockets.sync.client import connect

from pytest_marketreplay.exchange import SimulatedExchange


class RawVenue:
    """Ask one venue with plain requests."""

    def __init__(self, exchange: SimulatedExchange, venue: str) -> None:
        self.exchange = exchange
        self.venue = venue
        self.key = exchange.api_key(venue)
        self.secret = exchange.api_secret(venue)
        self.session = requests.Session()
        self.nonce = 1_000_000

    def get(self, path: str, **params: object) -> requests.Response:
        return self.session.get(self.exchange.url(self.venue) + path, params=params, timeout=10)

    def signed(self, method: str, path: str, **params: object) -> requests.Response:
        """Sign as Binance wants it, in the query string."""
        query = urlencode({"timestamp": int(time.time() * 1000), **params})
        signature = hmac.new(self.secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        url = f"{self.exchange.url(self.venue)}{path}?{query}&signature={signature}"
        return self.session.request(method, url, headers={"X-MBX-APIKEY": self.key}, timeout=10)

    def private(self, method: str, *, nonce: int | None = None, **params: object) -> requests.Response:
        """Sign as Kraken wants it, in the headers."""
        self.nonce += 1
        path, chosen = f"/0/private/{method}", self.nonce if nonce is None else nonce
        body = urlencode({"nonce": chosen, **params})
        digest = path.encode() + hashlib.sha256(f"{chosen}{body}".encode()).digest()
        signature = base64.b64encode(hmac.new(base64.b64decode(self.secret), digest, hashlib.sha512).digest())
        headers = {
            "API-Key": self.key,
            "API-Sign": signature.decode(),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self.session.post(self.exchange.url(self.venue) + path, data=body, headers=headers, timeout=10)


@pytest.fixture
def raw_venue() -> type[RawVenue]:
    """Give the client to tests that start an exchange of their own."""
    return RawVenue


@pytest.fixture
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(seed=1) as running:
        yield running


@pytest.fixture
def binance(exchange: SimulatedExchange) -> Iterator[RawVenue]:
    venue = RawVenue(exchange, "binance")
    yield venue
    venue.session.close()


@pytest.fixture
def kraken(exchange: SimulatedExchange) -> Iterator[RawVenue]:
    venue = RawVenue(exchange, "kraken")
    yield venue
    venue.session.close()


class Ear:
    """Listen to one venue on a WebSocket, and read exactly what it has sent."""

    def __init__(self, exchange: SimulatedExchange, venue: str, path: str, stack: ExitStack, **options: Any) -> None:
        self.exchange = exchange
        self.venue = venue
        self.connection = stack.enter_context(
            connect(exchange.ws_url(venue) + path, max_queue=None, compression=None, **options)
        )
        self.number = exchange.streams(venue)[-1].number
        self.frames: list[str] = []

    def send(self, message: object) -> None:
        self.connection.send(message if isinstance(message, str) else json.dumps(message))

    def next(self) -> Any:
        """Read one frame; it is there within seconds or never."""
        self.frames.append(str(self.connection.recv(timeout=10)))
        return json.loads(self.frames[-1])

    def ask(self, message: object) -> Any:
        """Send a message and read the next frame."""
        self.send(message)
        return self.next()

    def all(self) -> list[Any]:
        """Read every frame that the venue has queued by now."""
        sent = next(each.frames for each in self.exchange.streams(self.venue) if each.number == self.number)
        return [self.next() for _ in range(sent - len(self.frames))]


@pytest.fixture
def listen(exchange: SimulatedExchange) -> Iterator[Callable[..., Ear]]:
    """Open connections to the exchange of the test, or to another one, and close them at its end."""
    with ExitStack() as stack:

        def open_ear(venue: str, path: str, of: SimulatedExchange | None = None, **options: Any) -> Ear:
            return Ear(of or exchange, venue, path, stack, **options)

        yield open_ear

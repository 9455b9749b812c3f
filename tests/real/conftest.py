"""Skip where the real data set is not there; start its server; record everything once for each client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.replay.run import Run

from . import recorded_data
from .clients import CLIENTS, Call, Client, Got
from .recorded_data import Asked
from .server import RealExchange

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = recorded_data.missing()
    if reason is None:
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "client_name" in metafunc.fixturenames:
        metafunc.parametrize("client_name", list(CLIENTS), scope="session")
    if "asked" in metafunc.fixturenames:
        # without the set there is one test, which is skipped with the reason
        given = list(recorded_data.asked()) or [pytest.param(None, id="no-data")]
        metafunc.parametrize("asked", given, ids=lambda asked: asked.entry.id)


@pytest.fixture
def client(client_name: str) -> Client:
    return CLIENTS[client_name]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RealExchange]]:
    """Start servers of the data set for one test; they end with it."""
    running: list[RealExchange] = []

    def start(**options: object) -> RealExchange:
        running.append(RealExchange(tmp_path / f"server-{len(running)}.log", **options))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def _one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealExchange]:
    server = RealExchange(tmp_path_factory.mktemp("exchange") / "server.log")
    yield server
    server.stop()


@pytest.fixture
def exchange(_one_server: RealExchange) -> RealExchange:
    """A running server, started once and reset for each test."""
    _one_server.reset()
    return _one_server


@dataclass(frozen=True)
class Recorded:
    """All that the server has, recorded by one client; the server is down."""

    cassette: Path
    server: RealExchange
    got: dict[str, Got]

    def calls(self, asked: Asked) -> list[Call]:
        """Return the requests of an entry: it is the last one's answer."""
        return calls(self.server, asked)

    def replay(self, client: Client, asked: Asked) -> Got:
        """Ask for one entry of the cassette."""
        with use_cassette(self.cassette, hosts={self.server.address: asked.entry.venue}):
            return client(self.calls(asked))[-1]


def calls(
    server: RealExchange, asked: Asked, *, form: bool = False, named: bool = False, encoding: str | None = None
) -> list[Call]:
    """Return what to send for an entry; `named` puts the venue into the URL, else the Host header tells it."""
    entry = asked.entry
    prefix = f"/v/{entry.venue}" if named else ""
    call = Call(f"{server.url}{prefix}{entry.path}", entry.query, None if named else entry.host, form, encoding)
    return [call] * asked.nth


def play_all(
    server: RealExchange,
    client: Client,
    cassette: Path,
    *,
    mode: str = "once",
    form: bool = False,
    named: bool = False,
    encoding: str | None = None,
) -> dict[str, Got]:
    """Record every entry into one cassette, or replay it, venue by venue; returns what the client got, by entry.

    What comes before an answer that is one of several for its URL is asked for too.
    """
    run = Run()
    got: dict[str, Got] = {}
    requests = sorted(recorded_data.asked(), key=lambda asked: asked.entry.venue)
    for venue, group in groupby(requests, key=lambda asked: asked.entry.venue):
        sent: list[Call] = []
        place: dict[str, int] = {}
        for asked in group:
            same = calls(server, asked, form=form, named=named, encoding=encoding)
            # one venue's answers to one URL are one queue, whatever host they were recorded at
            sent += same[sum((one.url, one.params) == (same[0].url, same[0].params) for one in sent) :]
            place[asked.entry.id] = len(sent) - 1
        with use_cassette(cassette, mode=mode, hosts={server.address: venue}, run=run):
            answers = client(sent)
        got |= {name: answers[number] for name, number in place.items()}
    return got


@pytest.fixture(scope="session")
def recorded(client_name: str, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """What one client recorded of everything that the server has; the server is stopped."""
    folder = tmp_path_factory.mktemp(f"recorded-{client_name}")
    server = RealExchange(folder / "server.log")
    try:
        got = play_all(server, CLIENTS[client_name], folder / "cassette")
    finally:
        server.stop()
    return Recorded(folder / "cassette", server, got)

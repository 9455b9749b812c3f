"""C5 on recorded traffic of real venues, served with faults: what is lost, doubled, swapped or cut is found."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from real.recorded_data import missing
from real.server import RealExchange

from .scripted import QUICK, Running, running

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

# the server answers with what was recorded, which acknowledges other numbers; and it falls silent at the end
PATIENCE = msgspec.structs.replace(QUICK, heartbeat_s=20.0, acknowledgement_s=20.0, book_pause_s=0.02)
DIFFS = {"binance": ("NKN-USDT", 150), "binance_futures": ("SUSHI-USDT", 255), "binance_us": ("COMP-USDT", 107)}
"""How many depth diffs of a pair were recorded; none of them is missing."""


@pytest.fixture(scope="module")
def _one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealExchange]:
    server = RealExchange(tmp_path_factory.mktemp("exchange") / "server.log", speed=0)
    yield server
    server.stop()


@pytest.fixture
def start(_one_server: RealExchange) -> Callable[..., RealExchange]:
    """Give a server that sends all that it has at once, with some faults; it is one, reset for each test."""

    def start(**options: object) -> RealExchange:
        _one_server.reset()
        _one_server.set(speed=0, **options)
        return _one_server

    return start


async def streamed(
    server: RealExchange, venue: str, pair: str, enough: Callable[[Running], object], **options: Any
) -> Running:
    prefix = f"/v/{venue}"
    path = options.pop("path", prefix)
    options = {"patience": PATIENCE, "path": path, "rest_path": prefix, **options}
    async with running(server.address, (pair,), venue=venue, **options) as run:
        await run.until(lambda: enough(run), 20)
    return run


def found(run: Running) -> Counter[str]:
    names = ("sequence_gap", "sequence_duplicate", "sequence_reorder", "unreadable")
    return +Counter({name: run.count(name) for name in names})


@pytest.mark.parametrize("every", [5, 7, 11])
@pytest.mark.parametrize("fault", ["skip", "dup", "swap", "corrupt"])
@pytest.mark.parametrize("venue", list(DIFFS))
def test_every_fault_in_a_recorded_stream_is_found(
    start: Callable[..., RealExchange], venue: str, fault: str, every: int
) -> None:
    pair, total = DIFFS[venue]
    server = start(**{f"ws_{fault}_every": every})
    number = total // every if fault != "swap" else len(range(every - 1, total - 1, every))
    frames = {"skip": total - number, "dup": total + number}.get(fault, total)
    run = asyncio.run(streamed(server, venue, pair, lambda run: run.count("frames") == frames, channels=("depth",)))
    # one that is lost as the very last shows with nothing after it
    lost = number - (total % every == 0)
    assert (
        found(run)
        == {
            "skip": {"sequence_gap": lost},
            "dup": {"sequence_duplicate": number},
            "swap": {"sequence_gap": number, "sequence_reorder": number},
            "corrupt": {"sequence_gap": lost, "unreadable": number},
        }[fault]
    )
    assert sum(gap.kind == "sequence" for gap in run.caught.gaps) == sum(found(run).values())


@pytest.mark.parametrize("venue", list(DIFFS))
def test_a_recorded_stream_without_faults_has_none_and_a_checked_book(
    start: Callable[..., RealExchange], venue: str
) -> None:
    pair, total = DIFFS[venue]
    run = asyncio.run(
        streamed(
            start(),
            venue,
            pair,
            lambda run: run.count("depth") == total and run.caught.snapshots,
            interval_s=0.01,
            channels=("depth",),
        )
    )
    assert found(run) == {}
    assert all(one.bids[0].price < one.asks[0].price for one in run.caught.snapshots)


@pytest.mark.parametrize(
    ("venue", "pair", "path"),
    [
        ("kraken", "ADA-BTC", "/v/kraken/ws"),
        ("okx", "BTC-USDT", "/v/okx"),
        ("bybit", "BTC-USDT", "/v/bybit"),
        ("coinbase", "BTC-USD", "/v/coinbase/ws"),
        ("bitstamp", "BAT-BTC", "/v/bitstamp/ws"),
    ],
)
def test_each_venue_gives_a_checked_book_of_its_recorded_stream(
    start: Callable[..., RealExchange], venue: str, pair: str, path: str
) -> None:
    run = asyncio.run(
        streamed(
            start(),
            venue,
            pair,
            lambda run: run.count("depth") > 50 and len(run.caught.snapshots) > 3,
            interval_s=0.01,
            path=path,
        )
    )
    assert found(run) == {}
    assert run.count("checksum") == run.count("dead") == 0
    # of Kraken no trade was recorded for this pair, so that its server refuses them
    assert run.count("refused") == (venue == "kraken")
    assert run.caught.snapshots[-1].bids[0].price < run.caught.snapshots[-1].asks[0].price
    assert run.caught.snapshots[-1].exchange == venue


def test_a_lost_diff_of_kraken_shows_in_the_checksum_and_the_book_is_asked_for_anew(
    start: Callable[..., RealExchange],
) -> None:
    run = asyncio.run(
        streamed(
            start(ws_skip_every=50),
            "kraken",
            "ADA-BTC",
            lambda run: run.count("checksum") >= 3 and run.count("resubscriptions") >= 3,
            path="/v/kraken/ws",
            channels=("depth",),
        )
    )
    told = [frame.data() for frame in run.caught.frames if frame.meta.dir == "send" and frame.meta.opcode == "text"]
    assert sum(b'"unsubscribe"' in text for text in told) == run.count("resubscriptions")
    assert any("checksum" in gap.reason for gap in run.caught.gaps)


def test_the_book_of_kraken_comes_back_and_a_repeated_diff_is_found(start: Callable[..., RealExchange]) -> None:
    server = start(ws_skip_every=50)

    async def story() -> Running:
        options: dict[str, Any] = {"path": "/v/kraken/ws", "patience": PATIENCE, "channels": ("depth",)}
        async with running(server.address, ("ADA-BTC",), venue="kraken", **options) as run:
            await run.until(lambda: run.count("checksum") >= 1)
            await asyncio.to_thread(server.set, ws_skip_every=0, ws_dup_every=40)
            await run.until(lambda: run.count("sequence_duplicate") >= 3 and run.feed.stats().pairs["ADA-BTC"].ready)
            asked = run.count("resubscriptions")
            await asyncio.sleep(3 * PATIENCE.book_pause_s)
            assert run.count("resubscriptions") == asked  # nobody repairs a book that is whole
        return run

    run = asyncio.run(story())
    assert any(gap.reason == "ADA-BTC depth: duplicate" for gap in run.caught.gaps)


def test_a_cut_and_a_refused_upgrade_are_survived(start: Callable[..., RealExchange]) -> None:
    server = start(ws_disconnect_after=40, ws_disconnect_times=2, ws_reject_next=1)
    pair, total = DIFFS["binance"]
    run = asyncio.run(
        streamed(server, "binance", pair, lambda run: run.count("depth") >= 80 + total, channels=("depth",))
    )
    assert (run.count("connections"), run.count("handshakes_failed")) == (3, 1)
    assert [gap.kind for gap in run.caught.gaps if gap.kind != "failed"] == ["disconnected"] * 3
    assert found(run) == {}

"""C3 and C5 of a connection: silence, cuts, refusals, garbage, renewal; nothing is lost without being told."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import random
import time
from collections import Counter
from typing import Any

import msgspec
import pytest
from aiohttp import WSMsgType, web

from pytest_marketreplay.cassette.frame import Frame
from pytest_marketreplay.collect.connection import Connection
from pytest_marketreplay.collect.stream_states import Backoff, State
from pytest_marketreplay.collect.streaming import StreamFeed
from pytest_marketreplay.errors import CollectError, UsageMistake
from pytest_marketreplay.metrics.meter import NoMetrics
from pytest_marketreplay.sinks.items import Item
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.registry import Registry
from pytest_marketreplay.venues.streaming import Message
from pytest_marketreplay.venues.streaming_venues import BinanceStreaming

from .scripted import QUICK, Caught, Script, Scripted, Talk, diff, running, trade


async def endless(talk: Talk) -> None:
    """Count on, an id in 2 ms and the same ids on all connections, with whatever a client says answered."""
    listening = asyncio.ensure_future(talk.listen())
    following = talk.venue.now()
    try:
        while not listening.done():
            now = talk.venue.now()
            for number in range(following, now):
                await talk.diffs(number)
                await talk.diffs(number, symbol="ETHUSDT")
            following = now
            await asyncio.sleep(0.002)
    finally:
        listening.cancel()


async def mute(talk: Talk) -> None:
    """Say one thing, then nothing, and answer no ping: a half-open socket."""
    await talk.diffs(1)
    await asyncio.sleep(60)


def then(*scripts: Script) -> Scripted:
    return Scripted(*scripts, endless)


def silences(caught: Caught) -> list[float]:
    """Return for how long each connection that ended in silence was silent, in seconds, by its own lines."""
    frames: dict[str, list[Frame]] = {}
    for frame in caught.frames:
        frames.setdefault(frame.meta.conn, []).append(frame)
    out = []
    for lines in frames.values():
        heard = [line.time_ns for line in lines if line.meta.dir in ("open", "recv")]
        if lines[-1].meta.dir == "end" and lines[-2].meta.opcode == "ping":
            out.append((lines[-1].time_ns - heard[-1]) / 1e9)
    return out


def test_a_dead_socket_is_found_within_three_heartbeats_and_left() -> None:
    async def story() -> None:
        beat = 0.2
        patience = msgspec.structs.replace(QUICK, heartbeat_s=beat)
        async with then(mute).serve() as address, running(address, patience=patience) as run:
            await run.until(lambda: run.count("dead") == 1)
            await run.until(lambda: run.count("connections") == 2 and run.count("depth") > 1)
        (silent,) = silences(run.caught)
        assert beat * 2 < silent < beat * 3
        (gap,) = [gap for gap in run.caught.gaps if gap.kind == "disconnected"]
        assert "silent" in gap.reason
        assert beat * 2000 < gap.to_ms - gap.from_ms
        first = [frame.meta for frame in run.caught.frames if frame.meta.conn == run.caught.frames[0].meta.conn]
        assert [meta.opcode for meta in first if meta.dir == "send"] == ["ping", "ping"]
        assert (first[-1].dir, first[-1].error) == ("end", "disconnected")

    asyncio.run(story())


async def storm(seed: int) -> None:
    """Weather a venue that falls silent, cuts, closes, refuses and sends garbage, in some order, and then recovers."""
    rng = random.Random(seed)
    beat = 0.25

    async def cut(talk: Talk) -> None:
        await talk.diffs(talk.venue.now())
        talk.cut()

    async def close(talk: Talk) -> None:
        await talk.diffs(talk.venue.now())
        await talk.socket.close(code=rng.choice((1000, 1001, 1003, 1012, 4000)))

    async def garbage(talk: Talk) -> None:
        assert talk.request.transport is not None
        await talk.say("{", bytes(rng.randrange(256) for _ in range(20)))
        talk.request.transport.write(b"\x8f\x00")
        await asyncio.sleep(60)

    async def half_open(talk: Talk) -> None:
        for _ in range(rng.randrange(4)):
            await talk.diffs(talk.venue.now())
        await asyncio.sleep(60)

    faults = [rng.choice((cut, close, garbage, half_open)) for _ in range(rng.randint(1, 4))]
    venue = then(*faults)
    venue.refusals = [web.Response(status=rng.choice((429, 500, 502, 503))) for _ in range(rng.randrange(4))]
    venue.book_answers = [web.Response(status=rng.choice((429, 500, 503))) for _ in range(rng.randrange(3))]
    refused = len(venue.refusals)
    patience = msgspec.structs.replace(QUICK, heartbeat_s=beat, proven_s=60.0)
    async with venue.serve() as address, running(address, patience=patience, interval_s=0.01) as run:
        await run.until(lambda: run.count("connections") == len(faults) + 1, 20)
        await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
    dead = faults.count(half_open)
    assert (run.count("dead"), run.count("handshakes_failed")) == (dead, refused)
    silent = silences(run.caught)
    assert len(silent) == dead
    assert all(seconds < beat * 3 for seconds in silent)
    cuts = [gap for gap in run.caught.gaps if gap.kind == "disconnected"]
    assert 1 <= len(cuts) <= len(faults) + refused
    opened = [frame.time_ns for frame in run.caught.frames if frame.meta.dir == "open"]
    assert len(opened) == len(faults) + refused + 1  # an attempt for each fault, and none more


@pytest.mark.parametrize("seed", range(6))
def test_a_storm_is_weathered(seed: int) -> None:
    asyncio.run(storm(seed))


@pytest.mark.slow
def test_five_hundred_storms_are_weathered() -> None:
    async def together(first: int) -> None:
        await asyncio.gather(*(storm(seed) for seed in range(first, first + 5)))

    for first in range(6, 506, 5):
        asyncio.run(together(first))


@pytest.mark.parametrize(
    ("venue", "pair", "path", "ping", "answer"),
    [
        ("okx", "BTC-USDT", "", "ping", "pong"),
        ("kraken", "BTC-USD", "/ws", {"event": "ping", "reqid": 2}, '{"event":"pong","reqid":2}'),
    ],
)
def test_a_venue_with_pings_of_its_own_is_asked_in_its_words(
    venue: str, pair: str, path: str, ping: object, answer: str
) -> None:
    async def story() -> None:
        patience = msgspec.structs.replace(QUICK, heartbeat_s=0.02)
        scripted = Scripted(Talk.listen)
        scripted.answer = lambda said: answer if said == "ping" or said.get("event") == "ping" else "{}"
        async with (
            scripted.serve() as address,
            running(address, (pair,), venue=venue, path=path, patience=patience) as run,
        ):
            await run.until(lambda: sum(said == "ping" or "reqid" in said for said in scripted.heard) >= 5)
        assert ping in scripted.heard
        assert (run.count("dead"), run.count("unreadable"), scripted.pings) == (0, 0, 0)

    asyncio.run(story())


def test_a_ping_of_the_venue_is_answered_with_its_payload_and_both_are_recorded() -> None:
    async def script(talk: Talk) -> None:
        await talk.socket.ping(b"1618677371")
        async for message in talk.socket:
            if message.type is WSMsgType.PONG:
                talk.venue.heard.append(message.data)

    async def story() -> None:
        venue = Scripted(script)
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: venue.heard)
        assert venue.heard == [b"1618677371"]
        told = [(frame.meta.dir, frame.meta.opcode, frame.data()) for frame in run.caught.frames]
        assert told[1:3] == [("recv", "ping", b"1618677371"), ("send", "pong", b"1618677371")]

    asyncio.run(story())


@pytest.mark.parametrize("wire", [b"\x8f\x00", b"\x81\x02\xff\xfe", b"\xf1\x01a"])
def test_bytes_that_are_no_websocket_frame_end_the_connection(wire: bytes) -> None:
    async def garble(talk: Talk) -> None:
        await talk.diffs(1)
        assert talk.request.transport is not None
        talk.request.transport.write(wire)
        await asyncio.sleep(60)

    async def story() -> None:
        async with then(garble).serve() as address, running(address) as run:
            await run.until(lambda: run.count("connections") == 2 and run.count("depth") > 1)
        assert any(gap.reason.startswith("lost: ") for gap in run.caught.gaps)
        last = [frame.meta for frame in run.caught.frames if frame.meta.conn == run.caught.frames[0].meta.conn][-1]
        assert (last.dir, last.opcode) == ("send", "close")
        assert last.code in (1002, 1007)

    asyncio.run(story())


def test_a_connection_that_breaks_before_the_subscription_is_out_is_a_failed_one() -> None:
    class Cutting(BinanceStreaming):
        cuts = 1

        def subscribe(self, *args: Any, **more: Any) -> list[Message]:
            if Cutting.cuts:
                Cutting.cuts -= 1
                return [Message("x" * 10)]
            return super().subscribe(*args, **more)

    class Own(type(Registry().venues["binance"])):  # type: ignore[misc]
        def streaming(self) -> type[Cutting]:
            return Cutting

    async def story() -> None:
        venue = copy.copy(Registry().venues["binance"])
        venue.__class__ = Own
        caught: list[Item] = []
        stop = asyncio.Event()
        async with then().serve() as address:
            feed = StreamFeed(
                venue,
                ["BTC-USDT"],
                emit=caught.append,
                ws_url=f"ws://{address}",
                rest_url=f"http://{address}",
                patience=QUICK,
            )
            original = Connection._send

            async def send(self: Connection, message: Message) -> None:
                if message.text.startswith("x"):
                    assert self._transport is not None
                    self._transport.abort()
                await original(self, message)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Connection, "_send", send)
                task = asyncio.create_task(feed.run(stop))
                async with asyncio.timeout(8):
                    while feed.stats().counts["connections"] == 0:
                        await asyncio.sleep(0.001)
                stop.set()
                await task
        assert feed.stats().counts["handshakes_failed"] == 1

    asyncio.run(story())


def test_a_process_that_was_late_itself_asks_before_it_calls_a_venue_dead() -> None:
    async def story() -> None:
        patience = msgspec.structs.replace(QUICK, heartbeat_s=0.05)
        async with Scripted(endless).serve() as address, running(address, patience=patience) as run:
            await run.until(lambda: run.count("depth"))
            for _ in range(3):
                time.sleep(0.3)
                count = run.count("depth")
                await run.until(lambda count=count: run.count("depth") > count + 5)  # type: ignore[misc]
            assert (run.count("dead"), run.count("connections")) == (0, 1)

    asyncio.run(story())


def test_a_quiet_venue_that_answers_pings_is_not_dead() -> None:
    async def quiet(talk: Talk) -> None:
        await talk.diffs(1)
        await talk.listen()

    async def story() -> None:
        patience = msgspec.structs.replace(QUICK, heartbeat_s=0.02)
        venue = Scripted(quiet)
        async with venue.serve() as address, running(address, patience=patience) as run:
            await run.until(lambda: venue.pings >= 5)
            assert (run.count("dead"), run.count("connections")) == (0, 1)
        opcodes = [(frame.meta.dir, frame.meta.opcode) for frame in run.caught.frames]
        assert ("recv", "pong") in opcodes

    asyncio.run(story())


def test_a_cut_is_told_as_a_gap_from_the_last_frame_to_the_next_data() -> None:
    async def cut(talk: Talk) -> None:
        await talk.diffs(1, 2, 3)
        talk.cut()

    async def story() -> None:
        async with then(cut).serve() as address, running(address) as run:
            await run.until(lambda: run.count("depth") >= 4)
        frames = run.caught.frames
        before = [frame for frame in frames if frame.meta.conn == frames[0].meta.conn and frame.meta.dir == "recv"]
        after = next(f for f in frames if f.meta.conn != frames[0].meta.conn and f.meta.dir == "recv")
        (gap,) = [gap for gap in run.caught.gaps if gap.kind == "disconnected"]
        assert (gap.from_ms, gap.to_ms) == (before[-1].timestamp, after.timestamp)
        item = next(item for item in run.caught.items if item.gap is gap)
        assert item.place.endpoint == "ws_stream"
        assert item.line is not None
        told = json.loads(item.line)
        assert told["response"] is None
        assert told["meta"] == {"dir": "gap", "gap": msgspec.to_builtins(gap)}

    asyncio.run(story())


def test_the_close_of_a_venue_is_answered_and_recorded() -> None:
    async def close(talk: Talk) -> None:
        await talk.diffs(1)
        await talk.socket.close(code=1012, message=b"restart")

    async def story() -> None:
        async with then(close).serve() as address, running(address) as run:
            await run.until(lambda: run.count("connections") == 2)
        frames = run.caught.frames
        last = [frame for frame in frames if frame.meta.conn == frames[0].meta.conn][-2:]
        assert [(frame.meta.dir, frame.meta.opcode, frame.meta.code) for frame in last] == [
            ("recv", "close", 1012),
            ("send", "close", 1012),
        ]
        assert last[0].data() == b"restart"

    asyncio.run(story())


def test_the_states_are_gone_through_in_order() -> None:
    seen: list[State] = []

    async def story() -> None:
        venue = then(mute)
        venue.refusals = [web.Response(status=503, text="later")]
        patience = msgspec.structs.replace(QUICK, heartbeat_s=0.02)
        async with venue.serve() as address, running(address, (), patience=patience) as run:

            def look() -> bool:
                state = run.feed.stats().state
                if not seen or seen[-1] is not state:
                    seen.append(state)
                return run.count("connections") == 2 and run.count("depth") > 1

            look()
            run.feed.add("BTC-USDT")
            await run.until(look)
            look()
        assert run.feed.stats().state is State.UNSUBSCRIBED

    asyncio.run(story())
    # `connecting` lasts for one handshake, which the looks from outside may miss
    assert [state for state in seen if state is not State.CONNECTING] == [
        State.UNSUBSCRIBED,
        State.RECONNECTING,
        State.CONNECTED,
        State.RECONNECTING,
        State.CONNECTED,
    ]


def test_a_refused_handshake_is_recorded_and_its_retry_after_is_obeyed() -> None:
    async def story() -> None:
        venue = then()
        venue.refusals = [web.Response(status=429, headers={"Retry-After": "1", "Set-Cookie": "id=hush"})]
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.count("handshakes_failed") == 1)
            started = time.perf_counter()
            await run.until(lambda: run.count("connections") == 1)
            assert time.perf_counter() - started > 0.9
            await run.until(lambda: run.count("depth"))
        first = run.caught.frames[0].meta
        assert (first.dir, first.status, first.reason) == ("open", 429, None)
        assert "hush" not in str(first.headers)
        assert "HTTP 429" in next(gap for gap in run.caught.gaps if gap.kind == "disconnected").reason

    asyncio.run(story())


def test_nobody_there_is_recorded_and_tried_again() -> None:
    async def story() -> None:
        async with running("127.0.0.1:9") as run:
            await run.until(lambda: run.count("handshakes_failed") >= 3)
        assert {(f.meta.dir, f.meta.status, f.meta.error) for f in run.caught.frames} == {("open", 0, "connect")}
        (gap,) = run.caught.gaps  # one hole, still open at the end
        assert gap.kind == "disconnected"

    asyncio.run(story())


def test_a_name_that_is_none_is_recorded_as_such() -> None:
    async def story() -> None:
        async with running("no-such-host.invalid:80") as run:
            await run.until(lambda: run.count("handshakes_failed") >= 1)
        assert run.caught.frames[0].meta.error == "dns"

    asyncio.run(story())


def test_a_handshake_that_hangs_is_given_up_and_a_stop_does_not_wait_for_it() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def story(handshake_s: float) -> float:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        address = "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
        patience = msgspec.structs.replace(QUICK, handshake_s=handshake_s)
        async with server:
            async with running(address, patience=patience) as run:
                if handshake_s < 1:
                    await run.until(lambda: run.count("handshakes_failed") == 1)
                    assert run.caught.frames[0].meta.error == "connect_timeout"
                else:
                    await run.until(lambda: run.feed.stats().state is State.CONNECTING)
                started = time.perf_counter()
            return time.perf_counter() - started

    assert asyncio.run(story(0.02)) < 2
    assert asyncio.run(story(60.0)) < 2


def test_the_backoff_is_reset_by_data_for_a_while_and_not_by_a_handshake() -> None:
    async def brief(talk: Talk) -> None:
        await talk.diffs(talk.venue.last_id.get("BTCUSDT", 0) + 1)
        talk.cut()

    async def long(talk: Talk) -> None:
        for _ in range(60):
            await talk.diffs(talk.venue.last_id["BTCUSDT"] + 1)
            await asyncio.sleep(0.002)
        talk.cut()

    async def story() -> None:
        async with then(brief, brief, brief, long).serve() as address, running(address) as run:
            await run.until(lambda: run.count("connections") == 4)
            assert run.feed.stats().failures == 3
            await run.until(lambda: run.count("connections") == 5)
            assert run.feed.stats().failures == 1

    asyncio.run(story())


def test_waits_double_up_to_the_cap_and_are_jittered() -> None:
    backoff = Backoff(1.0, 60.0, random.Random(4))
    waits = [backoff.next_s() for _ in range(2000)]
    for number, wait in enumerate(waits):
        whole = min(60.0, 2.0 ** min(number, 60))
        assert whole / 2 <= wait <= whole
    assert len(set(waits)) == 2000
    backoff.reset()
    assert backoff.next_s() <= 1.0


def test_garbage_is_kept_counted_told_and_the_book_recovers() -> None:
    async def garbage(talk: Talk) -> None:
        await talk.diffs(1, 2)
        await talk.say(diff(3)[:40], "no json", b"\xff\x00", '{"e":"depthUpdate","s":7}', "pong", "[[", '{"x":1}')
        await endless(talk)

    async def story() -> None:
        async with Scripted(garbage).serve() as address, running(address, interval_s=0.01) as run:
            await run.until(lambda: run.count("sequence_gap") == 1 and run.feed.stats().pairs["BTC-USDT"].ready)
        assert run.count("unreadable") == 5
        told = [gap.reason for gap in run.caught.gaps if gap.kind == "sequence"]
        assert told.count("an unreadable frame") == 5
        payloads = [frame.data() for frame in run.caught.frames]
        assert b"\xff\x00" in payloads
        assert diff(3)[:40].encode() in payloads

    asyncio.run(story())


def test_the_next_connection_overlaps_the_one_that_will_be_cut() -> None:
    async def story() -> None:
        patience = msgspec.structs.replace(QUICK, lifetime_s=0.2, renew_before_s=0.05)
        venue = Scripted(endless)
        async with venue.serve() as address, running(address, patience=patience, interval_s=0.01) as run:
            await run.until(lambda: run.count("renewals") == 3)
            count = len(run.caught.snapshots)
            await run.until(lambda: len(run.caught.snapshots) > count + 2)
        assert not {"disconnected", "sequence"} & {gap.kind for gap in run.caught.gaps}
        names = list(dict.fromkeys(frame.meta.conn for frame in run.caught.frames))
        times = {name: [f.time_ns for f in run.caught.frames if f.meta.conn == name] for name in names}
        for old, new in itertools.pairwise(names):
            assert times[new][0] < times[old][-1]
        assert [one.sequence_number for one in run.caught.snapshots] == list(range(1, len(run.caught.snapshots) + 1))

    asyncio.run(story())


def test_no_book_is_asked_for_by_what_is_cancelled_as_its_wait_ends() -> None:
    """`asyncio.wait_for` loses such a cancellation before Python 3.12, and a session was opened that nobody closed."""

    async def story() -> None:
        patience = msgspec.structs.replace(QUICK, book_pause_s=60.0)
        venue = Scripted(lambda talk: talk.listen())
        async with venue.serve() as address, running(address, patience=patience) as run:
            repair = run.feed._repair
            await run.until(lambda: repair._tasks)
            ((connection, pair),) = repair._tasks
            (task,) = repair._tasks.values()
            await asyncio.sleep(0)  # it waits now
            connection.books[pair].heard.set()
            await asyncio.sleep(0)  # and is told that what it waits for has come
            repair.leave(connection)
            await asyncio.wait([task])
            assert task.cancelled()
        assert venue.books_asked == 0

    asyncio.run(story())


def test_a_renewal_that_fails_keeps_the_old_connection() -> None:
    async def story() -> None:
        patience = msgspec.structs.replace(QUICK, lifetime_s=0.1, renew_before_s=0.05)
        venue = Scripted(endless)
        async with venue.serve() as address, running(address, patience=patience) as run:
            await run.until(lambda: run.count("depth"))
            venue.refusals = [web.Response(status=503) for _ in range(3)]
            await run.until(lambda: run.count("handshakes_failed") == 3)
            await run.until(lambda: run.count("renewals") == 1)
        assert "disconnected" not in {gap.kind for gap in run.caught.gaps}

    asyncio.run(story())


def test_a_renewal_whose_connection_ends_at_once_keeps_the_old_one() -> None:
    async def cut(talk: Talk) -> None:
        talk.cut()

    async def story() -> None:
        patience = msgspec.structs.replace(QUICK, lifetime_s=0.1, renew_before_s=0.05)
        venue = Scripted(endless, cut, endless)
        async with venue.serve() as address, running(address, patience=patience) as run:
            await run.until(lambda: run.count("connections") == 3 and run.count("renewals") == 2)
        assert "disconnected" not in {gap.kind for gap in run.caught.gaps}

    asyncio.run(story())


def test_an_old_connection_that_ends_before_the_new_one_has_data_is_a_gap() -> None:
    ready = asyncio.Event()

    async def old(talk: Talk) -> None:
        await talk.diffs(1, 2)
        await talk.say('{"e":"serverShutdown","E":1}')
        await ready.wait()
        talk.cut()

    async def new(talk: Talk) -> None:
        ready.set()
        await asyncio.sleep(0.1)
        await endless(talk)

    async def story() -> None:
        async with Scripted(old, new).serve() as address, running(address) as run:
            await run.until(lambda: run.count("renewals") == 1 and run.count("depth") > 4)
        (gap,) = [gap for gap in run.caught.gaps if gap.kind == "disconnected"]
        assert gap.to_ms - gap.from_ms > 80

    asyncio.run(story())


def test_an_old_connection_that_ends_while_the_new_one_has_data_is_no_gap() -> None:
    flows = asyncio.Event()

    async def old(talk: Talk) -> None:
        await talk.diffs(1, 2)
        await talk.say('{"e":"serverShutdown","E":1}')
        await flows.wait()
        await talk.socket.close()

    async def new(talk: Talk) -> None:
        await talk.say(trade(1))
        flows.set()
        await asyncio.sleep(0.05)
        await endless(talk)

    async def story() -> None:
        async with Scripted(old, new).serve() as address, running(address) as run:
            run.feed.limits.hold(asyncio.get_running_loop().time() + 0.1, "told elsewhere")
            await run.until(lambda: run.count("renewals") == 1 and run.count("depth") > 4)
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
        assert "disconnected" not in {gap.kind for gap in run.caught.gaps}

    asyncio.run(story())


def test_trades_alone_are_renewed_without_waiting_for_books() -> None:
    async def story() -> None:
        patience = msgspec.structs.replace(QUICK, lifetime_s=0.05, renew_before_s=0.01)
        async with (
            Scripted(endless).serve() as address,
            running(address, channels=("trades",), patience=patience) as run,
        ):
            await run.until(lambda: run.count("renewals") == 3)

    asyncio.run(story())


def test_pairs_come_and_go_by_messages_without_a_new_connection() -> None:
    async def story() -> None:
        venue = Scripted(endless)
        async with venue.serve() as address, running(address, interval_s=0.005) as run:
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].sequence_number)
            run.feed.add("ETH-USDT")
            run.feed.add("ETH-USDT")
            await run.until(lambda: run.feed.stats().pairs["ETH-USDT"].sequence_number > 2)
            run.feed.remove("BTC-USDT")
            run.feed.remove("XRP-USDT")
            await run.until(lambda: len(venue.heard) == 2)
            count = run.count("depth")
            await run.until(lambda: run.count("depth") > count)
            assert run.count("connections") == 1
            assert list(run.feed.stats().pairs) == ["ETH-USDT"]
        assert [(said["method"], said["params"]) for said in venue.heard] == [
            ("SUBSCRIBE", ["ethusdt@depth@100ms", "ethusdt@trade"]),
            ("UNSUBSCRIBE", ["btcusdt@depth@100ms", "btcusdt@trade"]),
        ]
        for pair in ("BTC-USDT", "ETH-USDT"):
            numbers = [one.sequence_number for one in run.caught.snapshots if one.pair == pair]
            assert numbers == list(range(1, len(numbers) + 1))

    asyncio.run(story())


def test_without_a_pair_left_the_connection_is_closed_until_there_is_one_again() -> None:
    async def story() -> None:
        venue = Scripted(endless)
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.count("depth"))
            run.feed.remove("BTC-USDT")
            await run.until(lambda: run.feed.stats().state is State.UNSUBSCRIBED)
            run.feed.add("ETH-USDT")
            await run.until(lambda: run.count("connections") == 2 and run.count("depth") > 3)
        assert "ethusdt" in venue.paths[1]
        assert "btcusdt" not in venue.paths[1]

    asyncio.run(story())


def test_a_subscription_that_nobody_acknowledges_ends_the_connection() -> None:
    async def deaf(talk: Talk) -> None:
        while True:
            await talk.diffs(talk.venue.last_id.get("BTCUSDT", 0) + 1)
            await asyncio.sleep(0.002)

    async def story() -> None:
        patience = msgspec.structs.replace(QUICK, acknowledgement_s=0.05)
        async with Scripted(deaf, endless).serve() as address, running(address, patience=patience) as run:
            await run.until(lambda: run.count("depth"))
            run.feed.add("ETH-USDT")
            await run.until(lambda: run.count("connections") == 2 and run.count("depth") > 50)
        assert "no acknowledgement" in next(gap for gap in run.caught.gaps if gap.kind == "disconnected").reason

    asyncio.run(story())


def test_what_the_venue_refuses_shows_at_the_pair() -> None:
    async def story() -> None:
        venue = Scripted(endless)
        venue.answer = lambda said: json.dumps({"error": {"code": 2, "msg": "no such stream"}, "id": said["id"]})
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.count("depth"))
            run.feed.add("NO-PAIR")
            await run.until(lambda: run.count("refused"))
            assert run.feed.stats().pairs["NO-PAIR"].problem == "no such stream"

    asyncio.run(story())


def test_an_interval_without_a_book_is_a_missed_tick_and_they_are_one_gap() -> None:
    hole = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.diffs(1, 2)
        await hole.wait()
        talk.venue.book_answers = [web.Response(status=500) for _ in range(4)]
        await talk.diffs(5)
        await talk.listen()

    async def story() -> None:
        async with Scripted(script).serve() as address, running(address, interval_s=0.01) as run:
            await run.until(lambda: len(run.caught.snapshots) >= 3)
            before = run.feed.stats().pairs["BTC-USDT"].missed
            hole.set()
            await run.until(lambda: run.count("book_failures") == 4)
            count = run.feed.stats().pairs["BTC-USDT"].sequence_number
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].sequence_number > count)
        gap = [gap for gap in run.caught.gaps if gap.kind == "missed"][-1]
        assert gap.count == run.feed.stats().pairs["BTC-USDT"].missed - before
        assert gap.reason == "BTC-USDT: no checked book"
        assert gap.count == round((gap.to_ms - gap.from_ms) / 10) + 1
        failed = [gap for gap in run.caught.gaps if gap.kind == "failed"]
        assert [gap.reason for gap in failed] == ["BTC-USDT: snapshot of the book: HTTP 500"] * 4
        assert [one.update_id for one in run.caught.snapshots] == [2] * count + [5] * (
            len(run.caught.snapshots) - count
        )

    asyncio.run(story())


def test_a_pair_that_never_moves_has_its_snapshot_for_a_book() -> None:
    async def story() -> None:
        venue = Scripted(Talk.listen)
        venue.last_id["BTCUSDT"] = 7
        async with venue.serve() as address, running(address, interval_s=0.01) as run:
            await run.until(lambda: len(run.caught.snapshots) == 3)
            assert venue.books_asked == 1
        assert {one.update_id for one in run.caught.snapshots} == {7}

    asyncio.run(story())


def test_written_and_declared_points_are_all_of_the_grid() -> None:
    async def story() -> None:
        pairs = ("BTC-USDT", "ETH-USDT")
        async with Scripted(endless).serve() as address, running(address, pairs, interval_s=0.01) as run:
            await run.until(lambda: run.count("snapshots") >= 20)
            time.sleep(0.055)  # a process that is late: points of the grid pass it by
            await run.until(lambda: run.count("snapshots") >= 60)
        assert len([gap for gap in run.caught.gaps if "the process was late" in gap.reason]) >= 2
        for pair in ("BTC-USDT", "ETH-USDT"):
            written = [one for one in run.caught.snapshots if one.pair == pair]
            gaps = [gap for gap in run.caught.gaps if gap.reason.startswith(pair)]
            assert sum(gap.count for gap in gaps) == run.feed.stats().pairs[pair].missed
            first, last = written[0].timestamp_ms, written[-1].timestamp_ms
            between = sum(gap.count for gap in gaps if first <= gap.from_ms <= last)
            assert len(written) - 1 + between == pytest.approx((last - first) / 10, abs=1)

    asyncio.run(story())


def test_the_interval_can_be_changed_and_ended() -> None:
    async def story() -> None:
        async with Scripted(endless).serve() as address, running(address, interval_s=60.0) as run:
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
            run.feed.set_interval(0.005)
            await run.until(lambda: len(run.caught.snapshots) == 3)
            run.feed.set_interval(None)
            await run.until(lambda: run.count("depth") > 20)
            count = len(run.caught.snapshots)
            await asyncio.sleep(0.03)
            assert len(run.caught.snapshots) == count
            run.feed.set_interval(0.005)
            await run.until(lambda: len(run.caught.snapshots) > count)
            with pytest.raises(UsageMistake, match="above 0"):
                run.feed.set_interval(0)

    asyncio.run(story())


def test_an_empty_book_is_counted_and_not_written() -> None:
    async def script(talk: Talk) -> None:
        empty = {"lastUpdateId": 0, "bids": [], "asks": []}
        talk.venue.book_answers = [web.json_response(empty)]
        nothing = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 1, "b": [], "a": []}
        await talk.say(json.dumps({"stream": "btcusdt@depth@100ms", "data": nothing}))
        await talk.listen()

    async def story() -> None:
        async with Scripted(script).serve() as address, running(address, interval_s=0.005) as run:
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].empty >= 2)
        assert run.caught.snapshots == []
        assert any("an empty book" in gap.reason for gap in run.caught.gaps)
        assert run.count("empty") == run.feed.stats().pairs["BTC-USDT"].empty

    asyncio.run(story())


def test_a_snapshot_is_the_book_with_its_age() -> None:
    asked = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.diffs(1)
        await asked.wait()
        await talk.diffs(2)
        await talk.listen()

    async def story() -> None:
        venue = Scripted(script)
        async with venue.serve() as address, running(address, interval_s=0.02) as run:
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
            asked.set()
            await run.until(lambda: sum(one.update_id == 2 for one in run.caught.snapshots) == 2)
        first, second = (one for one in run.caught.snapshots if one.update_id == 2)
        assert (first.exchange, first.pair, first.update_id) == ("binance", "BTC-USDT", 2)
        assert [str(level.price) for level in first.bids] == ["4", "2"]
        assert [str(level.price) for level in first.asks] == ["1000000"]
        assert 10 < second.capture_latency_ms - first.capture_latency_ms < 60
        item = next(item for item in run.caught.items if item.snapshot is first)
        assert (tuple(item.place), item.line) == (("binance", "ws_stream", "BTCUSDT"), None)

    asyncio.run(story())


def test_the_snapshot_that_a_book_joins_is_an_entry_of_its_own_without_its_cookie() -> None:
    async def story() -> None:
        async with Scripted(endless).serve() as address, running(address) as run:
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
        (line,) = [line for line in run.caught.lines if b'"/api/v3/depth"' in line]
        told = json.loads(line)
        assert told["params"] == {"symbol": "BTCUSDT", "limit": "5000"}
        assert told["meta"]["status"] == 200
        assert b"hush" not in line

    asyncio.run(story())


def test_no_snapshot_is_asked_for_before_a_retry_after_has_ended() -> None:
    async def story() -> None:
        venue = Scripted(endless)
        venue.book_answers = [web.Response(status=429, headers={"Retry-After": "1"})]
        async with venue.serve() as address, running(address, ("BTC-USDT", "ETH-USDT")) as run:
            await run.until(lambda: run.count("book_failures") == 1)
            started, asked = time.perf_counter(), venue.books_asked
            await run.until(lambda: venue.books_asked > asked)
            assert time.perf_counter() - started > 0.9
            await run.until(lambda: all(pair.ready for pair in run.feed.stats().pairs.values()))

    asyncio.run(story())


def test_a_ban_and_a_hold_of_another_feed_keep_the_desk_quiet() -> None:
    async def story(status: int) -> None:
        venue = Scripted(endless)
        venue.book_answers = [web.Response(status=status)]
        async with venue.serve() as address, running(address) as run:
            if status == 200:
                run.feed.limits.hold(asyncio.get_running_loop().time() + 60, "told elsewhere")
            else:
                await run.until(lambda: run.count("book_failures") == 1)
            await run.until(lambda: run.count("depth") > 60)
            assert venue.books_asked == (status != 200)

    asyncio.run(story(418))
    asyncio.run(story(200))


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="no json"),
        lambda: web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400),
        lambda: web.Response(status=429),
    ],
)
def test_a_snapshot_that_is_none_is_a_failed_request_and_another_is_asked_for(answer: type[web.Response]) -> None:
    async def story() -> None:
        venue = Scripted(endless)
        venue.book_answers = [answer()]
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
        assert run.count("book_failures") == 1
        (gap,) = [gap for gap in run.caught.gaps if gap.kind == "failed"]
        assert next(item for item in run.caught.items if item.gap is gap).place.endpoint == "api_v3_depth"

    asyncio.run(story())


def test_a_snapshot_that_nobody_answers_is_a_failed_request() -> None:
    async def story() -> None:
        async with Scripted(endless).serve() as address:
            async with running(address) as run:
                run.feed._repair.desk._base = "http://127.0.0.1:9"
                await run.until(lambda: run.count("book_failures") == 2)
            assert "failed" in {gap.kind for gap in run.caught.gaps}

            async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.read(10)
                if hang_up:
                    writer.close()
                else:
                    await reader.read()
                    writer.close()

            for hang_up, reason in ((False, "no answer in time"), (True, "disconnected")):
                server = await asyncio.start_server(hang, "127.0.0.1", 0)
                async with server:
                    async with running(address, patience=msgspec.structs.replace(QUICK, rest_s=0.05)) as run:
                        run.feed._repair.desk._base = "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())
                        await run.until(lambda: run.count("book_failures") == 1)
                    assert any(reason in gap.reason.lower() for gap in run.caught.gaps)

    asyncio.run(story())


def test_an_error_of_whoever_takes_the_items_goes_up() -> None:
    async def story(where: bytes) -> None:
        def emit(item: object) -> None:
            if where in (getattr(item, "line", None) or b""):
                raise OSError("full")

        async with Scripted(endless).serve() as address:
            feed = StreamFeed(
                Registry().venues["binance"],
                ["BTC-USDT"],
                emit=emit,
                ws_url=f"ws://{address}",
                rest_url=f"http://{address}",
                patience=QUICK,
            )
            with pytest.raises(OSError, match="full"):
                await asyncio.wait_for(feed.run(asyncio.Event()), 8)

    asyncio.run(story(b'"recv"'))
    asyncio.run(story(b'"/api/v3/depth"'))


def test_what_cannot_be_streamed_is_refused_before_it_runs() -> None:
    binance = Registry().venues["binance"]
    with pytest.raises(CollectError, match="not described"):
        StreamFeed(Venue("elsewhere"), ["BTC-USDT"], emit=print)
    with pytest.raises(UsageMistake, match="not candles"):
        StreamFeed(binance, ["BTC-USDT"], ("candles",), emit=print)  # type: ignore[arg-type]
    with pytest.raises(UsageMistake, match="not none"):
        StreamFeed(binance, ["BTC-USDT"], (), emit=print)
    with pytest.raises(UsageMistake, match="start another feed for A100-B"):
        StreamFeed(binance, [f"A{number}-B" for number in range(101)], emit=print)


class Heard(NoMetrics):
    """A meter that remembers."""

    def __init__(self) -> None:
        self.told: Counter[tuple[object, ...]] = Counter()

    def gap(self, platform: str, kind: str, count: int) -> None:
        self.told["gap", platform, kind] += 1

    def request(self, platform: str, endpoint: str, status: int | str, seconds: float) -> None:
        self.told["request", platform, endpoint, status] += 1

    def reconnected(self, platform: str) -> None:
        self.told["reconnected", platform] += 1

    def checked(self, platform: str, what: str) -> None:
        self.told["checked", platform, what] += 1


def test_trades_alone_need_no_book() -> None:
    async def script(talk: Talk) -> None:
        await talk.say(trade(1), trade(2))
        await talk.listen()

    async def story() -> None:
        venue = Scripted(script)
        async with venue.serve() as address:
            async with running(address, channels=("trades",), interval_s=0.001) as run:
                await run.until(lambda: run.count("trades") == 2)
            assert venue.books_asked == 0
        assert run.caught.gaps == []

    asyncio.run(story())


def test_the_meter_hears_of_gaps_requests_and_connections() -> None:
    async def cut(talk: Talk) -> None:
        await talk.diffs(1, 2, 4)
        talk.cut()

    async def story() -> None:
        meter, venue = Heard(), then(cut)
        venue.book_answers = [web.Response(status=503)]
        async with venue.serve() as address, running(address, meter=meter) as run:
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready and run.count("connections") == 2)
        for name in (
            ("gap", "binance", "sequence"),
            ("gap", "binance", "disconnected"),
            ("checked", "binance", "update_id"),
            ("reconnected", "binance"),
            ("request", "binance", "api_v3_depth", 200),
        ):
            assert meter.told[name] == 1, name

    asyncio.run(story())

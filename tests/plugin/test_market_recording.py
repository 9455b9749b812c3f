"""A streaming suite downstream: recorded once, then replayed with the exchange stopped."""

from __future__ import annotations

import pytest
from inner_suite import Suite
from market_suite import LIBRARIES, StreamSuite

from pytest_marketreplay.plugin.choices import ARGUMENTS


def test_every_library_and_rest_in_one_test_replay_without_the_exchange(streaming: StreamSuite) -> None:
    streaming.streaming("""
        @pytest.mark.marketreplay
        def test_all(market_replay):
            depth()
            for library in streams.ALL:
                library()
                depth()
            assert market_replay.is_recording or market_replay.played == 5
            assert market_replay.is_recording or market_replay.played_frames == 12
    """)
    streaming.run(mode="once").assert_outcomes(passed=1)
    answers, frames = streaming.seen(), streaming.frames()
    assert len(answers) == 5
    assert [name for name, _ in frames] == list(LIBRARIES)
    streaming.exchange.stop()
    before = streaming.tree()
    for mode in (None, "once", "new_episodes"):
        streaming.run(mode=mode).assert_outcomes(passed=1)
        assert streaming.seen() == answers
        assert streaming.frames() == frames
    assert streaming.tree() == before


def test_what_one_library_recorded_another_replays(streaming: StreamSuite) -> None:
    streaming.streaming(f"""
        @pytest.mark.parametrize("library", {LIBRARIES!r})
        @pytest.mark.marketreplay("one")
        def test_reads(library, market_replay):
            getattr(streams, library)()
            assert not market_replay.unplayed
    """)
    streaming.run("-k", "websockets_sync", mode="once").assert_outcomes(passed=1, deselected=3)
    recorded = streaming.frames()[0][1]
    streaming.exchange.stop()
    streaming.run().assert_outcomes(passed=4)
    assert [frames for _, frames in streaming.frames()] == [recorded] * 4


def test_a_class_and_a_module_marker_are_merged_argument_by_argument(streaming: StreamSuite) -> None:
    streaming.streaming("""
        pytestmark = pytest.mark.marketreplay("day", clock="recording", pace="step")

        @pytest.mark.marketreplay(order="time", end_of_tape="close")
        class TestDay:
            @pytest.mark.marketreplay(pace="virtual", max_frames=9)
            def test_merged(self, market_replay):
                got = market_replay.session.settings
                assert (got.clock, got.order, got.pace) == ("recording", "time", "virtual")
                assert (got.end_of_tape, got.max_frames) == ("close", 9)
                assert [folder.name for folder in market_replay.cassettes] == ["day"]
                depth()

            def test_step(self, market_replay):
                assert market_replay.session.settings.pace == "step"
                depth()

        def test_module(market_replay):
            got = market_replay.session.settings
            assert (got.clock, got.order, got.pace) == ("recording", "sequence", "step")
    """)
    streaming.run("-k", "merged", mode="once").assert_outcomes(passed=1, deselected=2)
    streaming.run().assert_outcomes(passed=3)


@pytest.mark.parametrize("clock", ["system", "recording"])
def test_an_anyio_test_streams_with_its_fixtures(streaming: StreamSuite, clock: str) -> None:
    streaming.streaming(f"""
        pytestmark = [pytest.mark.anyio, pytest.mark.marketreplay(clock={clock!r})]

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def session():
            async with streams.aiohttp_client.ClientSession() as session:
                yield session

        async def test_reads(session, market_replay):
            async with session.ws_connect(WS["binance"] + DEPTH) as ws:
                frames = [await ws.receive_str() for _ in range(3)]
            frames += await streams.websockets_frames("/ws/btcusdt@trade", 2)
            with streams.connect_sync(WS["binance"] + DEPTH) as ws:
                frames.append(ws.recv())
            streams.note("anyio", frames)
            async with session.get(BINANCE + "/api/v3/depth", params={{"symbol": "BTCUSDT"}}) as answer:
                assert "bids" in await answer.json()
            assert market_replay.is_recording or market_replay.played_frames == 6
    """)
    streaming.run(mode="once").assert_outcomes(passed=1)
    recorded = streaming.frames()
    streaming.exchange.stop()
    streaming.run().assert_outcomes(passed=1)
    assert streaming.frames() == recorded


def test_a_nested_cassette_has_its_own_connections_and_clock(streaming: StreamSuite) -> None:
    streaming.streaming("""
        @pytest.mark.marketreplay("outer")
        def test_nested(market_replay):
            streams.aiohttp(count=1)
            with market_replay.use("inner", clock="recording"):
                streams.websockets(count=2)
                depth()
                inside = time.time_ns()
                time.sleep(0.3)
                assert time.time_ns() - inside >= 300_000_000
            streams.websocket_client(count=1)
            began = time.perf_counter()
            time.sleep(0.05)
            assert time.perf_counter() - began >= 0.05
            if not market_replay.is_recording:
                assert market_replay.played_frames == 2
                assert time.time_ns() - inside > 40_000_000
    """)
    streaming.run(mode="once").assert_outcomes(passed=1)
    recorded = streaming.frames()
    inner = streaming.entries("inner")  # the market goes on until the connection is closed: a frame more may have come
    assert [entry["endpoint"] for entry in inner].count("/api/v3/depth") == 1
    assert len(inner) >= 1 + 2 + 1 + 1  # opened, two frames, closed; the depth
    streaming.exchange.stop()
    streaming.run().assert_outcomes(passed=1)
    assert streaming.frames() == recorded


def test_a_test_that_fails_keeps_nothing_of_its_streams(streaming: StreamSuite) -> None:
    streaming.streaming("""
        @pytest.mark.marketreplay
        def test_fails():
            streams.websockets()
            depth()
            assert 0

        @pytest.mark.marketreplay
        def test_is_left_open(request):
            ws = streams.websocket.create_connection(WS["binance"] + DEPTH)
            request.addfinalizer(ws.shutdown)
            ws.recv()
            raise RuntimeError("no close")
    """)
    streaming.run(mode="once").assert_outcomes(failed=2)
    assert streaming.tree() == {}
    streaming.run("-k", "test_fails", mode="rewrite").assert_outcomes(failed=1, deselected=1)
    assert streaming.tree() == {}


def test_a_failed_recording_leaves_the_old_streams_as_they_were(streaming: StreamSuite) -> None:
    streaming.streaming("""
        import os

        @pytest.mark.marketreplay
        def test_it():
            streams.aiohttp()
            assert "FAIL" not in os.environ
    """)
    streaming.run(mode="once").assert_outcomes(passed=1)
    before = streaming.tree()
    streaming.pytester._monkeypatch.setenv("FAIL", "1")
    streaming.run(mode="rewrite").assert_outcomes(failed=1)
    assert streaming.tree() == before
    streaming.pytester._monkeypatch.delenv("FAIL")
    streaming.run(mode="rewrite").assert_outcomes(passed=1)
    assert streaming.tree() != before


UNPLAYED = """
    pytestmark = pytest.mark.marketreplay("two"{more})

    def test_reads(market_replay):
        streams.aiohttp(count=1)
        if market_replay.is_recording:
            streams.aiohttp("/ws/btcusdt@trade", 1)
            depth()
"""


def test_connections_that_nobody_opened_are_told(streaming: StreamSuite) -> None:
    streaming.streaming(UNPLAYED.format(more=""))
    streaming.run(mode="once").assert_outcomes(passed=1)
    streaming.streaming(UNPLAYED.format(more=", unplayed='fail'"))
    result = streaming.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "*2 recorded answers were not played:*",
        "*api_v3_depth*line 1: /api/v3/depth*",
        "*btcusdt%40trade*line 1: /ws/btcusdt@trade*",
    ])  # fmt: skip
    streaming.streaming(UNPLAYED.format(more=", unplayed='warn'"))
    result = streaming.run("-W", "default::pytest_marketreplay.plugin.play.UnplayedAnswers")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*UnplayedAnswers: 2 recorded answers*"])


WRONG = (
    ('clock="wall"', "clock is 'wall'; it can be system, recording"),
    ('clock=["recording"]', "clock is ['recording']; it can be system, recording"),
    ('order="time"', 'order="time" plays by the clock of the recording: give clock="recording" too'),
    ('order="random"', "order is 'random'; it can be sequence, time"),
    ('pace="fast"', "pace is 'fast'; it can be virtual, realtime, step"),
    ("pace=0", "pace is 0; a factor of real time is above 0, and it can be virtual, realtime, step"),
    ("pace=-2.5", "pace is -2.5; a factor of real time is above 0, and it can be virtual, realtime, step"),
    ("pace=True", "pace is True; it can be virtual, realtime, step"),
    ("pace=None", "pace is None; a factor of real time is above 0, and it can be virtual, realtime, step"),
    ('pace=2, clock="recording"', 'pace=2 is real time, which clock="recording" does not wait for; leave one out'),
    ('end_of_tape="stop"', "end_of_tape is 'stop'; it can be error, close, loop"),
    ("patience=0", "patience is 0; it is a number of seconds above 0"),
    ("patience=None", "patience is None; it is a number of seconds above 0"),
    ('patience="1 s"', "patience is '1 s'; it is a number of seconds above 0"),
    ("max_frames=0", "max_frames is 0; a limit is above 0"),
    ("max_seconds=float('nan')", "max_seconds is nan; a limit is above 0"),
    ('max_bytes="1MB"', "max_bytes is '1MB'; a limit is above 0"),
    ("speed=2", f"the marker marketreplay has no argument 'speed'; it has {', '.join(ARGUMENTS)}"),
    ("pace=[1]", "pace is [1]; a factor of real time is above 0, and it can be virtual, realtime, step"),
)


def test_a_wrong_argument_is_a_usage_error_without_a_traceback(suite: Suite) -> None:
    for number, (arguments, _) in enumerate(WRONG):
        suite.tests(
            f"""
            @pytest.mark.marketreplay({arguments})
            def test_it():
                raise AssertionError("it began")
            """,
            f"test_{number}.py",
        )
    result = suite.run("-rN")
    result.assert_outcomes(errors=len(WRONG))
    told = [line.removeprefix("usage error: ") for line in result.outlines if line.startswith("usage error: ")]
    assert sorted(told) == sorted(text for _, text in WRONG)
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*config.py*")


def test_the_clock_and_a_marker_against_it_is_a_usage_error_without_a_traceback(streaming: StreamSuite) -> None:
    streaming.streaming("""
        @pytest.mark.marketreplay(clock="system")
        def test_it(market_clock):
            pass

        @pytest.mark.marketreplay
        def test_dynamic(request):
            request.getfixturevalue("market_clock")

        def test_step_at_another_pace(market_replay):
            market_replay.step()

        def test_use(market_replay):
            with market_replay.use("x", pace=[1]):
                pass
    """)
    result = streaming.run()
    result.assert_outcomes(errors=1, failed=3)
    result.stdout.fnmatch_lines([
        "*usage error: the fixture market_clock needs clock=\"recording\"; the test began with clock=\"system\"",
        "*usage error: the fixture market_clock needs clock=\"recording\"; the test began with clock=\"system\"",
        "*market_replay.step() needs pace=\"step\" in the marker; it is 'virtual'*",
        "*pace is [[]1[]]; *",
    ])  # fmt: skip


def test_run_until_lets_frames_come_up_to_a_moment_and_moves_the_clock(streaming: StreamSuite) -> None:
    streaming.streaming("""
        @pytest.mark.marketreplay("day")
        def test_recording():
            streams.websocket_client(count=8)

        @pytest.mark.marketreplay("day", clock="recording", pace="step")
        def test_steps(market_replay, market_clock):
            ws = streams.websocket.create_connection(WS["binance"] + DEPTH)
            began = market_clock.now_ns
            event = market_replay.run_until((began + 400_000_000) / 1e6)
            assert market_clock.now_ns >= began + 399_000_000
            assert event is not None
            assert "depthUpdate" in ws.recv()
            ws.shutdown()

        @pytest.mark.marketreplay("day", clock="recording", pace="step")
        def test_steps_in_a_loop(market_replay, market_clock):
            async def main():
                async with streams.connect(WS["binance"] + DEPTH) as ws:
                    began = market_clock.now_ns
                    market_replay.run_until((began + 400_000_000) / 1e6)
                    assert market_clock.now_ns == began  # the loop moves it, when it waits
                    assert "depthUpdate" in await ws.recv()
                    assert market_clock.now_ns > began
            asyncio.run(main())

        @pytest.mark.marketreplay("day")
        def test_does_not_step(market_replay):
            market_replay.run_until("2025-10-02T10:00:00Z")
    """)
    streaming.run("-k", "recording", mode="once").assert_outcomes(passed=1, deselected=3)
    result = streaming.run("-k", "step")
    result.assert_outcomes(passed=2, failed=1, deselected=1)
    result.stdout.fnmatch_lines(['*market_replay.run_until() needs pace="step" in the marker*'])

"""Nothing hangs: whoever waits for what is not on the tape gets an error within a second, and so does the test."""

from __future__ import annotations

import pytest
from market_suite import LIBRARIES, StreamSuite

RECORDING = """
    pytestmark = pytest.mark.marketreplay("tape")

    SUBSCRIBE = {"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms"], "id": 1}

    def test_recording():
        streams.aiohttp(count=3)
        streams.aiohttp("/ws", 3, SUBSCRIBE)
"""

WAITING = """
    import threading

    pytestmark = pytest.mark.marketreplay("tape", clock={clock!r})
    ETHER = {{"method": "SUBSCRIBE", "params": ["ethusdt@trade"], "id": 1}}

    def swallows(way, *args):
        began = time.perf_counter()
        try:
            way(*args)
        except BaseException as error:
            print("CLIENT:", type(error).__name__)
        print(f"TOOK: {{time.perf_counter() - began:.3f}}")

    def end_of_tape(read):
        swallows(read, DEPTH, 1000)

    def missing_subscribe(read):
        swallows(read, "/ws", 1)

    def frame_that_never_comes(read):
        swallows(read, "/ws", 1, ETHER)

    def in_a_thread(read):
        thread = threading.Thread(target=swallows, args=(read, DEPTH, 1000))
        thread.start()
        thread.join()

    def with_a_timeout_that_it_repeats(read):
        def again():
            async def main():
                async with streams.aiohttp_client.ClientSession() as session, session.ws_connect(WS["binance"] + DEPTH) as ws:
                    while True:
                        try:
                            await asyncio.wait_for(ws.receive_str(), 0.05)
                        except TimeoutError:
                            pass
            asyncio.run(main())
        swallows(again)

    @pytest.mark.parametrize(("how", "library"), {cases!r})
    def test_waits(how, library):
        globals()[how](getattr(streams, library))
"""

VERDICTS = {
    "end_of_tape": "the recording has ended, and the client still waits for a frame",
    "missing_subscribe": "the client waits for a frame, and the recording for the client,",
    "frame_that_never_comes": "the client sent what is not in the recording,",
    "in_a_thread": "the recording has ended, and the client still waits for a frame",
    "with_a_timeout_that_it_repeats": "the recording has ended, and the client still waits for a frame",
}
ALL = [(how, library) for how in VERDICTS if how != "with_a_timeout_that_it_repeats" for library in LIBRARIES]
ALL.append(("with_a_timeout_that_it_repeats", "aiohttp"))
SOME = [("end_of_tape", "websocket_client"), ("missing_subscribe", "aiohttp"), ("in_a_thread", "websockets_sync"),
        ("end_of_tape", "websockets"), *(each for each in ALL if each[0] == "frame_that_never_comes")]  # fmt: skip


def waits(suite: StreamSuite, clock: str, cases: list[tuple[str, str]]) -> None:
    """Have each case end in time, with its text, where the client has swallowed the error."""
    suite.streaming(RECORDING, "test_record.py")
    suite.run("test_record.py", mode="once").assert_outcomes(passed=1)
    suite.exchange.stop()
    suite.streaming(WAITING.format(clock=clock, cases=cases))
    result = suite.run("test_it.py", "-rN")
    result.assert_outcomes(failed=len(cases))
    told = [line for line in result.outlines if line.startswith("E ") and " pytest_marketreplay." in line]
    wanted = [VERDICTS[how] for how, _ in cases]
    assert [want for want, line in zip(wanted, told, strict=True) if want not in line] == []
    took = [float(line.removeprefix("TOOK: ")) for line in result.outlines if line.startswith("TOOK: ")]
    assert len(took) == len(cases)
    assert max(took) < 1.5


@pytest.mark.parametrize("clock", ["system", "recording"])
def test_a_client_that_waits_in_vain_and_swallows_the_error_fails_its_test_in_time(
    streaming: StreamSuite, clock: str
) -> None:
    waits(streaming, clock, SOME)


@pytest.mark.slow
@pytest.mark.parametrize("clock", ["system", "recording"])
def test_every_library_is_told_in_time_whatever_it_waits_for(streaming: StreamSuite, clock: str) -> None:
    waits(streaming, clock, ALL)


SLEEPING = """
    import threading

    @pytest.mark.marketreplay("tape")
    def test_recording():
        streams.aiohttp(count=3)

    @pytest.mark.marketreplay("tape", clock={clock!r})
    class TestSleeps:
        def test_task(self):
            async def read(done):
                async with streams.connect(WS["binance"] + DEPTH) as ws:
                    for _ in range(3):
                        await ws.recv()
                    waiting = asyncio.create_task(ws.recv())
                    await done.wait()
                    waiting.cancel()

            async def main():
                done = asyncio.Event()
                task = asyncio.create_task(read(done))
                await asyncio.sleep(2)
                done.set()
                await task

            asyncio.run(main())

        def test_task_of_aiohttp(self):
            async def main():
                async with streams.aiohttp_client.ClientSession() as session, session.ws_connect(WS["binance"] + DEPTH) as ws:
                    for _ in range(3):
                        await ws.receive_str()
                    await asyncio.sleep(2)

            asyncio.run(main())

        @pytest.mark.parametrize("library", ["websocket_client", "websockets_sync"])
        def test_thread(self, library):
            opened = []

            def read():
                if library == "websocket_client":
                    ws = streams.websocket.create_connection(WS["binance"] + DEPTH)
                else:
                    ws = streams.connect_sync(WS["binance"] + DEPTH)
                opened.append(ws)
                try:
                    while True:
                        ws.recv()
                except Exception as error:
                    opened.append(error)

            thread = threading.Thread(target=read)
            thread.start()
            time.sleep(2)
            opened[0].close()
            thread.join()
            assert "TapeEnded" not in repr(opened)
"""


@pytest.mark.parametrize("clock", ["system", "recording"])
def test_a_plain_sleep_at_the_end_of_the_tape_brings_no_false_verdict(streaming: StreamSuite, clock: str) -> None:
    streaming.streaming(SLEEPING.format(clock=clock))
    streaming.run("-k", "recording", mode="once")
    streaming.exchange.stop()
    streaming.run("-k", "Sleeps").assert_outcomes(passed=4, deselected=1)


STUCK = """
    import threading

    @pytest.mark.marketreplay("tape")
    def test_recording():
        streams.aiohttp(count=1)

    def wait_for_a_fill():
        async def fill():
            await asyncio.get_running_loop().create_future()

        try:
            asyncio.run(fill())
        except Exception as error:
            print("CLIENT:", type(error).__name__)

    @pytest.mark.marketreplay("tape", clock="recording")
    @pytest.mark.parametrize("where", ["here", "in a thread"])
    def test_stuck(where):
        if where == "here":
            wait_for_a_fill()
        else:
            thread = threading.Thread(target=wait_for_a_fill)
            thread.start()
            thread.join()
"""


def test_waiting_for_what_will_not_happen_fails_the_test_where_its_error_is_swallowed(streaming: StreamSuite) -> None:
    streaming.streaming(STUCK)
    streaming.run("-k", "recording", mode="once")
    result = streaming.run("-k", "stuck")
    result.assert_outcomes(failed=2, deselected=1)
    told = [
        line for line in result.outlines if line.startswith("E ") and "the test waits for what will not happen" in line
    ]
    assert len(told) == 2
    result.stdout.fnmatch_lines(["CLIENT: ClockStuck"])

"""In mode `none` no WebSocket library gets out; the error names the test and what was asked, and shows no secret."""

from __future__ import annotations

import pytest
from market_suite import StreamSuite

SECRET = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"

ESCAPES = """
    import socket
    import threading

    HOST = "wss://stream.exchange.example:9443"
    ADDRESS = "ws://192.0.2.1:9443"
    LISTEN_KEY = {secret!r}

    def aiohttp(url):
        async def main():
            async with streams.aiohttp_client.ClientSession() as session, session.ws_connect(url):
                pass
        asyncio.run(main())

    def websockets(url):
        async def main():
            async with streams.connect(url):
                pass
        asyncio.run(main())

    def websockets_sync(url):
        with streams.connect_sync(url):
            pass

    def websocket_client(url):
        streams.websocket.create_connection(url, timeout=5)

    def websocket_app(url):
        told = []
        app = streams.websocket.WebSocketApp(url, on_error=lambda app, error: told.append(error))
        app.run_forever()
        raise told[0]

    LIBRARIES = [aiohttp, websockets, websockets_sync, websocket_client, websocket_app]
    SWALLOWED = []

    def swallow(way, *args):
        try:
            way(*args)
        except BaseException as error:
            SWALLOWED.append(error)

    @pytest.mark.parametrize("url", [HOST, ADDRESS], ids=["name", "address"])
    @pytest.mark.parametrize("library", LIBRARIES)
    @pytest.mark.marketreplay({arguments})
    def test_unrecorded(library, url, market_replay):
        swallow(library, url + "/ws/" + LISTEN_KEY)
        assert SWALLOWED and market_replay.refusals

    @pytest.mark.parametrize("library", LIBRARIES)
    @pytest.mark.marketreplay({arguments})
    def test_venue(library):
        swallow(library, WS["binance"] + "/ws/" + LISTEN_KEY)
        swallow(library, "wss://stream.binance.com:9443/ws/" + LISTEN_KEY + "?apiKey=" + LISTEN_KEY)

    @pytest.mark.parametrize("library", LIBRARIES)
    @pytest.mark.marketreplay({arguments})
    def test_thread(library):
        thread = threading.Thread(target=swallow, args=(library, HOST + "/ws/" + LISTEN_KEY))
        thread.start()
        thread.join()

    @pytest.mark.parametrize("way", ["dns", "raw", "dns in a thread", "raw in a thread"])
    @pytest.mark.marketreplay({arguments})
    def test_below(way):
        def dns():
            swallow(socket.getaddrinfo, "stream.exchange.example", 9443)
        def raw():
            with socket.socket() as client:
                client.settimeout(5)
                swallow(client.connect, ("192.0.2.1", 9443))
        target = dns if way.startswith("dns") else raw
        if way.endswith("thread"):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        else:
            target()
"""


@pytest.mark.parametrize("arguments", ["", 'clock="recording"'], ids=["system", "recording"])
def test_no_library_gets_out_and_the_error_says_who_asked_what(streaming: StreamSuite, arguments: str) -> None:
    named = f'"tape", {arguments}' if arguments else ""
    streaming.streaming(ESCAPES.format(secret=SECRET, arguments=named))
    if arguments:
        streaming.streaming("""
            @pytest.mark.marketreplay("tape")
            def test_recording():
                depth()
        """, "test_record.py")  # fmt: skip
        streaming.run("test_record.py", mode="once").assert_outcomes(passed=1)
    asked = streaming.asked()
    result = streaming.run("test_it.py", "-rN", "--tb=short")
    result.assert_outcomes(failed=24)
    assert streaming.asked() == 0, asked
    told = [line for line in result.outlines if line.startswith("E ") and ".errors." in line]
    assert len(told) == 24
    text = "\n".join(result.outlines)
    assert SECRET not in text
    assert SECRET not in result.stderr.str()
    for line in told:
        assert any(what in line for what in ("exchange.example", "192.0.2.1", "/ws/", "binance"))
    for test in ("test_unrecorded", "test_venue", "test_thread", "test_below"):
        assert f"test_it.py::{test}" in text

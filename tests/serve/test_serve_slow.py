"""A client that does not read is cut, and disturbs nobody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from pytest_marketreplay.serve import CassetteServer

from .conftest import listen
from .tapes import Tape

Serve = Callable[..., CassetteServer]


def test_a_client_that_does_not_read_is_cut_and_the_others_get_everything(tape: Tape, serve: Serve) -> None:
    body = b'{"e":"trade","s":"BTCUSDT","x":"%b"}' % (b"x" * 20_000)
    connection = tape.connection(0, "binance", "/ws/btcusdt@trade")
    for number in range(1_000):
        connection.recv(number, body)
    server = serve(speed=2, slow_client_s=0.3)
    address = ("127.0.0.1", int(server.url("binance").rpartition(":")[2]))
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(address)
        lazy.sendall(
            b"GET /ws/btcusdt@trade HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        heard = asyncio.run(listen(f"{server.ws_url('binance')}/ws/btcusdt@trade"))
        assert len(heard.messages) > 500  # it came a moment after the tape had begun
        assert heard.code == 1001
        lazy.settimeout(10)
        try:
            while lazy.recv(1 << 20):
                pass
        except ConnectionResetError:
            pass
    assert server.served["binance"].slow == 1


def test_stopping_closes_every_connection_with_1001(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", "/ws/btcusdt@trade").recv(1, b'{"e":"trade"}').recv(3_600_000, b'{"e":"trade"}')
    server = serve()

    async def stopped() -> tuple[int | None, str]:
        heard = asyncio.create_task(listen(f"{server.ws_url('binance')}/ws/btcusdt@trade"))
        while not server.served["binance"].frames:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.stop)
        return (await heard).code, (await heard).reason

    assert asyncio.run(stopped()) == (1001, "the server stops")
    server.stop()


def test_a_stopped_server_can_be_started_again_and_starts_over(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", "/ws/btcusdt@trade").recv(1, b'{"e":"trade"}')
    server = serve(speed=1)
    for _ in range(2):
        heard = asyncio.run(listen(f"{server.ws_url('binance')}/ws/btcusdt@trade"))
        assert heard.code == 1001
        assert server.wait_end(5)
        server.stop()
        assert not server.start().wait_end(0)

"""WebSocket frames in a process of its own: `python frames.py '{"do": "play", ...}'` prints one line of JSON.

`do`: `write` makes cassettes, `serve` is the bare loopback server, `play` receives frames, `load` opens a long recording.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import measure

HOST = "127.0.0.1:9"
PATH = "/stream?streams=btcusdt@depth"
START_MS = 1_759_399_200_000


def payload(number: int) -> bytes:
    """Return one depth diff of 230 bytes."""
    return (
        b'{"stream":"btcusdt@depth","data":{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,'
        b'"b":[["%d.41000000","0.00500000"],["%d.17000000","0.00000000"]],"a":[["%d.93000000","1.20000000"]]}}'
        % (START_MS + number, 3 * number, 3 * number + 2, 60_000 + number % 97, 59_990 - number % 89, 60_010 + number % 83)
    )  # fmt: skip


def write(folder: Path, count: int) -> dict[str, Any]:
    """Write one connection of so many frames, 10 ms apart."""
    from pytest_marketreplay.cassette.frame import FrameMeta, write_frame
    from pytest_marketreplay.cassette.payload import Payload

    place = folder / "binance" / "ws_stream" / "BTCUSDT"
    place.mkdir(parents=True)
    with (place / "2025-10-02T10-00-00.jsonl").open("wb") as out:
        opening = FrameMeta(dir="open", conn="1b2c3d4e5f607182", seq=0, offset_ns=1000, status=101, scheme="ws")
        out.write(write_frame(START_MS, "/stream", b'{"streams":"btcusdt@depth"}', opening, Payload(b"null")))
        for number in range(count):
            meta = FrameMeta(dir="recv", conn="1b2c3d4e5f607182", seq=number + 1, offset_ns=10_000_000 * number + 2000)
            out.write(write_frame(START_MS + 10 * number, "/stream", b"{}", meta, Payload(payload(number))))
        return {"bytes": out.tell()}


def serve() -> None:
    """Serve frames as fast as a client takes them; the port is printed, the number of frames is the last path part."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        for number in range(int(request.match_info["count"])):
            await socket.send_str(payload(number).decode())
        await socket.close()
        return socket

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{count}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        print(site._server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await runner.cleanup()

    asyncio.run(run())


@contextlib.asynccontextmanager
async def connection(library: str, url: str) -> AsyncIterator[Any]:
    """Open a connection; what is given has an awaitable `receive` that returns a text."""
    if library == "aiohttp":
        import aiohttp

        async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=0, max_msg_size=0) as socket:
            yield socket.receive_str
    else:
        from websockets.asyncio.client import connect

        async with connect(url, compression=None, max_size=None) as socket:
            yield socket.recv


async def receive(library: str, url: str, count: int) -> dict[str, Any]:
    """Receive all frames, and check that each is the one that was written."""
    started = time.perf_counter()
    frames = []
    async with connection(library, url) as take:
        frames.append(await take())
        first = time.perf_counter()
        for _ in range(count - 1):
            frames.append(await take())
        ended = time.perf_counter()
    wrong = sum(frame.encode() != payload(number) for number, frame in enumerate(frames))
    return {
        "first_ms": (first - started) * 1000,
        "frames_per_s": (count - 1) / (ended - first),
        "with_load_per_s": count / (ended - started),
        "wrong": wrong,
    }


def play(order: dict[str, Any]) -> dict[str, Any]:
    """Receive the frames of one tool."""
    library, tool, count = order["library"], order["tool"], order["count"]
    __import__("aiohttp" if library == "aiohttp" else "websockets.asyncio.client")
    url = f"ws://{HOST}{PATH}"
    if tool == "bare loopback server":
        return asyncio.run(receive(library, f"ws://127.0.0.1:{order['port']}/{count}", count))
    if tool == "cassetter":
        return asyncio.run(_cassetter(Path(order["folder"]) / "frames.yaml", order["port"], count))
    from pytest_marketreplay import use_cassette

    clock = "recording" if tool.endswith("recording clock") else "system"
    with use_cassette(order["folder"], hosts={HOST: "binance"}, clock=clock):
        result = asyncio.run(receive(library, url, count))
    result["peak_mb"] = measure.peak_mb()
    return result


async def _cassetter(path: Path, port: int, count: int) -> dict[str, Any]:
    import cassetter
    from cassetter.websockets import connect

    url = f"ws://127.0.0.1:{port}/{count}"

    async def once(mode: str) -> dict[str, Any]:
        started = time.perf_counter()
        with cassetter.use_cassette(str(path), record_mode=mode):
            socket = await connect(url)
            frames = [await socket.recv()]
            first = time.perf_counter()
            for _ in range(count - 1):
                frames.append(await socket.recv())
            ended = time.perf_counter()
            await socket.close()
        wrong = sum(frame.encode() != payload(number) for number, frame in enumerate(frames))
        return {
            "first_ms": (first - started) * 1000,
            "frames_per_s": (count - 1) / (ended - first),
            "with_load_per_s": count / (ended - started),
            "wrong": wrong,
        }

    await once("all")
    return await once("none")


def load(folder: Path) -> dict[str, Any]:
    """Open a long recording and take its frames without a client: what loading and reading alone cost."""
    from pytest_marketreplay.config import Settings
    from pytest_marketreplay.replay.session import Session

    session = Session([folder], Settings.of(hosts={HOST: "binance"}))
    base = measure.peak_mb()
    started = time.perf_counter()
    player = session.connect(f"ws://{HOST}{PATH}")
    opened = time.perf_counter()
    loaded_mb = measure.peak_mb()
    count = 0
    while player.head() is not None:
        player.take()
        count += 1
    ended = time.perf_counter()
    session.close()
    return {
        "load_s": opened - started,
        "frames": count,
        "read_us": (ended - opened) / count * 1e6,
        "load_adds_mb": loaded_mb - base,
        "all_adds_mb": measure.peak_mb() - base,
    }


def main() -> None:
    """Do what the first argument says."""
    order = json.loads(sys.argv[1])
    if order["do"] == "serve":
        serve()
        return
    if order["do"] == "write":
        result = write(Path(order["folder"]), order["count"])
    elif order["do"] == "load":
        result = load(Path(order["folder"]))
    else:
        result = play(order)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

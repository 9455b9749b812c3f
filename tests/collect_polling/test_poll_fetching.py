"""What asks for an answer: how large one may be, how it is unpacked, and that nothing is asked twice."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable

import pytest

from pytest_marketreplay.collect import fetching
from pytest_marketreplay.collect.fetching import Answer, HttpFetch, Unanswered

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TEXT = b'{"bids":[["1.0","2.0"]],"asks":[]}' * 100


def fetched(serve: Serve, times: int = 1) -> list[Answer | str]:
    """Ask a server that many times over one fetch; an answer, or why there is none."""
    out: list[Answer | str] = []

    async def go() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        fetch = HttpFetch(20.0)
        try:
            for _ in range(times):
                try:
                    out.append(await fetch(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/depth"))
                except Unanswered as error:
                    out.append(str(error))
        finally:
            await fetch.close()
            server.close()
            await server.wait_closed()

    asyncio.run(go())
    return out


def answering(coding: str, body: bytes, piece: int = 1 << 20) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        try:
            for at in range(0, len(body), piece):
                writer.write(body[at : at + piece])
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            pass  # the client has had enough
        writer.close()

    return serve


def raw(data: bytes) -> bytes:
    work = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return work.compress(data) + work.flush()


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("X-Gzip", gzip.compress(TEXT[:50]) + gzip.compress(TEXT[50:])),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw(TEXT)),
        ("identity", TEXT),
    ],
    ids=["gzip", "parts", "deflate", "raw", "plain"],
)
def test_an_answer_is_unpacked_whole_however_it_comes(coding: str, body: bytes, piece: int) -> None:
    (said,) = fetched(answering(coding, body, piece))
    assert isinstance(said, Answer)
    assert (said.status, said.body) == (200, TEXT)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_packed_answer_of_nothing_is_empty(coding: str) -> None:
    (said,) = fetched(answering(coding, b""))
    assert isinstance(said, Answer)
    assert said.body == b""


@pytest.mark.parametrize(
    ("coding", "body", "problem"),
    [
        ("gzip", gzip.compress(TEXT)[:-3], "the packed answer is cut off"),
        ("gzip", TEXT, "incorrect header check"),
        ("deflate", zlib.compress(TEXT)[:-3], "the packed answer is cut off"),
        ("gzip, gzip", gzip.compress(gzip.compress(TEXT)), "packed as 'gzip, gzip', which was not asked for"),
        ("br", TEXT, "packed as 'br', which was not asked for"),
    ],
)
def test_an_answer_that_cannot_be_unpacked_is_none(coding: str, body: bytes, problem: str) -> None:
    (said,) = fetched(answering(coding, body))
    assert isinstance(said, str)
    assert problem in said


def test_the_largest_answer_is_taken_and_one_byte_more_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MOST_BYTES", 1 << 20)
    for coding, pack in (("identity", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)):
        (most,) = fetched(answering(coding, pack(b"7" * (1 << 20))))
        assert isinstance(most, Answer)
        assert len(most.body) == 1 << 20
        (more,) = fetched(answering(coding, pack(b"7" * ((1 << 20) + 1))))
        assert more == "the answer is larger than 1 MiB"


def test_a_bomb_is_left_before_it_takes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte that unpacks to a gigabyte."""
    monkeypatch.setattr(fetching, "MOST_BYTES", 4 << 20)
    work = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    zeros = bytes(16 << 20)
    bomb = b"".join([*(work.compress(zeros) for _ in range(64)), work.flush()])
    assert len(bomb) < 1.2 * (1 << 20)
    tracemalloc.start()
    try:
        (said,) = fetched(answering("gzip", bomb))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert said == "the answer is larger than 4 MiB"
    assert peak < 24 << 20


def test_a_connection_that_is_reset_is_one_request_kept_or_not() -> None:
    """aiohttp by itself asks once more: a request that no limit has allowed."""
    asked: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(3):
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                writer.close()
                return
            asked.append(number)
            if len(asked) in (2, 3):
                writer.transport.abort()
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()

    said = fetched(serve, times=4)
    assert [isinstance(each, Answer) for each in said] == [True, False, False, True]
    assert asked == [0, 1, 0, 0]

"""Threads and tasks: each sees its session, nothing escapes, nothing is lost, nothing is mixed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import NetworkRefused, RecordingError, UnrecordedRequest
from pytest_marketreplay.replay.current import current

from .sync_clients import TLS

THREADS, EACH = 8, 40


class Echo(ThreadingHTTPServer):
    """Answers every path with itself, so that a mixed-up answer shows; counts what arrives."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), EchoHandler)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class EchoHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Echo

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.count += 1
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def opened(folder: Path, mode: str, echo: Echo, **more: Any) -> Any:
    return use_cassette(folder, mode=mode, hosts={echo.host: "echo"}, **more)


@contextmanager
def with_requests(host: str) -> Iterator[Callable[[str], str]]:
    with requests.Session() as session:
        session.trust_env = False
        yield lambda path: session.get(f"http://{host}{path}", timeout=20).text


@contextmanager
def with_urllib3(host: str) -> Iterator[Callable[[str], str]]:
    with urllib3.PoolManager() as pool:
        yield lambda path: pool.request("GET", f"http://{host}{path}", retries=False).data.decode()


@contextmanager
def with_httpx(host: str) -> Iterator[Callable[[str], str]]:
    with httpx.Client(verify=TLS, trust_env=False) as client:
        yield lambda path: client.get(f"http://{host}{path}", timeout=20).text


Opened = Callable[[str], AbstractContextManager[Callable[[str], str]]]


def get_by_requests(host: str) -> Callable[[str], str]:
    return lambda path: requests.get(f"http://{host}{path}", timeout=20).text


SYNC = [with_requests, with_urllib3, with_httpx]


@pytest.mark.parametrize("client", SYNC)
def test_eight_threads_of_forty_requests_are_recorded_and_replayed_with_no_escape(
    client: Opened, tmp_path: Path, echo: Echo
) -> None:
    def work(number: int) -> list[str]:
        with client(echo.host) as get:
            return [get(f"/api/v3/depth?symbol=S{number}&n={n}") for n in range(EACH)]

    expected = [[f"/api/v3/depth?symbol=S{number}&n={n}" for n in range(EACH)] for number in range(THREADS)]
    for mode in ("rewrite", "none"):
        with opened(tmp_path, mode, echo) as session:
            out: dict[int, list[str]] = {}
            threads = [
                threading.Thread(target=lambda number=number: out.update({number: work(number)}))
                for number in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [out[number] for number in range(THREADS)] == expected
            assert (session.recorded, session.replayed) == ((320, 0) if mode == "rewrite" else (0, 320))
        assert echo.count == THREADS * EACH


@pytest.mark.parametrize("client", SYNC)
def test_threads_and_pools_that_were_there_before_the_session_are_in_it(
    client: Opened, tmp_path: Path, echo: Echo
) -> None:
    with ThreadPoolExecutor(4) as pool, client(echo.host) as get:
        barrier = threading.Barrier(4)
        list(pool.map(lambda _: barrier.wait(10), range(4)))  # all four threads exist now
        for mode in ("rewrite", "none"):
            with opened(tmp_path, mode, echo):
                answers = list(pool.map(get, [f"/a?n={n}" for n in range(40)]))
            assert answers == [f"/a?n={n}" for n in range(40)]
            assert echo.count == 40


def test_a_thread_that_was_started_before_the_session_is_in_it_while_it_is_open(tmp_path: Path, echo: Echo) -> None:
    asked, answered = threading.Event(), threading.Event()
    out: list[str] = []
    get = get_by_requests(echo.host)

    def work() -> None:
        for _ in range(2):
            asked.wait(10)
            asked.clear()
            out.append(get("/a?n=1"))
            answered.set()

    thread = threading.Thread(target=work)
    thread.start()
    for mode in ("rewrite", "none"):
        with opened(tmp_path, mode, echo) as session:
            asked.set()
            assert answered.wait(10)
            answered.clear()
            assert (session.recorded, session.replayed) == ((1, 0) if mode == "rewrite" else (0, 1))
    thread.join()
    assert out == ["/a?n=1"] * 2
    assert echo.count == 1


def test_to_thread_and_run_in_executor_carry_the_session(tmp_path: Path, echo: Echo) -> None:
    get = get_by_requests(echo.host)

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        return [
            *await asyncio.gather(*(asyncio.to_thread(get, f"/a?n={n}") for n in range(10))),
            *await asyncio.gather(*(loop.run_in_executor(None, get, f"/b?n={n}") for n in range(10))),
        ]

    expected = [f"/a?n={n}" for n in range(10)] + [f"/b?n={n}" for n in range(10)]
    for mode in ("rewrite", "none"):
        with opened(tmp_path, mode, echo):
            assert asyncio.run(main()) == expected
        assert echo.count == 20


async def many(library: str, host: str, paths: list[str]) -> list[str]:
    if library == "aiohttp":
        async with aiohttp.ClientSession() as session:

            async def get(path: str) -> str:
                async with session.get(f"http://{host}{path}") as response:
                    return await response.text()

            return await asyncio.gather(*map(get, paths))
    limits = httpx.Limits(max_connections=20)
    async with httpx.AsyncClient(verify=TLS, trust_env=False, limits=limits, timeout=30) as client:
        return [each.text for each in await asyncio.gather(*(client.get(f"http://{host}{path}") for path in paths))]


@pytest.mark.parametrize("library", ["aiohttp", "httpx"])
def test_a_gather_of_200_is_recorded_and_replayed(library: str, tmp_path: Path, echo: Echo) -> None:
    paths = [f"/api/v3/ticker?symbol=S{n}" for n in range(200)]
    for mode in ("rewrite", "none"):
        with opened(tmp_path, mode, echo) as session:
            assert asyncio.run(many(library, echo.host, paths)) == paths
            assert (session.recorded, session.replayed) == ((200, 0) if mode == "rewrite" else (0, 200))
        assert echo.count == 200


@pytest.mark.parametrize("library", ["aiohttp", "httpx"])
def test_two_overlapping_cassettes_in_two_tasks_keep_their_own(library: str, tmp_path: Path, echo: Echo) -> None:
    async def task(name: str, mode: str, inside: asyncio.Barrier) -> tuple[int, int, list[str]]:
        with opened(tmp_path / name, mode, echo) as session:
            await inside.wait()  # both are open
            out = []
            for n in range(20):
                out += await many(library, echo.host, [f"/{name}?n={n}"])
            await inside.wait()  # and stay open until both have asked everything
            return session.recorded, session.replayed, out

    async def main(mode: str) -> list[tuple[int, int, list[str]]]:
        inside = asyncio.Barrier(2)
        return await asyncio.gather(task("a", mode, inside), task("b", mode, inside))

    for mode, counts in (("rewrite", (20, 0)), ("none", (0, 20))):
        out = asyncio.run(main(mode))
        assert out == [(*counts, [f"/{name}?n={n}" for n in range(20)]) for name in "ab"]
    assert echo.count == 40
    for name, other in ("ab", "ba"):
        assert (tmp_path / name / "echo" / name).is_dir()
        assert not (tmp_path / name / "echo" / other).exists()


def test_two_overlapping_cassettes_in_two_threads_keep_their_own(tmp_path: Path, echo: Echo) -> None:
    inside = threading.Barrier(2)

    def work(name: str, mode: str) -> tuple[int, int]:
        get = get_by_requests(echo.host)
        with opened(tmp_path / name, mode, echo) as session:
            inside.wait(10)
            for n in range(20):
                assert get(f"/{name}?n={n}") == f"/{name}?n={n}"
            inside.wait(10)
            return session.recorded, session.replayed

    for mode, counts in (("rewrite", (20, 0)), ("none", (0, 20))):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(work, "ab", [mode, mode])) == [counts, counts]
    assert echo.count == 40


def test_the_inner_of_two_nested_cassettes_is_in_play_and_then_the_outer_again(tmp_path: Path, echo: Echo) -> None:
    get = get_by_requests(echo.host)
    with opened(tmp_path / "outer", "rewrite", echo) as outer:
        get("/one")
        with opened(tmp_path / "inner", "rewrite", echo) as inner:
            get("/two")
            assert current() is inner
        get("/three")
        assert current() is outer
    assert (outer.recorded, inner.recorded) == (2, 1)
    assert current() is None
    with opened(tmp_path / "outer", "none", echo):
        get("/one")
        with opened(tmp_path / "inner", "none", echo) as session:
            with pytest.raises(UnrecordedRequest):
                get("/three")
            session.refusals.clear()
            get("/two")
        get("/three")


def test_a_thread_that_outlives_its_session_writes_nothing_into_the_closed_cassette(tmp_path: Path, echo: Echo) -> None:
    asked, closed = threading.Event(), threading.Event()
    get = get_by_requests(echo.host)

    def work() -> None:
        get("/before")
        asked.set()
        closed.wait(10)
        get("/after")

    with opened(tmp_path, "rewrite", echo) as session:
        thread = threading.Thread(target=work)
        thread.start()
        assert asked.wait(10)
    closed.set()
    thread.join()
    assert session.recorded == 1
    assert echo.count == 2
    assert [folder.name for folder in sorted((tmp_path / "echo").iterdir())] == ["before"]


def test_an_answer_that_arrives_after_the_session_was_closed_is_not_written(tmp_path: Path, echo: Echo) -> None:
    """The request was asked in the session; its answer comes when the recording is already in place."""
    with opened(tmp_path, "rewrite", echo) as session:
        live = session.ask("GET", f"http://{echo.host}/late")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RecordingError, match="after the recording was closed"):
        live.record(200, "OK", [], b"{}")  # type: ignore[union-attr]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_thread_that_outlives_its_replay_sees_the_next_session(tmp_path: Path, echo: Echo) -> None:
    started, proceed = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        started.set()
        proceed.wait(10)
        try:
            get_by_requests(echo.host)("/never")
        except BaseException as error:
            failures.append(error)

    with opened(tmp_path / "first", "none", echo):
        thread = threading.Thread(target=work)
        thread.start()
        started.wait(10)
    with opened(tmp_path / "second", "none", echo) as second:
        proceed.set()
        thread.join()
        second.refusals.clear()
    assert [type(error) for error in failures] == [UnrecordedRequest]
    assert echo.count == 0


def test_a_refusal_in_a_thread_is_raised_at_the_end_of_the_session(tmp_path: Path, echo: Echo) -> None:
    def swallow() -> None:
        try:
            get_by_requests("api.exchange.example:8443")("/x")
        except Exception:
            return

    with pytest.raises((UnrecordedRequest, NetworkRefused)), opened(tmp_path, "none", echo):
        thread = threading.Thread(target=swallow)
        thread.start()
        thread.join()

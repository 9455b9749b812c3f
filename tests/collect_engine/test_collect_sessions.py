"""Sessions: their documents tell the truth after a crash, their locks cannot be stale, and they can be spoken with."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_marketreplay import clock
from pytest_marketreplay.collect import control, sessions
from pytest_marketreplay.collect.control import ControlServer
from pytest_marketreplay.collect.sessions import SessionFolder, SessionState
from pytest_marketreplay.errors import CollectError, DocumentError, UsageMistake


def state_of(session_id: str = "s", **changes: Any) -> SessionState:
    """The state of a session that this process runs."""
    now_ms = clock.now_ns() // 1_000_000
    started = sessions.process_started(os.getpid())
    assert started is not None
    state = SessionState(
        session_id, os.getpid(), started, now_ms, now_ms, "running", {"binance": ["BTC-USDT"]}, 1.0, []
    )
    return msgspec.structs.replace(state, **changes)


def test_a_state_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path, "s")
    state = state_of(counts={"items": 3}, gaps={"sink": 1})
    folder.document.save(state)
    assert folder.load() == state
    assert state.venues == ["binance"]


def test_a_session_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CollectError, match="no session 's'"):
        SessionFolder(tmp_path, "s").load()


def test_how_a_session_is_follows_from_its_process_and_its_heartbeat() -> None:
    state = state_of()
    assert sessions.verdict(state) == "running"
    assert sessions.verdict(msgspec.structs.replace(state, status="ended", pid=1)) == "ended"
    assert sessions.verdict(msgspec.structs.replace(state, heartbeat_ms=state.heartbeat_ms - 11_000)) == "silent"


def test_another_process_with_the_same_number_is_not_taken_for_the_session() -> None:
    state = state_of()
    assert sessions.verdict(msgspec.structs.replace(state, pid_started=state.pid_started - 1)) == "crashed"


def test_a_process_that_was_killed_is_gone_at_once_even_before_its_parent_waits_for_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    started = sessions.process_started(child.pid)
    assert started is not None
    state = state_of(pid=child.pid, pid_started=started)
    assert sessions.verdict(state) == "running"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert sessions.verdict(state) == "crashed"
    child.communicate()
    assert sessions.process_started(child.pid) is None


def test_a_lock_is_held_by_one_and_freed_by_a_kill(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path, "s")
    code = (
        "import sys; from pathlib import Path; from pytest_marketreplay.collect.sessions import SessionFolder\n"
        f"lock = SessionFolder(Path({str(tmp_path)!r}), 's').lock(); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(CollectError, match="the session 's' runs already"):
        folder.lock()
    child.kill()
    child.communicate()
    lock = folder.lock()
    lock.release()
    folder.lock().release()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o750
    assert stat.S_IMODE(folder.path.parent.stat().st_mode) == 0o750


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CollectError, match="--state-dir"):
        SessionFolder(tmp_path / "file", "s").lock()


def test_a_name_that_a_running_session_has_gets_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sessions.free_id(tmp_path, "s") == "s"
    SessionFolder(tmp_path, "s").document.save(state_of())
    monkeypatch.setattr(clock, "now_ns", lambda: 1_759_399_200 * 10**9)
    assert sessions.free_id(tmp_path, "s") == "s_20251002T100000"
    SessionFolder(tmp_path, "s_20251002T100000").document.save(state_of())
    assert sessions.free_id(tmp_path, "s") == "s_20251002T100000-2"
    SessionFolder(tmp_path, "s").document.save(state_of(status="ended"))
    assert sessions.free_id(tmp_path, "s") == "s"


def test_the_default_name_of_many_pairs_is_cut_and_still_its_own() -> None:
    many = sessions.default_id({"binance": [f"A{number}-USDT" for number in range(50)]})
    other = sessions.default_id({"binance": [f"A{number}-USDT" for number in range(51)]})
    assert many != other
    assert sessions.check_id(many) == many
    assert sessions.default_id({"binance": ["BTC-USDT"]}) == "binance_BTC-USDT"
    with pytest.raises(UsageMistake):
        sessions.check_id("a/b")


def test_all_sessions_are_listed_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert list(sessions.all_sessions(tmp_path)) == []
    for name in ("b", "a"):
        SessionFolder(tmp_path, name).document.save(state_of(name))
    bad = SessionFolder(tmp_path, "bad").path
    bad.mkdir()
    (bad / "state.json").write_text("{")
    (tmp_path / "sessions" / "empty").mkdir()
    (tmp_path / "sessions" / "file").write_text("")
    good_a, good_b, error = sessions.all_sessions(tmp_path)
    assert isinstance(good_a, SessionState)
    assert isinstance(good_b, SessionState)
    assert [good_a.session_id, good_b.session_id] == ["a", "b"]
    assert isinstance(error, DocumentError)


# ---------------------------------------------------------------- the control socket


class Serving:
    """A control server in a loop of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[dict[str, Any]] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.server = ControlServer(path, self.handle)

    async def handle(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(asked)
        if asked.get("do") == "fail":
            raise CollectError("it cannot be")
        if asked.get("do") == "hang":
            await asyncio.Event().wait()
        return {"heard": asked}

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    async def _end(self) -> None:
        await self.server.stop()
        await self.server.stop()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def stop(self) -> None:
        self.run(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    deep = tmp_path / ("d" * 100) / ("e" * 100)  # longer than the address of a socket may be
    deep.mkdir(parents=True)
    (deep / "control.sock").write_text("left by a killed process")
    serving = Serving(deep / "control.sock")
    serving.thread.start()
    serving.run(serving.server.start())
    yield serving
    serving.stop()
    assert not serving.path.exists()


def test_a_request_is_answered_however_deep_the_folder_is_and_only_the_owner_may_ask(serving: Serving) -> None:
    assert control.ask(serving.path, {"do": "x"}) == {"heard": {"do": "x"}}
    assert stat.S_IMODE(serving.path.stat().st_mode) == 0o600


def test_a_refusal_comes_back_as_an_error(serving: Serving) -> None:
    with pytest.raises(CollectError, match="it cannot be"):
        control.ask(serving.path, {"do": "fail"})


@pytest.mark.parametrize("line", [b"{\n", b"[]\n"])
def test_what_is_no_request_is_refused_and_the_next_one_is_answered(serving: Serving, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client, control._short(serving.path) as name:
        client.connect(name)
        client.sendall(line)
        assert b'"ok":false' in client.makefile("rb").readline()
    assert control.ask(serving.path, {"do": "x"})


def test_a_line_without_an_end_closes_the_connection_and_nothing_else(serving: Serving) -> None:
    with socket.socket(socket.AF_UNIX) as client, control._short(serving.path) as name:
        client.connect(name)
        with pytest.raises(OSError):
            client.sendall(b"x" * (30 << 20))
    assert control.ask(serving.path, {"do": "x"})


def test_a_session_that_does_not_answer_is_an_error(serving: Serving, tmp_path: Path) -> None:
    with pytest.raises(CollectError, match="does not answer"):
        control.ask(serving.path, {"do": "hang"}, timeout=0.05)
    with pytest.raises(CollectError, match="does not answer"):
        control.ask(tmp_path / "control.sock", {})


def test_a_session_that_ends_before_it_answers_is_an_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()

        def hang_up() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(100)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(CollectError, match="ended before it answered"):
            control.ask(tmp_path / "s", {})
        thread.join()

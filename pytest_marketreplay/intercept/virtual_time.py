"""Time as code asks for it, on the clock of the session in play: event loops, `time.sleep`, `time.monotonic`.

The wall clock (`time.time`, `datetime.now`, ...) is time-machine's work. Threads that carry no session, and what the
standard library and test tools wait for by themselves, stay in real time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.replay import marketclock
from pytest_marketreplay.replay.current import current
from pytest_marketreplay.replay.marketclock import in_play

_PASS_ON = frozenset(
    (
        "asyncio.events",
        "concurrent.futures.thread",
        "contextlib",
        "pytest_marketreplay.intercept.threads",
        "pytest_marketreplay.replay.virtual_loop",
        "threading",
        "unittest.mock",
    )
)
"""They call what they were given: `Thread(target=time.sleep)`, `to_thread(time.sleep)`."""
_TOOLS = frozenset(
    (
        "_pytest",
        "coverage",
        "execnet",
        "filelock",
        "hypothesis",
        "pluggy",
        "pytest_marketreplay",
        "pytest_timeout",
        "time_machine",
        "xdist",
    )
)
_IN_REAL_TIME = _TOOLS | sys.stdlib_module_names
"""They wait for real things: `subprocess` for a child, with `time.sleep` between its looks; asyncio's own loops that are
not driven read `time.monotonic`, and so does `concurrent.futures.as_completed`, to wait for a lock in real time."""
_MONOTONIC_IN_REAL_TIME = _IN_REAL_TIME | {"websockets"}
"""Its deadlines are for real locks."""


def _asks_for_itself(tools: frozenset[str]) -> bool:
    """Tell whether the caller of a replacement is code that stays in real time."""
    name: str = sys._getframe(2).f_globals.get("__name__") or ""
    return name.partition(".")[0] in tools and name not in _PASS_ON


def _sleep(original: Callable[[float], None]) -> Callable[[float], None]:
    def sleep(seconds: float, /) -> None:
        session = current()
        if session is not None:  # pragma: no branch - the last session takes this patch with it
            session.sleeps(seconds)
        clock = in_play()
        if clock is not None and not _asks_for_itself(_IN_REAL_TIME):
            return clock.sleep(seconds)
        return original(seconds)

    return sleep


def _monotonic(original: Callable[[], float]) -> Callable[[], float]:
    def monotonic() -> float:
        clock = in_play()
        if clock is None or _asks_for_itself(_MONOTONIC_IN_REAL_TIME):
            return original()
        return clock.monotonic_ns() / 1e9

    return monotonic


def _monotonic_ns(original: Callable[[], int]) -> Callable[[], int]:
    def monotonic_ns() -> int:
        clock = in_play()
        if clock is None or _asks_for_itself(_MONOTONIC_IN_REAL_TIME):
            return original()
        return clock.monotonic_ns()

    return monotonic_ns


_MAKERS: dict[str, Callable[[Any], Any]] = {"sleep": _sleep, "monotonic": _monotonic, "monotonic_ns": _monotonic_ns}


def times() -> Iterable[Patch]:
    """Give the patches of `time`."""
    for name, make in _MAKERS.items():
        yield Patch(time, name, make)


# ---------------------------------------------------------------- `from time import sleep`, before the session

_ORIGINALS = {id(getattr(time, name)): (getattr(time, name), make) for name, make in _MAKERS.items()}
_replacements: dict[int, Any] = {}
_looked_at: set[int] = set()
_found: list[tuple[dict[str, Any], str, Any]] = []


def _look() -> None:
    """Find the modules that hold `sleep` by its name; each is looked at once in a process (5 ms for 1,500 modules)."""
    for name, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", None)
        if names is None or id(names) in _looked_at:
            continue
        _looked_at.add(id(names))
        if name.partition(".")[0] in _IN_REAL_TIME:
            continue
        _found.extend((names, key, value) for key, value in list(names.items()) if id(value) in _ORIGINALS)


@contextmanager
def _early_names() -> Iterator[None]:
    _look()
    replaced = []
    for names, key, original in _found:
        if names.get(key) is original:
            if id(original) not in _replacements:
                _replacements[id(original)] = _ORIGINALS[id(original)][1](original)
            names[key] = replacement = _replacements[id(original)]
            replaced.append((names, key, replacement, original))
    try:
        yield
    finally:
        for names, key, replacement, original in replaced:
            if names.get(key) is replacement:  # pragma: no branch - somebody else may have set another meanwhile
                names[key] = original


marketclock.early_names = _early_names


# ---------------------------------------------------------------- event loops


def _run_forever(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def run_forever(self: Any) -> None:
        clock = in_play()
        virtual = clock.virtualise(self) if clock is not None else None
        if virtual is None or virtual.is_inside:
            return original(self)
        caller = sys._getframe(1).f_code.co_name
        with virtual.running(awaited=caller == "run_until_complete"):
            return original(self)

    return run_forever


def _shutdown(original: Callable[..., Any]) -> Callable[..., Any]:
    async def shutdown_default_executor(self: Any, *args: Any, **more: Any) -> Any:
        clock = in_play()
        virtual = clock.virtualise(self) if clock is not None else None
        if virtual is None:
            return await original(self, *args, **more)
        virtual.holds += 1  # its threads end in real time, and it sets a timer of five minutes
        try:
            return await original(self, *args, **more)
        finally:
            virtual.holds -= 1

    return shutdown_default_executor


def loops() -> Iterable[Patch]:
    """Give the patches of `asyncio`."""
    from asyncio.base_events import BaseEventLoop

    yield Patch(BaseEventLoop, "run_forever", _run_forever)
    yield Patch(BaseEventLoop, "shutdown_default_executor", _shutdown)


def _falls_back(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def run_forever(self: Any) -> None:
        clock = in_play()
        if clock is not None:
            clock.virtualise(self)  # says that it cannot
        original(self)

    return run_forever


def uvloop() -> Iterable[Patch]:
    """Give the patches of `uvloop`, which waits in C."""
    import uvloop

    yield Patch(uvloop.Loop, "run_forever", _falls_back)

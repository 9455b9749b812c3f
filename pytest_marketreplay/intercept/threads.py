"""Threads see the session of the code that started them: `Thread.start`, and `ThreadPoolExecutor.submit` for pools."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable
from typing import Any

from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.replay.current import SESSION


def _is_ours(thread: threading.Thread) -> bool:
    """Tell whether a thread is a server of this package: to a test it is the outside world, in real time."""
    target = getattr(thread, "_target", None)
    module: str = getattr(target, "__module__", None) or type(thread).__module__
    return module.startswith(("pytest_marketreplay.exchange.", "pytest_marketreplay.serve."))


def _start(original: Callable[..., Any]) -> Callable[..., Any]:
    def start(self: threading.Thread) -> None:
        session = SESSION.get()
        if session is not None and session.is_open and not _is_ours(self):
            run = self.run

            def run_in_session() -> None:
                SESSION.set(session)
                run()

            self.run = run_in_session  # type: ignore[method-assign]
        original(self)

    return start


def _submit(original: Callable[..., Any]) -> Callable[..., Any]:
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        session = SESSION.get()
        if session is None or not session.is_open:
            return original(self, fn, *args, **kwargs)

        def call(*args: Any, **kwargs: Any) -> Any:
            token = SESSION.set(session)
            try:
                return fn(*args, **kwargs)
            finally:
                SESSION.reset(token)

        return original(self, call, *args, **kwargs)

    return submit


def threads() -> Iterable[Patch]:
    """Give the patches of `threading` and `concurrent.futures`."""
    yield Patch(threading.Thread, "start", _start)
    yield Patch(concurrent.futures.ThreadPoolExecutor, "submit", _submit)

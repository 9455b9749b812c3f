"""The session in play: a `ContextVar` for tasks, and a sound answer for threads.

A task or thread sees the session of the context it was started in. A thread that carries none (started before, or by a
library in C) sees the innermost session that the process has open. A session that was closed is never in play.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_marketreplay.replay.session import Session

SESSION: ContextVar[Session | None] = ContextVar("marketreplay_session", default=None)
_stack: list[Session] = []
_lock = threading.Lock()


def current() -> Session | None:
    """Return the session in play for this task or thread, or None."""
    session = SESSION.get()
    if session is not None and session.is_open:
        return session
    try:
        return _stack[-1]
    except IndexError:
        return None


def enter(session: Session) -> None:
    """Put a session in play for this context, and for threads that carry none."""
    with _lock:
        _stack.append(session)
    SESSION.set(session)


def leave(session: Session, before: Session | None) -> None:
    """Take a session out of play again; `before` is what this context had."""
    with _lock:
        _stack.remove(session)
    if SESSION.get() is session:
        SESSION.set(before)


@contextmanager
def in_play(session: Session) -> Iterator[Session]:
    """Put a session in play for a block."""
    before = SESSION.get()
    enter(session)
    try:
        yield session
    finally:
        leave(session, before)

"""The ways in which programs use `websocket-client`; each returns all that it got, in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import websocket

Got = tuple[str, Any]
# the app tells 0 for a text in fragments
OPCODES = {0: "text", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
LONGEST_S = 20.0
connect: Any = websocket.create_connection
"""Looked up before any session; untyped, for the library's types are half there."""


def subscribe(*streams: str, number: Any = 1) -> str:
    """Return a subscription as Binance's clients send it."""
    return json.dumps({"method": "SUBSCRIBE", "params": list(streams), "id": number})


def by_recv(url: str, sends: Sequence[str] = (), **options: Any) -> list[Got]:
    """Read to the end with `create_connection`."""
    connection = connect(url, **{"timeout": LONGEST_S, **options})
    for message in sends:
        connection.send(message)
    got: list[Got] = []
    try:
        while True:
            opcode, frame = connection.recv_data_frame(True)
            got.append((OPCODES[opcode], bytes(frame.data)))
            if opcode == 8:
                return got
    except websocket.WebSocketConnectionClosedException:
        got.append(("lost", None))
        return got
    except ConnectionResetError:
        got.append(("reset", None))
        return got
    finally:
        connection.shutdown()  # `close` leaves the socket open where a close frame came


class App:
    """A `WebSocketApp` that notes all its callbacks."""

    def __init__(self, url: str, sends: Sequence[str] = (), enough: int | None = None, **options: Any) -> None:
        self.got: list[Got] = []
        self.errors: list[Any] = []
        self.has_errored: bool | None = None
        self.enough = enough
        self._sends = sends
        self._opened_ones: list[Any] = []
        self.app = websocket.WebSocketApp(
            url,
            on_open=self._opened,
            on_data=self._data,
            on_ping=lambda app, data: self.got.append(("ping", bytes(data))),
            on_pong=lambda app, data: self.got.append(("pong", bytes(data))),
            on_error=lambda app, error: self.errors.append(error),
            on_close=lambda app, code, reason: self.got.append(("closed", (code, reason or None))),
            **options,
        )

    def _opened(self, app: Any) -> None:
        self._opened_ones.append(app.sock)
        for message in self._sends:
            app.send(message)

    def _data(self, app: Any, data: Any, opcode: int, _: object) -> None:
        self.got.append((OPCODES[opcode], data.encode() if isinstance(data, str) else bytes(data)))
        if self.enough is not None and sum(kind in ("text", "binary") for kind, _ in self.got) >= self.enough:
            app.close()

    def run(self, **options: Any) -> list[Got]:
        """Run it in this thread."""
        self.has_errored = self.app.run_forever(**options)
        for connection in self._opened_ones:
            connection.shutdown()  # the app leaves the socket open where a close frame came
        return self.got

    def start(self, **options: Any) -> threading.Thread:
        """Run it in a thread of its own."""
        thread = threading.Thread(target=self.run, kwargs=options, daemon=True)
        thread.start()
        return thread


def by_app(url: str, sends: Sequence[str] = (), **options: Any) -> list[Got]:
    """Read to the end with `WebSocketApp`, in this thread."""
    return App(url, sends, **options).run()


def by_app_in_thread(url: str, sends: Sequence[str] = (), **options: Any) -> list[Got]:
    """Read to the end with `WebSocketApp`, in another thread."""
    app = App(url, sends, **options)
    join(app.start())
    return app.got


def join(thread: threading.Thread) -> None:
    """Wait for a thread, not for ever."""
    thread.join(LONGEST_S)
    assert not thread.is_alive(), "the client hangs"


CLIENTS: dict[str, Callable[..., list[Got]]] = {"recv": by_recv, "app": by_app, "thread": by_app_in_thread}

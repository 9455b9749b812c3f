"""A short market in a cassette, REST and stream, and clients that want all of it whatever happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from replay.wire import Client, record, said

DEPTH = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT"
START_MS = 1759399200000


def book(number: int) -> bytes:
    return b'{"lastUpdateId": %d, "bids": [["99.0","%d"],["98.0","1"]], "asks":[["101.0","2"]]}' % (number, number)


def answers(
    folder: Path, *bodies: bytes, endpoint: str = "/api/v3/depth", symbol: str = "BTCUSDT", **meta: Any
) -> None:
    """Write recorded answers, one a second."""
    place = folder / "binance" / endpoint.strip("/").replace("/", "_") / symbol
    place.mkdir(parents=True, exist_ok=True)
    with (place / "2025-10-02T10-00-00.jsonl").open("ab") as file:
        for number, body in enumerate(bodies):
            about = {"method": "GET", "status": 200, "latency_ms": 10.0, **meta}
            params = {} if symbol == "_all" else {"symbol": symbol}
            head = {"timestamp": START_MS + number * 1000, "endpoint": endpoint, "params": params, "meta": about}
            file.write(json.dumps(head)[:-1].encode() + b',"response":' + body + b"}\n")


HELLO = b'{"event":"systemStatus","status":"online"}'
FIRST, SECOND = (
    b'{"method":"SUBSCRIBE","params":["%b"],"id":%d}' % (name, id_) for name, id_ in ((b"a", 1), (b"b", 2))
)
ACKS = [b'{"result":null,"id":1}', b'{"result":null,"id":2}']
DIFFS = [b'{"u":%d, "b":[["99.0","1"]],"a":[["101.0","2"],["102.0","3"]]}' % number for number in range(1, 5)]
MESSAGES = [HELLO, ACKS[0], DIFFS[0], DIFFS[1], ACKS[1], DIFFS[2], DIFFS[3]]
"""What the exchange says in the story, in order."""
BYE = b"\x03\xe8bye"


def stream(folder: Path, path: str = "/ws", ending: tuple[str, bytes] | None = ("close", BYE)) -> None:
    """Record the story: greeting, subscription, diffs and a ping, a second subscription, more diffs, the end."""
    last = [] if ending is None else [ending]
    record(
        folder,
        said(
            path,
            HELLO, ("send", FIRST), ACKS[0], DIFFS[0], ("ping", b"beat"), DIFFS[1],
            ("send", SECOND), ACKS[1], DIFFS[2], DIFFS[3], *last,
        ),
    )  # fmt: skip


class Follower:
    """A client that subscribes, subscribes to more (`patient`: once it gets data), and connects again when it is cut off."""

    def __init__(self, playing: Any, path: str = "/ws", *, most: int = 20, patient: bool = True) -> None:
        self.got: list[bytes] = []
        self.pings = self.opened = 0
        self.ends: list[Any] = []
        wanted = [FIRST] if patient else [FIRST, SECOND]
        while self.opened < most:
            self.opened += 1
            client = Client(playing, path)
            for message in wanted:
                client.send(message)
            while True:
                event = client.next()
                self.pings += event.opcode == "ping"
                if event.opcode in (None, "close"):
                    self.ends.append(event.error or event.data)
                    break
                if event.opcode == "text":
                    self.got.append(event.data)
                    if len(wanted) == 1 and b'"u"' in event.data:
                        wanted.append(SECOND)
                        client.send(SECOND)
            if self.ends[-1] == BYE:
                return

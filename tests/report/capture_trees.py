"""Captures made by hand, as the collector writes them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_marketreplay.cassette import names

START_MS = 1_759_399_200_000
"""2025-10-02 10:00:00 UTC."""
Levels = Sequence[tuple[str, str]]


def place(
    root: Path, symbol: str | None, *, venue: str = "binance", endpoint: str = "/api/v3/depth", websocket: bool = False
) -> Path:
    """Return the folder of a place, made."""
    folder = (
        root
        / names.venue_folder(venue)
        / names.endpoint_folder(endpoint, websocket=websocket)
        / names.symbol_folder(symbol)
    )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def line(
    timestamp: int, response: Any, meta: dict[str, Any] | None = None, endpoint: str = "/api/v3/depth", **params: str
) -> str:
    """Return a line, line feed included."""
    return (
        json.dumps(
            {"timestamp": timestamp, "endpoint": endpoint, "params": params, "meta": meta or {}, "response": response}
        )
        + "\n"
    )


def book(
    timestamp: int,
    *,
    update_id: int = 1,
    bids: Levels = (("100", "1"),),
    asks: Levels = (("101", "2"),),
    latency: float | None = 10.0,
    sequence: int | None = None,
) -> str:
    """Return a polled Binance book."""
    meta: dict[str, Any] = {"method": "GET", "status": 200}
    if latency is not None:
        meta |= {"latency_ms": latency, "capture_latency_ms": latency}
    if sequence is not None:
        meta["sequence_number"] = sequence
    return line(timestamp, {"lastUpdateId": update_id, "bids": bids, "asks": asks}, meta, symbol="X", limit="1000")


def gap(kind: str, from_ms: int, to_ms: int, count: int = 0, reason: str = "", **params: str) -> str:
    """Return the entry of a gap."""
    about = {"kind": kind, "from_ms": from_ms, "to_ms": to_ms, "count": count, "reason": reason}
    return line(from_ms, None, {"dir": "gap", "gap": about}, **params)


def write(folder: Path, lines: Iterable[str], name: str = "2025-10-02T10-00-00.jsonl") -> Path:
    """Write a file of a place."""
    path = folder / name
    path.write_text("".join(lines), encoding="utf-8")
    return path


def walk(
    root: Path,
    symbol: str,
    *,
    seconds: int,
    seed: int = 1,
    missing: Iterable[int] = (),
    declared: Iterable[int] = (),
    slow: float = 25,
) -> None:
    """Write a pair whose price walks at random, one book a second; some ticks are missing, some of them declared so."""
    draw = random.Random(seed)
    price, sequence = 60_000.0 / seed, 0
    missing, declared = set(missing), set(declared)
    lines = []
    for tick in range(seconds):
        price *= 1 + draw.gauss(0, 2e-5)
        half = price * 1e-5 * (1 + 0.6 * math.sin(tick / 300) + abs(draw.gauss(0, 0.3)))
        if draw.random() < 0.002:
            half *= 12
        if tick in declared:
            lines.append(gap("missed", START_MS + tick * 1000, START_MS + tick * 1000, 1, "the loop was late"))
        if tick in missing:
            continue
        sequence += 1
        sizes = [round(draw.expovariate(0.4 + 0.2 * math.sin(tick / 700)) + 0.1, 4) for _ in range(20)]
        bids = [(f"{price - half * (1 + n):.2f}", str(sizes[n])) for n in range(10)]
        asks = [(f"{price + half * (1 + n):.2f}", str(sizes[10 + n])) for n in range(10)]
        latency = round(slow * draw.lognormvariate(0, 0.35), 3)
        lines.append(
            book(
                START_MS + tick * 1000 + draw.randrange(5),
                update_id=1000 + tick,
                bids=bids,
                asks=asks,
                latency=latency,
                sequence=sequence,
            )
        )
    write(place(root, symbol), lines)


def frame(time_ms: int, response: Any = None, *, conn: str = "1", **meta: Any) -> str:
    """Return a line of a connection: a received message, or what `dir` says."""
    return line(time_ms, response, {"dir": "recv", "conn": conn, **meta}, "/stream")


def diff(
    time_ms: int, first: int, *, symbol: str = "BTCUSDT", conn: str = "1", bids: Levels = (), asks: Levels = ()
) -> str:
    """Return a depth diff of Binance, of one update."""
    said = {"e": "depthUpdate", "E": time_ms, "s": symbol, "U": first, "u": first, "b": bids, "a": asks}
    return frame(time_ms, {"stream": f"{symbol.lower()}@depth", "data": said}, conn=conn)

"""The part that rebuilds order books from recorded diffs: files read, frames decoded, every diff checked and applied."""

from __future__ import annotations

import json
import random
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import measure
from measure import Result
from tables import Table, Verdict

GOAL = 200_000
"""Levels a second."""
START_MS = 1_700_000_000_000
LEVELS = 12
"""Of one diff: about what a liquid pair changes in 100 ms."""
CASES = {
    "binance: top 10 after each diff": ("binance", 10),
    "binance: the whole book after each diff": ("binance", None),
    "kraken v1: top 10, and a checksum for each diff": ("kraken", 10),
}


def _changes(count: int, seed: int) -> Iterator[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
    """Make diffs of both sides, as prices and sizes in the smallest units, around a price that walks."""
    chance = random.Random(seed)
    middle = 6_700_000
    for _ in range(count):
        middle += chance.randrange(-20, 21)
        yield tuple(  # type: ignore[misc]
            [
                (
                    middle + sign * (1 + int(chance.expovariate(0.01))),
                    chance.randrange(0, 5) and chance.randrange(1, 10**6),
                )
                for _ in range(LEVELS // 2)
            ]
            for sign in (-1, 1)
        )


def _levels(rows: list[tuple[int, int]], tail: str = "") -> str:
    return ",".join(
        f'["{price // 100}.{price % 100:02d}000000","{size // 1000}.{size % 1000:03d}00000"{tail}]'
        for price, size in rows
    )


def _line(number: int, endpoint: str, payload: str) -> str:
    return (
        f'{{"timestamp":{START_MS + number * 100},"endpoint":"{endpoint}","params":{{}},"meta":{{"dir":"recv","conn":"1",'
        f'"seq":{number + 1},"offset_ns":{number * 100_000_000}}},"response":{payload}}}\n'
    )


def _crc(bids: dict[int, int], asks: dict[int, int]) -> int:
    best = [(price, asks[price]) for price in sorted(asks)[:10]]
    best += [(price, bids[price]) for price in sorted(bids, reverse=True)[:10]]
    return zlib.crc32("".join(f"{price}000000{size}00000" for price, size in best).encode())


def write(cassette: Path, venue: str, count: int) -> int:
    """Write a snapshot and so many diffs that chain; returns how many levels they hold together."""
    whole = [[(6_700_000 + sign * step, 1000 + step) for step in range(1, 501)] for sign in (-1, 1)]
    sides = [dict(rows) for rows in whole]
    stem = "2023-11-14T22-13-20.jsonl"
    folder = cassette / venue / ("ws_stream" if venue == "binance" else "ws_") / "_all"
    folder.mkdir(parents=True)
    if venue == "binance":
        rest = cassette / venue / "api_v3_depth" / "BTCUSDT"
        rest.mkdir(parents=True)
        book = f'{{"lastUpdateId":0,"bids":[{_levels(whole[0])}],"asks":[{_levels(whole[1])}]}}'
        (rest / stem).write_text(
            f'{{"timestamp":{START_MS - 1},"endpoint":"/api/v3/depth","params":{{"symbol":"BTCUSDT"}},"response":{book}}}\n'
        )
    levels = 1000
    with (folder / stem).open("w") as out:
        if venue == "kraken":
            stamp = ',"1700000000.123456"'
            book = f'[0,{{"as":[{_levels(whole[1], stamp)}],"bs":[{_levels(whole[0], stamp)}]}},"book-1000","XBT/USD"]'
            out.write(_line(0, "", book))
        for number, changes in enumerate(_changes(count, 1), 1):
            levels += sum(map(len, changes))
            if venue == "binance":
                event = (
                    f'{{"e":"depthUpdate","E":{START_MS + number * 100},"s":"BTCUSDT","U":{number},"u":{number},'
                    f'"b":[{_levels(changes[0])}],"a":[{_levels(changes[1])}]}}'
                )
                out.write(_line(number, "/stream", f'{{"stream":"btcusdt@depth@100ms","data":{event}}}'))
                continue
            for side, rows in zip(sides, changes, strict=True):
                for price, size in rows:
                    if size:
                        side[price] = size
                    else:
                        side.pop(price, None)
            for side, best_first in ((sides[0], True), (sides[1], False)):
                for price in sorted(side, reverse=best_first)[1000:]:
                    del side[price]
            parts = (
                f'{{"a":[{_levels(changes[1], stamp)}]}},{{"b":[{_levels(changes[0], stamp)}],"c":"{_crc(*sides)}"}}'
            )
            out.write(_line(number, "", f'[0,{parts},"book-1000","XBT/USD"]'))
    return levels


def books(folder: Path, quick: bool) -> tuple[list[Table], list[Verdict]]:
    """Rebuild books in fresh processes; the time is from opening the cassette to the last book."""
    rows = []
    found = []
    for case, (venue, depth) in CASES.items():
        count = (2_000 if quick else 10_000) if venue == "kraken" or depth is None else (5_000 if quick else 50_000)
        cassette = folder / f"books-{venue}-{count}"
        if not cassette.exists():
            write(cassette, venue, count)
        order: Result = {"cassette": str(cassette), "venue": venue, "depth": depth}
        results = []
        for repetition in range(1 if quick else 3):
            measure.say(f"books: {case} ({repetition + 1})")
            results.append(measure.child("books.py", order))
        result = measure.median(results)
        if "error" in result:
            rows.append([case, f"fails: {result['error'][:60]}", "", "", ""])
            continue
        speed = result["levels"] / result["seconds"]
        rows.append([case, int(result["books"]), int(result["levels"]), speed, result["peak_mb"]])
        if depth is not None:
            found.append(Verdict(f"books, {case}", speed, GOAL, "levels/s", at_least=True))
    title = "Order books rebuilt from recorded diffs, each diff checked"
    columns = ["case", "diffs", "levels applied", "levels/s", "peak MB"]
    note = f"{LEVELS} levels a diff; reading the lines and decoding the frames is in the time. The whole book has 1,000 levels or more."
    return [Table(title, columns, rows, note)], found


def main() -> None:
    """Measure one case, as the order in the first argument says."""
    from pytest_marketreplay.data.market import MarketData

    order = json.loads(sys.argv[1])
    data = MarketData([Path(order["cassette"])])
    started = time.perf_counter()
    number = levels = 0
    for step in data.steps(order["venue"]):
        step.book(order["depth"])
        number += 1
        levels = step.follower.levels
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "levels": levels, "books": number, "peak_mb": measure.peak_mb()}))


if __name__ == "__main__":
    main()

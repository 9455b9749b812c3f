"""Small tapes, written line by line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

START = 1_700_000_000_000


class Tape:
    """A cassette that a test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seq = 0

    def file(self, place: str, name: str = "2023-11-14T22-13-20.jsonl") -> Path:
        path = self.root / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add(self, place: str, timestamp: int, endpoint: str, meta: dict[str, Any], response: str, **more: Any) -> Path:
        path = self.file(place, more.pop("name", "2023-11-14T22-13-20.jsonl"))
        params = json.dumps(more.pop("params", {}))
        with path.open("a") as out:
            out.write(
                f'{{"timestamp":{START + timestamp},"endpoint":"{endpoint}","params":{params},'
                f'"meta":{json.dumps(meta)},"response":{response}}}\n'
            )
        return path

    def depth(
        self, timestamp: int, update_id: int, *, bids: str = '["4","1"]', asks: str = '["5","1"]', **meta: Any
    ) -> Path:
        body = f'{{"lastUpdateId":{update_id},"bids":[{bids}],"asks":[{asks}]}}'
        return self.add("binance/api_v3_depth/BTCUSDT", timestamp, "/api/v3/depth", meta, body)

    def frame(self, timestamp: int, response: str, conn: str = "1", **meta: Any) -> Path:
        self.seq += 1
        said = {"dir": "recv", "conn": conn, "seq": self.seq, **meta}
        return self.add("binance/ws_stream/_all", timestamp, "/stream", said, response)

    def diff(self, timestamp: int, first: int, last: int | None = None, *, bids: str = "", conn: str = "1") -> Path:
        body = f'{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":{first},"u":{last or first},"b":[{bids}],"a":[]}}'
        return self.frame(timestamp, f'{{"stream":"btcusdt@depth","data":{body}}}', conn)

    def trade(self, timestamp: int, price: str = "4.50", **meta: Any) -> Path:
        body = (
            f'{{"e":"trade","s":"BTCUSDT","t":{timestamp},"p":"{price}","q":"0.10","T":{START + timestamp},"m":true}}'
        )
        return self.frame(timestamp, f'{{"stream":"btcusdt@trade","data":{body}}}', **meta)


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    return Tape(tmp_path / "cassette")


@pytest.fixture(scope="session")
def make_tape() -> Callable[[Path], Tape]:
    return Tape

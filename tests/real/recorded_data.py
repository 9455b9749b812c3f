"""The developers' set of real answers: where it is, what is in it, and what its server cannot give."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

VARIABLE = "MARKETREPLAY_SHARED"
"""Names the folder that holds `market-data/` and `tools/`; without it, `../shared` beside the repository."""

NOT_SERVED = {
    "binance/rest/errors/LTCBTC.400.1617823973000": "the same path and symbol is recorded with a good answer, which wins",
    "binance/rest/errors/all.429.undated": "an error without a symbol; the server makes its own (-1121)",
    "coinbase_exchange/rest/errors/BTC-USD.429.undated": "the same URL is recorded with a good answer, which wins",
    "itbit/rest/errors/all.404.1520272132000": "an error without a symbol; the server makes its own (404)",
    "kraken/rest/errors/all.200.1574694719000": "an error without a symbol; the server makes its own (EQuery)",
    "yunbi/rest/errors/all.503.1507003557000": "an error without a symbol; the server makes its own (404)",
}
"""Entries that the server of the data set never answers with, and why; a plain server of ours gives them."""

COMES_SECOND = {
    "deribit/rest/symbols/all.1626993723131": "the request fits an older, narrower recording too, which comes first",
}


@dataclass(frozen=True)
class Entry:
    """One recorded REST answer, as `index.json` names it."""

    id: str
    venue: str
    host: str
    method: str
    path: str
    query: dict[str, str] = field(hash=False)
    status: int
    sha256: str
    size_bytes: int
    file: Path
    content_type: str | None

    def body(self) -> bytes:
        return self.file.read_bytes()


@dataclass(frozen=True)
class Asked:
    """One request, and the entry that answers it."""

    entry: Entry
    nth: int
    """How often the same request was made before, this one included."""


def folder() -> Path:
    """Return where the set is; it need not be there."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(__file__).resolve().parents[2].parent / "shared"


def missing() -> str | None:
    """Return why there is nothing to test with, or None."""
    for part in ("market-data/index.json", "tools/exchange_server.py"):
        if not (folder() / part).is_file():
            return f"the real data set is not here ({folder() / part}); {VARIABLE} names the folder that has it"
    return None


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """Return all REST entries, oldest first; none where the set is missing."""
    if missing():
        return ()
    data = folder() / "market-data"
    rest = json.loads((data / "index.json").read_bytes())["rest"]
    return tuple(
        Entry(
            id=one["id"],
            venue=one["venue"],
            host=one["host"],
            method=one["method"],
            path=one["path"],
            query=one["query"],
            status=one["status"],
            sha256=one["sha256"],
            size_bytes=one["bytes"],
            file=data / one["file"],
            content_type=one["headers"].get("content-type"),
        )
        for one in sorted(rest, key=lambda one: one["recorded_ms"] or 0)
    )


def asked() -> Iterator[Asked]:
    """Give every request to make, in order: each entry that the server has, and what must be asked before it."""
    times: dict[tuple[str, str, str], int] = {}
    for entry in entries():
        if entry.id in NOT_SERVED:
            continue
        url = entry.venue, entry.path, json.dumps(entry.query, sort_keys=True)
        nth = times.get(url, 0) + 1 + (entry.id in COMES_SECOND)
        times[url] = nth
        yield Asked(entry, nth)


def digest(body: bytes) -> str:
    """Return the SHA-256 of a body as `index.json` spells it."""
    return hashlib.sha256(body).hexdigest()

"""Folder and file names of the tree: reversible, inside the tree, never colliding (format, "Names").

The tree is `<venue>/<endpoint>/<symbol>/<start>.jsonl`. Every part is escaped with `%XX` over its UTF-8 bytes, so any
request, however hostile its path, gets one folder name and no other request gets the same.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache

ALL = "_all"
"""The symbol folder of an answer that belongs to no single symbol."""

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.")
_TEST = re.compile(r"[A-Za-z0-9_\[\]-]{1,200}")  # most names of tests: nothing to escape, and a tenth of the time
_ROOT = "%2F"
_LONGEST = 200
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")
_FILE = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)(?:-(\d+))?\.jsonl(\.zst|\.gz)?$")


def _escape(text: str, keep: frozenset[int]) -> str:
    out = "".join(chr(byte) if byte in keep else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))
    if out.startswith(".") or _RESERVED.match(out):  # hidden, `.`, `..`, and the device names of Windows
        out = f"%{ord(out[0]):02X}{out[1:]}"
    if out.endswith("."):
        out = out[:-1] + "%2E"
    if len(out) > _LONGEST:  # the one name that is not reversible; the entries inside say the whole of it
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        out = re.sub(r"%[0-9A-F]?$", "", out[: _LONGEST - 40]) + "%~" + digest
    return out


def _unescape(name: str) -> str:
    raw = re.sub(rb"%([0-9A-F]{2})", lambda m: bytes([int(m[1], 16)]), name.encode())
    return raw.decode("utf-8", "surrogatepass")


@lru_cache(maxsize=4096)
def endpoint_folder(endpoint: str, *, websocket: bool = False) -> str:
    """Return the folder of an endpoint: `/api/v3/depth` -> `api_v3_depth`, WebSocket `/stream` -> `ws_stream`."""
    path = endpoint.removeprefix("/")
    out = _escape(path, _PLAIN | {ord("/")}).replace("/", "_") or _ROOT
    if websocket:
        return f"ws_{out}" if path else "ws_"
    # only a REST path /ws/... can start like this: a literal `_` is always written %5F
    return f"%77{out[1:]}" if out.startswith("ws_") else out


def endpoint_of(folder: str) -> tuple[str, bool]:
    """Return the endpoint that `endpoint_folder` made this name from, and whether it is a WebSocket's."""
    websocket = folder.startswith("ws_")
    name = folder[3:] if websocket else folder
    if name == _ROOT:
        return "/", websocket
    return "/" + _unescape(name.replace("_", "/")), websocket


@lru_cache(maxsize=4096)
def symbol_folder(symbol: str | None) -> str:
    """Return the folder of a symbol: itself where it is plain, `_all` for None."""
    if symbol is None:
        return ALL
    out = _escape(symbol, _PLAIN | {ord("_")}) or "%00"  # an empty symbol; a real NUL cannot stand in a request
    return f"%5F{out[1:]}" if out.startswith("_") else out


def symbol_of(folder: str) -> str | None:
    """Return the symbol that `symbol_folder` made this name from."""
    if folder == ALL:
        return None
    return "" if folder == "%00" else _unescape(folder)


@lru_cache(maxsize=256)
def venue_folder(venue: str) -> str:
    """Return the folder of a venue's name; an unknown host stands as itself, `127.0.0.1:8080` as `127.0.0.1%3A8080`."""
    return _escape(venue, _PLAIN | {ord("_")}) or "%00"


def cassette_folder(name: str) -> str:
    """Return the folder of a test's name; `[` and `]` stay, so that parametrised tests can be read."""
    if _TEST.fullmatch(name) and not _RESERVED.match(name):
        return name
    return _escape(name, _PLAIN | frozenset(b"_[]")) or "%00"


def file_stem(start_ns: int) -> str:
    """Return the file name, without ending, of a recording that starts at this nanosecond (UTC, whole seconds)."""
    return datetime.fromtimestamp(start_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H-%M-%S")


def file_order(name: str) -> tuple[str, int, str] | None:
    """Return what sorts recorded files by time, or None where the name is not that of a cassette file.

    A foreign name that merely ends in `.jsonl` is read too, after the dated ones.
    """
    if match := _FILE.match(name):
        return match[1], int(match[2] or 0), ""
    if name.startswith(".") or not re.search(r"\.jsonl(\.zst|\.gz)?$", name):
        return None
    return "~", 0, name

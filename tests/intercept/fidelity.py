"""The fidelity table: what differs between live, recording and replay, and why; written into the documentation.

`MARKETREPLAY_WRITE_FIDELITY=1 pytest tests/intercept/test_fidelity.py` writes it anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .probes import PROBES
from .stage import CLIENTS, performed, tells

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reference" / "fidelity.md"
START, END = "<!-- table: start -->", "<!-- table: end -->"

ESSENTIAL = frozenset(
    ("status", "ok", "reason", "version", "url", "history", "body", "text", "json", "lines", "some", "error", "retries",
     "redirect", "raised for status", "middlewares", "hooks", "class")
)  # fmt: skip
"""What no reason may excuse."""

_ENCODED = frozenset(
    ("gzip", "deflate", "br", "zstd", "gzip in gzip", "gzip read raw", "chunked and gzip", "gzip, read in pieces",
     "HEAD of a gzip body")
)  # fmt: skip
_COOKIES = frozenset(("redirects with cookies", "cookies kept in the session"))
_ALL = frozenset(probe.name for probe in PROBES)


@dataclass(frozen=True)
class Reason:
    """Why some aspects of some probes differ, for some clients, in the replay and perhaps in the recording."""

    text: str
    aspects: frozenset[str]
    probes: frozenset[str] = _ALL
    clients: frozenset[str] = frozenset(client.name for client in CLIENTS)
    recording: bool = False

    def explains(self, client: str, probe: str, aspect: str, which: str) -> bool:
        return (
            aspect in self.aspects
            and probe in self.probes
            and client in self.clients
            and (self.recording or which == "replay")
        )


_HTTPX = frozenset(("httpx", "httpx async"))

REASONS: tuple[Reason, ...] = (
    Reason(
        "The content encoding is undone before an answer is stored, and the headers of the replay say so: no "
        "`Content-Encoding`, and the `Content-Length` of what is there. Bytes read raw (`raw.read(decode_content=False)`, "
        "`iter_raw`) and counts of bytes on the wire (`tell`, `num_bytes_downloaded`) are those of the decoded body.",
        frozenset(("headers", "every header", "raw bytes", "raw tell", "tell", "downloaded")),
        _ENCODED,
    ),
    Reason(
        "Values of cookies are secrets: they replay as `REDACTED`, under their names and with their attributes.",
        frozenset(("headers", "every header", "cookies", "cookie jar")),
        _COOKIES,
    ),
    Reason(
        "Where one transfer chunk ended and the next began is not stored. The bytes are the same, the pieces are as "
        "large as was asked for; while recording too, because the body is read to its end first.",
        frozenset(("pieces", "chunks")),
        frozenset(("chunked, read in pieces", "iter_chunks")),
        recording=True,
    ),
    Reason(
        "Only the kind of a failure is stored, not the text that OpenSSL or a parser had for it. The class is the "
        "same; where a chunk breaks off, the text already differs while recording.",
        frozenset(("error message", "error causes", "error arguments")),
        frozenset(
            (
                "TLS to a server without it",
                "an answer that is not HTTP",
                "a chunk cut short",
                "zstd",
                "gzip that is none",
            )
        ),
        recording=True,
    ),
    Reason(
        "Every replayed request is a new connection (`on_connection_create_start`), where live the pool may have had "
        "one (`on_connection_reuseconn`). While recording a body is read to its end, so that a connection goes back "
        "to the pool that live was closed with its unread body.",
        frozenset(("trace events",)),
        clients=frozenset(("aiohttp",)),
        recording=True,
    ),
    Reason(
        "A body that is closed early was read in pieces of 64 KiB, where httpcore cuts its first one shorter by the "
        "headers.",
        frozenset(("downloaded",)),
        frozenset(("closed after 100 bytes",)),
        _HTTPX,
        recording=True,
    ),
    Reason(
        "Headers of one name are stored together: where another came between them, it comes after them.",
        frozenset(("headers", "every header")),
        frozenset(("a header that comes three times",)),
    ),
    Reason(
        "`httpcore`'s exception is beneath httpx' own, and the socket's beneath that; those of `anyio` and `h11` are "
        "not.",
        frozenset(("error causes",)),
        clients=_HTTPX,
    ),
)


def cell(client: str, probe: str) -> str:
    """Return the cell of a client and a probe: `=`, or the numbers of the reasons; `*` where the recording differs too."""
    seen = performed(client)[probe]
    numbers: dict[int, str] = {}
    for which in ("replay", "recording"):
        for aspect in seen.differences(which):
            number = reason(client, probe, aspect, which)
            if number is None:
                return f"**{which}: {aspect}**"
            numbers[number] = "\\*" if which == "recording" else numbers.get(number, "")
    return ", ".join(f"{number}{star}" for number, star in sorted(numbers.items())) or "="


def reason(client: str, probe: str, aspect: str, which: str) -> int | None:
    """Return the number of the reason for a difference, counted from 1, or None where there is none."""
    for number, each in enumerate(REASONS, 1):
        if each.explains(client, probe, aspect, which):
            return number
    return None


def lines() -> Iterator[str]:
    """Yield the table, and the reasons below it."""
    yield "| probe | " + " | ".join(f"`{client.name}`" for client in CLIENTS) + " |"
    yield "| --- |" + " --- |" * len(CLIENTS)
    cells = faithful = 0
    for probe in PROBES:
        row = [cell(client.name, probe.name) if tells(client, probe) else "" for client in CLIENTS]
        cells += sum(bool(each) for each in row)
        faithful += row.count("=")
        yield f"| {probe.name} | " + " | ".join(row) + " |"
    yield ""
    yield f"{len(PROBES)} probes, {cells} cells, {faithful} without any difference."
    yield ""
    for number, each in enumerate(REASONS, 1):
        yield f"{number}. {each.text}"


def table() -> str:
    """Return what stands between the markers of the document."""
    return "\n".join(lines())

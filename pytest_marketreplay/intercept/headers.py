"""Response headers between the wire and a cassette.

On the wire a header is bytes, usually ASCII. Stored is their Latin-1 text, as `http.client` reads it: every byte has a
character and the bytes come back exactly, whichever client records and whichever replays.
"""

from __future__ import annotations

from functools import lru_cache

from pytest_marketreplay.cassette.entry import Headers


def header_text(raw: bytes) -> str:
    """Return the text under which a header's bytes are stored."""
    return raw.decode("latin-1")


@lru_cache(maxsize=512)
def header_name(raw: bytes) -> str:
    """Return the text of a header's name; the same twenty come with every answer."""
    return header_text(raw)


def header_bytes(text: str) -> bytes:
    """Return the bytes of a stored header; a hand-written one may hold characters that are not Latin-1."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def stored_headers(headers: Headers, body: bytes, decoded: bytes | None) -> tuple[Headers, bytes, str | None]:
    """Return headers, body and the encoding undone, as they are stored.

    Where a content encoding was undone, the headers say so: no Content-Encoding, and the length of what is stored.
    `decoded` is None where there was nothing to undo or the client could not.
    """
    if decoded is None:
        return headers, body, None
    encoding = ", ".join(value for name, value in headers if name.lower() == "content-encoding")
    kept = [
        (name, str(len(decoded)) if name.lower() == "content-length" else value)
        for name, value in headers
        if name.lower() != "content-encoding"
    ]
    return kept, decoded, encoding


def incomplete_text(headers: Headers, received: int) -> tuple[int | None, str]:
    """Tell how long a body that broke off was to be (None: it came in chunks), and what is missing, in httpx' words."""
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    if lengths and lengths[0].isdigit():
        return int(lengths[0]), f"received {received} bytes, expected {lengths[0]}"
    return None, "incomplete chunked read"
